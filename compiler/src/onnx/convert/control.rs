//! Control flow: the subgraphs become blocks of the node.

use repops::Tensor;
use repops::attrs::Attrs;

use crate::onnx::call::{Call, Outputs};

/// If, all versions: the blocks are then, else.
pub fn if_(call: &mut Call<'_, '_>) -> Outputs {
    let blocks = vec![call.block("then_branch")?, call.block("else_branch")?];
    let (attrs, inputs, outputs) = (call.rest()?, call.inputs(), call.outputs());
    for block in &blocks {
        if block.results.len() != outputs || !block.parameters.is_empty() {
            return Err(call.unsupported(format!(
                "has {outputs} outputs, a branch {} inputs and {} outputs",
                block.parameters.len(),
                block.results.len()
            )));
        }
    }
    call.emit_with_blocks("If", attrs, &inputs, outputs, blocks)
}

/// Loop, all versions: trip count and condition, then the carried values. A trip count that is left out
/// becomes the largest one, a condition that is left out becomes true.
pub fn loop_(call: &mut Call<'_, '_>) -> Outputs {
    let body = call.block("body")?;
    let (attrs, mut inputs) = (call.rest()?, call.inputs());
    inputs.resize(inputs.len().max(2), None);
    if inputs[0].is_none() {
        inputs[0] = Some(call.constant(&Tensor::scalar(i64::MAX)));
    }
    if inputs[1].is_none() {
        inputs[1] = Some(call.constant(&Tensor::from_bools(&[], &[true])));
    }
    let carried = inputs.len() - 2;
    if body.parameters.len() != carried + 2 || body.results.len() < carried + 1 {
        return Err(call.unsupported(format!(
            "carries {carried} values, its body has {} inputs and {} outputs",
            body.parameters.len(),
            body.results.len()
        )));
    }
    let outputs = body.results.len() - 1;
    if call.outputs() > outputs {
        return Err(call.unsupported(format!("has {} outputs, its body makes {outputs}", call.outputs())));
    }
    call.emit_with_blocks("Loop", attrs, &inputs, outputs, vec![body])
}

/// Scan 8: sequences of a batch, each scanned alone: a Scan over the batch whose body is the one of the newer form.
pub fn scan_8(call: &mut Call<'_, '_>) -> Outputs {
    if call.optional(0).is_some() {
        return Err(call.unsupported("sequence_lens"));
    }
    let inputs: Vec<_> = call.inputs().into_iter().skip(1).collect();
    let scanned = call.required_int("num_scan_inputs")?;
    let mut attrs = Attrs::new().with_int("num_scan_inputs", scanned);
    if let Some(directions) = call.ints("directions")? {
        attrs = attrs.with_ints("scan_input_directions", &directions);
    }
    let mut outputs = 0;
    let outer = call.block_of(inputs.len(), |call, parameters| {
        let body = call.block("body")?;
        if body.parameters.len() != parameters.len() {
            let (found, expected) = (body.parameters.len(), parameters.len());
            return Err(call.unsupported(format!("has {expected} inputs, its body {found}")));
        }
        outputs = body.results.len();
        let inputs: Vec<_> = parameters.iter().copied().map(Some).collect();
        call.emit_with_blocks("Scan", attrs, &inputs, outputs, vec![body])
    })?;
    call.rest()?;
    let attrs = Attrs::new().with_int("num_scan_inputs", inputs.len() as i64);
    call.emit_with_blocks("Scan", attrs, &inputs, outputs, vec![outer])
}

/// Scan from version 9 on. (Version 8 had a batch axis and sequence lengths.)
pub fn scan_9(call: &mut Call<'_, '_>) -> Outputs {
    let body = call.block("body")?;
    let (attrs, inputs) = (call.rest()?, call.inputs());
    if body.parameters.len() != inputs.len() || body.results.len() < call.outputs() {
        return Err(call.unsupported(format!(
            "has {} inputs and {} outputs, its body {} and {}",
            inputs.len(),
            call.outputs(),
            body.parameters.len(),
            body.results.len()
        )));
    }
    let outputs = body.results.len();
    call.emit_with_blocks("Scan", attrs, &inputs, outputs, vec![body])
}
