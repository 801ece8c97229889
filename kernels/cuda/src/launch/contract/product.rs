//! Any product of matrices of 32- and 16-bit floats, or of weights in blocks: which kernel, in which grid. Those of other types are
//! in `products.rs`.
//!
//! Up to eight rows go through `gemv.cu`, which reads weights once; more rows by tiles of `gemm.cu`, small tiles where
//! large ones would be too few to fill a device. Where even those are few, the terms are split into runs of a power of
//! two of chunks, subtrees of the one tree, whose results a second kernel combines.

use repops::blocks::Format;
use repops::dtype::DType;

use super::{CHUNK, products};
use crate::device::{Argument, Device, Kernel, View};
use crate::{Error, kernels};

kernels! {
    GEMM = "gemm";
    GEMM_F32_128X128 = "gemm_f32_128x128";
    GEMM_F32_64X64 = "gemm_f32_64x64";
    GEMM_F32_16X128 = "gemm_f32_16x128";
    GEMM_ANY_128X128 = "gemm_any_128x128";
    GEMM_ANY_64X64 = "gemm_any_64x64";
    GEMM_ANY_16X128 = "gemm_any_16x128";
    COMBINE = "combine";
}

kernels! {
    GEMV = "gemv";
    ROWS = "rows";
    GEMV_F32_1 = "gemv_f32_1";
    GEMV_F32_4 = "gemv_f32_4";
    GEMV_F32_8 = "gemv_f32_8";
    GEMV_F16_1 = "gemv_f16_1";
    GEMV_F16_4 = "gemv_f16_4";
    GEMV_F16_8 = "gemv_f16_8";
    GEMV_BF16_1 = "gemv_bf16_1";
    GEMV_BF16_4 = "gemv_bf16_4";
    GEMV_BF16_8 = "gemv_bf16_8";
    GEMV_F32_T_1 = "gemv_f32_t_1";
    GEMV_F32_T_4 = "gemv_f32_t_4";
    GEMV_F32_T_8 = "gemv_f32_t_8";
    GEMV_F16_T_1 = "gemv_f16_t_1";
    GEMV_F16_T_4 = "gemv_f16_t_4";
    GEMV_F16_T_8 = "gemv_f16_t_8";
    GEMV_BF16_T_1 = "gemv_bf16_t_1";
    GEMV_BF16_T_4 = "gemv_bf16_t_4";
    GEMV_BF16_T_8 = "gemv_bf16_t_8";
    GEMV_Q8_0_1 = "gemv_q8_0_1";
    GEMV_Q8_0_4 = "gemv_q8_0_4";
    GEMV_Q8_0_8 = "gemv_q8_0_8";
    GEMV_Q4_0_1 = "gemv_q4_0_1";
    GEMV_Q4_0_4 = "gemv_q4_0_4";
    GEMV_Q4_0_8 = "gemv_q4_0_8";
    GEMV_Q4_1_1 = "gemv_q4_1_1";
    GEMV_Q4_1_4 = "gemv_q4_1_4";
    GEMV_Q4_1_8 = "gemv_q4_1_8";
    GEMV_Q4_K_1 = "gemv_q4_k_1";
    GEMV_Q4_K_4 = "gemv_q4_k_4";
    GEMV_Q4_K_8 = "gemv_q4_k_8";
    GEMV_Q6_K_1 = "gemv_q6_k_1";
    GEMV_Q6_K_4 = "gemv_q6_k_4";
    GEMV_Q6_K_8 = "gemv_q6_k_8";
}

/// How an operand's element of outer index `o` (a row of the left operand, a column of the right one) and term `p` lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At `o * stride + p`.
    Terms { stride: usize },
    /// At `p * stride + o`.
    Outers { stride: usize },
    /// At `(o / 16) * K * 16 + p * 16 + o % 16`; right operands only.
    Panels,
    /// Panels of blocks of integers; right operands only.
    Blocks(Format),
}

impl Place {
    fn code(self) -> u32 {
        match self {
            Place::Terms { .. } => 0,
            Place::Outers { .. } => 1,
            Place::Panels => 2,
            Place::Blocks(_) => 3,
        }
    }

    fn stride(self) -> usize {
        match self {
            Place::Terms { stride } | Place::Outers { stride } => stride,
            Place::Panels | Place::Blocks(_) => 16,
        }
    }
}

/// An operand. Its view's shape does not matter.
pub struct Matrix<'a, B> {
    pub view: View<'a, B>,
    pub place: Place,
    /// Elements between the matrices of a batch, along each of its axes.
    pub batch: [usize; 3],
}

/// What comes after the contraction: `t = s` or `alpha * s`; `t`, `t + c` or `fma(beta, c, t)`.
pub struct Finish<'a, B> {
    pub alpha: f32,
    pub beta: f32,
    /// With the elements between its rows and between its columns; of the left operand's type.
    pub c: Option<(View<'a, B>, usize, usize)>,
}

impl<B> Finish<'_, B> {
    pub const NOTHING: Self = Finish { alpha: 1.0, beta: 1.0, c: None };

    pub(super) fn flags(&self) -> u32 {
        let c = if self.c.is_some() { 2 | if self.beta == 1.0 { 0 } else { 4 } } else { 0 };
        u32::from(self.alpha != 1.0) | c
    }
}

/// `out[i, j] = sum over p of a[i, p] * b[p, j]`, for each matrix of a batch. The output is row-major, of the left
/// operand's type.
pub struct Product<'a, B> {
    pub a: Matrix<'a, B>,
    pub b: Matrix<'a, B>,
    pub out: View<'a, B>,
    pub finish: Finish<'a, B>,
    /// The batch's axes; 1 where there are fewer.
    pub batch: [usize; 3],
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Blocks that work at once at the most; each has room for the tree's subtrees that wait.
pub(super) const GRID_MAX: u32 = 512;
/// Blocks below which the terms are split.
const GRID_WANTED: u32 = 256;

/// A type as `element.cuh` and `blocks.cuh` number it.
pub(super) fn type_code(dtype: DType) -> Result<u32, Error> {
    match dtype {
        DType::F32 => Ok(0),
        DType::F16 => Ok(1),
        DType::BF16 => Ok(2),
        other => Err(Error::unsupported(format!("a product of {other:?}"))),
    }
}

pub(super) fn format_code(format: Format) -> u32 {
    match format {
        Format::Q8_0 => 8,
        Format::Q4_0 => 9,
        Format::Q4_1 => 10,
        Format::Q4K => 11,
        Format::Q6K => 12,
    }
}

/// Blocks are read by words: a copy of those that lie at an odd address.
pub(super) fn aligned<D: Device>(device: &D, w: &View<'_, D::Buffer>) -> Result<Option<D::Buffer>, Error> {
    if w.offset.is_multiple_of(4) {
        return Ok(None);
    }
    let bytes = w.len() * w.dtype.size();
    let copy = device.alloc(bytes)?;
    device.copy(w.buffer, w.offset, &copy, 0, bytes)?;
    Ok(Some(copy))
}

pub(super) fn size(what: &str, value: usize) -> Result<u32, Error> {
    // Kernels add tiles to sizes in 32 bits.
    match u32::try_from(value) {
        Ok(small) if small < 1 << 27 => Ok(small),
        _ => Err(Error::unsupported(format!("{value} {what} of a product"))),
    }
}

impl<B> Product<'_, B> {
    /// Enqueues the product.
    pub fn launch<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let batches = self.batch.iter().product::<usize>();
        if batches == 0 || self.m == 0 || self.n == 0 {
            return Ok(());
        }
        if let Some(kernel) = products::kernel(self.a.view.dtype) {
            return self.by_outputs(device, kernel);
        }
        if batches == 1
            && self.m <= 8
            && let Some(few) = FewRows::of(self)?
        {
            return few.launch(device, self);
        }
        self.by_tiles(device, batches, None)
    }

    /// Enqueues the product cut in another way than the one chosen for it, if one is given; the bits are the same. Empty
    /// products are not cut.
    pub fn launch_cut<D: Device<Buffer = B>>(&self, device: &D, cut: Option<Cut>) -> Result<(), Error> {
        match cut {
            None => self.launch(device),
            Some(cut) => self.by_tiles(device, self.batch.iter().product(), Some(cut)),
        }
    }

    fn by_tiles<D: Device<Buffer = B>>(
        &self,
        device: &D,
        batches: usize,
        cut: Option<Cut>,
    ) -> Result<(), Error> {
        let (m, n, k) = (size("rows", self.m)?, size("columns", self.n)?, size("terms", self.k)?);
        let is_f32 = self.a.view.dtype == DType::F32
            && self.b.view.dtype == DType::F32
            && !matches!(self.b.place, Place::Blocks(_));
        let tile = Tile::of(cut.map_or_else(|| Tiles::for_product(m, n, batches), |cut| cut.tiles), is_f32);
        let (tiles_m, tiles_n) = (m.div_ceil(tile.rows), n.div_ceil(tile.columns));
        let of_product = u64::from(tiles_m) * u64::from(tiles_n) * batches as u64;
        let tiles_once = u32::try_from(of_product)
            .ok()
            .filter(|&count| count < 1 << 28)
            .ok_or_else(|| Error::unsupported(format!("a product of {batches} times {m} x {n}")))?;

        let chunks = k.div_ceil(CHUNK as u32);
        let run = match cut {
            Some(Cut { unsplit: true, .. }) => chunks.max(1),
            _ => run_of_chunks(chunks, tiles_once),
        };
        let splits = chunks.div_ceil(run).max(1);
        let tiles = tiles_once * splits;
        let grid = tiles.min(GRID_MAX);
        let levels = levels_of(run.min(chunks));
        let pending = grid as usize * levels as usize * (tile.rows * tile.columns) as usize * 4;
        let pending = device.alloc(pending.max(4))?;
        let parts_count = batches * self.m * self.n;
        let parts = if splits > 1 { Some(device.alloc(splits as usize * parts_count * 4)?) } else { None };

        let (a_type, b_type) = (type_code(self.a.view.dtype)?, self.b_type()?);
        let kinds = self.a.place.code()
            | self.b.place.code() << 4
            | a_type << 8
            | b_type << 12
            | u32::from(self.a.is_wide(self.m)) << 16
            | u32::from(self.b.is_wide(self.n)) << 17;
        let (c, c_row, c_column) = self.c();
        let out = match &parts {
            Some(buffer) => Argument::Pointer { buffer, offset: 0 },
            None => self.out.pointer(),
        };
        let long = |value: usize| Argument::U64(value as u64);
        let (alpha, beta, flags) = (self.finish.alpha, self.finish.beta, self.finish.flags());
        device.launch(
            tile.kernel,
            [grid, 1, 1],
            [tile.threads, 1, 1],
            0,
            &[
                self.a.view.pointer(),
                self.b.view.pointer(),
                out,
                c,
                Argument::Pointer { buffer: &pending, offset: 0 },
                Argument::U32(m),
                Argument::U32(n),
                Argument::U32(k),
                Argument::U32(kinds),
                long(self.a.place.stride()),
                long(self.b.place.stride()),
                Argument::U32(tiles_m),
                Argument::U32(tiles_n),
                Argument::U32(tiles),
                Argument::U32(run),
                Argument::U32(splits),
                Argument::U32(levels),
                Argument::U32(size("matrices", self.batch[1])?),
                Argument::U32(size("matrices", self.batch[2])?),
                long(self.a.batch[0]),
                long(self.a.batch[1]),
                long(self.a.batch[2]),
                long(self.b.batch[0]),
                long(self.b.batch[1]),
                long(self.b.batch[2]),
                Argument::F32(alpha),
                Argument::F32(beta),
                Argument::U32(flags),
                long(c_row),
                long(c_column),
            ],
        )?;
        let Some(parts) = parts else { return Ok(()) };
        let (c, c_row, c_column) = self.c();
        let blocks = parts_count.div_ceil(256).min(2048) as u32;
        device.launch(
            &COMBINE,
            [blocks, 1, 1],
            [256, 1, 1],
            0,
            &[
                Argument::Pointer { buffer: &parts, offset: 0 },
                self.out.pointer(),
                c,
                long(parts_count),
                Argument::U32(splits),
                Argument::U32(m),
                Argument::U32(n),
                Argument::U32(a_type),
                Argument::F32(alpha),
                Argument::F32(beta),
                Argument::U32(flags),
                long(c_row),
                long(c_column),
            ],
        )
    }

    fn b_type(&self) -> Result<u32, Error> {
        match self.b.place {
            Place::Blocks(format) => Ok(format_code(format)),
            _ => type_code(self.b.view.dtype),
        }
    }

    /// C's address, or any other one, and its strides.
    pub(super) fn c(&self) -> (Argument<'_, B>, usize, usize) {
        match &self.finish.c {
            Some((view, row, column)) => (view.pointer(), *row, *column),
            None => (self.out.pointer(), 0, 0),
        }
    }
}

impl<B> Matrix<'_, B> {
    /// Whether four neighbouring elements can be loaded at once wherever the kernel begins to.
    fn is_wide(&self, extent: usize) -> bool {
        let is_aligned =
            self.view.offset.is_multiple_of(16) && self.batch.iter().all(|stride| stride.is_multiple_of(4));
        is_aligned
            && match self.place {
                Place::Terms { stride } => stride.is_multiple_of(4),
                Place::Outers { stride } => stride.is_multiple_of(4) && extent.is_multiple_of(4),
                Place::Panels | Place::Blocks(_) => true,
            }
    }
}

/// Chunks of a run: all, unless tiles are few; else the smallest power of two that makes no more blocks than wanted.
pub(super) fn run_of_chunks(chunks: u32, tiles: u32) -> u32 {
    let mut run = 1u32;
    if tiles >= GRID_WANTED / 2 {
        return chunks.max(1);
    }
    // The combining kernel holds eight levels of the tree.
    while chunks.div_ceil(run).saturating_mul(tiles) > GRID_WANTED.max(tiles) || chunks.div_ceil(run) > 128 {
        run *= 2;
    }
    if run >= chunks { chunks.max(1) } else { run }
}

/// Levels of the tree over so many chunks whose results, subtrees of 1, 2, 4 ... chunks, wait for their neighbours.
pub(super) fn levels_of(chunks: u32) -> u32 {
    u32::BITS - (chunks.max(1) - 1).leading_zeros()
}

struct Tile {
    kernel: &'static Kernel,
    rows: u32,
    columns: u32,
    threads: u32,
}

/// Sizes of tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tiles {
    Of128x128,
    Of64x64,
    Of16x128,
}

/// How a product is cut, where that is not chosen by its size: as it is for products too large to be tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    pub tiles: Tiles,
    /// All chunks by one block, however few tiles there are.
    pub unsplit: bool,
}

impl Tiles {
    pub(super) fn for_product(m: u32, n: u32, batches: usize) -> Tiles {
        let large = u64::from(m.div_ceil(128)) * u64::from(n.div_ceil(128)) * batches as u64;
        if m <= 16 {
            Tiles::Of16x128
        } else if m <= 64 || n <= 64 || large < 96 {
            Tiles::Of64x64
        } else {
            Tiles::Of128x128
        }
    }
}

impl Tile {
    fn of(tiles: Tiles, is_f32: bool) -> Tile {
        let pick = |f32: &'static Kernel, any: &'static Kernel| if is_f32 { f32 } else { any };
        match tiles {
            Tiles::Of128x128 => {
                let kernel = pick(&GEMM_F32_128X128, &GEMM_ANY_128X128);
                Tile { kernel, rows: 128, columns: 128, threads: 256 }
            }
            Tiles::Of64x64 => {
                let kernel = pick(&GEMM_F32_64X64, &GEMM_ANY_64X64);
                Tile { kernel, rows: 64, columns: 64, threads: 128 }
            }
            Tiles::Of16x128 => {
                let kernel = pick(&GEMM_F32_16X128, &GEMM_ANY_16X128);
                Tile { kernel, rows: 16, columns: 128, threads: 128 }
            }
        }
    }
}

/// A product by `gemv.cu`.
struct FewRows {
    kernel: &'static Kernel,
    warps: u32,
    run: u32,
}

impl FewRows {
    /// `None` where the kernels do not take the operands.
    fn of<B>(product: &Product<'_, B>) -> Result<Option<FewRows>, Error> {
        let chunks = size("terms", product.k)?.div_ceil(CHUNK as u32);
        let warps_max = if product.m > 4 { 16 } else { 32 };
        let run = chunks.div_ceil(warps_max).max(1).next_power_of_two();
        // A thread holds four levels of the tree.
        if run > 8 {
            return Ok(None);
        }
        let by_rows = |kernels: [&'static Kernel; 3]| match product.m {
            1 => kernels[0],
            2..=4 => kernels[1],
            _ => kernels[2],
        };
        let dtype = product.b.view.dtype;
        let kernel = by_rows(match (product.b.place, dtype) {
            (Place::Blocks(Format::Q8_0), _) => [&GEMV_Q8_0_1, &GEMV_Q8_0_4, &GEMV_Q8_0_8],
            (Place::Blocks(Format::Q4_0), _) => [&GEMV_Q4_0_1, &GEMV_Q4_0_4, &GEMV_Q4_0_8],
            (Place::Blocks(Format::Q4_1), _) => [&GEMV_Q4_1_1, &GEMV_Q4_1_4, &GEMV_Q4_1_8],
            (Place::Blocks(Format::Q4K), _) => [&GEMV_Q4_K_1, &GEMV_Q4_K_4, &GEMV_Q4_K_8],
            (Place::Blocks(Format::Q6K), _) => [&GEMV_Q6_K_1, &GEMV_Q6_K_4, &GEMV_Q6_K_8],
            (Place::Terms { .. }, DType::F32) => [&GEMV_F32_T_1, &GEMV_F32_T_4, &GEMV_F32_T_8],
            (Place::Terms { .. }, DType::F16) => [&GEMV_F16_T_1, &GEMV_F16_T_4, &GEMV_F16_T_8],
            (Place::Terms { .. }, DType::BF16) => [&GEMV_BF16_T_1, &GEMV_BF16_T_4, &GEMV_BF16_T_8],
            (_, DType::F32) => [&GEMV_F32_1, &GEMV_F32_4, &GEMV_F32_8],
            (_, DType::F16) => [&GEMV_F16_1, &GEMV_F16_4, &GEMV_F16_8],
            (_, DType::BF16) => [&GEMV_BF16_1, &GEMV_BF16_4, &GEMV_BF16_8],
            _ => return Ok(None),
        });
        let is_blocks = matches!(product.b.place, Place::Blocks(_));
        let is_f32 = product.a.view.dtype == DType::F32;
        let are_rows = matches!(product.a.place, Place::Terms { stride } if stride == product.k);
        if !are_rows || is_blocks && (product.finish.flags() != 0 || !is_f32) {
            return Ok(None);
        }
        Ok(Some(FewRows { kernel, warps: chunks.div_ceil(run).max(1), run }))
    }

    fn launch<D: Device>(&self, device: &D, product: &Product<'_, D::Buffer>) -> Result<(), Error> {
        let (m, n, k) = (size("rows", product.m)?, size("columns", product.n)?, size("terms", product.k)?);
        let a_type = type_code(product.a.view.dtype)?;
        // The kernels want rows of f32, each aligned to 16 bytes.
        let is_ready = a_type == 0
            && product.a.view.offset.is_multiple_of(16)
            && (product.k.is_multiple_of(4) || product.m == 1);
        let stride = if is_ready { product.k } else { product.k.next_multiple_of(4) };
        let own = if is_ready { None } else { Some(device.alloc((product.m * stride * 4).max(4))?) };
        let a = match &own {
            Some(buffer) => Argument::Pointer { buffer, offset: 0 },
            None => product.a.view.pointer(),
        };
        if let Some(buffer) = &own
            && k > 0
        {
            let to = Argument::Pointer { buffer, offset: 0 };
            let arguments = [
                product.a.view.pointer(),
                to,
                Argument::U32(a_type),
                Argument::U32(k),
                Argument::U64(stride as u64),
            ];
            device.launch(&ROWS, [k.div_ceil(256), m, 1], [256, 1, 1], 0, &arguments)?;
        }
        let (grid, block) = ([n.div_ceil(32), 1, 1], [32 * self.warps, 1, 1]);
        let sizes = [Argument::U32(m), Argument::U32(n), Argument::U32(k), Argument::U32(self.run)];
        let long = |value: usize| Argument::U64(value as u64);
        let mut arguments = vec![a, product.b.view.pointer(), product.out.pointer()];
        if matches!(product.b.place, Place::Blocks(_)) {
            arguments.push(long(stride));
            arguments.extend(sizes);
        } else {
            let (c, c_row, c_column) = product.c();
            // Of columns whose terms lie together: whether they are aligned. Of others: whether they are in panels.
            let mode = match product.b.place {
                Place::Terms { .. } => product.b.is_wide(product.n),
                place => place == Place::Panels,
            };
            arguments.extend([c, long(stride), long(product.b.place.stride())]);
            arguments.extend([Argument::U32(u32::from(mode)), Argument::U32(a_type)]);
            arguments.extend(sizes);
            let finish = &product.finish;
            arguments.extend([
                Argument::F32(finish.alpha),
                Argument::F32(finish.beta),
                Argument::U32(finish.flags()),
            ]);
            arguments.extend([long(c_row), long(c_column)]);
        }
        device.launch(self.kernel, grid, block, 0, &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_subtrees_and_their_number_is_bounded() {
        for chunks in 0..2000 {
            for tiles in [1, 3, 40, 127, 128, 5000] {
                let run = run_of_chunks(chunks, tiles);
                assert!(run >= 1);
                let splits = chunks.div_ceil(run).max(1);
                assert!(splits == 1 || run.is_power_of_two(), "{chunks} {tiles}");
                assert!(splits <= 128);
            }
        }
    }
}
