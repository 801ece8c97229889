//! Normalization and dropout.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::{DimExpr, Tensor};

use crate::onnx::call::{Call, Outputs};
use crate::onnx::convert::fusions;
use crate::onnx::convert::quantize::cast_value;

/// BatchNormalization 7 and 9: further outputs were for training, and version 7 had `spatial`.
pub fn batch_normalization_7(call: &mut Call<'_, '_>) -> Outputs {
    if call.int("spatial")?.unwrap_or(1) != 1 {
        return Err(call.attribute_error("spatial", "must be 1"));
    }
    // The statistics that training would give are not made: who uses them is told so.
    let attrs = call.rest()?;
    normalized(call, attrs)
}

/// BatchNormalization from version 14 on.
pub fn batch_normalization_14(call: &mut Call<'_, '_>) -> Outputs {
    if call.int("training_mode")?.unwrap_or(0) != 0 {
        return fusions::training_batch_normalization(call);
    }
    let attrs = call.rest()?;
    normalized(call, attrs)
}

/// In one precision: where f64 meets narrower floats, in f64.
fn normalized(call: &mut Call<'_, '_>, attrs: Attrs) -> Outputs {
    let (x, mut inputs) = (call.input(0)?, call.inputs());
    let doubles: Vec<Option<bool>> = inputs
        .iter()
        .map(|input| input.and_then(|value| call.dtype(value)).map(|dtype| dtype == DType::F64))
        .collect();
    let mixed = doubles.contains(&Some(true)) && doubles.contains(&Some(false));
    let Some(dtype) = call.dtype(x).filter(|_| mixed) else {
        return call.emit("BatchNormalization", attrs, &inputs, 1);
    };
    for input in inputs.iter_mut().flatten() {
        *input = cast_value(call, *input, DType::F64)?;
    }
    let y = call.emit1("BatchNormalization", attrs, &inputs)?;
    Ok(vec![cast_value(call, y, dtype)?])
}

/// Dropout from version 12 on: in training unless the mode is the constant false.
pub fn dropout_12(call: &mut Call<'_, '_>) -> Outputs {
    let seed = call.int("seed")?;
    if let Some(mode) = call.optional(2) {
        let off = call.constant_of(mode).is_some_and(|c| c.bytes().iter().all(|&b| b == 0));
        let ratio = call.optional(1);
        let no_ratio =
            ratio.and_then(|r| call.constant_of(r)).is_some_and(|c| c.bytes().iter().all(|&b| b == 0));
        if !off && !no_ratio {
            call.rest()?;
            return fusions::training_dropout(call, seed);
        }
    }
    dropout_7(call)
}

/// Dropout at inference: the input. The mask, where it is used, is all true (all one in version 7).
pub fn dropout_7(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    call.float("ratio")?;
    call.rest()?;
    let y = call.emit1("Identity", Attrs::new(), &[Some(x)])?;
    if !call.has_output(1) {
        return Ok(vec![y]);
    }
    let shape = call.emit1("Shape", Attrs::new(), &[Some(x)])?;
    let one = match call.version() {
        7 => call.scalar_like(1.0, x)?,
        _ => call.constant(&Tensor::from_bools(&[], &[true])),
    };
    let mask = call.emit1("Expand", Attrs::new(), &[Some(one), Some(shape)])?;
    Ok(vec![y, mask])
}

/// GroupNormalization 18: scale and bias have an element for each group; later for each channel.
pub fn group_normalization_18(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let groups = call.required_int("num_groups")?;
    let channels = call.ty(x).and_then(|ty| ty.shape.get(1)).and_then(DimExpr::as_const);
    let each = match channels {
        Some(channels) if groups > 0 && channels % groups == 0 => channels / groups,
        Some(channels) => {
            return Err(call.attribute_error("num_groups", format!("{groups} does not divide {channels}")));
        }
        None => return Err(call.unsupported("the number of channels is not known")),
    };
    let mut inputs = vec![Some(x)];
    for index in [1, 2] {
        let per_group = call.input(index)?;
        let column = call.constant_ints(&[groups, 1]);
        let table = call.constant_ints(&[groups, each]);
        let flat = call.constant_ints(&[-1]);
        let value = call.emit1("Reshape", Attrs::new(), &[Some(per_group), Some(column)])?;
        let value = call.emit1("Expand", Attrs::new(), &[Some(value), Some(table)])?;
        inputs.push(Some(call.emit1("Reshape", Attrs::new(), &[Some(value), Some(flat)])?));
    }
    let attrs = call.rest()?.with_int("num_groups", groups);
    call.emit("GroupNormalization", attrs, &inputs, 1)
}
