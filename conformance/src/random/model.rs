//! A drawn graph as an ONNX model.

use prost::Message;
use repops::Tensor;
use repops::attrs::AttrValue;
use repops_compiler::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value as Extent, type_proto,
};

use super::{Graph, Known, Node, Origin};

/// The name of a value.
pub fn name(at: usize) -> String {
    format!("v{at}")
}

/// The values that nodes give and none reads.
pub fn outputs(graph: &Graph) -> Vec<usize> {
    let is_output = |known: &&(usize, &Known)| known.1.origin == Origin::Node && !known.1.is_read;
    graph.values.iter().enumerate().filter(|known| is_output(&known)).map(|(at, _)| at).collect()
}

/// A tensor as ONNX stores it.
pub fn tensor(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(i32::from(tensor.dtype().code())),
        dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
        raw_data: Some(tensor.bytes().to_vec().into()),
        ..Default::default()
    }
}

pub fn encode(graph: &Graph) -> Vec<u8> {
    let of = |wanted: fn(Origin) -> bool| {
        let values = graph.values.iter().enumerate();
        values.filter(move |(_, known)| wanted(known.origin))
    };
    let body = GraphProto {
        name: Some("drawn".to_string()),
        node: graph.nodes.iter().enumerate().map(|(at, node)| proto(at, node)).collect(),
        initializer: of(|origin| origin == Origin::Constant)
            .map(|(at, known)| tensor(&name(at), &known.tensor))
            .collect(),
        input: of(|origin| matches!(origin, Origin::Input { .. }))
            .map(|(at, known)| declaration(at, known))
            .collect(),
        output: outputs(graph)
            .into_iter()
            .map(|at| ValueInfoProto { name: Some(name(at)), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let import = OperatorSetIdProto { domain: None, version: Some(graph.opset) };
    // Of ONNX 1.13 and later: enough for every opset, as no feature of the format's own is used.
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![import],
        graph: Some(body),
        ..Default::default()
    };
    model.encode_to_vec()
}

fn declaration(at: usize, known: &Known) -> ValueInfoProto {
    let symbolic = known.origin == Origin::Input { symbolic: true };
    let dim = |(axis, &extent): (usize, &usize)| Dimension {
        value: Some(match symbolic {
            true => Extent::DimParam(format!("n{at}_{axis}")),
            false => Extent::DimValue(extent as i64),
        }),
        denotation: None,
    };
    let shape = TensorShapeProto { dim: known.tensor.shape().iter().enumerate().map(dim).collect() };
    let elem_type = Some(i32::from(known.tensor.dtype().code()));
    let ty = type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape: Some(shape) });
    let ty = TypeProto { value: Some(ty), denotation: None };
    ValueInfoProto { name: Some(name(at)), r#type: Some(ty), ..Default::default() }
}

fn proto(at: usize, node: &Node) -> NodeProto {
    NodeProto {
        name: Some(format!("n{at}")),
        op_type: Some(node.def.name.to_string()),
        input: node.inputs.iter().map(|input| input.map(name).unwrap_or_default()).collect(),
        output: node.outputs.iter().map(|&output| name(output)).collect(),
        attribute: node.attrs.iter().map(|(name, value)| attribute(name, value)).collect(),
        ..Default::default()
    }
}

fn attribute(name: &str, value: &AttrValue) -> AttributeProto {
    let text = |text: &String| text.clone().into_bytes().into();
    let mut out = AttributeProto { name: Some(name.to_string()), ..Default::default() };
    let kind = match value {
        AttrValue::Int(v) => {
            out.i = Some(*v);
            AttributeType::Int
        }
        AttrValue::Float(v) => {
            out.f = Some(*v);
            AttributeType::Float
        }
        AttrValue::Str(v) => {
            out.s = Some(text(v));
            AttributeType::String
        }
        AttrValue::Ints(v) => {
            out.ints = v.clone();
            AttributeType::Ints
        }
        AttrValue::Floats(v) => {
            out.floats = v.clone();
            AttributeType::Floats
        }
        AttrValue::Strs(v) => {
            out.strings = v.iter().map(text).collect();
            AttributeType::Strings
        }
    };
    out.r#type = Some(kind as i32);
    out
}
