//! Scatters that combine: ScatterElements and ScatterND with a reduction, and the runs of updates by which they are in order.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{Fault, OpDef, OpError};

use super::axes::{AXES_MAX, Axes, BLOCK, blocks, len, normalized, strides};
use crate::device::{Argument, Device, Kernel};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    SCATTER = "scatter";
    COUNT_UPDATES = "count_updates";
    SCAN_COUNTS = "scan_counts";
    PLACE_UPDATES = "place_updates";
    APPLY_FLOAT = "apply_float";
    APPLY_F64 = "apply_f64";
    APPLY_INT = "apply_int";
}

/// Indices of a tuple that the kernels take.
const TUPLE: usize = 6;

/// The launch for numbers of all types.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let is_scatter = matches!(def.name, "ScatterElements" | "ScatterND") && def.version == 1;
    if !is_scatter || kind(attrs).is_none() || !inputs.first()?.as_ref()?.dtype.is_number() {
        return None;
    }
    let indices = inputs.get(1)?.as_ref()?;
    let fits = def.name == "ScatterElements" || *indices.shape.last()? <= TUPLE;
    fits.then_some(launch::<D>)
}

/// As the kernels number them.
fn kind(attrs: &Attrs) -> Option<u32> {
    ["add", "mul", "max", "min"].iter().position(|name| *name == attrs.str("reduction")).map(|at| at as u32)
}

fn size(value: usize) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::unsupported(format!("a size of {value}")))
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, indices, updates, y) =
        (call.input(0)?.view, call.input(1)?.view, call.input(2)?.view, call.output(0)?);
    if !y.is_empty() {
        device.copy(x.buffer, x.offset, y.buffer, y.offset, y.len() * y.dtype.size())?;
    }
    let is_tuples = call.op.name == "ScatterND";
    let (n, places) = (len(&updates)?, len(&y)?);
    if !is_tuples && n == 0 {
        return Ok(());
    }
    let flag = device.put(&[0; 4])?;
    let words = |count: usize| device.alloc(4 * count.max(1));
    let (counts, starts, ends) = (words(y.len())?, words(y.len())?, words(y.len())?);
    let zero = [Argument::Pointer { buffer: &counts, offset: 0 }, Argument::U32(places)];
    device.launch(&super::named::ZERO_WORDS, blocks(places, 1), [BLOCK, 1, 1], 0, &zero)?;

    // The kernels' `TARGETS`.
    let target = |n: u32, inner: u32| -> Result<Vec<Argument<'_, D::Buffer>>, Error> {
        let mut out = vec![indices.pointer(), Argument::Pointer { buffer: &flag, offset: 0 }];
        out.extend([n, u32::from(indices.dtype.code())].map(Argument::U32));
        if is_tuples {
            let tuple = indices.shape.last().copied().unwrap_or(0);
            out.extend([inner, size(tuple)?].map(Argument::U32));
            for axis in 0..TUPLE {
                out.push(Argument::U32(y.shape.get(axis).map_or(Ok(1), |&extent| size(extent))?));
            }
            out.extend([0; 3 + AXES_MAX].map(Argument::U32));
            out.extend([0; 2 * AXES_MAX].map(Argument::U64));
            return Ok(out);
        }
        let axis = normalized(call.attrs.int("axis"), y.shape.len())?;
        let mut to = strides(y.shape);
        let along = size(to[axis] as usize)?;
        to[axis] = 0;
        let axes = Axes::new(indices.shape, [strides(indices.shape), to])?;
        out.extend([0; 2 + TUPLE].map(Argument::U32));
        out.extend([size(y.shape[axis])?, along].map(Argument::U32));
        axes.push(&mut out);
        Ok(out)
    };
    let tuple = if is_tuples { indices.shape.last().copied().unwrap_or(0) } else { 0 };
    let inner = if is_tuples { size(y.shape[tuple..].iter().product())? } else { 1 };
    if is_tuples && tuple == 0 {
        return Err(Error::unsupported("slices without tuples"));
    }
    if n == 0 {
        return tuples_without_updates(device, call);
    }
    let mut arguments = vec![Argument::Pointer { buffer: &counts, offset: 0 }];
    arguments.extend(target(n, inner)?);
    device.launch(&COUNT_UPDATES, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)?;
    let mut bytes = [0; 4];
    device.read(&flag, 0, &mut bytes)?;
    if bytes != [0; 4] {
        return Err(OpError::Fault(Fault::IndexOutOfRange).into());
    }
    let scan = [&starts, &ends, &counts].map(|buffer| Argument::Pointer { buffer, offset: 0 });
    let scan: Vec<_> = scan.into_iter().chain([Argument::U32(places)]).collect();
    device.launch(&SCAN_COUNTS, [1, 1, 1], [BLOCK, 1, 1], 0, &scan)?;
    let runs = words(n as usize)?;
    let mut arguments =
        [&ends, &runs].map(|buffer| Argument::Pointer { buffer, offset: 0 }).into_iter().collect::<Vec<_>>();
    arguments.extend(target(n, inner)?);
    device.launch(&PLACE_UPDATES, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)?;
    let kernel: &'static Kernel = match y.dtype {
        DType::F64 => &APPLY_F64,
        dtype if dtype.is_float() => &APPLY_FLOAT,
        _ => &APPLY_INT,
    };
    let mut arguments = vec![y.pointer(), updates.pointer()];
    arguments.extend([&starts, &counts, &runs].map(|buffer| Argument::Pointer { buffer, offset: 0 }));
    let numbers = [places, u32::from(y.dtype.code()), kind(call.attrs).unwrap_or(0)];
    arguments.extend(numbers.map(Argument::U32));
    device.launch(kernel, blocks(places, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// Tuples that name slices without elements may still be out of range, which only the host looks at.
fn tuples_without_updates<D: Device>(_: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    if call.input(1)?.view.is_empty() { Ok(()) } else { Err(Error::unsupported("slices without elements")) }
}
