//! Softmax, LogSoftmax and Hardmax before version 13: over all axes from `axis` on, taken as one.

use repops::attrs::Attrs;

use crate::onnx::call::{Call, Outputs};

/// The tensor is flattened to a matrix at `axis` (1 when not given), its rows are treated, and the shape
/// is put back. Where `axis` is the last one the newer form means the same.
pub fn flattened(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let axis = call.int("axis")?.unwrap_or(1);
    let op = call.op_type();
    let attrs = call.rest()?.with_int("axis", -1);
    let rank = call.ty(x).map(|ty| ty.shape.len() as i64);
    if axis == -1 || rank.is_some_and(|rank| axis == rank - 1) {
        return call.emit(op, attrs, &[Some(x)], 1);
    }
    let shape = call.emit1("Shape", Attrs::new(), &[Some(x)])?;
    let rows = call.emit1("Flatten", Attrs::new().with_int("axis", axis), &[Some(x)])?;
    let y = call.emit1(op, attrs, &[Some(rows)])?;
    // The shape is copied as it is: an extent of 0 stays one.
    let attrs = Attrs::new().with_int("allowzero", 1);
    call.emit("Reshape", attrs, &[Some(y), Some(shape)], 1)
}
