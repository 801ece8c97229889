//! Sequences, optional values and tables of labels.

use std::collections::BTreeSet;

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::packed::Strings;

use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

/// Optional, all versions: the attribute `type` says what could be there; the value itself says what is.
pub fn optional(call: &mut Call<'_, '_>) -> Outputs {
    call.ignore("type");
    super::same(call)
}

/// SequenceMap: a Loop over the positions of the first input. Inputs that are sequences give their value at the
/// position, the others are handed over as they are.
pub fn sequence_map(call: &mut Call<'_, '_>) -> Outputs {
    let first = call.input(0)?;
    let mut inputs = Vec::new();
    for input in call.inputs().into_iter().flatten() {
        match call.dtype(input) {
            Some(dtype) => inputs.push((input, dtype == DType::Packed)),
            None => return Err(call.unsupported("whether an input is a sequence is not known")),
        }
    }
    let body = call.graph("body")?;
    call.rest()?;
    let outputs = body.output.len();
    let count = call.emit1("SequenceLength", Attrs::new(), &[Some(first)])?;
    let go_on = call.constant(&Tensor::from_bools(&[], &[true]));
    let empty = call.emit1("SequenceEmpty", Attrs::new(), &[])?;
    let block = call.block_of(outputs + 2, |call, parameters| {
        let (position, go_on, carried) = (parameters[0], parameters[1], &parameters[2..]);
        let mut args = Vec::new();
        for (input, is_sequence) in inputs {
            args.push(match is_sequence {
                true => call.emit1("SequenceAt", Attrs::new(), &[Some(input), Some(position)])?,
                false => input,
            });
        }
        let mut results = vec![go_on];
        for (value, sequence) in call.inline(body, &args)?.into_iter().zip(carried) {
            results.push(call.emit1("SequenceInsert", Attrs::new(), &[Some(*sequence), Some(value)])?);
        }
        Ok(results)
    })?;
    let mut operands = vec![Some(count), Some(go_on)];
    operands.resize(outputs + 2, Some(empty));
    call.emit_with_blocks("Loop", Attrs::new(), &operands, outputs, vec![block])
}

/// LabelEncoder 2 and 4 of ai.onnx.ml: keys, values and default are attributes of any type.
pub fn label_encoder(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let (keys, _) = table(call, "keys")?;
    let (values, default) = table(call, "values")?;
    let default = match (call.tensor("default_tensor")?, default) {
        (Some(tensor), _) => call.constant_proto(&tensor)?,
        (None, Some(default)) => default,
        (None, None) => return Err(call.attribute_error("default_tensor", "is missing")),
    };
    for other in ["default_float", "default_int64", "default_string"] {
        call.ignore(other);
    }
    call.rest()?;
    call.emit("LabelEncoder", Attrs::new(), &[Some(x), Some(keys), Some(values), Some(default)], 1)
}

/// One side of the table, and the default of its type.
fn table(call: &mut Call<'_, '_>, side: &str) -> Result<(ValueId, Option<ValueId>), ImportError> {
    if let Some(tensor) = call.tensor(&format!("{side}_tensor"))? {
        return Ok((call.constant_proto(&tensor)?, None));
    }
    if let Some(values) = call.ints(&format!("{side}_int64s"))? {
        let default = if side == "values" { call.int("default_int64")?.unwrap_or(-1) } else { 0 };
        return Ok((call.constant_ints(&values), Some(call.constant_ints(&[default]))));
    }
    if let Some(values) = call.floats(&format!("{side}_floats"))? {
        let default = if side == "values" { call.float("default_float")?.unwrap_or(-0.0) } else { 0.0 };
        return Ok((
            call.constant_floats(&[values.len()], &values),
            Some(call.constant_floats(&[1], &[default])),
        ));
    }
    if let Some(values) = call.strings(&format!("{side}_strings"))? {
        let given = if side == "values" { call.string("default_string")? } else { None };
        let default = given.unwrap_or_else(|| "_Unused".to_string());
        let constant = |call: &mut Call<'_, '_>, values: Vec<String>| {
            call.constant(&Strings::new(&[values.len()], values).into_tensor())
        };
        return Ok((constant(call, values), Some(constant(call, vec![default]))));
    }
    Err(call.attribute_error(side, "is missing"))
}

/// TfIdfVectorizer: strings of the pool become numbers, and those of the input the same ones, or -1, which is in no n-gram.
pub fn tf_idf_vectorizer(call: &mut Call<'_, '_>) -> Outputs {
    let Some(pool) = call.strings("pool_strings")?.filter(|pool| !pool.is_empty()) else {
        return super::same(call);
    };
    let x = call.input(0)?;
    let words: Vec<String> = pool.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let number = |word: &String| words.binary_search(word).map_or(-1, |at| at as i64);
    let pool: Vec<i64> = pool.iter().map(number).collect();
    let numbers: Vec<i64> = (0..words.len() as i64).collect();
    let (values, unknown) = (call.constant_ints(&numbers), call.constant_ints(&[-1]));
    let keys = call.constant(&Strings::new(&[words.len()], words).into_tensor());
    let inputs = [x, keys, values, unknown].map(Some);
    let numbered = call.emit1("LabelEncoder", Attrs::new(), &inputs)?;
    let attrs = call.rest()?.with_ints("pool_int64s", &pool);
    call.emit("TfIdfVectorizer", attrs, &[Some(numbered)], 1)
}
