//! Types: Cast and the quantizing operators, whose newer attributes speak of types of 8 bits and less.

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::{same, same_with};
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

/// IsInf and IsNaN, all versions: floats of 8 bits are widened first, which is exact.
pub fn predicate(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    if !call.dtype(x).is_some_and(DType::is_narrow_float) {
        return same(call);
    }
    let wide = Attrs::new().with_int("to", i64::from(DType::F32.code()));
    let x = call.emit1("Cast", wide, &[Some(x)])?;
    let (op, attrs) = (call.op_type(), call.rest()?);
    call.emit(op, attrs, &[Some(x)], 1)
}

/// QLinearMatMul, all versions: floats of 8 bits, which version 21 brought, are multiplied as what they stand for. A scale for each
/// row of A or Y, for each column of B.
pub fn qlinear_matmul(call: &mut Call<'_, '_>) -> Outputs {
    let (a, b) = (call.input(0)?, call.input(3)?);
    if ![a, b].iter().any(|&x| call.dtype(x).is_some_and(DType::is_narrow_float)) {
        return same(call);
    }
    let attrs = call.rest()?;
    let along = |axis| attrs.clone().with_int("axis", axis);
    let input = |call: &Call<'_, '_>, index: usize| call.input(index).map(Some);
    let a = [Some(a), input(call, 1)?, input(call, 2)?];
    let a = call.emit1("DequantizeLinear", along(-2), &a)?;
    let b = [Some(b), input(call, 4)?, input(call, 5)?];
    let b = call.emit1("DequantizeLinear", along(-1), &b)?;
    let y = call.emit1("MatMul", Attrs::new(), &[Some(a), Some(b)])?;
    let y = [Some(y), input(call, 6)?, input(call, 7)?];
    call.emit("QuantizeLinear", along(-2), &y, 1)
}
