//! Types: Cast and the quantizing operators, whose newer attributes speak of types of 8 bits and less.

use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::{same, same_with};

/// Cast, all versions.
pub fn cast(call: &mut Call<'_, '_>) -> Outputs {
    same(call)
}

/// CastLike, all versions: a Cast when the type is known here, which it mostly is.
pub fn cast_like(call: &mut Call<'_, '_>) -> Outputs {
    let (x, like) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    match call.dtype(like) {
        Some(dtype) => call.emit("Cast", attrs.with_int("to", i64::from(dtype.code())), &[Some(x)], 1),
        None => same_with(call, attrs),
    }
}

/// QuantizeLinear and DequantizeLinear, all versions.
pub fn quantize(call: &mut Call<'_, '_>) -> Outputs {
    let mut attrs = call.rest()?;
    // Zero is what is meant when these are not given.
    for name in ["block_size", "output_dtype", "precision"] {
        if attrs.get(name).is_some_and(|v| *v == repops::attrs::AttrValue::Int(0)) {
            attrs.remove(name);
        }
    }
    same_with(call, attrs)
}
