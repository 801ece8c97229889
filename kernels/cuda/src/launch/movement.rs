//! Operators that move elements: strided copies, and gathers by index tensors.
//!
//! Invariant: an index out of range is the operator's fault on every machine; kernels report it by a flag.

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;
use repops::ops::{Fault, OpDef, OpError};

use super::axes::{Axes, BLOCK, blocks, broadcast_strides, len, normalized, strides};
use super::host::integers;
use crate::device::{Argument, Device, Operand, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MOVEMENT = "movement";
    COPY = "copy";
    TURN32 = "turn32";
    FILL = "fill";
    GATHER = "gather";
    GATHER_ELEMENTS = "gather_elements";
    TRILU = "trilu";
}

/// The launch of an operator that moves elements.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let first = inputs.first()?.as_ref()?;
    // Sizes are read from the host's copies of all inputs but the first.
    let host = |from: usize| inputs.iter().skip(from).flatten().all(|input| input.on_host);
    if def.version != 1 || inputs.iter().flatten().any(|input| input.dtype == DType::Packed) {
        return None;
    }
    let launch: Launch<D> = match def.name {
        "Transpose" => transpose,
        "Concat" => concat,
        "Expand" => expand,
        "Tile" if host(1) => tile,
        "Slice" if host(1) => slice,
        "Split" => split,
        "Pad" if attrs.str("mode") == "constant" && inputs.get(1)?.as_ref()?.on_host => pad,
        "Gather" => gather,
        "GatherElements" if first.shape.len() <= 8 => gather_elements,
        "Trilu" if host(1) => trilu,
        "DepthToSpace" | "SpaceToDepth" if first.shape.len() == 4 => blocks_of_pixels,
        _ => return None,
    };
    Some(launch)
}

/// Copies elements from one set of strides to another.
pub(super) fn copy<D: Device>(
    device: &D,
    shape: &[usize],
    x: View<'_, D::Buffer>,
    (from, from_strides): (i64, Vec<i64>),
    y: View<'_, D::Buffer>,
    (to, to_strides): (i64, Vec<i64>),
) -> Result<(), Error> {
    let axes = Axes::new(shape, [to_strides, from_strides])?;
    if axes.len == 0 {
        return Ok(());
    }
    let size = y.dtype.size();
    let at = |view: &View<'_, D::Buffer>, first: i64| {
        view.offset.wrapping_add_signed(first as isize * size as isize)
    };
    if axes.is_dense(0) && axes.is_dense(1) {
        return device.copy(x.buffer, at(&x, from), y.buffer, at(&y, to), axes.len as usize * size);
    }
    let mut arguments = vec![
        Argument::Pointer { buffer: y.buffer, offset: at(&y, to) },
        Argument::Pointer { buffer: x.buffer, offset: at(&x, from) },
        Argument::U32(axes.len),
        Argument::U32(size as u32),
    ];
    axes.push(&mut arguments);
    device.launch(&COPY, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn transpose<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let rank = x.shape.len();
    let perm: Vec<usize> = match call.attrs.get("perm") {
        Some(AttrValue::Ints(perm)) => {
            perm.iter().map(|&axis| normalized(axis, rank)).collect::<Result<_, _>>()?
        }
        _ => (0..rank).rev().collect(),
    };
    if let Some((batch, rows, columns)) = turned(x.shape, &perm)
        && x.dtype.size() == 4
        && rows >= 16
        && batch > 0
        && columns >= 16
    {
        let tiles = |extent: usize| (extent as u64).div_ceil(32);
        if len(&x).is_ok() && batch < 65536 && tiles(rows) < 65536 {
            let arguments =
                [y.pointer(), x.pointer(), Argument::U32(rows as u32), Argument::U32(columns as u32)];
            let grid = [tiles(columns) as u32, tiles(rows) as u32, batch as u32];
            return device.launch(&TURN32, grid, [256, 1, 1], 0, &arguments);
        }
    }
    let own = strides(x.shape);
    let from = perm.iter().map(|&axis| own[axis]).collect();
    copy(device, y.shape, x, (0, from), y, (0, strides(y.shape)))
}

/// Batch, rows and columns, where the permutation swaps two neighbouring groups of axes at the end.
fn turned(shape: &[usize], perm: &[usize]) -> Option<(usize, usize, usize)> {
    let kept = perm.iter().enumerate().take_while(|(at, axis)| at == *axis).count();
    let rest = &perm[kept..];
    let split = *rest.first()? - kept;
    let swaps = rest.iter().enumerate().all(|(at, &axis)| axis == kept + (at + split) % rest.len());
    let product = |range: &[usize]| range.iter().product::<usize>();
    swaps.then(|| {
        (product(&shape[..kept]), product(&shape[kept..kept + split]), product(&shape[kept + split..]))
    })
}

fn concat<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let y = call.output(0)?;
    let axis = normalized(call.attrs.int("axis"), y.shape.len())?;
    let to = strides(y.shape);
    let mut first = 0;
    for index in 0..call.inputs.len() {
        let x = call.input(index)?.view;
        copy(device, x.shape, x, (0, strides(x.shape)), y, (first, to.clone()))?;
        first += x.shape[axis] as i64 * to[axis];
    }
    Ok(())
}

fn expand<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    copy(device, y.shape, x, (0, broadcast_strides(x.shape, y.shape)), y, (0, strides(y.shape)))
}

/// Every axis as its repetitions and itself.
fn tile<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if x.is_empty() || y.is_empty() {
        return Ok(());
    }
    let (own, full) = (strides(x.shape), strides(y.shape));
    let (mut shape, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new());
    for axis in 0..x.shape.len() {
        shape.extend([y.shape[axis] / x.shape[axis], x.shape[axis]]);
        from.extend([0, own[axis]]);
        to.extend([x.shape[axis] as i64 * full[axis], full[axis]]);
    }
    copy(device, &shape, x, (0, from), y, (0, to))
}

fn slice<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let starts = integers(call.optional(1))?.unwrap_or_default();
    let axes = integers(call.optional(3))?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = integers(call.optional(4))?.unwrap_or_else(|| vec![1; starts.len()]);
    let mut from = strides(x.shape);
    let mut first = 0;
    for ((&start, &axis), &step) in starts.iter().zip(&axes).zip(&steps) {
        let axis = normalized(axis, x.shape.len())?;
        let extent = x.shape[axis] as i64;
        let start = if start < 0 { start.saturating_add(extent) } else { start };
        let start = if step > 0 { start.clamp(0, extent) } else { start.clamp(0, (extent - 1).max(0)) };
        // A single element needs no stride, however large the step is.
        let count = y.shape[axis];
        if count > 0 {
            first += start * from[axis];
            from[axis] = if count > 1 { from[axis] * step } else { 0 };
        }
    }
    copy(device, y.shape, x, (first, from), y, (0, strides(y.shape)))
}

fn split<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let x = call.input(0)?.view;
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    let own = strides(x.shape);
    let mut first = 0;
    let wanted = call.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    // Where one begins follows from those before it, so these must be there.
    for index in 0..wanted {
        let y = call.output(index)?;
        copy(device, y.shape, x, (first, own.clone()), y, (0, strides(y.shape)))?;
        first += y.shape[axis] as i64 * own[axis];
    }
    Ok(())
}

/// The value everywhere, then the part of X that is left, over it.
fn pad<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    let size = Argument::U32(y.dtype.size() as u32);
    let value = call.optional(2);
    let from = value.map_or(y.pointer(), |value| value.view.pointer());
    let arguments = [y.pointer(), from, Argument::U32(n), size, Argument::U32(u32::from(value.is_some()))];
    device.launch(&FILL, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)?;
    let pads = integers(call.optional(1))?.unwrap_or_default();
    let axes = integers(call.optional(3))?.unwrap_or_else(|| (0..x.shape.len() as i64).collect());
    let mut begins = vec![0i64; x.shape.len()];
    for (&axis, &begin) in axes.iter().zip(&pads) {
        begins[normalized(axis, x.shape.len())?] = begin;
    }
    let (own, full) = (strides(x.shape), strides(y.shape));
    let (mut shape, mut first, mut to) = (Vec::new(), 0, 0);
    for (axis, &begin) in begins.iter().enumerate() {
        let low = begin.max(0);
        let high = begin.saturating_add(x.shape[axis] as i64).min(y.shape[axis] as i64);
        if high <= low {
            return Ok(());
        }
        shape.push((high - low) as usize);
        first += (low - begin) * own[axis];
        to += low * full[axis];
    }
    copy(device, &shape, x, (first, own), y, (to, full))
}

/// Runs a kernel that may find an index out of range, and asks it afterwards; the flag is its fourth parameter.
/// Indices that the host knows are looked at here, and nobody waits for the device.
fn with_indices<D: Device>(
    device: &D,
    indices: Operand<'_, D::Buffer>,
    extent: usize,
    run: impl FnOnce(&D::Buffer) -> Result<(), Error>,
) -> Result<(), Error> {
    let fault = || Error::from(OpError::Fault(Fault::IndexOutOfRange));
    let is_known = indices.host.is_some();
    if is_known {
        let extent = extent as i64;
        let values = integers(Some(indices))?.unwrap_or_default();
        if values.iter().any(|&index| index < -extent || index >= extent) {
            return Err(fault());
        }
    } else if extent == 0 {
        return Err(fault());
    }
    let flag = device.put(&[0; 4])?;
    run(&flag)?;
    let mut bytes = [0; 4];
    if !is_known {
        device.read(&flag, 0, &mut bytes)?;
    }
    if bytes == [0; 4] { Ok(()) } else { Err(fault()) }
}

fn gather<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, indices, y) = (call.input(0)?.view, call.input(1)?, call.output(0)?);
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    let count = indices.view.len();
    if count == 0 {
        return Ok(());
    }
    let extent = x.shape[axis];
    let inner: usize = x.shape[axis + 1..].iter().product();
    if y.is_empty() && indices.host.is_none() {
        return Err(Error::unsupported("indices into slices of nothing"));
    }
    let n = len(&y)?;
    let size =
        |value: usize| u32::try_from(value).map_err(|_| Error::unsupported(format!("a size of {value}")));
    let numbers = [
        n,
        y.dtype.size() as u32,
        u32::from(indices.view.dtype.code()),
        size(extent)?,
        size(count)?,
        size(inner)?,
    ];
    with_indices(device, indices, extent, |flag| {
        if n == 0 {
            return Ok(());
        }
        let flag = Argument::Pointer { buffer: flag, offset: 0 };
        let mut arguments = vec![y.pointer(), x.pointer(), indices.view.pointer(), flag];
        arguments.extend(numbers.map(Argument::U32));
        device.launch(&GATHER, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
    })
}

fn gather_elements<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, indices, y) = (call.input(0)?.view, call.input(1)?, call.output(0)?);
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    if y.is_empty() {
        return Ok(());
    }
    let mut from = strides(x.shape);
    let along = u32::try_from(from[axis]).map_err(|_| Error::unsupported("so large a tensor"))?;
    from[axis] = 0;
    let axes = Axes::new(y.shape, [strides(y.shape), from])?;
    let extent = u32::try_from(x.shape[axis]).map_err(|_| Error::unsupported("so long an axis"))?;
    let numbers = [axes.len, y.dtype.size() as u32, u32::from(indices.view.dtype.code()), extent, along];
    with_indices(device, indices, x.shape[axis], |flag| {
        let flag = Argument::Pointer { buffer: flag, offset: 0 };
        let mut arguments = vec![y.pointer(), x.pointer(), indices.view.pointer(), flag];
        arguments.extend(numbers.map(Argument::U32));
        axes.push(&mut arguments);
        device.launch(&GATHER_ELEMENTS, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)
    })
}

/// Pixels of a block become channels, or channels pixels: a transpose of six axes.
fn blocks_of_pixels<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let (&[n, channels, height, width], &[_, c, h, w]) = (x.shape, y.shape) else {
        return Err(Error::unsupported("an image of other than four axes"));
    };
    let b = usize::try_from(call.attrs.int("blocksize")).unwrap_or(1);
    let by_depth = call.attrs.str("mode") == "DCR";
    let (six, order) = match (call.op.name, by_depth) {
        ("DepthToSpace", true) => ([n, b, b, c, height, width], [0, 3, 4, 1, 5, 2]),
        ("DepthToSpace", false) => ([n, c, b, b, height, width], [0, 1, 4, 2, 5, 3]),
        (_, true) => ([n, channels, h, b, w, b], [0, 3, 5, 1, 2, 4]),
        (_, false) => ([n, channels, h, b, w, b], [0, 1, 3, 5, 2, 4]),
    };
    let own = strides(&six);
    let shape = order.map(|axis| six[axis]);
    copy(device, &shape, x, (0, order.map(|axis| own[axis]).to_vec()), y, (0, strides(&shape)))
}

fn trilu<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    let k = integers(call.optional(1))?.and_then(|k| k.first().copied()).unwrap_or(0);
    let &[.., rows, columns] = x.shape else { return Err(Error::unsupported("a matrix of one axis")) };
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    let mut arguments = vec![y.pointer(), x.pointer()];
    arguments.extend([n, y.dtype.size() as u32, rows as u32, columns as u32].map(Argument::U32));
    arguments.push(Argument::U64(k as u64));
    arguments.push(Argument::U32(u32::from(call.attrs.int("upper") != 0)));
    device.launch(&TRILU, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

#[cfg(test)]
mod tests {
    use super::turned;

    #[test]
    fn which_permutations_turn_matrices() {
        assert_eq!(turned(&[3, 5], &[1, 0]), Some((1, 3, 5)));
        assert_eq!(turned(&[2, 3, 4, 5], &[0, 3, 1, 2]), Some((2, 12, 5)));
        assert_eq!(turned(&[2, 3, 4, 5], &[2, 3, 0, 1]), Some((1, 6, 20)));
        assert_eq!(turned(&[2, 3, 4], &[2, 1, 0]), None);
        assert_eq!(turned(&[2, 3, 4], &[1, 0, 2]), None);
        assert_eq!(turned(&[2, 3], &[0, 1]), None);
    }
}
