//! What ScatterElements and ScatterND share: updates of single elements, in order.
//!
//! Invariant: updates are applied one by one in row-major order of `updates`, each rounded to the type,
//! so that the result never depends on how the work is split.

use super::elementwise::{Float, by_float, by_int};
use super::integers::{Int, IntBinary};
use super::{Fault, OpError};
use crate::attrs::Attrs;
use crate::dtype::{DType, Element};
use crate::lane_op::BinaryOp;
use crate::tensor::{Tensor, TensorView};

/// How an update meets the element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    /// Replaces it.
    None,
    Add,
    Mul,
    Max,
    Min,
}

/// The attribute `reduction` for a type.
pub(super) fn reduction(attrs: &Attrs, dtype: DType) -> Result<Reduction, OpError> {
    let found = match attrs.str("reduction") {
        "none" => Reduction::None,
        "add" => Reduction::Add,
        "mul" => Reduction::Mul,
        "max" => Reduction::Max,
        "min" => Reduction::Min,
        other => return Err(OpError::attr("reduction", format!("{other:?} is unknown"))),
    };
    if found != Reduction::None && !dtype.is_number() {
        return Err(OpError::attr("reduction", format!("{dtype} has none")));
    }
    Ok(found)
}

/// Applies update i to element `targets[i]` of `y`, for each i in order.
pub(super) fn scatter(
    y: &mut Tensor,
    updates: TensorView<'_>,
    targets: impl Iterator<Item = usize>,
    reduction: Reduction,
) -> Result<(), OpError> {
    let (float, int) = match reduction {
        Reduction::None => {
            let size = updates.dtype.size();
            for (update, target) in updates.bytes.chunks_exact(size).zip(targets) {
                y.bytes_mut()[target * size..][..size].copy_from_slice(update);
            }
            return Ok(());
        }
        Reduction::Add => (BinaryOp::Add, IntBinary::Add),
        Reduction::Mul => (BinaryOp::Mul, IntBinary::Mul),
        Reduction::Max => (BinaryOp::Max, IntBinary::Max),
        Reduction::Min => (BinaryOp::Min, IntBinary::Min),
    };
    if updates.dtype.is_float() {
        return by_float!(updates.dtype, T => each(y, updates, targets, |a: T, b: T| {
            Ok(T::narrow(float.apply(a.widen(), b.widen())).canonical())
        }));
    }
    by_int!(updates.dtype, T => each(y, updates, targets, |a: T, b: T| T::binary(int, a, b)))
}

fn each<T: Element>(
    y: &mut Tensor,
    updates: TensorView<'_>,
    targets: impl Iterator<Item = usize>,
    combine: impl Fn(T, T) -> Result<T, Fault>,
) -> Result<(), OpError> {
    let y = y.as_mut_slice::<T>();
    for (&update, target) in updates.as_slice::<T>().iter().zip(targets) {
        y[target] = combine(y[target], update)?;
    }
    Ok(())
}
