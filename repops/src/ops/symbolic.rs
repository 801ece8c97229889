//! Values of shape arithmetic, followed through inference in terms of sizes.
//!
//! Invariant: what is said here is what evaluation gives under every binding of the sizes; where that is
//! not certain, nothing is said.

use super::{InferCtx, Inferred, SymTensor};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::ops::infer::SYM_ELEMENTS_MAX;

/// `inferred` with the value `sym`, if it fits the type.
pub(super) fn with_value(mut inferred: Inferred, sym: Option<SymTensor>) -> Inferred {
    let fits = |sym: &SymTensor| {
        sym.elements.len() <= SYM_ELEMENTS_MAX
            && match inferred.ty.dtype {
                DType::I64 => true,
                // An i32 that would wrap is not followed.
                DType::I32 => {
                    sym.elements.iter().all(|e| e.as_const().is_none_or(|v| i32::try_from(v).is_ok()))
                }
                _ => false,
            }
    };
    inferred.sym = sym.filter(fits);
    inferred
}

/// The value of a function of one input.
pub(super) fn map1(ctx: &InferCtx<'_>, f: impl Fn(&DimExpr) -> Option<DimExpr>) -> Option<SymTensor> {
    let x = ctx.sym(0)?;
    Some(SymTensor { len: x.len, elements: x.elements.iter().map(f).collect::<Option<_>>()? })
}

/// The value of a function of inputs 0 and 1, broadcast.
pub(super) fn map2(
    ctx: &InferCtx<'_>,
    f: impl Fn(&DimExpr, &DimExpr) -> Option<DimExpr>,
) -> Option<SymTensor> {
    zip(&ctx.sym(0)?, &ctx.sym(1)?, f)
}

/// The left fold of all inputs, broadcast.
pub(super) fn fold(ctx: &InferCtx<'_>, f: impl Fn(&DimExpr, &DimExpr) -> DimExpr) -> Option<SymTensor> {
    (1..ctx.inputs.len()).try_fold(ctx.sym(0)?, |sum, i| zip(&sum, &ctx.sym(i)?, |a, b| Some(f(a, b))))
}

/// A function of two values, broadcast.
pub(super) fn zip(
    a: &SymTensor,
    b: &SymTensor,
    f: impl Fn(&DimExpr, &DimExpr) -> Option<DimExpr>,
) -> Option<SymTensor> {
    let len = match (a.len, b.len) {
        (None, other) | (other, None) => other,
        (Some(1), other) | (other, Some(1)) => other,
        (Some(m), Some(n)) if m == n => Some(n),
        _ => return None,
    };
    let count = len.unwrap_or(1);
    if count > SYM_ELEMENTS_MAX {
        return None;
    }
    let at = |s: &'_ SymTensor, i: usize| if s.elements.len() == 1 { 0 } else { i };
    let elements = (0..count).map(|i| f(a.elements.get(at(a, i))?, b.elements.get(at(b, i))?));
    Some(SymTensor { len, elements: elements.collect::<Option<_>>()? })
}

/// Division toward zero, where it is certain: constants, or nothing negative.
pub(super) fn divide(a: &DimExpr, b: &DimExpr) -> Option<DimExpr> {
    match (a.as_const(), b.as_const()) {
        (_, Some(0)) => None,
        (Some(a), Some(b)) => Some(a.checked_div(b).map_or(DimExpr::Opaque, DimExpr::Const)),
        // A divisor that may be 0 would be a fault when the step runs, so the quotient's value is moot.
        _ => (a.is_nonnegative() && b.is_nonnegative()).then(|| a.floor_div(b)),
    }
}
