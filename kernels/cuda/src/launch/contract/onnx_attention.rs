//! ONNX's Attention: two batched products with masks and softmax between them, all of them in f32, of f64 in f64.
//!
//! Scores of all rows are kept at once. 16-bit floats are widened before and rounded at the outputs.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::product::{Finish, Matrix, Place, Product};
use crate::device::{Argument, Device, Kernel, Operand, View};
use crate::launch::axes::{BLOCK, strides};
use crate::launch::elementwise::cast;
use crate::launch::movement::copy;
use crate::launch::rows::softmax_along;
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "onnx_attention";
    ATTENTION_FACTOR = "attention_factor";
    ATTENTION_CAP = "attention_cap";
    ATTENTION_MASK = "attention_mask";
    ATTENTION_BLANK = "attention_blank";
    ATTENTION_FACTOR_F64 = "attention_factor_f64";
    ATTENTION_CAP_F64 = "attention_cap_f64";
    ATTENTION_MASK_F64 = "attention_mask_f64";
    ATTENTION_BLANK_F64 = "attention_blank_f64";
}

/// Bytes of scores that are kept at once; more are left to the host.
const SCORES_MAX: usize = 1 << 33;

/// The launch for all floats.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let q = inputs.first()?.as_ref()?;
    q.dtype.is_float().then_some(launch::<D>)
}

/// A tensor that the launch has made, of the type that something is computed in.
struct Wide<B> {
    buffer: B,
    dtype: DType,
    shape: Vec<usize>,
}

impl<B> Wide<B> {
    /// For inputs of type `of`.
    fn new<D: Device<Buffer = B>>(device: &D, of: DType, shape: &[usize]) -> Result<Wide<B>, Error> {
        let count: usize = shape.iter().product();
        let dtype = if of == DType::F64 { DType::F64 } else { DType::F32 };
        Ok(Wide { buffer: device.alloc((dtype.size() * count).max(4))?, dtype, shape: shape.to_vec() })
    }

    /// Of the kernels for both types that one which takes this tensor.
    fn pick(&self, single: &'static Kernel, double: &'static Kernel) -> &'static Kernel {
        if self.dtype == DType::F64 { double } else { single }
    }

    fn view(&self) -> View<'_, B> {
        View { buffer: &self.buffer, offset: 0, dtype: self.dtype, shape: &self.shape }
    }

    fn pointer(&self) -> Argument<'_, B> {
        Argument::Pointer { buffer: &self.buffer, offset: 0 }
    }
}

/// [batch, heads, sequence, size] of a tensor of three or four axes, and the strides of these axes.
fn four(shape: &[usize], heads: i64) -> Result<([usize; 4], Vec<i64>), Error> {
    match *shape {
        [batch, heads, sequence, size] => Ok(([batch, heads, sequence, size], strides(shape))),
        [batch, sequence, hidden] => {
            let heads = usize::try_from(heads).unwrap_or(0);
            if heads == 0 {
                return Err(Error::unsupported("attention without heads"));
            }
            let size = hidden / heads;
            let own = [sequence * hidden, size, hidden, 1].map(|stride| stride as i64);
            Ok(([batch, heads, sequence, size], own.to_vec()))
        }
        _ => Err(Error::unsupported("attention of other axes")),
    }
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let attrs = call.attrs;
    let (q, k, v) = (call.input(0)?.view, call.input(1)?.view, call.input(2)?.view);
    let ([batch, heads, queries, d], q_strides) = four(q.shape, attrs.int("q_num_heads"))?;
    let ([_, kv_heads, new, _], k_strides) = four(k.shape, attrs.int("kv_num_heads"))?;
    let ([_, _, _, e], v_strides) = four(v.shape, attrs.int("kv_num_heads"))?;
    let (past_k, past_v) = (call.optional(4), call.optional(5));
    let past = past_k.map_or(0, |past| past.view.shape[2]);
    let total = past + new;
    let rows = batch * heads * queries;
    if rows.saturating_mul(total).saturating_mul(q.dtype.size().max(4)) > SCORES_MAX || kv_heads == 0 {
        return Err(Error::unsupported(format!("{rows} rows of {total} scores")));
    }
    let wanted = |index: usize| call.outputs.get(index).copied().flatten();

    // Past and new behind each other, in f32: [batch, kv_heads, total, size].
    let keys = present(device, k, (new, d, &k_strides), past_k, [batch, kv_heads, total], wanted(1))?;
    let values = present(device, v, (new, e, &v_strides), past_v, [batch, kv_heads, total], wanted(2))?;
    let Some(y) = wanted(0).or(wanted(3)) else { return Ok(()) };
    if y.is_empty() || rows == 0 {
        return Ok(());
    }

    let queries_own = Wide::new(device, q.dtype, &[batch, heads, queries, d])?;
    {
        let wide = Wide::new(device, q.dtype, q.shape)?;
        cast(device, q, wide.view())?;
        let shape = [batch, heads, queries, d];
        copy(device, &shape, wide.view(), (0, q_strides), queries_own.view(), (0, strides(&shape)))?;
    }
    for operand in [&queries_own, &keys] {
        factor(device, operand, &shape_of(operand), attrs, d)?;
    }
    let group = heads / kv_heads;
    let scores = Wide::new(device, q.dtype, &[rows, total])?;
    let extents = [batch, kv_heads, group];
    let of_q = |size: usize| [heads * queries * size, group * queries * size, queries * size];
    let of_kv = |size: usize| [kv_heads * total * size, total * size, 0];
    if total > 0 {
        Product {
            a: Matrix { view: queries_own.view(), place: Place::Terms { stride: d }, batch: of_q(d) },
            b: Matrix { view: keys.view(), place: Place::Terms { stride: d }, batch: of_kv(d) },
            out: scores.view(),
            finish: Finish::NOTHING,
            batch: extents,
            m: queries,
            n: total,
            k: d,
        }
        .launch(device)?;
    }
    let shown = wanted(3).filter(|out| !out.is_empty());
    let mode = attrs.int("qk_matmul_output_mode");
    let show = |stage: i64| match shown {
        Some(out) if stage == mode => cast(device, View { shape: out.shape, ..scores.view() }, out),
        _ => Ok(()),
    };
    show(0)?;
    let count = (rows * total) as u64;
    let softcap = attrs.float("softcap");
    if softcap > 0.0 && total > 0 {
        let arguments = [scores.pointer(), scores.pointer(), Argument::U64(count), Argument::F32(softcap)];
        device.launch(
            scores.pick(&ATTENTION_CAP, &ATTENTION_CAP_F64),
            grid(count),
            [BLOCK, 1, 1],
            0,
            &arguments,
        )?;
    }
    show(1)?;
    let seen = device.alloc(4 * rows)?;
    mask(device, call, &scores, &seen, [heads, queries, total], past_k.map(|_| past))?;
    show(2)?;
    if total > 0 {
        softmax_along(device, scores.view(), scores.view(), 1, false)?;
        blank(device, &scores, &seen, rows, total)?;
    }
    show(3)?;
    let Some(y) = wanted(0).filter(|y| !y.is_empty()) else { return Ok(()) };
    let out = Wide::new(device, q.dtype, &[batch, heads, queries, e])?;
    Product {
        a: Matrix { view: scores.view(), place: Place::Terms { stride: total }, batch: of_q(total) },
        b: Matrix { view: values.view(), place: Place::Outers { stride: e }, batch: of_kv(e) },
        out: out.view(),
        finish: Finish::NOTHING,
        batch: extents,
        m: queries,
        n: e,
        k: total,
    }
    .launch(device)?;
    blank(device, &out, &seen, rows, e)?;
    if y.shape.len() == 4 {
        return cast(device, View { shape: y.shape, ..out.view() }, y);
    }
    // [batch, heads, queries, e] as [batch, queries, heads * e].
    let shape = [batch, heads, queries, e];
    let to = [queries * heads * e, e, heads * e, 1].map(|stride| stride as i64).to_vec();
    let turned = Wide::new(device, q.dtype, y.shape)?;
    copy(device, &shape, out.view(), (0, strides(&shape)), turned.view(), (0, to))?;
    cast(device, turned.view(), y)
}

fn shape_of<B>(wide: &Wide<B>) -> Vec<usize> {
    wide.shape.clone()
}

fn grid(count: u64) -> [u32; 3] {
    [count.div_ceil(u64::from(BLOCK)).clamp(1, 4096) as u32, 1, 1]
}

/// Past and new along the sequence; the output that shows them is written, too.
fn present<D: Device>(
    device: &D,
    new: View<'_, D::Buffer>,
    (length, size, own): (usize, usize, &[i64]),
    past: Option<Operand<'_, D::Buffer>>,
    [batch, heads, total]: [usize; 3],
    shown: Option<View<'_, D::Buffer>>,
) -> Result<Wide<D::Buffer>, Error> {
    let shape = [batch, heads, total, size];
    let count: usize = shape.iter().product();
    // In the inputs' own type first, which is what is shown.
    let joined = device.alloc((count * new.dtype.size()).max(4))?;
    let joined = match &shown {
        Some(out) => *out,
        None => View { buffer: &joined, offset: 0, dtype: new.dtype, shape: &shape },
    };
    let to = strides(&shape);
    let before = total - length;
    if let Some(past) = past {
        let part = [batch, heads, before, size];
        copy(device, &part, past.view, (0, strides(&part)), joined, (0, to.clone()))?;
    }
    let part = [batch, heads, length, size];
    copy(device, &part, new, (0, own.to_vec()), joined, ((before * size) as i64, to))?;
    let wide = Wide::new(device, new.dtype, &shape)?;
    if count > 0 {
        cast(device, View { shape: &shape, ..joined }, wide.view())?;
    }
    Ok(wide)
}

/// Times the root of the scale, in place.
fn factor<D: Device>(
    device: &D,
    operand: &Wide<D::Buffer>,
    shape: &[usize],
    attrs: &Attrs,
    d: usize,
) -> Result<(), Error> {
    let count = shape.iter().product::<usize>() as u64;
    if count == 0 {
        return Ok(());
    }
    let scale = attrs.opt_float("scale");
    let d = u32::try_from(d).map_err(|_| Error::unsupported(format!("heads of {d} elements")))?;
    let arguments = [
        operand.pointer(),
        operand.pointer(),
        Argument::U64(count),
        Argument::F32(scale.unwrap_or_default()),
        Argument::U32(d),
        Argument::U32(u32::from(scale.is_some())),
    ];
    device.launch(
        operand.pick(&ATTENTION_FACTOR, &ATTENTION_FACTOR_F64),
        grid(count),
        [BLOCK, 1, 1],
        0,
        &arguments,
    )
}

const CAUSAL: u32 = 1;
const MASK: u32 = 2;
const MASK_IS_BOOL: u32 = 4;
const HAS_PAST: u32 = 8;
const COUNTED: u32 = 16;

fn mask<D: Device>(
    device: &D,
    call: &Call<'_, D::Buffer>,
    scores: &Wide<D::Buffer>,
    seen: &D::Buffer,
    [heads, queries, total]: [usize; 3],
    past: Option<usize>,
) -> Result<(), Error> {
    let small =
        |value: usize| u32::try_from(value).map_err(|_| Error::unsupported(format!("an extent of {value}")));
    let (given, lengths) = (call.optional(3).map(|mask| mask.view), call.optional(6));
    let is_bool = given.is_some_and(|mask| mask.dtype == DType::Bool);
    // A mask of 16-bit floats is added in f32.
    let wide = match given {
        Some(mask) if mask.dtype != DType::Bool => {
            let wide = Wide::new(device, mask.dtype, mask.shape)?;
            if !mask.is_empty() {
                cast(device, mask, wide.view())?;
            }
            Some(wide)
        }
        _ => None,
    };
    let (mut columns, mut steps) = (0, [0; 3]);
    if let Some(mask) = given {
        columns = mask.shape.last().copied().unwrap_or(0);
        let own = strides(mask.shape);
        let leading = mask.shape.len().saturating_sub(1);
        for (axis, step) in steps.iter_mut().enumerate().skip(3usize.saturating_sub(leading)) {
            let at = axis + leading - 3;
            *step = if mask.shape[at] == 1 { 0 } else { own[at] as u64 };
        }
    }
    let mut flags = 0;
    for (bit, is_set) in [
        (CAUSAL, call.attrs.int("is_causal") != 0),
        (MASK, given.is_some()),
        (MASK_IS_BOOL, is_bool),
        (HAS_PAST, past.is_some()),
        (COUNTED, lengths.is_some()),
    ] {
        flags |= if is_set { bit } else { 0 };
    }
    let mask = match (&wide, given) {
        (Some(wide), _) => wide.pointer(),
        (None, Some(mask)) => mask.pointer(),
        (None, None) => Argument::U64(0),
    };
    // Windows longer than any sequence are none, and so are sums of them with places.
    let window = |name: &str| {
        let size = call.attrs.int(name);
        Argument::U64((if size > i64::from(u32::MAX) { -1 } else { size }) as u64)
    };
    let rows = u32::try_from(scores.shape[0])
        .ok()
        .filter(|rows| *rows <= i32::MAX as u32)
        .ok_or_else(|| Error::unsupported("so many rows"))?;
    let mut arguments = vec![
        scores.pointer(),
        Argument::Pointer { buffer: seen, offset: 0 },
        mask,
        lengths.map_or(Argument::U64(0), |lengths| lengths.view.pointer()),
    ];
    arguments.extend([small(heads)?, small(queries)?, small(total)?, small(columns)?].map(Argument::U32));
    arguments.extend(steps.map(Argument::U64));
    arguments.push(Argument::U32(small(past.unwrap_or(0))?));
    arguments.extend([window("left_window_size"), window("right_window_size")]);
    arguments.push(Argument::U32(flags));
    device.launch(scores.pick(&ATTENTION_MASK, &ATTENTION_MASK_F64), [rows, 1, 1], [256, 1, 1], 0, &arguments)
}

/// Rows that saw nothing become +0.
fn blank<D: Device>(
    device: &D,
    values: &Wide<D::Buffer>,
    seen: &D::Buffer,
    rows: usize,
    columns: usize,
) -> Result<(), Error> {
    let count = (rows * columns) as u64;
    let columns = u32::try_from(columns).map_err(|_| Error::unsupported("so long a row"))?;
    if count == 0 {
        return Ok(());
    }
    let arguments = [
        values.pointer(),
        Argument::Pointer { buffer: seen, offset: 0 },
        Argument::U64(count),
        Argument::U32(columns),
    ];
    device.launch(
        values.pick(&ATTENTION_BLANK, &ATTENTION_BLANK_F64),
        grid(count),
        [BLOCK, 1, 1],
        0,
        &arguments,
    )
}
