//! Elements by the operator's own evaluation of a small part of its inputs.
//!
//! Invariant: a crop is a step of the same operator whose output holds the element, with the same bits.

use super::reduce::RowMap;
use super::{Inputs, Stop, Subject, TensorType, WHOLE_BYTES_MAX, bits_at};
use crate::dtype::DType;
use crate::ops::infer::normalize_axis;
use crate::ops::quantize::Granularity;
use crate::ops::rows::axis_flags;
use crate::ops::window::unravel;
use crate::ops::{EvalCtx, OpError, infer_known};
use crate::reference::evaluate_elementwise;
use crate::tensor::{Tensor, TensorView, byte_len, element_count};

/// What a crop takes of an input.
enum Part {
    Absent,
    /// All of it.
    Whole,
    /// The elements at these positions, under a shape.
    Elements {
        shape: Vec<usize>,
        at: Vec<usize>,
    },
}

/// A crop: what it takes, and where the element is in its output.
struct Crop {
    parts: Vec<Part>,
    at: usize,
}

/// Which part of the inputs a rule evaluates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// One element of every input.
    Point,
    /// One element, with the parameters that belong to it.
    Quantized,
    Channel,
    /// The elements along an axis, or the row of a reduction.
    Row,
    /// The spatial axes of one channel.
    Plane,
    /// Everything.
    Whole,
}

fn element(at: usize) -> Part {
    Part::Elements { shape: Vec::new(), at: vec![at] }
}

fn bounded(count: usize, dtype: DType) -> Result<(), Stop> {
    match count.saturating_mul(dtype.size()) {
        bytes if bytes > WHOLE_BYTES_MAX => Err(Stop::TooLarge { bytes }),
        _ => Ok(()),
    }
}

fn plan(
    subject: &Subject<'_>,
    cut: Cut,
    output: u32,
    at: usize,
    inputs: &mut dyn Inputs,
) -> Result<Crop, Stop> {
    let x = subject.input(0)?;
    let y = subject.output(output)?;
    let with_rest = |first: Part| {
        let others =
            subject.inputs.iter().skip(1).map(|ty| ty.as_ref().map_or(Part::Absent, |_| Part::Whole));
        std::iter::once(first).chain(others).collect::<Vec<_>>()
    };
    Ok(match cut {
        Cut::Point => {
            let part = |ty: &Option<TensorType>| match ty {
                None => Part::Absent,
                Some(ty) => element(super::contract::broadcast_at(&ty.shape, &y.shape, at)),
            };
            Crop { parts: subject.inputs.iter().map(part).collect(), at: 0 }
        }
        Cut::Quantized => {
            let scale = subject.input(1)?;
            let s = Granularity::of(subject.attrs, &x.shape, &scale.shape)?.scale_of(at);
            let zero = subject.optional(2).map_or(Part::Absent, |_| element(s));
            Crop { parts: vec![element(at), element(s), zero], at: 0 }
        }
        Cut::Channel => {
            let plane: usize = element_count(x.shape.get(2..).ok_or(Stop::NoTerm)?);
            let channel = at / plane.max(1) % x.shape[1].max(1);
            let one = |at: usize, rank: usize| Part::Elements { shape: vec![1; rank], at: vec![at] };
            let parts = std::iter::once(one(at, 2)).chain((1..5).map(|_| one(channel, 1)));
            Crop { parts: parts.collect(), at: 0 }
        }
        Cut::Plane => {
            let image = x.shape.get(2..).ok_or(Stop::NoTerm)?;
            let (from, to) = (element_count(image), element_count(&y.shape[2..]));
            bounded(from, x.dtype)?;
            let plane = at / to.max(1);
            let shape = [&[1, 1], image].concat();
            let part = Part::Elements { shape, at: (plane * from..(plane + 1) * from).collect() };
            Crop { parts: with_rest(part), at: at % to.max(1) }
        }
        Cut::Row => {
            let rank = x.shape.len();
            let reduced = reduced(subject, rank, inputs)?;
            let rows = RowMap::new(&x.shape, reduced.clone());
            bounded(rows.len(), x.dtype)?;
            let shape =
                x.shape.iter().zip(&reduced).map(|(&d, r)| if *r { d } else { 1 }).collect::<Vec<_>>();
            // An output that has lost the reduced axes has one element a row.
            let (row, within) = if y.shape.len() == rank {
                row_and_position(&unravel(at, &y.shape), &x.shape, &y.shape, &reduced)
            } else {
                (at, 0)
            };
            let at_x = (0..rows.len()).map(|i| rows.element(row, i)).collect();
            Crop { parts: with_rest(Part::Elements { shape, at: at_x }), at: within }
        }
        Cut::Whole => {
            let sizes = subject.inputs.iter().flatten().map(|ty| ty.len().saturating_mul(ty.dtype.size()));
            let bytes: usize = sizes.fold(0, usize::saturating_add);
            let outputs =
                subject.outputs.iter().map(|ty| byte_len(ty.dtype, &ty.shape).unwrap_or(usize::MAX));
            if bytes > WHOLE_BYTES_MAX || outputs.fold(0, usize::saturating_add) > 8 * WHOLE_BYTES_MAX {
                return Err(Stop::TooLarge { bytes });
            }
            let parts = subject.inputs.iter().map(|ty| ty.as_ref().map_or(Part::Absent, |_| Part::Whole));
            Crop { parts: parts.collect(), at }
        }
    })
}

/// The row of a place in an output with the input's axes, and the position in the output of that row alone.
fn row_and_position(place: &[usize], x: &[usize], y: &[usize], reduced: &[bool]) -> (usize, usize) {
    let (mut row, mut within) = (0, 0);
    for (axis, &position) in place.iter().enumerate() {
        if reduced[axis] {
            within = within * y[axis] + position;
        } else {
            row = row * x[axis] + position;
        }
    }
    (row, within)
}

/// The axes along which a row runs.
fn reduced(subject: &Subject<'_>, rank: usize, inputs: &mut dyn Inputs) -> Result<Vec<bool>, Stop> {
    Ok(match subject.def.name {
        "LRN" => axis_flags(&[1], rank)?,
        "CumSum" | "CumProd" => {
            let axis = subject.integers(inputs, 1)?.unwrap_or_default();
            let axis = *axis.first().ok_or(Stop::NoTerm)?;
            let axis = normalize_axis(axis, rank).map_err(|_| crate::ops::Fault::IndexOutOfRange)?;
            (0..rank).map(|a| a == axis).collect()
        }
        "ReduceProd" => match subject.integers(inputs, 1)?.unwrap_or_default().as_slice() {
            [] => vec![subject.attrs.int("noop_with_empty_axes") == 0; rank],
            axes => axis_flags(axes, rank)?,
        },
        _ => axis_flags(&[subject.attrs.int("axis")], rank)?,
    })
}

/// The bits of an output's element.
pub(super) fn value(
    subject: &Subject<'_>,
    cut: Cut,
    output: u32,
    at: usize,
    inputs: &mut dyn Inputs,
) -> Result<u64, Stop> {
    let crop = plan(subject, cut, output, at, inputs)?;
    let mut tensors = Vec::with_capacity(crop.parts.len());
    for (input, part) in crop.parts.into_iter().enumerate() {
        tensors.push(match part {
            Part::Absent => None,
            Part::Whole => Some(inputs.whole(input)?),
            Part::Elements { shape, at } => Some(gather(subject, input, &shape, &at, inputs)?),
        });
    }
    let views: Vec<Option<TensorView<'_>>> = tensors.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let found = match subject.region {
        Some(region) => evaluate_elementwise(region, &views)?,
        None => {
            let outputs = subject.outputs.len();
            // Evaluation relies on what inference has checked.
            infer_known(subject.def, subject.attrs, &views, outputs)?;
            (subject.def.eval)(&EvalCtx { attrs: subject.attrs, inputs: &views, outputs })?
        }
    };
    let tensor = found.get(output as usize).ok_or(Stop::NoTerm)?;
    bits_at(tensor.dtype(), tensor.bytes(), crop.at).ok_or(Stop::NoTerm)
}

fn gather(
    subject: &Subject<'_>,
    input: usize,
    shape: &[usize],
    at: &[usize],
    inputs: &mut dyn Inputs,
) -> Result<Tensor, Stop> {
    let dtype = subject.input(input)?.dtype;
    let mut bytes = Vec::with_capacity(at.len() * dtype.size());
    for &at in at {
        bytes.extend_from_slice(&inputs.element(input, at as u64)?.to_le_bytes()[..dtype.size()]);
    }
    Ok(Tensor::from_bytes(dtype, shape, &bytes).map_err(OpError::Tensor)?)
}
