//! Declared types: `TypeProto` -> [`SymType`].

use std::collections::BTreeSet;

use repops::DType;
use repops::dim::DimExpr;
use repops::ops::SymType;
use repops::tensor::{RANK_MAX, byte_len};

use super::proto::{TypeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use super::{ImportError, tensor};

/// Names of sizes that mean "unknown" where exporters write them.
const ANONYMOUS: [&str; 4] = ["", "?", "-1", "None"];

/// The named sizes of the model: those of its inputs, which are bound when a run starts.
#[derive(Default)]
pub struct Sizes(BTreeSet<String>);

/// Where a type is declared, which decides what its names of sizes mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An input of the model: names are sizes, also those not given.
    ModelInput,
    /// An output of the model, or a parameter of an inner block: names that no input has mean nothing.
    Elsewhere,
}

impl Sizes {
    /// Collects the names in the types of the model's inputs.
    pub fn of(inputs: &[ValueInfoProto]) -> Sizes {
        let dims = inputs.iter().filter_map(tensor_of).filter_map(|t| t.shape.as_ref()).flat_map(|s| &s.dim);
        let names = dims.filter_map(|d| match &d.value {
            Some(dimension::Value::DimParam(name)) if !ANONYMOUS.contains(&name.as_str()) => {
                Some(name.clone())
            }
            _ => None,
        });
        Sizes(names.collect())
    }

    /// The declared type, `None` where only the run can tell.
    pub fn symbolic(&mut self, info: &ValueInfoProto, place: Place) -> Result<Option<SymType>, ImportError> {
        let what = if place == Place::ModelInput { "input" } else { "value" };
        let wrong = |problem: String| ImportError::Value { what, name: info.name().to_string(), problem };
        let kind = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
            None if place == Place::Elsewhere => return Ok(None),
            None => return Err(wrong("has no type".to_string())),
            Some(type_proto::Value::TensorType(_)) => None,
            Some(type_proto::Value::SequenceType(_) | type_proto::Value::OptionalType(_)) => {
                return Ok(self.packed(info.name(), place));
            }
            Some(type_proto::Value::MapType(_)) => Some("a map"),
            Some(type_proto::Value::SparseTensorType(_)) => Some("a sparse tensor"),
            Some(type_proto::Value::OpaqueType(_)) => Some("opaque"),
        };
        if let Some(kind) = kind {
            return Err(wrong(format!("is {kind}; which is not supported")));
        }
        let Some(tensor) = tensor_of(info) else { return Ok(None) };
        let code = tensor.elem_type.unwrap_or(0);
        if code == 0 && place == Place::Elsewhere {
            return Ok(None);
        }
        if code == tensor::STRING {
            return Ok(self.packed(info.name(), place));
        }
        let dtype = tensor::dtype(code).map_err(|problem| wrong(problem.to_string()))?;
        let Some(shape) = &tensor.shape else { return Ok(None) };
        if shape.dim.len() > RANK_MAX {
            return Err(wrong(format!("has {} axes; at most {RANK_MAX} are allowed", shape.dim.len())));
        }
        let mut dims = Vec::with_capacity(shape.dim.len());
        for (axis, dim) in shape.dim.iter().enumerate() {
            dims.push(match &dim.value {
                Some(dimension::Value::DimValue(value)) if *value >= 0 => DimExpr::Const(*value),
                // Exporters write -1 for an unknown size.
                Some(dimension::Value::DimValue(value)) if *value < -1 => {
                    return Err(wrong(format!("dimension {axis} is {value}")));
                }
                Some(dimension::Value::DimParam(name)) if self.0.contains(name) => DimExpr::sym(name),
                _ if place == Place::Elsewhere => DimExpr::Opaque,
                _ => DimExpr::sym(&self.fresh(info.name(), axis)),
            });
        }
        let known: Vec<usize> = dims.iter().map(|d| d.as_extent().unwrap_or(1)).collect();
        byte_len(dtype, &known).map_err(|problem| wrong(problem.to_string()))?;
        Ok(Some(SymType::new(dtype, dims)))
    }

    /// The type of a packed value: of an input, a size with a name.
    fn packed(&mut self, name: &str, place: Place) -> Option<SymType> {
        let size = || DimExpr::sym(&self.fresh(name, 0));
        (place == Place::ModelInput).then(size).map(|size| SymType::new(DType::Packed, vec![size]))
    }

    /// A name for a size that has none: `input.axis`, with underscores appended until it is new.
    fn fresh(&mut self, input: &str, axis: usize) -> String {
        let mut name = format!("{input}.{axis}");
        while !self.0.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

fn tensor_of(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match info.r#type.as_ref().and_then(|TypeProto { value, .. }| value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
        _ => None,
    }
}
