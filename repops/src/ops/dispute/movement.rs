//! Movement: where an element of an output comes from.

use super::{Inputs, Stop, Subject};
use crate::dtype::DType;
use crate::ops::infer::normalize_axis;
use crate::ops::walk::{position, split_at_axis};
use crate::ops::window::unravel;
use crate::ops::{Fault, OpError, pad, slice};
use crate::tensor::{element_count, strides};

/// Where an element comes from.
enum Source {
    Input {
        input: usize,
        at: usize,
    },
    /// These bits, from nowhere.
    Bits(u64),
}

/// The bits of an output's element.
pub(super) fn value(
    subject: &Subject<'_>,
    output: u32,
    element: usize,
    inputs: &mut dyn Inputs,
) -> Result<u64, Stop> {
    match source(subject, output, element, inputs)? {
        Source::Input { input, at } => inputs.element(input, at as u64),
        Source::Bits(bits) => Ok(bits),
    }
}

fn axis_of(subject: &Subject<'_>, rank: usize) -> Result<usize, Stop> {
    Ok(normalize_axis(subject.attrs.int("axis"), rank).map_err(OpError::shape)?)
}

/// The integer that an index tensor holds.
fn index(subject: &Subject<'_>, inputs: &mut dyn Inputs, input: usize, at: usize) -> Result<i64, Stop> {
    let bits = inputs.element(input, at as u64)?;
    Ok(super::wide::integer(subject.input(input)?.dtype, bits) as i64)
}

fn ravel(position: &[usize], shape: &[usize]) -> usize {
    position.iter().zip(shape).fold(0, |at, (p, extent)| at * extent + p)
}

fn source(
    subject: &Subject<'_>,
    output: u32,
    element: usize,
    inputs: &mut dyn Inputs,
) -> Result<Source, Stop> {
    let to = &subject.output(output)?.shape;
    let from = |at: usize| Source::Input { input: 0, at };
    let x = || subject.input(0).map(|x| x.shape.as_slice());
    let place = unravel(element, to);
    Ok(match subject.def.name {
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => from(element),
        "Expand" => from(super::contract::broadcast_at(x()?, to, element)),
        "Transpose" => {
            let rank = to.len();
            let perm = match subject.attrs.opt_ints("perm") {
                Some(perm) => perm.iter().map(|&axis| axis as usize).collect(),
                None => (0..rank).rev().collect::<Vec<_>>(),
            };
            let own = strides(x()?);
            from(perm.iter().zip(&place).map(|(&axis, p)| own.get(axis).copied().unwrap_or(0) * p).sum())
        }
        "Slice" => from(sliced(subject, &place, inputs)?),
        "Tile" => {
            let position: Vec<usize> = place.iter().zip(x()?).map(|(p, extent)| p % extent.max(&1)).collect();
            from(ravel(&position, x()?))
        }
        "Pad" => padded(subject, &place, inputs)?,
        "Trilu" => {
            let k = subject.integers(inputs, 1)?.and_then(|k| k.first().copied()).unwrap_or(0);
            let [.., row, column] = place.as_slice() else { return Err(Stop::NoTerm) };
            let diagonal = *column as i128 - *row as i128;
            let upper = subject.attrs.int("upper") != 0;
            let kept = if upper { diagonal >= i128::from(k) } else { diagonal <= i128::from(k) };
            if kept { from(element) } else { Source::Bits(0) }
        }
        "DepthToSpace" => from(depth_to_space(subject, &place, x()?)),
        "SpaceToDepth" => {
            let b = subject.attrs.int("blocksize") as usize;
            let (&[n, c, y, z], &[_, channels, ..]) = (place.as_slice(), x()?) else {
                return Err(Stop::NoTerm);
            };
            let (block, channel) = match subject.attrs.str("mode") {
                "DCR" => (c / channels.max(1), c % channels.max(1)),
                _ => (c % (b * b).max(1), c / (b * b).max(1)),
            };
            from(ravel(&[n, channel, y * b + block / b, z * b + block % b], x()?))
        }
        "Concat" => {
            let axis = axis_of(subject, to.len())?;
            let mut along = place[axis];
            for input in 0..subject.inputs.len() {
                let part = &subject.input(input)?.shape;
                if along < part[axis] {
                    let mut position = place.clone();
                    position[axis] = along;
                    return Ok(Source::Input { input, at: ravel(&position, part) });
                }
                along -= part[axis];
            }
            return Err(Stop::NoTerm);
        }
        "Split" => {
            let axis = axis_of(subject, to.len())?;
            let before: usize = subject.outputs[..output as usize].iter().map(|o| o.shape[axis]).sum();
            let mut position = place;
            position[axis] += before;
            from(ravel(&position, x()?))
        }
        "Gather" => {
            let data = x()?;
            let axis = axis_of(subject, data.len())?;
            let (_, extent, inner) = split_at_axis(data, axis);
            let count = subject.input(1)?.len();
            let (within, rest) = (element % inner.max(1), element / inner.max(1));
            let named = index(subject, inputs, 1, rest % count.max(1))?;
            from((rest / count.max(1) * extent + position(named, extent)?) * inner + within)
        }
        "GatherElements" => {
            let data = x()?;
            let axis = axis_of(subject, data.len())?;
            let mut place = place;
            place[axis] = position(index(subject, inputs, 1, element)?, data[axis])?;
            from(ravel(&place, data))
        }
        "GatherND" => {
            let (data, indices) = (x()?, &subject.input(1)?.shape);
            let batch = subject.attrs.int("batch_dims") as usize;
            let (Some((&tuple, leading)), true) = (indices.split_last(), batch <= data.len()) else {
                return Err(Stop::NoTerm);
            };
            let inner = element_count(data.get(batch + tuple..).ok_or(Stop::NoTerm)?);
            let per_batch = element_count(leading.get(batch..).ok_or(Stop::NoTerm)?);
            let (within, at) = (element % inner.max(1), element / inner.max(1));
            let mut slice = at / per_batch.max(1);
            for (i, &extent) in data[batch..batch + tuple].iter().enumerate() {
                let named = index(subject, inputs, 1, at * tuple + i)?;
                slice = slice * extent + position(named, extent)?;
            }
            from(slice * inner + within)
        }
        "ReverseSequence" => {
            let batch = if subject.attrs.int("batch_axis") == 0 { 0 } else { 1 };
            let steps = x()?[1 - batch];
            let len = index(subject, inputs, 1, place[batch])?;
            let len = usize::try_from(len).ok().filter(|len| *len <= steps).ok_or(Fault::IndexOutOfRange)?;
            let mut place = place;
            if place[1 - batch] < len {
                place[1 - batch] = len - 1 - place[1 - batch];
            }
            from(ravel(&place, x()?))
        }
        "CenterCropPad" => {
            let x = x()?;
            let mut position = Vec::with_capacity(place.len());
            for ((&p, &extent), &own) in place.iter().zip(to).zip(x) {
                let p = if own >= extent {
                    Some(p + (own - extent) / 2)
                } else {
                    p.checked_sub((extent - own) / 2)
                };
                match p.filter(|p| *p < own) {
                    Some(p) => position.push(p),
                    None => return Ok(Source::Bits(0)),
                }
            }
            from(ravel(&position, x))
        }
        "TensorScatter" => {
            let update = &subject.input(1)?.shape;
            let axis = axis_of(subject, to.len())?;
            let start = match subject.optional(2) {
                Some(_) => i128::from(index(subject, inputs, 2, place[0])?),
                None => 0,
            };
            // The last of update's positions that fell here.
            let (written, extent) = (update[axis] as i128, to[axis].max(1) as i128);
            let mut step = place[axis] as i128 - start;
            if subject.attrs.str("mode") == "circular" {
                step = step.rem_euclid(extent);
                step += (written - 1 - step).div_euclid(extent).max(0) * extent;
            }
            match (0..written).contains(&step) {
                true => {
                    let mut position = place;
                    position[axis] = step as usize;
                    Source::Input { input: 1, at: ravel(&position, update) }
                }
                false => from(element),
            }
        }
        "ConstantOfShape" => match subject.optional(1) {
            Some(_) => Source::Input { input: 1, at: 0 },
            None => Source::Bits(0),
        },
        _ => return Err(Stop::NoTerm),
    })
}

fn sliced(subject: &Subject<'_>, place: &[usize], inputs: &mut dyn Inputs) -> Result<usize, Stop> {
    let x = &subject.input(0)?.shape;
    let starts = subject.integers(inputs, 1)?.unwrap_or_default();
    let ends = subject.integers(inputs, 2)?.unwrap_or_default();
    let axes = subject.integers(inputs, 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = subject.integers(inputs, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let mut position: Vec<i64> = place.iter().map(|&p| p as i64).collect();
    for (((&axis, start), end), step) in axes.iter().zip(starts).zip(ends).zip(steps) {
        let axis = normalize_axis(axis, x.len()).map_err(OpError::shape)?;
        let (first, _) = slice::resolve(x[axis] as i64, start, end, step);
        position[axis] = first.saturating_add(position[axis].saturating_mul(step));
    }
    let inside = position.iter().zip(x).map(|(&p, &extent)| usize::try_from(p).ok().filter(|p| *p < extent));
    Ok(ravel(&inside.collect::<Option<Vec<_>>>().ok_or(Stop::NoTerm)?, x))
}

fn padded(subject: &Subject<'_>, place: &[usize], inputs: &mut dyn Inputs) -> Result<Source, Stop> {
    let x = &subject.input(0)?.shape;
    let mode = pad::mode(subject.attrs)?;
    let pads = subject.integers(inputs, 1)?.unwrap_or_default();
    let list = subject.integers(inputs, 3)?.unwrap_or_else(|| (0..x.len() as i64).collect());
    let mut begins = vec![0; x.len()];
    for (at, &axis) in list.iter().enumerate() {
        let axis = normalize_axis(axis, x.len()).map_err(OpError::shape)?;
        begins[axis] = *pads.get(at).ok_or(Stop::NoTerm)?;
    }
    let along = (0..x.len())
        .map(|axis| pad::source(mode, place[axis] as i128 - i128::from(begins[axis]), x[axis] as i128));
    Ok(match along.collect::<Option<Vec<usize>>>() {
        Some(position) => Source::Input { input: 0, at: ravel(&position, x) },
        None if subject.optional(2).is_some() => Source::Input { input: 2, at: 0 },
        None => Source::Bits(0),
    })
}

fn depth_to_space(subject: &Subject<'_>, place: &[usize], x: &[usize]) -> usize {
    let b = (subject.attrs.int("blocksize") as usize).max(1);
    let (n, c, y, z) = (place[0], place[1], place[2], place[3]);
    let channels = x[1] / (b * b);
    let (by, bz) = (y % b, z % b);
    let channel = match subject.attrs.str("mode") {
        "DCR" => (by * b + bz) * channels + c,
        _ => (c * b + by) * b + bz,
    };
    ravel(&[n, channel, y / b, z / b], x)
}

/// Shape and Size: the output follows from types alone, by the operator's own evaluation of an empty twin.
pub(super) fn from_types(subject: &Subject<'_>, element: usize) -> Result<u64, Stop> {
    let x = subject.input(0)?;
    if subject.def.name == "Size" {
        return Ok(x.len() as u64);
    }
    let inferred = subject.def.infer(&crate::ops::InferCtx {
        attrs: subject.attrs,
        inputs: &[Some(crate::ops::InferInput {
            ty: &crate::ops::SymType::of(x.dtype, &x.shape),
            tensor: None,
            sym: None,
        })],
        outputs: 1,
        fresh: &std::cell::Cell::new(0),
    })?;
    let sym = inferred.first().and_then(|i| i.sym.as_ref()).ok_or(Stop::NoTerm)?;
    let value = sym.elements.get(element).and_then(|d| d.as_const()).ok_or(Stop::NoTerm)?;
    debug_assert_eq!(inferred[0].ty.dtype, DType::I64);
    Ok(value as u64)
}
