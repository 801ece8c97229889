//! Disputed tensors that are not computed but moved: slices of scanned tensors, stacks of slices.
//!
//! Invariant: their types and elements are those of tensors with agreed digests.

use repops::Digest;
use repops::ops::dispute::TensorType;
use repops::ops::{self, OpClass, SymType};

use super::facts::{Facts, Gap};
use super::judge::{ClaimInputs, Context, Disputed, paths};
use super::paths::{Slice, Stack, Value};

/// A disputed tensor whose elements are those of others: a slice of a scanned tensor, or a stack of slices.
pub(super) enum Moved {
    Slice(Slice),
    /// With the type that the program declares, which is that of a stack of no slices.
    Stack(Stack, Option<TensorType>),
}

/// How a disputed tensor is moved; `None` of one that an operator computes.
pub(super) fn moved(
    context: &Context<'_>,
    of: Disputed,
    facts: &mut dyn Facts,
) -> Result<Option<Moved>, Gap> {
    let place = context.place.ok_or(Gap::Undecidable("no step is under dispute"))?;
    if place.row.is_some() {
        return Ok(None);
    }
    let inputs = ClaimInputs(context.runs()?[0]);
    match of {
        Disputed::Slice(at) => {
            let value = place.step.inputs.get(at as usize).copied().flatten();
            let value = value.ok_or(Gap::Program("an input is missing".into()))?;
            match paths(facts, &inputs, place.index).value_of(value.0, &place.path)? {
                Value::Slice(slice) => Ok(Some(Moved::Slice(slice))),
                Value::Digest(_) => Err(Gap::Undecidable("an input that is no slice")),
            }
        }
        Disputed::Output(at) if matches!(place.step.def().class, OpClass::Control) => {
            let last = match place.index.checked_sub(1) {
                Some(last) => Some(facts.record(last)?.path),
                None => None,
            };
            let mut paths = paths(facts, &inputs, place.index);
            let stack = paths.stack(&place.step, at as usize, &place.path, last.as_deref())?;
            let declared = place.step.outputs.get(at as usize).and_then(|output| output.ty.as_ref());
            let extents = |ty: &SymType| ty.shape.iter().map(|d| d.as_extent().unwrap_or(0)).collect();
            let declared = declared.map(|ty| TensorType { dtype: ty.dtype, shape: extents(ty) });
            Ok(Some(Moved::Stack(stack, declared)))
        }
        Disputed::Output(_) | Disputed::Logprobs | Disputed::Choice => Ok(None),
    }
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, Gap> {
    ops::infer::normalize_axis(axis, rank).map_err(Gap::Program)
}

/// The type of a moved tensor.
pub(super) fn moved_type(
    context: &Context<'_>,
    moved: &Moved,
    facts: &mut dyn Facts,
) -> Result<TensorType, Gap> {
    match moved {
        Moved::Slice(slice) => {
            let header = facts.header(slice.source)?;
            let mut shape = header.shape;
            shape.remove(slice.axis);
            Ok(TensorType { dtype: header.dtype, shape })
        }
        Moved::Stack(stack, declared) if stack.count == 0 => {
            // Without one it is a fault, which nobody claims.
            let mut ty = declared.clone().ok_or(Gap::Undecidable("a stack of no slices and no type"))?;
            let axis = axis_of(stack.axis, ty.shape.len())?;
            ty.shape[axis] = 0;
            Ok(ty)
        }
        Moved::Stack(stack, _) => {
            let first = stacked(context, stack, 0, facts)?;
            let header = facts.header(first)?;
            let mut shape = header.shape;
            let axis = axis_of(stack.axis, shape.len() + 1)?;
            shape.insert(axis, stack.count as usize);
            Ok(TensorType { dtype: header.dtype, shape })
        }
    }
}

fn stacked(context: &Context<'_>, stack: &Stack, at: u64, facts: &mut dyn Facts) -> Result<Digest, Gap> {
    let place = context.place.ok_or(Gap::Undecidable("no step is under dispute"))?;
    let inputs = ClaimInputs(context.runs()?[0]);
    paths(facts, &inputs, place.index).stacked(stack, &place.path, at)
}

/// An element of a moved tensor of type `ty`.
pub(super) fn moved_element(
    context: &Context<'_>,
    moved: &Moved,
    ty: &TensorType,
    element: u64,
    facts: &mut dyn Facts,
) -> Result<u64, Gap> {
    let mut position = ops::window::unravel(element as usize, &ty.shape);
    let (source, shape) = match moved {
        Moved::Slice(slice) => {
            position.insert(slice.axis, slice.at as usize);
            (slice.source, facts.header(slice.source)?.shape)
        }
        Moved::Stack(stack, _) => {
            let axis = axis_of(stack.axis, ty.shape.len())?;
            let at = position.remove(axis);
            let source = stacked(context, stack, at as u64, facts)?;
            (source, facts.header(source)?.shape)
        }
    };
    // Slices of a stack that differ in shape are a fault of the step, which nobody claims.
    if shape.len() != position.len() || position.iter().zip(&shape).any(|(p, extent)| p >= extent) {
        return Err(Gap::Undecidable("slices of several shapes"));
    }
    let at = position.iter().zip(&shape).fold(0u64, |at, (&p, &extent)| at * extent as u64 + p as u64);
    facts.element(source, at)
}
