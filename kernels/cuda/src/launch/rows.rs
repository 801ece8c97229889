//! Reductions of rows, softmax, normalizations, and the places of extremes.
//!
//! Invariant: a row's elements are in row-major order of the reduced axes, and their sum has SPEC.md's order (section 4),
//! which depends on their number alone.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{Fault, OpDef, OpError};
use repops::reduce;

use super::axes::{Axes, len, normalized, strides};
use super::host::integers;
use crate::device::{Argument, Device, Kernel, Operand, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    ROWS = "rows";
    REDUCE_FLOAT = "reduce_float";
    REDUCE_INT = "reduce_int";
    SOFTMAX_FLOAT = "softmax_float";
    NORMALIZE_FLOAT = "normalize_float";
    ARG_EXTREME = "arg_extreme";
    ARG_EXTREME_LONG = "arg_extreme_long";
    CHAIN_FLOAT = "chain_float";
    CHAIN_INT = "chain_int";
}
kernels! {
    ROWS64 = "rows64";
    REDUCE_F64 = "reduce_f64";
    SOFTMAX_F64 = "softmax_f64";
    NORMALIZE_F64 = "normalize_f64";
    CHAIN_F64 = "chain_f64";
}

/// Reductions; their number is their place.
const REDUCTIONS: &[&str] = &[
    "ReduceSum",
    "ReduceMean",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "ReduceProd",
    "ReduceMax",
    "ReduceMin",
];
const MEAN: u32 = 1;
const PRODUCT: u32 = 7;
pub const MAXIMUM: u32 = 8;
pub const MINIMUM: u32 = 9;

/// Threads of a block: the warps of a long row, or so many short rows.
const THREADS: u32 = 256;
/// Warps of a block.
const TEAM: u32 = 8;

/// The launch of an operator on rows.
pub fn choose<D: Device>(def: &OpDef, _: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    let is_softmax = matches!(def.name, "Softmax" | "LogSoftmax");
    if def.version != 1 + u16::from(is_softmax) || !(x.dtype == DType::Bool || x.dtype.is_number()) {
        return None;
    }
    let is_float = x.dtype.is_float();
    let on_host = |index: usize| inputs.get(index).and_then(Option::as_ref).is_none_or(|input| input.on_host);
    let launch: Launch<D> = match def.name {
        _ if REDUCTIONS.contains(&def.name) => {
            // A mean of integers divides, which may be a fault.
            let has = is_float || def.name != "ReduceMean";
            if !has || !on_host(1) {
                return None;
            }
            reduce::<D>
        }
        "GlobalAveragePool" if is_float => reduce_global::<D>,
        "GlobalMaxPool" if x.dtype != DType::Bool => reduce_global::<D>,
        "Softmax" | "LogSoftmax" if is_float => softmax::<D>,
        "LayerNormalization" | "RMSNormalization" if is_float => normalize::<D>,
        "InstanceNormalization" | "GroupNormalization" if is_float => normalize_channels::<D>,
        "ArgMax" | "ArgMin" if x.dtype != DType::Bool => arg_extreme::<D>,
        "CumSum" | "CumProd" if on_host(1) => chain::<D>,
        _ => return None,
    };
    Some(launch)
}

/// Where the rows of a tensor are, and the elements of a row.
struct Layout {
    rows: Axes<1>,
    length: u32,
    /// Extents of the two inner reduced axes (0: there is one alone), and the strides of all three.
    extents: [u32; 2],
    strides: [u64; 3],
}

impl Layout {
    fn of(shape: &[usize], reduced: &[bool]) -> Result<Layout, Error> {
        let own = strides(shape);
        let pick = |which: bool| -> (Vec<usize>, Vec<i64>) {
            let axes = (0..shape.len()).filter(|&axis| reduced[axis] == which);
            axes.map(|axis| (shape[axis], own[axis])).unzip()
        };
        let (kept, kept_strides) = pick(false);
        let (row, row_strides) = pick(true);
        let rows = Axes::new(&kept, [kept_strides])?;
        let row = Axes::new(&row, [row_strides])?;
        let axes: Vec<(u32, i64)> = row.axes().map(|(extent, [stride])| (extent, stride)).collect();
        let (mut extents, mut steps) = ([0; 2], [0; 3]);
        match axes[..] {
            [] => {}
            [(_, stride)] => steps[2] = stride as u64,
            _ if axes.len() > 3 => {
                return Err(Error::unsupported(format!("{} reduced axes that cannot be merged", axes.len())));
            }
            _ => {
                let skipped = 3 - axes.len();
                for (at, &(extent, stride)) in axes.iter().enumerate() {
                    steps[at + skipped] = stride as u64;
                    if at + skipped > 0 {
                        extents[at + skipped - 1] = extent;
                    }
                }
            }
        }
        Ok(Layout { length: row.len, extents, strides: steps, rows })
    }

    /// Warps that work on one row.
    fn warps(&self) -> u32 {
        warps(self.length)
    }

    /// Blocks for all rows.
    fn grid(&self) -> [u32; 3] {
        grid(self.rows.len, self.warps())
    }

    /// The kernels' parameters `LAYOUT`.
    fn push<B>(&self, arguments: &mut Vec<Argument<'_, B>>) {
        self.rows.push(arguments);
        arguments.push(Argument::U32(self.length));
        arguments.extend(self.extents.map(Argument::U32));
        arguments.extend(self.strides.map(Argument::U64));
    }
}

fn warps(length: u32) -> u32 {
    if length as usize <= reduce::BLOCK { 1 } else { TEAM }
}

fn grid(rows: u32, warps: u32) -> [u32; 3] {
    [if warps == 1 { rows.div_ceil(TEAM) } else { rows }, 1, 1]
}

fn type_of<'a, B>(dtype: DType) -> Argument<'a, B> {
    Argument::U32(u32::from(dtype.code()))
}

fn reduce<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let rank = x.shape.len();
    let axes = integers(call.optional(1))?.unwrap_or_default();
    let reduced = if axes.is_empty() {
        vec![call.attrs.int("noop_with_empty_axes") == 0; rank]
    } else {
        let mut reduced = vec![false; rank];
        for axis in axes {
            reduced[normalized(axis, rank)?] = true;
        }
        reduced
    };
    let kind = REDUCTIONS.iter().position(|name| *name == call.op.name).unwrap_or(0) as u32;
    reduce_axes(device, kind, x, &reduced, y)
}

/// All axes after the channels'.
fn reduce_global<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let reduced: Vec<bool> = (0..x.shape.len()).map(|axis| axis >= 2).collect();
    let kind = if call.op.name == "GlobalMaxPool" { MAXIMUM } else { MEAN };
    reduce_axes(device, kind, x, &reduced, y)
}

/// `y` = the reduction `kind` of every row of `x`.
pub fn reduce_axes<D: Device>(
    device: &D,
    kind: u32,
    x: View<'_, D::Buffer>,
    reduced: &[bool],
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    if y.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(x.shape, reduced)?;
    let mut arguments = vec![y.pointer(), x.pointer(), Argument::U32(layout.rows.len), type_of(x.dtype)];
    arguments.extend([kind, layout.warps()].map(Argument::U32));
    let kernel = if x.dtype == DType::F64 {
        &REDUCE_F64
    } else if x.dtype.is_float() {
        &REDUCE_FLOAT
    } else {
        arguments.push(Argument::U64(neutral(kind, x.dtype)));
        &REDUCE_INT
    };
    layout.push(&mut arguments);
    device.launch(kernel, layout.grid(), [THREADS, 1, 1], 0, &arguments)
}

/// What stands for no elements of an integer type, extended to 64 bits.
fn neutral(kind: u32, dtype: DType) -> u64 {
    let bits = 8 * dtype.size() as u32;
    let signed = dtype.is_signed_int();
    let top = if signed { i64::MAX as u64 >> (64 - bits) } else { u64::MAX >> (64 - bits) };
    match kind {
        PRODUCT => 1,
        MAXIMUM if signed => !top,
        MINIMUM if dtype == DType::Bool => 1,
        MINIMUM => top,
        _ => 0,
    }
}

fn softmax<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    softmax_along(device, x, y, axis, call.op.name == "LogSoftmax")
}

/// Softmax of the rows along `axis`, or its logarithm.
pub fn softmax_along<D: Device>(
    device: &D,
    x: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
    axis: usize,
    logarithm: bool,
) -> Result<(), Error> {
    if y.is_empty() {
        return Ok(());
    }
    let reduced: Vec<bool> = (0..x.shape.len()).map(|a| a == axis).collect();
    let layout = Layout::of(x.shape, &reduced)?;
    let mut arguments = vec![y.pointer(), x.pointer(), Argument::U32(layout.rows.len), type_of(x.dtype)];
    arguments.extend([u32::from(logarithm), layout.warps()].map(Argument::U32));
    layout.push(&mut arguments);
    let kernel: &'static Kernel = if x.dtype == DType::F64 { &SOFTMAX_F64 } else { &SOFTMAX_FLOAT };
    device.launch(kernel, layout.grid(), [THREADS, 1, 1], 0, &arguments)
}

/// How a factor or summand broadcasts: that of the element at `i` is at `(i / by) mod of`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Channel {
    by: u32,
    of: u32,
}

impl Channel {
    /// For a tensor that broadcasts to `shape` by ones in front of and after all its other axes.
    fn of(own: &[usize], shape: &[usize]) -> Result<Channel, Error> {
        let skip = shape.len() - own.len().min(shape.len());
        let is_full = |axis: usize| axis >= skip && own[axis - skip] == shape[axis];
        let is_one = |axis: usize| axis < skip || own[axis - skip] == 1;
        let first = (0..shape.len()).find(|&axis| !is_one(axis)).unwrap_or(shape.len());
        let last = (first..shape.len()).rfind(|&axis| !is_one(axis)).map_or(first, |axis| axis + 1);
        if !(first..last).all(is_full) {
            return Err(Error::unsupported(format!("a factor of shape {own:?} for {shape:?}")));
        }
        let product = |axes: &[usize]| u32::try_from(axes.iter().product::<usize>());
        match (product(&shape[last..]), product(&shape[first..last])) {
            (Ok(by), Ok(of)) => Ok(Channel { by: by.max(1), of }),
            _ => Err(Error::unsupported("so large a factor")),
        }
    }
}

/// Rows of the last axes.
fn normalize<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    let (scale, bias) = (factor(call.optional(1), x.shape)?, factor(call.optional(2), x.shape)?);
    for operand in [&scale, &bias].into_iter().flatten() {
        // What has another precision than X would be rounded first.
        if (operand.1.view.dtype == DType::F64) != (x.dtype == DType::F64) {
            return Err(Error::unsupported("factors of another precision"));
        }
    }
    let length = x.shape[axis..].iter().product();
    let stash = |index: usize| call.outputs.get(index).copied().flatten();
    normalize_rows(device, call, length, (x, y), (scale, bias), (stash(1), stash(2)))
}

fn factor<'a, B>(operand: Option<Operand<'a, B>>, shape: &[usize]) -> Result<Factor<'a, B>, Error> {
    operand.map(|operand| Ok((Channel::of(operand.view.shape, shape)?, operand))).transpose()
}

/// Rows of a channel, or of a group of channels.
fn normalize_channels<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let plane: usize = x.shape[2..].iter().product();
    let groups = match call.op.name {
        "GroupNormalization" => usize::try_from(call.attrs.int("num_groups")).unwrap_or(1),
        _ => x.shape[1],
    };
    let size =
        |value: usize| u32::try_from(value).map_err(|_| Error::unsupported(format!("{value} elements")));
    let channel = Channel { by: size(plane)?, of: size(x.shape[1])? };
    let length = x.shape[1] / groups * plane;
    let (scale, bias) = ((channel, call.input(1)?), (channel, call.input(2)?));
    normalize_rows(device, call, length, (x, y), (Some(scale), Some(bias)), (None, None))
}

type Factor<'a, B> = Option<(Channel, Operand<'a, B>)>;

fn normalize_rows<D: Device>(
    device: &D,
    call: &Call<'_, D::Buffer>,
    length: usize,
    (x, y): (View<'_, D::Buffer>, View<'_, D::Buffer>),
    (scale, bias): (Factor<'_, D::Buffer>, Factor<'_, D::Buffer>),
    (means, invs): (Option<View<'_, D::Buffer>>, Option<View<'_, D::Buffer>>),
) -> Result<(), Error> {
    if y.is_empty() {
        // Rows of no elements still have a mean.
        let stashed = [means, invs].iter().flatten().any(|stash| !stash.is_empty());
        return if stashed { Err(Error::unsupported("rows of nothing")) } else { Ok(()) };
    }
    let n = len(&x)?;
    let length = length as u32;
    let rows = n / length;
    let mut arguments = vec![y.pointer(), x.pointer()];
    // What nobody wants is never written; any address stands for it.
    arguments.extend([means, invs].map(|stash| stash.map_or(y.pointer(), |stash| stash.pointer())));
    for factor in [&scale, &bias] {
        arguments.push(factor.as_ref().map_or(y.pointer(), |(_, operand)| operand.view.pointer()));
    }
    arguments.extend([rows, length].map(Argument::U32));
    arguments.push(type_of(x.dtype));
    let outputs = u32::from(means.is_some()) | u32::from(invs.is_some()) << 1;
    let by_root = u32::from(call.op.name == "RMSNormalization");
    arguments.extend([warps(length), by_root, outputs].map(Argument::U32));
    arguments.push(Argument::F32(call.attrs.float("epsilon")));
    for factor in [&scale, &bias] {
        let (channel, dtype) = match factor {
            Some((channel, operand)) => (*channel, operand.view.dtype),
            None => (Channel { by: 1, of: 0 }, x.dtype),
        };
        arguments.push(type_of(dtype));
        arguments.extend([channel.by, channel.of].map(Argument::U32));
    }
    let kernel: &'static Kernel = if x.dtype == DType::F64 { &NORMALIZE_F64 } else { &NORMALIZE_FLOAT };
    device.launch(kernel, grid(rows, warps(length)), [THREADS, 1, 1], 0, &arguments)
}

fn arg_extreme<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    let reduced: Vec<bool> = (0..x.shape.len()).map(|a| a == axis).collect();
    let layout = Layout::of(x.shape, &reduced)?;
    let mut arguments = vec![y.pointer(), x.pointer(), Argument::U32(layout.rows.len), type_of(x.dtype)];
    let smallest = u32::from(call.op.name == "ArgMin");
    let last = u32::from(call.attrs.int("select_last_index") != 0);
    arguments.extend([smallest, last, layout.warps()].map(Argument::U32));
    layout.push(&mut arguments);
    let kernel: &'static Kernel = if x.dtype.size() == 8 { &ARG_EXTREME_LONG } else { &ARG_EXTREME };
    device.launch(kernel, layout.grid(), [THREADS, 1, 1], 0, &arguments)
}

fn chain<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let axis = integers(call.optional(1))?.and_then(|axis| axis.first().copied()).unwrap_or(0);
    let axis = normalized(axis, x.shape.len()).map_err(|_| OpError::Fault(Fault::IndexOutOfRange))?;
    if y.is_empty() {
        return Ok(());
    }
    let reduced: Vec<bool> = (0..x.shape.len()).map(|a| a == axis).collect();
    let layout = Layout::of(x.shape, &reduced)?;
    let mut arguments = vec![y.pointer(), x.pointer(), Argument::U32(layout.rows.len), type_of(x.dtype)];
    let flags = [call.op.name == "CumProd", call.attrs.int("exclusive") != 0, call.attrs.int("reverse") != 0];
    arguments.extend(flags.map(|flag| Argument::U32(u32::from(flag))));
    layout.push(&mut arguments);
    let kernel: &'static Kernel = match x.dtype {
        DType::F64 => &CHAIN_F64,
        dtype if dtype.is_float() => &CHAIN_FLOAT,
        _ => &CHAIN_INT,
    };
    device.launch(kernel, [layout.rows.len.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_broadcast_by_one_division_and_one_remainder() {
        let of = |own: &[usize]| Channel::of(own, &[2, 3, 4]).ok().map(|c| (c.by, c.of));
        assert_eq!(of(&[4]), Some((1, 4)));
        assert_eq!(of(&[3, 1]), Some((4, 3)));
        assert_eq!(of(&[3, 4]), Some((1, 12)));
        assert_eq!(of(&[2, 3, 4]), Some((1, 24)));
        assert_eq!(of(&[]), Some((1, 1)));
        assert_eq!(of(&[2, 1, 4]), None);
    }

    #[test]
    fn what_stands_for_no_elements() {
        assert_eq!(neutral(MAXIMUM, DType::I8), i64::from(i8::MIN) as u64);
        assert_eq!(neutral(MINIMUM, DType::I8), 127);
        assert_eq!((neutral(MAXIMUM, DType::U16), neutral(MINIMUM, DType::U16)), (0, 65535));
        assert_eq!((neutral(MAXIMUM, DType::Bool), neutral(MINIMUM, DType::Bool)), (0, 1));
        assert_eq!(neutral(MINIMUM, DType::U64), u64::MAX);
        assert_eq!(neutral(MAXIMUM, DType::I64), i64::MIN as u64);
    }

    #[test]
    fn rows_of_several_axes() {
        let layout = Layout::of(&[2, 3, 4], &[true, false, true]).unwrap();
        assert_eq!((layout.length, layout.extents, layout.strides), (8, [2, 4], [0, 12, 1]));
        let layout = Layout::of(&[2, 3, 4], &[false, true, true]).unwrap();
        assert_eq!((layout.length, layout.extents, layout.strides), (12, [0, 0], [0, 0, 1]));
    }
}
