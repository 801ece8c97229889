//! Operators that move elements: what newer versions have as inputs, older ones had as attributes.

use crate::graph::ValueId;
use crate::onnx::call::{Call, Outputs};

/// Squeeze and Unsqueeze before version 13: the axes are an attribute.
pub fn axes_attribute(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let axes = call.ints("axes")?.map(|axes| call.constant_ints(&axes));
    let (op, attrs) = (call.op_type(), call.rest()?);
    call.emit(op, attrs, &[Some(x), axes], 1)
}

/// Slice 1: starts, ends and axes are attributes; steps are 1.
pub fn slice_1(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let mut inputs = vec![Some(x)];
    for name in ["starts", "ends"] {
        let values = call.required_ints(name)?;
        inputs.push(Some(call.constant_ints(&values)));
    }
    inputs.push(call.ints("axes")?.map(|axes| call.constant_ints(&axes)));
    let attrs = call.rest()?;
    call.emit("Slice", attrs, &inputs, 1)
}

/// Pad 2: pads and value are attributes.
pub fn pad_2(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let pads = call.required_ints("pads")?;
    let pads = call.constant_ints(&pads);
    let value = match call.float("value")? {
        Some(value) if value.to_bits() != 0 => Some(call.scalar_like(value, x)?),
        _ => None,
    };
    let attrs = call.rest()?;
    call.emit("Pad", attrs, &[Some(x), Some(pads), value], 1)
}

/// Split 2 and 11: the lengths are an attribute.
pub fn split_2(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let split = call.ints("split")?.map(|split| call.constant_ints(&split));
    split_into(call, x, split)
}

/// Split 13: lengths are an optional input; without them the parts are equal.
pub fn split_13(call: &mut Call<'_, '_>) -> Outputs {
    let (x, split) = (call.input(0)?, call.optional(1));
    split_into(call, x, split)
}

fn split_into(call: &mut Call<'_, '_>, x: ValueId, split: Option<ValueId>) -> Outputs {
    // All outputs count here, also those at the end that nothing uses.
    let outputs = call.declared_outputs();
    let mut attrs = call.rest()?;
    if split.is_none() {
        attrs = attrs.with_int("num_outputs", outputs as i64);
    }
    call.emit("Split", attrs, &[Some(x), split], outputs)
}

/// Split 18.
pub fn split_18(call: &mut Call<'_, '_>) -> Outputs {
    let (attrs, inputs, outputs) = (call.rest()?, call.inputs(), call.declared_outputs());
    call.emit("Split", attrs, &inputs, outputs)
}

/// Concat, all versions. ONNX has no limit on the number of inputs; a step has.
pub fn concat(call: &mut Call<'_, '_>) -> Outputs {
    const MOST: usize = 4096;
    let (attrs, mut inputs) = (call.rest()?, call.inputs());
    while inputs.len() > MOST {
        let mut parts = Vec::with_capacity(inputs.len() / MOST + 1);
        for part in inputs.chunks(MOST) {
            parts.push(Some(call.emit1("Concat", attrs.clone(), part)?));
        }
        inputs = parts;
    }
    call.emit("Concat", attrs, &inputs, 1)
}
