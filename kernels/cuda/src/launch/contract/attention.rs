//! SequenceAttention and SequenceRotary.
//!
//! Attention is two products with the weights between them: raw scores of a block of rows are kept in memory, made
//! weights in place, and multiplied with the values. A block has as many rows as its scores fit into [`SCORES_MAX`].

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::CHUNK;
use super::product::{COMBINE, GRID_MAX, levels_of, run_of_chunks, size};
use crate::device::{Argument, Device, Kernel, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    PRODUCTS = "attention";
    SCORES_128X128 = "scores_128x128";
    SCORES_16X128 = "scores_16x128";
    VALUES_128X64 = "values_128x64";
    VALUES_16X64 = "values_16x64";
}

kernels! {
    WEIGHTS = "attention_weights";
    ATTENTION_WEIGHTS = "attention_weights";
    SEQUENCE_APPEND = "sequence_append";
    SEQUENCE_COMBINE = "sequence_combine";
    SEQUENCE_ROTARY = "sequence_rotary";
}

/// Bytes of scores that are kept at once.
const SCORES_MAX: usize = 1 << 28;

/// The launch of SequenceAttention.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    all_f32(inputs).then_some(launch::<D>)
}

/// The launch of SequenceRotary.
pub fn choose_rotary<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    all_f32(inputs).then_some(rotate::<D>)
}

fn all_f32(inputs: &[Option<InputType<'_>>]) -> bool {
    inputs.len() >= 3 && inputs.iter().flatten().all(|input| input.dtype == DType::F32)
}

/// SequenceAttention's attributes, and the sizes of its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Heads of queries: a multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// Elements of a query and a key.
    pub d: usize,
    /// Elements of a value.
    pub e: usize,
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
    /// Positions that a row sees; 0: all.
    pub window: usize,
}

/// Keys and values of all positions up to the last row's: rows of `kv_heads * d` and `kv_heads * e`.
pub struct Past<'a, B> {
    pub keys: View<'a, B>,
    pub values: View<'a, B>,
    /// Where each page of 256 positions lies, u32, in pages from the views' beginnings; without it positions follow each
    /// other.
    pub pages: Option<View<'a, B>>,
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (q, k, v, out) = (call.input(0)?.view, call.input(1)?.view, call.input(2)?.view, call.output(0)?);
    let count = |name: &str| usize::try_from(call.attrs.int(name)).unwrap_or(0);
    let (heads, kv_heads) = (count("heads"), count("kv_heads"));
    let (&[rows, _], &[_, keys], &[_, values]) = (q.shape, k.shape, v.shape) else {
        return Err(Error::unsupported("attention of other than matrices"));
    };
    if heads == 0 || kv_heads == 0 {
        return Err(Error::unsupported("attention without heads"));
    }
    let shape = AttentionShape {
        heads,
        kv_heads,
        d: keys / kv_heads,
        e: values / kv_heads,
        scale: call.attrs.float("scale"),
        softcap: call.attrs.float("softcap"),
        window: count("window"),
    };
    attend(device, &shape, q, 0, rows, &Past { keys: k, values: v, pages: None }, out)
}

/// Attention of `rows` neighbouring rows, the first of which is at `position`; `q` and `out` hold these rows alone.
pub fn attend<D: Device>(
    device: &D,
    shape: &AttentionShape,
    q: View<'_, D::Buffer>,
    position: usize,
    rows: usize,
    past: &Past<'_, D::Buffer>,
    out: View<'_, D::Buffer>,
) -> Result<(), Error> {
    if rows == 0 || shape.e == 0 {
        return Ok(());
    }
    let of_row = shape.heads * (position + rows).next_multiple_of(4) * 4;
    // Whole tiles; of very long sequences few rows, whatever their scores take.
    let at_once = match SCORES_MAX / of_row.max(1) {
        fits @ 128.. => fits / 128 * 128,
        fits => fits.max(16),
    };
    let mut done = 0;
    while done < rows {
        let count = at_once.min(rows - done);
        let start =
            |view: View<'_, D::Buffer>, columns: usize| view.offset + done * shape.heads * columns * 4;
        let block = Block {
            shape,
            q: (q, start(q, shape.d)),
            past,
            out: (out, start(out, shape.e)),
            position: position + done,
            rows: count,
            live: None,
        };
        block.launch(device)?;
        done += count;
    }
    Ok(())
}

/// A row that follows rows whose number the device alone knows: launched once more, the same does the next row.
pub struct Live<'a, B> {
    /// The row's position plus one, u32.
    pub count: View<'a, B>,
    /// The most that `count` may be.
    pub most: usize,
}

/// Puts a row of keys and a row of values behind those of earlier positions, which are in pages.
pub fn append_live<D: Device>(
    device: &D,
    shape: &AttentionShape,
    [k, v]: [View<'_, D::Buffer>; 2],
    past: &Past<'_, D::Buffer>,
    live: &Live<'_, D::Buffer>,
) -> Result<(), Error> {
    let pages = past.pages.as_ref().ok_or_else(|| Error::unsupported("rows that are not in pages"))?;
    let (keys, values) = (shape.kv_heads * shape.d, shape.kv_heads * shape.e);
    let grid = (keys + values).div_ceil(256).clamp(1, 4096) as u32;
    device.launch(
        &SEQUENCE_APPEND,
        [grid, 1, 1],
        [256, 1, 1],
        0,
        &[
            k.pointer(),
            v.pointer(),
            past.keys.pointer(),
            past.values.pointer(),
            pages.pointer(),
            live.count.pointer(),
            Argument::U32(size("columns", keys)?),
            Argument::U32(size("columns", values)?),
        ],
    )
}

/// Attention of that row.
pub fn attend_live<D: Device>(
    device: &D,
    shape: &AttentionShape,
    q: View<'_, D::Buffer>,
    past: &Past<'_, D::Buffer>,
    live: &Live<'_, D::Buffer>,
    out: View<'_, D::Buffer>,
) -> Result<(), Error> {
    if shape.e == 0 {
        return Ok(());
    }
    let (q, out) = ((q, q.offset), (out, out.offset));
    let position = live.most.checked_sub(1).ok_or_else(|| Error::unsupported("no positions"))?;
    Block { shape, q, past, out, position, rows: 1, live: Some(live.count) }.launch(device)
}

/// Rows whose scores are kept at once; operands with their first bytes.
struct Block<'a, B> {
    shape: &'a AttentionShape,
    q: (View<'a, B>, usize),
    past: &'a Past<'a, B>,
    out: (View<'a, B>, usize),
    position: usize,
    rows: usize,
    /// Where the number of positions is, if `position` is only the last one that there may be.
    live: Option<View<'a, B>>,
}

/// One of the two products, for all heads.
struct HeadProduct<'a, B> {
    kernel: &'static Kernel,
    tile: (u32, u32, u32),
    a: (&'a B, usize),
    b: (&'a B, usize),
    out: (&'a B, usize),
    m: usize,
    n: usize,
    k: usize,
    a_stride: usize,
    b_stride: usize,
    extents: [usize; 2],
    a_batch: [usize; 2],
    b_batch: [usize; 2],
    /// Of values four neighbouring columns are loaded at once, of keys four neighbouring terms.
    loads_columns: bool,
    out_row: usize,
    out_batch: [usize; 2],
    /// Chunks of a split; parts of several go to `out` one after another.
    run: u32,
    splits: u32,
}

impl<B> Block<'_, B> {
    fn launch<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let AttentionShape { heads, kv_heads, d, e, .. } = *self.shape;
        let (group, rows) = (heads / kv_heads, self.rows);
        // A single row: the heads that share a key are rows of one product. Several: each head is a product.
        let is_single = rows == 1;
        let m = if is_single { group } else { rows };
        let k = self.position + rows;
        let stride = k.next_multiple_of(4);
        let scores = device.alloc(heads * rows * stride * 4)?;
        let extents = if is_single { [1, kv_heads] } else { [kv_heads, group] };
        // What a step along the axes (kv_heads, group), or along kv_heads, means for an operand of all heads, and for one of kv_heads.
        let by_head = |of_head: usize| {
            if is_single { [0, group * of_head] } else { [group * of_head, of_head] }
        };
        let by_kv_head = |of_head: usize| if is_single { [0, of_head] } else { [of_head, 0] };
        let is_small = m <= 16;
        let rows_of_tile = if is_small { 16 } else { 128 };

        let products = HeadProduct {
            kernel: if is_small { &SCORES_16X128 } else { &SCORES_128X128 },
            tile: (rows_of_tile, 128, if is_small { 128 } else { 256 }),
            a: (self.q.0.buffer, self.q.1),
            b: (self.past.keys.buffer, self.past.keys.offset),
            out: (&scores, 0),
            m,
            n: k,
            k: d,
            a_stride: if is_single { d } else { heads * d },
            b_stride: kv_heads * d,
            extents,
            a_batch: by_head(d),
            b_batch: by_kv_head(d),
            loads_columns: false,
            out_row: stride,
            out_batch: by_head(rows * stride),
            run: (d.div_ceil(CHUNK) as u32).max(1),
            splits: 1,
        };
        self.product(device, &products)?;

        let long = |value: usize| Argument::U64(value as u64);
        let (position, window) = (size("positions", self.position)?, self.window());
        let all_rows =
            u32::try_from(heads * rows).map_err(|_| Error::unsupported("attention of so many rows"))?;
        device.launch(
            &ATTENTION_WEIGHTS,
            [all_rows, 1, 1],
            [256, 1, 1],
            0,
            &[
                Argument::Pointer { buffer: &scores, offset: 0 },
                Argument::U32(size("rows", m)?),
                long(stride),
                Argument::U32(size("positions", k)?),
                Argument::U32(position),
                Argument::U32(u32::from(!is_single)),
                Argument::U32(window),
                Argument::U32(rows_of_tile),
                Argument::F32(self.shape.scale),
                Argument::F32(self.shape.softcap),
                self.live(),
            ],
        )?;

        // Of a single row the terms are split over blocks; parts lie as the result does.
        let tiles = m.div_ceil(rows_of_tile as usize) * e.div_ceil(64) * extents[0] * extents[1];
        let chunks = size("positions", k)?.div_ceil(CHUNK as u32);
        let run = if is_single { run_of_chunks(chunks, size("tiles", tiles)?) } else { chunks };
        let splits = chunks.div_ceil(run);
        let count = heads * rows * e;
        let parts = if splits > 1 { Some(device.alloc(splits as usize * count * 4)?) } else { None };
        let values = HeadProduct {
            kernel: if is_small { &VALUES_16X64 } else { &VALUES_128X64 },
            tile: (rows_of_tile, 64, if is_small { 64 } else { 256 }),
            a: (&scores, 0),
            b: (self.past.values.buffer, self.past.values.offset),
            out: match &parts {
                Some(parts) => (parts, 0),
                None => (self.out.0.buffer, self.out.1),
            },
            m,
            n: e,
            k,
            a_stride: stride,
            b_stride: kv_heads * e,
            extents,
            a_batch: by_head(rows * stride),
            b_batch: by_kv_head(e),
            loads_columns: true,
            out_row: if is_single { e } else { heads * e },
            out_batch: by_head(e),
            run,
            splits,
        };
        self.product(device, &values)?;
        let Some(parts) = parts else { return Ok(()) };
        if self.live.is_some() {
            let arguments = [
                Argument::Pointer { buffer: &parts, offset: 0 },
                Argument::Pointer { buffer: self.out.0.buffer, offset: self.out.1 },
                Argument::U32(size("columns", count)?),
                Argument::U32(run),
                self.live(),
            ];
            let grid = count.div_ceil(256).min(2048) as u32;
            return device.launch(&SEQUENCE_COMBINE, [grid, 1, 1], [256, 1, 1], 0, &arguments);
        }
        let out = || Argument::Pointer { buffer: self.out.0.buffer, offset: self.out.1 };
        device.launch(
            &COMBINE,
            [count.div_ceil(256).min(2048) as u32, 1, 1],
            [256, 1, 1],
            0,
            &[
                Argument::Pointer { buffer: &parts, offset: 0 },
                out(),
                out(),
                long(count),
                Argument::U32(splits),
                Argument::U32(size("rows", m)?),
                Argument::U32(size("columns", e)?),
                Argument::U32(0),
                Argument::F32(1.0),
                Argument::F32(1.0),
                Argument::U32(0),
                long(0),
                long(0),
            ],
        )
    }

    fn live(&self) -> Argument<'_, B> {
        match &self.live {
            Some(count) => count.pointer(),
            None => Argument::U64(0),
        }
    }

    fn window(&self) -> u32 {
        // A window longer than any sequence is none.
        u32::try_from(self.shape.window).unwrap_or(0)
    }

    fn product<D: Device<Buffer = B>>(&self, device: &D, p: &HeadProduct<'_, B>) -> Result<(), Error> {
        let (tile_rows, tile_columns, threads) = p.tile;
        let (m, n, k) = (size("rows", p.m)?, size("columns", p.n)?, size("terms", p.k)?);
        let (tiles_m, tiles_n) = (m.div_ceil(tile_rows), n.div_ceil(tile_columns));
        let batches = p.extents[0] * p.extents[1];
        let tiles = size("tiles", tiles_m as usize * tiles_n as usize * batches * p.splits as usize)?;
        let grid = tiles.min(GRID_MAX);
        let levels = levels_of(p.run.min(k.div_ceil(CHUNK as u32)));
        let pending = device.alloc((grid * levels * tile_rows * tile_columns * 4).max(4) as usize)?;
        let is_wide = |offset: usize, strides: [usize; 3]| {
            offset.is_multiple_of(16) && strides.iter().all(|stride| stride.is_multiple_of(4))
        };
        let a_wide = is_wide(p.a.1, [p.a_stride, p.a_batch[0], p.a_batch[1]]);
        let b_wide = is_wide(p.b.1, [p.b_stride, p.b_batch[0], p.b_batch[1]])
            && (!p.loads_columns || p.n.is_multiple_of(4));
        let pages = match &self.past.pages {
            Some(pages) => pages.pointer(),
            None => Argument::U64(0),
        };
        let long = |value: usize| Argument::U64(value as u64);
        device.launch(
            p.kernel,
            [grid, 1, 1],
            [threads, 1, 1],
            0,
            &[
                Argument::Pointer { buffer: p.a.0, offset: p.a.1 },
                Argument::Pointer { buffer: p.b.0, offset: p.b.1 },
                Argument::Pointer { buffer: p.out.0, offset: p.out.1 },
                Argument::Pointer { buffer: &pending, offset: 0 },
                pages,
                Argument::U32(m),
                Argument::U32(n),
                Argument::U32(k),
                Argument::U32(u32::from(a_wide) | u32::from(b_wide) << 1),
                long(p.a_stride),
                long(p.b_stride),
                Argument::U32(tiles_m),
                Argument::U32(tiles_n),
                Argument::U32(tiles),
                Argument::U32(p.run),
                Argument::U32(p.splits),
                Argument::U32(levels),
                Argument::U32(size("heads", p.extents[0])?),
                Argument::U32(size("heads", p.extents[1])?),
                long(p.a_batch[0]),
                long(p.a_batch[1]),
                long(p.b_batch[0]),
                long(p.b_batch[1]),
                long(p.out_row),
                long(p.out_batch[0]),
                long(p.out_batch[1]),
                Argument::U32(size("positions", self.position)?),
                Argument::U32(u32::from(self.rows > 1)),
                Argument::U32(self.window()),
                self.live(),
            ],
        )
    }
}

fn rotate<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, cos, sin, out) = (call.input(0)?.view, call.input(1)?.view, call.input(2)?.view, call.output(0)?);
    let heads = usize::try_from(call.attrs.int("heads")).unwrap_or(0);
    if out.is_empty() || heads == 0 {
        return Ok(());
    }
    let (d, half) = (x.shape[1] / heads, cos.shape[1]);
    let count = x.shape[0] * heads * (d - half);
    let arguments = [
        x.pointer(),
        cos.pointer(),
        sin.pointer(),
        out.pointer(),
        Argument::U64(count as u64),
        Argument::U32(size("heads", heads)?),
        Argument::U32(size("elements of a head", d)?),
        Argument::U32(size("pairs of a head", half)?),
        Argument::U32(u32::from(call.attrs.int("interleaved") != 0)),
    ];
    let grid = count.div_ceil(256).min(4096) as u32;
    device.launch(&SEQUENCE_ROTARY, [grid, 1, 1], [256, 1, 1], 0, &arguments)
}
