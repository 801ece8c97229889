//! Reductions: the axes were an attribute before version 18 (ReduceSum: 13).

use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::quantize::emit_as_floats;

/// Reductions whose axes are an attribute; without one all axes are reduced, as without the input.
pub fn reduce_axes(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let axes = call.ints("axes")?.map(|axes| call.constant_ints(&axes));
    let (op, attrs) = (call.op_type(), call.rest()?);
    if matches!(op, "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp") {
        return emit_as_floats(call, op, attrs, vec![Some(x), axes]);
    }
    call.emit(op, attrs, &[Some(x), axes], 1)
}
