//! Types: Cast and the quantizing operators, whose newer attributes speak of types of 8 bits and less.

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::same_with;
use crate::onnx::tensor::STRING;

/// Cast, all versions; with strings on one side it is an operator of its own.
pub fn cast(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let attrs = call.rest()?;
    let to_strings = attrs.get("to") == Some(&AttrValue::Int(i64::from(STRING)));
    cast_to(call, x, attrs, to_strings)
}

fn cast_to(call: &mut Call<'_, '_>, x: ValueId, mut attrs: Attrs, to_strings: bool) -> Outputs {
    match (call.dtype(x) == Some(DType::Packed), to_strings) {
        (false, false) => call.emit("Cast", attrs, &[Some(x)], 1),
        (false, true) => call.emit("CastToString", Attrs::new(), &[Some(x)], 1),
        (true, true) => call.emit("Identity", Attrs::new(), &[Some(x)], 1),
        (true, false) => {
            attrs.remove("round_mode");
            attrs.remove("saturate");
            call.emit("CastFromString", attrs, &[Some(x)], 1)
        }
    }
}

/// CastLike, all versions: a Cast when the type is known here, which it mostly is.
pub fn cast_like(call: &mut Call<'_, '_>) -> Outputs {
    let (x, like) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    match call.dtype(like) {
        Some(dtype) => {
            let to = attrs.with_int("to", i64::from(dtype.code()));
            cast_to(call, x, to, dtype == DType::Packed)
        }
        None => same_with(call, attrs),
    }
}

/// QuantizeLinear and DequantizeLinear, all versions.
pub fn quantize(call: &mut Call<'_, '_>) -> Outputs {
    let mut attrs = call.rest()?;
    // Zero is what is meant when these are not given.
    for name in ["block_size", "output_dtype", "precision"] {
        if attrs.get(name).is_some_and(|v| *v == AttrValue::Int(0)) {
            attrs.remove(name);
        }
    }
    same_with(call, attrs)
}
