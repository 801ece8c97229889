//! Types: Cast and the quantizing operators, whose newer attributes speak of types of 8 bits and less.

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::ImportError;
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

/// QuantizeLinear and DequantizeLinear, all versions. Integers are divided in the scale's type, and by integers in f32.
pub fn quantize(call: &mut Call<'_, '_>) -> Outputs {
    let mut attrs = call.rest()?;
    let mut inputs = call.inputs();
    let (x, scale) = (call.input(0)?, call.input(1)?);
    if call.op_type() == "QuantizeLinear" {
        let float = |value| call.dtype(value).filter(|dtype| dtype.is_float());
        let wide = float(scale).or(float(x)).unwrap_or(DType::F32);
        for (input, value) in inputs.iter_mut().zip([x, scale]) {
            if call.dtype(value) == Some(DType::I32) {
                *input = Some(cast_value(call, value, wide)?);
            }
        }
    }
    // Zero is what is meant when these are not given.
    for name in ["block_size", "output_dtype", "precision"] {
        if attrs.get(name).is_some_and(|v| *v == AttrValue::Int(0)) {
            attrs.remove(name);
        }
    }
    let (op, outputs) = (call.op_type(), call.outputs());
    call.emit(op, attrs, &inputs, outputs)
}

/// `x` as another type.
pub fn cast_value(call: &mut Call<'_, '_>, x: ValueId, to: DType) -> Result<ValueId, ImportError> {
    call.emit1("Cast", Attrs::new().with_int("to", i64::from(to.code())), &[Some(x)])
}

/// The type in which what has no integer form of its own is computed on integers: f64 from 32 bits on.
pub fn wide_float(dtype: DType) -> DType {
    match dtype {
        DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Operators that ONNX defines by formulas of real numbers and allows integers: the formula in [`wide_float`], its result as Cast makes
/// integers of it (towards zero, saturating).
pub fn integers_as_floats(call: &mut Call<'_, '_>) -> Outputs {
    let (op, attrs, inputs) = (call.op_type(), call.rest()?, call.inputs());
    emit_as_floats(call, op, attrs, inputs)
}

/// [`integers_as_floats`] of this operator, on the first of these inputs.
pub fn emit_as_floats(
    call: &mut Call<'_, '_>,
    op: &str,
    attrs: Attrs,
    mut inputs: Vec<Option<ValueId>>,
) -> Outputs {
    let x = call.input(0)?;
    let whole = call.dtype(x).filter(|dtype| dtype.is_int() || *dtype == DType::Bool);
    let Some(dtype) = whole else { return call.emit(op, attrs, &inputs, 1) };
    inputs[0] = Some(cast_value(call, x, wide_float(dtype))?);
    let y = call.emit1(op, attrs, &inputs)?;
    Ok(vec![cast_value(call, y, dtype)?])
}

/// Operators that add and multiply, whose sums of 8 and 16 bits wrap as sums of 32 do once they are cut.
pub fn short_integers(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let short = |dtype: &DType| matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16);
    let Some(dtype) = call.dtype(x).filter(short) else { return same(call) };
    let (op, attrs, mut inputs) = (call.op_type(), call.rest()?, call.inputs());
    for input in &mut inputs {
        if let Some(value) = input.filter(|&value| call.dtype(value) == Some(dtype)) {
            *input = Some(cast_value(call, value, DType::I32)?);
        }
    }
    let y = call.emit1(op, attrs, &inputs)?;
    Ok(vec![cast_value(call, y, dtype)?])
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
