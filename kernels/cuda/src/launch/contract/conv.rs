//! Conv over one or two axes.
//!
//! A convolution by one pixel is a product of weights and images as they lie. One whose groups have several outputs is a
//! product of weights and of pixels that are gathered as they are staged; others are computed directly. Taps outside of
//! the image are zeros there unless a weight is not finite, which a kernel looks for first; then each is skipped. 16-bit floats are
//! widened before and rounded after; f64 is not staged.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::window::{Window, WindowAxis};

use super::CHUNK;
use super::product::{
    COMBINE, Cut, Finish, GRID_MAX, Matrix, Place, Product, Tiles, levels_of, run_of_chunks, size,
};
use crate::device::{Argument, Device, View};
use crate::launch::elementwise::cast;
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "conv";
    CONV_128X128 = "conv_128x128";
    CONV_64X64 = "conv_64x64";
    CONV_16X128 = "conv_16x128";
    CONV_DIRECT = "conv_direct";
    CONV_DIRECT_F64 = "conv_direct_f64";
    FIND_INFINITE = "find_infinite";
}

/// Outputs of a group from which on pixels are worth staging.
const STAGED_OUTPUTS: usize = 8;

/// The launch for the operands' types.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    let is_known = matches!(x.dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16);
    (is_known && matches!(x.shape.len(), 3 | 4)).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_cut(device, call, None)
}

/// Conv; where pixels are staged, cut in a given way.
pub fn launch_cut<D: Device>(device: &D, call: &Call<'_, D::Buffer>, cut: Option<Cut>) -> Result<(), Error> {
    let (x, w, out) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    let bias = call.optional(2).map(|bias| bias.view);
    if out.is_empty() {
        return Ok(());
    }
    if matches!(x.dtype, DType::F16 | DType::BF16) {
        return widened(device, [Some(x), Some(w), bias], out, |x, w, bias, out| {
            convolve(device, call.attrs, x, w, bias, out, cut)
        });
    }
    convolve(device, call.attrs, x, w, bias, out, cut)
}

/// A convolution of 16-bit floats: f32 on the same numbers, rounded once at the end, which is what it means.
pub(super) fn widened<'a, D: Device>(
    device: &D,
    operands: [Option<View<'a, D::Buffer>>; 3],
    out: View<'_, D::Buffer>,
    run: impl FnOnce(
        View<'_, D::Buffer>,
        View<'_, D::Buffer>,
        Option<View<'_, D::Buffer>>,
        View<'_, D::Buffer>,
    ) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut wide = Vec::new();
    for operand in &operands {
        let Some(operand) = operand else {
            wide.push(None);
            continue;
        };
        let buffer = device.alloc((4 * operand.len()).max(4))?;
        let view = View { buffer: &buffer, offset: 0, dtype: DType::F32, shape: operand.shape };
        cast(device, *operand, view)?;
        wide.push(Some(buffer));
    }
    let view = |index: usize| {
        let (buffer, operand) = (wide[index].as_ref()?, operands[index]?);
        Some(View { buffer, offset: 0, dtype: DType::F32, shape: operand.shape })
    };
    let result = device.alloc((4 * out.len()).max(4))?;
    let result = View { buffer: &result, offset: 0, dtype: DType::F32, shape: out.shape };
    let (Some(x), Some(w)) = (view(0), view(1)) else {
        return Err(Error::unsupported("a convolution without operands"));
    };
    run(x, w, view(2), result)?;
    cast(device, result, out)
}

fn convolve<D: Device>(
    device: &D,
    attrs: &Attrs,
    x: View<'_, D::Buffer>,
    w: View<'_, D::Buffer>,
    bias: Option<View<'_, D::Buffer>>,
    out: View<'_, D::Buffer>,
    cut: Option<Cut>,
) -> Result<(), Error> {
    let kernel: Vec<i64> = w.shape[2..].iter().map(|&extent| extent as i64).collect();
    let (axes, _) = Window::new(attrs, &kernel)?.placed(&x.shape[2..])?;
    let groups = usize::try_from(attrs.int("group")).unwrap_or(1).max(1);
    let conv = Conv { x, w, out, bias, axes, groups };
    if conv.is_product() {
        conv.by_product(device)
    } else if conv.outputs() >= STAGED_OUTPUTS && x.dtype != DType::F64 {
        conv.by_tiles(device, cut)
    } else {
        conv.directly(device)
    }
}

struct Conv<'a, B> {
    x: View<'a, B>,
    w: View<'a, B>,
    out: View<'a, B>,
    bias: Option<View<'a, B>>,
    axes: Vec<WindowAxis>,
    groups: usize,
}

/// The last two axes; one of extent 1 stands before a single one.
pub(super) struct Plane {
    height: u32,
    width: u32,
    y: WindowAxis,
    x: WindowAxis,
    out_width: u32,
    pub(super) positions: usize,
}

impl<B> Conv<'_, B> {
    /// Outputs of a group.
    fn outputs(&self) -> usize {
        self.w.shape[0] / self.groups
    }

    /// Terms of an output.
    fn terms(&self) -> usize {
        self.w.shape[1..].iter().product()
    }

    fn pixels(&self) -> usize {
        self.x.shape[2..].iter().product()
    }

    /// Weights of one pixel, at every pixel.
    fn is_product(&self) -> bool {
        self.groups == 1
            && self
                .axes
                .iter()
                .all(|axis| axis.kernel == 1 && axis.stride == 1 && axis.pad_begin == 0 && axis.pad_end == 0)
    }

    fn by_product<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let (m, k, n) = (self.w.shape[0], self.w.shape[1], self.pixels());
        let product = Product {
            a: Matrix { view: self.w, place: Place::Terms { stride: k }, batch: [0; 3] },
            b: Matrix { view: self.x, place: Place::Outers { stride: n }, batch: [0, 0, k * n] },
            out: self.out,
            finish: Finish { alpha: 1.0, beta: 1.0, c: self.bias.map(|bias| (bias, 1, 0)) },
            batch: [1, 1, self.x.shape[0]],
            m,
            n,
            k,
        };
        product.launch(device)
    }

    fn plane(&self) -> Result<Plane, Error> {
        Plane::of(&self.axes, &self.x.shape[2..], &self.out.shape[2..])
    }

    fn bias_or_any(&self) -> Argument<'_, B> {
        self.bias.as_ref().map_or(self.out.pointer(), View::pointer)
    }

    fn by_tiles<D: Device<Buffer = B>>(&self, device: &D, cut: Option<Cut>) -> Result<(), Error> {
        let plane = self.plane()?;
        let (images, groups) = (self.x.shape[0], self.groups);
        let (outputs, terms) = (self.outputs(), self.terms());
        let (m, n, k) =
            (size("outputs", outputs)?, size("positions", plane.positions)?, size("terms", terms)?);
        let batches = images * groups;
        let (kernel, rows, columns, threads) =
            match cut.map_or_else(|| Tiles::for_product(m, n, batches), |cut| cut.tiles) {
                Tiles::Of128x128 => (&CONV_128X128, 128, 128, 256),
                Tiles::Of64x64 => (&CONV_64X64, 64, 64, 128),
                Tiles::Of16x128 => (&CONV_16X128, 16, 128, 128),
            };
        let (tiles_m, tiles_n) = (m.div_ceil(rows), n.div_ceil(columns));
        let tiles_once = size("tiles", tiles_m as usize * tiles_n as usize * batches)?;
        let chunks = k.div_ceil(CHUNK as u32);
        // The combining kernel knows no groups.
        let is_split = groups == 1 && cut.is_none_or(|cut| !cut.unsplit);
        let run = if is_split { run_of_chunks(chunks, tiles_once) } else { chunks.max(1) };
        let splits = chunks.div_ceil(run).max(1);
        let tiles = size("tiles", tiles_once as usize * splits as usize)?;
        let grid = tiles.min(GRID_MAX);
        let levels = levels_of(run.min(chunks));
        let pending = device.alloc((grid as usize * (levels * rows * columns) as usize * 4).max(4))?;
        let count = self.out.len();
        let parts = if splits > 1 { Some(device.alloc(splits as usize * count * 4)?) } else { None };

        let skips = device.put(&[0; 4])?;
        let is_padded = self.axes.iter().any(|axis| axis.pad_begin > 0 || axis.pad_end > 0);
        if is_padded {
            let weights = self.w.len();
            let arguments = [
                self.w.pointer(),
                Argument::Pointer { buffer: &skips, offset: 0 },
                Argument::U64(weights as u64),
            ];
            let blocks = weights.div_ceil(256).min(1024) as u32;
            device.launch(&FIND_INFINITE, [blocks.max(1), 1, 1], [256, 1, 1], 0, &arguments)?;
        }
        let is_wide = self.w.offset.is_multiple_of(16) && terms.is_multiple_of(4);
        let long = |value: usize| Argument::U64(value as u64);
        let flags = if self.bias.is_some() { 2 } else { 0 };
        let out = match &parts {
            Some(buffer) => Argument::Pointer { buffer, offset: 0 },
            None => self.out.pointer(),
        };
        let group_image = self.w.shape[1] * self.pixels();
        let mut arguments = vec![
            self.w.pointer(),
            self.x.pointer(),
            out,
            self.bias_or_any(),
            Argument::Pointer { buffer: &pending, offset: 0 },
            Argument::Pointer { buffer: &skips, offset: 0 },
            Argument::U32(m),
            Argument::U32(n),
            Argument::U32(k),
            Argument::U32(u32::from(is_wide)),
            Argument::U32(tiles_m),
            Argument::U32(tiles_n),
            Argument::U32(tiles),
            Argument::U32(run),
            Argument::U32(splits),
            Argument::U32(levels),
            Argument::U32(size("images", images)?),
            Argument::U32(size("groups", groups)?),
            long(outputs * terms),
            long(groups * group_image),
            long(group_image),
            Argument::U32(flags),
        ];
        arguments.extend(plane.arguments()?);
        device.launch(kernel, [grid, 1, 1], [threads, 1, 1], 0, &arguments)?;
        let Some(parts) = parts else { return Ok(()) };
        device.launch(
            &COMBINE,
            [count.div_ceil(256).min(2048) as u32, 1, 1],
            [256, 1, 1],
            0,
            &[
                Argument::Pointer { buffer: &parts, offset: 0 },
                self.out.pointer(),
                self.bias_or_any(),
                long(count),
                Argument::U32(splits),
                Argument::U32(m),
                Argument::U32(n),
                Argument::U32(0),
                Argument::F32(1.0),
                Argument::F32(1.0),
                Argument::U32(flags),
                long(1),
                long(0),
            ],
        )
    }

    fn directly<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let plane = self.plane()?;
        let count = self.out.len();
        // A thread holds twelve levels of the tree.
        if self.terms().div_ceil(CHUNK) >= 1 << 12 {
            return Err(Error::unsupported("so many terms of a convolution"));
        }
        let mut arguments = vec![
            self.w.pointer(),
            self.x.pointer(),
            self.out.pointer(),
            self.bias_or_any(),
            Argument::U64(count as u64),
            Argument::U32(size("outputs", self.outputs())?),
            Argument::U32(size("positions", plane.positions)?),
            Argument::U32(size("channels", self.w.shape[1])?),
            Argument::U32(size("groups", self.groups)?),
            Argument::U32(u32::from(self.bias.is_some())),
        ];
        arguments.extend(plane.arguments()?);
        let grid = count.div_ceil(256).min(1 << 16) as u32;
        let kernel = if self.x.dtype == DType::F64 { &CONV_DIRECT_F64 } else { &CONV_DIRECT };
        device.launch(kernel, [grid, 1, 1], [256, 1, 1], 0, &arguments)
    }
}

impl Plane {
    /// Of one or two axes over an image, with the extents of the output.
    pub(super) fn of(axes: &[WindowAxis], image: &[usize], out: &[usize]) -> Result<Plane, Error> {
        let flat = WindowAxis { kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };
        let (height, width, y, x) = match (axes, image) {
            (&[x], &[width]) => (1, width, flat, x),
            (&[y, x], &[height, width]) => (height, width, y, x),
            _ => return Err(Error::unsupported("a convolution over more than two axes")),
        };
        // Kernels place taps in 32 bits.
        for (axis, &extent) in axes.iter().zip(out) {
            let reach = (extent as i64).saturating_mul(axis.stride).saturating_add(axis.reach());
            if reach > 1 << 30 {
                return Err(Error::unsupported("a convolution that reaches so far"));
            }
        }
        Ok(Plane {
            height: size("rows", height)?,
            width: size("columns", width)?,
            y,
            x,
            out_width: size("columns", out.last().copied().unwrap_or(1))?,
            positions: out.iter().product(),
        })
    }

    /// As the kernels take them, from `height` on.
    pub(super) fn arguments<'a, B>(&self) -> Result<Vec<Argument<'a, B>>, Error> {
        let mut values = vec![self.height, self.width];
        for pair in [
            [self.y.kernel, self.x.kernel],
            [self.y.stride, self.x.stride],
            [self.y.dilation, self.x.dilation],
            [self.y.pad_begin, self.x.pad_begin],
        ] {
            for value in pair {
                let small = u32::try_from(value).ok().filter(|&value| value < 1 << 30);
                values.push(small.ok_or_else(|| Error::unsupported("so large a window"))?);
            }
        }
        values.push(self.out_width);
        Ok(values.into_iter().map(Argument::U32).collect())
    }
}
