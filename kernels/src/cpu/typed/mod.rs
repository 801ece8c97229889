//! Element-wise operators on the types that have no lanes of their own: integers, bool, f64, and f16 and
//! bf16 through f32.
//!
//! Invariant: one element's result is that of the operator's `eval`; the loops differ from it in how they
//! go through memory alone.

/// A closure that is inlined wherever it is called.
macro_rules! f {
    ($($closure:tt)*) => { std::convert::identity(#[inline(always)] $($closure)*) };
}

mod cast;
mod doubles;
pub(crate) mod halves;
mod integers;
mod loops;
mod remainder;

use repops::dtype::DType;
use repops::ops::{OpClass, OpDef, OpError};
use repops::tensor::{TensorView, TensorViewMut};

use crate::KernelCtx;

/// Evaluates the operator; `None` when it has no loop for these types.
pub(crate) fn evaluate(
    def: &OpDef,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<TensorView<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Option<Result<(), OpError>> {
    let out = &mut outputs[0];
    let dtype = inputs.first().copied().flatten()?.dtype;
    match def.name {
        "Where" => integers::select(ctx, inputs, out),
        "Cast" => cast::cast(ctx.isa, inputs[0]?, out).map(Ok),
        "Mod" if dtype.is_float() && ctx.attrs.int("fmod") == 0 => None,
        "Mod" if dtype.is_float() => remainder::floats(inputs, out),
        // Shifted with their sign, which the loops of unsigned integers do not know.
        "BitShift" if dtype.is_signed_int() => None,
        name if dtype == DType::Bool => integers::bools(name, ctx, inputs, out),
        name if dtype.is_int() => integers::integers(name, ctx, inputs, out),
        name if dtype == DType::F64 => {
            let OpClass::Elementwise(Some(lane)) = def.class else { return None };
            doubles::evaluate(name, lane(ctx.attrs), ctx.isa, inputs, out).map(Ok)
        }
        _ => None,
    }
}
