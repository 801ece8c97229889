//! Small models, written in Rust with the generated messages.

use repops_compiler::graph::Graph;
use repops_compiler::onnx::proto::*;
use repops_compiler::onnx::{ImportError, import};

use prost::Message;

pub const F32: i32 = 1;
pub const I64: i32 = 7;

/// A model with one graph and an opset of ai.onnx.
pub fn model(opset: i64, graph: GraphProto) -> ModelProto {
    let import = OperatorSetIdProto { domain: None, version: Some(opset) };
    ModelProto { ir_version: Some(8), opset_import: vec![import], graph: Some(graph), ..Default::default() }
}

/// A graph of nodes from inputs (name, type, shape) to outputs.
pub fn graph(inputs: &[(&str, i32, &[&str])], nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: Some("g".to_string()),
        input: inputs.iter().map(|(name, dtype, shape)| value(name, *dtype, shape)).collect(),
        node: nodes,
        output: outputs
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.to_string()), ..Default::default() })
            .collect(),
        ..Default::default()
    }
}

/// A tensor's declaration. Dimensions that are numbers are extents, others names.
pub fn value(name: &str, dtype: i32, shape: &[&str]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |text: &&str| {
        let value = match text.parse::<i64>() {
            Ok(value) => Value::DimValue(value),
            Err(_) => Value::DimParam(text.to_string()),
        };
        Dimension { value: Some(value), denotation: None }
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(dtype), shape: Some(shape) };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_string()), r#type: Some(ty), ..Default::default() }
}

pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.to_string()),
        name: Some(format!("{op_type}_node")),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        attribute: attributes,
        ..Default::default()
    }
}

fn attribute(name: &str, kind: attribute_proto::AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_string()), r#type: Some(kind as i32), ..Default::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_proto::AttributeType::Int) }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, attribute_proto::AttributeType::Ints) }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, attribute_proto::AttributeType::Float) }
}

pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, attribute_proto::AttributeType::Floats) }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec().into());
    AttributeProto { s, ..attribute(name, attribute_proto::AttributeType::String) }
}

pub fn tensor_attribute(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, attribute_proto::AttributeType::Tensor) }
}

pub fn graph_attribute(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(value), ..attribute(name, attribute_proto::AttributeType::Graph) }
}

/// A tensor whose elements are raw bytes.
pub fn raw(name: &str, dtype: i32, dims: &[i64], data: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(dtype),
        dims: dims.to_vec(),
        raw_data: Some(data.to_vec().into()),
        ..Default::default()
    }
}

pub fn raw_ints(name: &str, values: &[i64]) -> TensorProto {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    raw(name, I64, &[values.len() as i64], &data)
}

/// Encodes and imports.
pub fn import_model(model: &ModelProto) -> Result<Graph, ImportError> {
    import("model.onnx", model.encode_to_vec().into(), None)
}

/// The graph's text.
pub fn text(model: &ModelProto) -> String {
    match import_model(model) {
        Ok(graph) => graph.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// A function of domain `local`, at opset 17.
pub fn function(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> FunctionProto {
    let import = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_string()),
        version: Some(version),
    };
    FunctionProto {
        name: Some(name.to_string()),
        domain: Some("local".to_string()),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        node: nodes,
        opset_import: vec![import("", 17), import("local", 1)],
        ..Default::default()
    }
}
