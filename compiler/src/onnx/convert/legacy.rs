//! Operators before version 7 of ai.onnx, which had rules of their own for operands of different shapes.

use repops::attrs::Attrs;

use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::same_with;

/// Add, Sub, Mul, Div, Pow, And, Or, Xor, Equal, Less and Greater 1 and 6: with `broadcast`, the second operand's axes
/// are those of the first from `axis` on, or its last ones.
pub fn broadcast(call: &mut Call<'_, '_>) -> Outputs {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (broadcast, axis) = (call.int("broadcast")?.unwrap_or(0), call.int("axis")?);
    // Version 1 named which operands may share memory.
    call.ints("consumed_inputs")?;
    let (op, attrs) = (call.op_type(), call.rest()?);
    let b = match axis {
        Some(axis) if broadcast != 0 => unsqueezed(call, a, b, axis)?,
        _ => b,
    };
    call.emit(op, attrs, &[Some(a), Some(b)], 1)
}

/// `b` with axes of extent 1 behind it, so that its axes are those of `a` from `axis` on.
fn unsqueezed(call: &mut Call<'_, '_>, a: ValueId, b: ValueId, axis: i64) -> Result<ValueId, ImportError> {
    let rank = |call: &Call<'_, '_>, x| call.ty(x).map(|ty| ty.shape.len() as i64);
    let (Some(outer), Some(inner)) = (rank(call, a), rank(call, b)) else {
        return Err(call.unsupported("numbers of axes that are not known"));
    };
    let first = if axis < 0 { axis + outer } else { axis };
    let behind = outer - first - inner;
    if first < 0 || behind < 0 {
        return Err(call.attribute_error("axis", format!("{axis} does not fit {inner} axes into {outer}")));
    }
    if behind == 0 || inner == 0 {
        return Ok(b);
    }
    let axes: Vec<i64> = (inner..inner + behind).collect();
    let axes = call.constant_ints(&axes);
    call.emit1("Unsqueeze", Attrs::new(), &[Some(b), Some(axes)])
}

/// PRelu 1 and 6: the slope has one element, or one for each channel.
pub fn prelu(call: &mut Call<'_, '_>) -> Outputs {
    let (x, slope) = (call.input(0)?, call.input(1)?);
    call.ints("consumed_inputs")?;
    let attrs = call.rest()?;
    let extents = |call: &Call<'_, '_>, v| call.ty(v).map(|ty| ty.shape.len());
    let slope = match (extents(call, x), extents(call, slope)) {
        (Some(2..), Some(1)) if call.ty(slope).and_then(|ty| ty.shape[0].as_const()) != Some(1) => {
            unsqueezed(call, x, slope, 1)?
        }
        _ => slope,
    };
    call.emit("PRelu", attrs, &[Some(x), Some(slope)], 1)
}

/// Gemm 1 and 6: `broadcast` allowed C to be smaller, which it may be now.
pub fn gemm(call: &mut Call<'_, '_>) -> Outputs {
    call.int("broadcast")?;
    let attrs = call.rest()?;
    same_with(call, attrs)
}

/// BatchNormalization 1 and 6: in inference when `is_test` says so.
pub fn batch_normalization(call: &mut Call<'_, '_>) -> Outputs {
    if call.int("is_test")?.unwrap_or(0) == 0 {
        return Err(call.attribute_error("is_test", "must be 1: training is not supported"));
    }
    call.ints("consumed_inputs")?;
    super::norms::batch_normalization_7(call)
}
