//! Upsample and the older forms of Resize.

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::quantize::emit_as_floats;

/// Upsample 7 (scales are an attribute) and 9 (an input): Resize without centering. Scales are at least
/// 1, so the nearest element is the one below.
pub fn upsample(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let scales = match call.version() {
        7 => {
            let scales = call.floats("scales")?;
            let scales = scales.ok_or_else(|| call.attribute_error("scales", "is missing"))?;
            call.constant_floats(&[scales.len()], &scales)
        }
        _ => call.input(1)?,
    };
    plain_resize(call, x, scales, "floor")
}

/// Resize 10: scales only. The nearest element is the one below when an axis grows and the one above
/// when it shrinks, so the scales must be known.
pub fn resize_10(call: &mut Call<'_, '_>) -> Outputs {
    let (x, scales) = (call.input(0)?, call.input(1)?);
    let known = known_floats(call, scales);
    let below = known.as_ref().is_some_and(|s| s.iter().all(|&v| v >= 1.0));
    let above = known.as_ref().is_some_and(|s| s.iter().all(|&v| v <= 1.0));
    let nearest_mode = match (below, above) {
        (true, _) => "floor",
        (_, true) => "ceil",
        _ => "",
    };
    plain_resize(call, x, scales, nearest_mode)
}

fn plain_resize(call: &mut Call<'_, '_>, x: ValueId, scales: ValueId, nearest_mode: &str) -> Outputs {
    let mode = call.string("mode")?.unwrap_or_else(|| "nearest".to_string());
    let mut attrs = Attrs::new().with_str("coordinate_transformation_mode", "asymmetric");
    match mode.as_str() {
        "nearest" if nearest_mode.is_empty() => {
            return Err(call.unsupported("scales that are not constant, or grow some axes and shrink others"));
        }
        "nearest" => attrs = attrs.with_str("mode", "nearest").with_str("nearest_mode", nearest_mode),
        "linear" | "bilinear" | "trilinear" => attrs = attrs.with_str("mode", "linear"),
        other => return Err(call.attribute_error("mode", format!("{other:?} is not known"))),
    }
    call.rest()?;
    resized(call, attrs, vec![Some(x), None, Some(scales)])
}

/// Resize from version 11 on. Version 11 demanded roi and scales, so files have empty tensors in their
/// place; later ones as well.
pub fn resize_11(call: &mut Call<'_, '_>) -> Outputs {
    let mut inputs = call.inputs();
    for input in inputs.iter_mut().skip(1) {
        let empty = input.and_then(|id| call.constant_of(id)).is_some_and(|c| c.bytes().is_empty());
        if empty {
            *input = None;
        }
    }
    let attrs = call.rest()?;
    let mode = attrs.get("coordinate_transformation_mode");
    let reads_roi = mode.is_some_and(|m| m.to_string().contains("tf_crop_and_resize"));
    if !reads_roi && inputs.len() > 1 {
        inputs[1] = None;
    }
    resized(call, attrs, inputs)
}

/// Between the elements of integers others are computed as floats, and cut to integers.
fn resized(call: &mut Call<'_, '_>, attrs: Attrs, inputs: Vec<Option<ValueId>>) -> Outputs {
    let nearest = attrs.get("mode").is_none_or(|mode| *mode == AttrValue::Str("nearest".to_string()));
    if nearest {
        return call.emit("Resize", attrs, &inputs, 1);
    }
    emit_as_floats(call, "Resize", attrs, inputs)
}

fn known_floats(call: &Call<'_, '_>, value: ValueId) -> Option<Vec<f32>> {
    let tensor = call.constant_of(value)?.to_tensor().ok()?;
    (tensor.dtype() == DType::F32).then(|| tensor.as_slice::<f32>().to_vec())
}
