//! Constant and ConstantOfShape: values that the model spells out become constants of the graph.

use repops::Tensor;
use repops::packed::Strings;

use crate::onnx::call::{Call, Outputs};

/// Constant, all versions: `value`, from version 11 on `sparse_value`, and from version 12 on `value_int`, `value_floats` and so on.
pub fn constant(call: &mut Call<'_, '_>) -> Outputs {
    const FORMS: [&str; 8] = [
        "value",
        "sparse_value",
        "value_int",
        "value_ints",
        "value_float",
        "value_floats",
        "value_string",
        "value_strings",
    ];
    let given: Vec<&str> = FORMS.into_iter().filter(|name| call.has_attribute(name)).collect();
    let [form] = given.as_slice() else {
        return Err(call.unsupported(format!("has {} values; one is needed", given.len())));
    };
    let value = match *form {
        "value" => {
            let tensor = call.tensor("value")?;
            let tensor = tensor.ok_or_else(|| call.attribute_error("value", "holds no tensor"))?;
            call.constant_proto(&tensor)?
        }
        "sparse_value" => {
            let tensor = call.sparse_tensor("sparse_value")?;
            let tensor = tensor.ok_or_else(|| call.attribute_error("sparse_value", "holds no tensor"))?;
            call.constant_sparse(&tensor)?
        }
        "value_int" => {
            let value = call.int("value_int")?.unwrap_or(0);
            call.constant(&Tensor::scalar(value))
        }
        "value_ints" => {
            let values = call.ints("value_ints")?.unwrap_or_default();
            call.constant_ints(&values)
        }
        "value_float" => {
            let value = call.float("value_float")?.unwrap_or(0.0);
            call.constant_floats(&[], &[value])
        }
        "value_string" => {
            let text = call.string("value_string")?.unwrap_or_default();
            call.constant(&Strings::new(&[], [text]).into_tensor())
        }
        "value_strings" => {
            let texts = call.strings("value_strings")?.unwrap_or_default();
            call.constant(&Strings::new(&[texts.len()], texts).into_tensor())
        }
        _ => {
            let values = call.floats("value_floats")?.unwrap_or_default();
            call.constant_floats(&[values.len()], &values)
        }
    };
    call.rest()?;
    Ok(vec![value])
}

/// ConstantOfShape, all versions: the attribute `value` becomes an input.
pub fn constant_of_shape(call: &mut Call<'_, '_>) -> Outputs {
    let shape = call.input(0)?;
    let value = match call.tensor("value")? {
        Some(tensor) => Some(call.constant_proto(&tensor)?),
        None => None,
    };
    let attrs = call.rest()?;
    call.emit("ConstantOfShape", attrs, &[Some(shape), value], 1)
}
