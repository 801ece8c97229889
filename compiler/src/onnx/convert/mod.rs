//! Conversions: an ONNX node of some version -> operators of the table in their newest form.
//!
//! Each function's doc names the versions that it takes and what changed after them. A conversion adds
//! constants and operators; it never computes on data.

pub mod constants;
pub mod control;
pub mod fusions;
pub mod legacy;
pub mod microsoft;
pub mod ml;
pub mod norms;
pub mod quantize;
pub mod reduce;
pub mod resize;
pub mod sequences;
pub mod shapes;
pub mod softmax;

use repops::Tensor;
use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;
use repops::packed::Strings;

use super::call::{Call, Outputs};
use crate::graph::ValueId;
use quantize::{cast_value, wide_float};

/// The operator of the same name, with the same inputs and attributes.
pub fn same(call: &mut Call<'_, '_>) -> Outputs {
    let attrs = call.rest()?;
    same_with(call, attrs)
}

/// The operator of the same name with the same inputs, and these attributes.
pub fn same_with(call: &mut Call<'_, '_>, attrs: Attrs) -> Outputs {
    let (op, inputs, outputs) = (call.op_type(), call.inputs(), call.outputs());
    call.emit(op, attrs, &inputs, outputs)
}

/// Clip before version 11: the limits are attributes, both f32 and both optional.
pub fn clip_6(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let mut inputs = vec![Some(x)];
    for name in ["min", "max"] {
        let limit = call.float(name)?;
        // The defaults were the largest finite numbers of f32; leaving them out differs for infinities
        // only, which the newer form lets through as well when no limit is given.
        inputs.push(match limit {
            Some(limit) => Some(call.scalar_like(limit, x)?),
            None => None,
        });
    }
    let attrs = call.rest()?;
    call.emit("Clip", attrs, &inputs, 1)
}

/// TopK 1: k is an attribute.
pub fn top_k_1(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let k = call.required_int("k")?;
    let k = call.constant_ints(&[k]);
    let (attrs, outputs) = (call.rest()?, call.outputs());
    call.emit("TopK", attrs, &[Some(x), Some(k)], outputs)
}

/// Scatter 9 became ScatterElements.
pub fn scatter_9(call: &mut Call<'_, '_>) -> Outputs {
    let (attrs, inputs) = (call.rest()?, call.inputs());
    call.emit("ScatterElements", attrs, &inputs, 1)
}

/// GridSample 16: the modes had other names before version 20.
pub fn grid_sample_16(call: &mut Call<'_, '_>) -> Outputs {
    let mode = call.string("mode")?.unwrap_or_else(|| "bilinear".to_string());
    let mode = match mode.as_str() {
        "bilinear" => "linear",
        "nearest" => "nearest",
        "bicubic" => "cubic",
        other => return Err(call.attribute_error("mode", format!("{other:?} is not known"))),
    };
    let attrs = call.rest()?.with_str("mode", mode);
    sampled(call, attrs)
}

/// GridSample from version 20 on.
pub fn grid_sample_20(call: &mut Call<'_, '_>) -> Outputs {
    let attrs = call.rest()?;
    sampled(call, attrs)
}

/// Both in one precision: integers as floats, cut to integers; where one of the two is f64, in f64.
fn sampled(call: &mut Call<'_, '_>, attrs: Attrs) -> Outputs {
    let (x, grid) = (call.input(0)?, call.input(1)?);
    let (Some(from), Some(at)) = (call.dtype(x), call.dtype(grid)) else { return same_with(call, attrs) };
    let is_double = |dtype| wide_float(dtype) == DType::F64;
    if from == DType::Packed {
        return sampled_strings(call, attrs, x, grid);
    }
    if from.is_float() && is_double(from) == is_double(at) {
        return same_with(call, attrs);
    }
    let wide = if is_double(from) || is_double(at) { DType::F64 } else { DType::F32 };
    let (x, grid) = (cast_value(call, x, wide)?, cast_value(call, grid, wide)?);
    let y = call.emit1("GridSample", attrs, &[Some(x), Some(grid)])?;
    Ok(vec![cast_value(call, y, from)?])
}

/// Strings by their places, counted from 1 in f64, which holds all there can be: the place 0 that stands for nothing, and
/// for NaN, has the empty string.
fn sampled_strings(call: &mut Call<'_, '_>, attrs: Attrs, x: ValueId, grid: ValueId) -> Outputs {
    if attrs.get("mode") != Some(&AttrValue::Str("nearest".to_string())) {
        return Err(call.attribute_error("mode", "strings are sampled by nearest alone"));
    }
    let unary = |call: &mut Call<'_, '_>, op, x| call.emit1(op, Attrs::new(), &[Some(x)]);
    let binary = |call: &mut Call<'_, '_>, op, a, b| call.emit1(op, Attrs::new(), &[Some(a), Some(b)]);
    let (shape, count) = (unary(call, "Shape", x)?, unary(call, "Size", x)?);
    let one = call.constant(&Tensor::scalar(1i64));
    let end = binary(call, "Add", count, one)?;
    let places = call.emit1("Range", Attrs::new(), &[one, end, one].map(Some))?;
    let places = binary(call, "Reshape", places, shape)?;
    let (places, grid) = (cast_value(call, places, DType::F64)?, cast_value(call, grid, DType::F64)?);
    let found = call.emit1("GridSample", attrs, &[Some(places), Some(grid)])?;
    let found = cast_value(call, found, DType::I64)?;
    let empty = call.constant(&Strings::new(&[1], [""]).into_tensor());
    let flat = call.constant_ints(&[-1]);
    let flat = binary(call, "Reshape", x, flat)?;
    let table = call.emit1("Concat", Attrs::new().with_int("axis", 0), &[Some(empty), Some(flat)])?;
    Ok(vec![binary(call, "Gather", table, found)?])
}

/// Attention, all versions: a mask of another type of number is added as Q's. Where V's type is not Q's, all is computed from
/// both in f32, or in f64 if one of them is, which holds what either type has; each output is rounded to its type in ONNX.
pub fn attention(call: &mut Call<'_, '_>) -> Outputs {
    let (attrs, mut inputs) = (call.rest()?, call.inputs());
    let (query, value) = (call.input(0)?, call.input(2)?);
    let (of_query, of_value) = (call.dtype(query), call.dtype(value));
    if let (Some(mask), Some(dtype)) = (call.optional(3), of_query)
        && call.dtype(mask).is_some_and(|of_mask| of_mask != dtype && of_mask != DType::Bool)
    {
        inputs[3] = Some(cast_value(call, mask, dtype)?);
    }
    let outputs = call.outputs();
    let (Some(of_query), Some(of_value)) = (of_query, of_value) else {
        return call.emit("Attention", attrs, &inputs, outputs);
    };
    if of_query == of_value {
        return call.emit("Attention", attrs, &inputs, outputs);
    }
    let is_double = of_query == DType::F64 || of_value == DType::F64;
    let wide = if is_double { DType::F64 } else { DType::F32 };
    let is_bool = |call: &Call<'_, '_>, at: usize| {
        at == 3 && call.optional(3).and_then(|m| call.dtype(m)) == Some(DType::Bool)
    };
    for at in 0..inputs.len().min(6) {
        if let Some(input) = inputs[at].filter(|_| !is_bool(call, at)) {
            inputs[at] = Some(cast_value(call, input, wide)?);
        }
    }
    let found = call.emit("Attention", attrs, &inputs, outputs)?;
    let types = [of_query, of_query, of_value, of_query];
    found.into_iter().zip(types).map(|(y, dtype)| cast_value(call, y, dtype)).collect()
}

/// DFT 17: the axis is an attribute, counted from the front unless negative; 1 when not given.
pub fn dft_17(call: &mut Call<'_, '_>) -> Outputs {
    let (x, length) = (call.input(0)?, call.optional(1));
    let axis = call.int("axis")?.unwrap_or(1);
    let axis = call.constant(&Tensor::scalar(axis));
    let attrs = call.rest()?;
    call.emit("DFT", attrs, &[Some(x), length, Some(axis)], 1)
}

/// RoiAlign 10: sampled without the half-pixel shift that version 16 has as its default.
pub fn roi_align_10(call: &mut Call<'_, '_>) -> Outputs {
    let attrs = call.rest()?.with_str("coordinate_transformation_mode", "output_half_pixel");
    same_with(call, attrs)
}
