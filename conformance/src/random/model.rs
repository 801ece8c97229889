//! A drawn graph as an ONNX model.

use prost::Message;
use repops::Tensor;
use repops::attrs::AttrValue;
use repops::ops::{OpDef, Presence};
use repops::packed::Value;
use repops_compiler::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value as Extent, type_proto,
};

use super::{Body, Graph, Known, Node, Origin, fitted};

/// ONNX's number of the type of strings.
const STRING: i32 = 8;

/// The name of a value.
pub fn name(at: usize) -> String {
    format!("v{at}")
}

/// The values that nodes give and none reads.
pub fn outputs(graph: &Graph) -> Vec<usize> {
    let is_output = |known: &&(usize, &Known)| known.1.origin == Origin::Node && !known.1.is_read;
    graph.values.iter().enumerate().filter(|known| is_output(&known)).map(|(at, _)| at).collect()
}

/// The values that nodes give.
pub fn node_values(graph: &Graph) -> Vec<usize> {
    let values = graph.values.iter().enumerate();
    values.filter(|(_, known)| known.origin == Origin::Node).map(|(at, _)| at).collect()
}

/// A tensor as ONNX stores it, if it is one: of numbers or strings.
pub fn tensor(name: &str, tensor: &Tensor) -> Option<TensorProto> {
    let dims = |shape: &[usize]| shape.iter().map(|&extent| extent as i64).collect();
    let name = Some(name.to_string());
    match Value::of(tensor).ok()? {
        Value::Tensor(tensor) => Some(TensorProto {
            name,
            data_type: Some(i32::from(tensor.dtype().code())),
            dims: dims(tensor.shape()),
            raw_data: Some(tensor.bytes().to_vec().into()),
            ..Default::default()
        }),
        Value::Strings(strings) => Some(TensorProto {
            name,
            data_type: Some(STRING),
            dims: dims(&strings.shape),
            string_data: strings.values.into_iter().map(|text| text.into_bytes().into()).collect(),
            ..Default::default()
        }),
        _ => None,
    }
}

/// The model with these values as outputs.
pub fn encode(graph: &Graph, outputs: &[usize]) -> Vec<u8> {
    let of = |wanted: fn(Origin) -> bool| {
        let values = graph.values.iter().enumerate();
        values.filter(move |(_, known)| wanted(known.origin))
    };
    let body = GraphProto {
        name: Some("drawn".to_string()),
        node: protos(graph, &graph.nodes),
        initializer: of(|origin| origin == Origin::Constant)
            .filter_map(|(at, known)| tensor(&name(at), &known.tensor))
            .collect(),
        input: of(|origin| matches!(origin, Origin::Input { .. }))
            .map(|(at, known)| declaration(at, known))
            .collect(),
        output: outputs
            .iter()
            .map(|&at| ValueInfoProto { name: Some(name(at)), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let import = |domain: Option<&str>, version| OperatorSetIdProto {
        domain: domain.map(str::to_string),
        version: Some(version),
    };
    let mut imports = vec![import(None, graph.opset)];
    if has_other_domain(&graph.nodes) {
        imports.push(import(Some(fitted::ML), fitted::ML_VERSION));
    }
    // Of ONNX 1.13 and later: enough for every opset, as no feature of the format's own is used.
    let model =
        ModelProto { ir_version: Some(8), opset_import: imports, graph: Some(body), ..Default::default() };
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
    let (elem_type, extents) = match Value::of(&known.tensor) {
        Ok(Value::Strings(strings)) => (STRING, strings.shape),
        _ => (i32::from(known.tensor.dtype().code()), known.tensor.shape().to_vec()),
    };
    let shape = TensorShapeProto { dim: extents.iter().enumerate().map(dim).collect() };
    typed(at, elem_type, Some(shape))
}

fn typed(at: usize, elem_type: i32, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    let ty = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(elem_type), shape });
    let ty = TypeProto { value: Some(ty), denotation: None };
    ValueInfoProto { name: Some(name(at)), r#type: Some(ty), ..Default::default() }
}

fn protos(graph: &Graph, nodes: &[Node]) -> Vec<NodeProto> {
    nodes.iter().map(|node| proto(graph, node)).collect()
}

fn proto(graph: &Graph, node: &Node) -> NodeProto {
    let mut inputs: Vec<String> =
        node.inputs.iter().map(|input| input.map(name).unwrap_or_default()).collect();
    let mut attributes: Vec<AttributeProto> = node
        .attrs
        .iter()
        .filter(|(name, value)| *name != "stream" && !is_default(node.def, name, value))
        .map(|(name, value)| attribute(name, value))
        .collect();
    if node.def.name == "ConstantOfShape" {
        inputs.truncate(1);
        let value = node.inputs.get(1).copied().flatten();
        attributes.extend(value.and_then(|at| tensor_attribute("value", &graph.values[at].tensor)));
    }
    let (domain, op_type) = fitted::in_onnx(node.def);
    match node.def.name {
        "CastToString" => attributes.push(attribute("to", &AttrValue::Int(i64::from(STRING)))),
        // Constants that are attributes in ONNX.
        "LabelEncoder" | "TreeEnsemble" => {
            let names = match node.def.name {
                "LabelEncoder" => ["keys_tensor", "values_tensor", "default_tensor"].as_slice(),
                _ => &["nodes_splits", "leaf_weights"],
            };
            let constants = node.inputs[1..].iter().flatten().map(|&at| &graph.values[at].tensor);
            attributes.extend(constants.zip(names).filter_map(|(t, name)| tensor_attribute(name, t)));
            inputs.truncate(1);
        }
        _ => {}
    }
    if let Some(modes) = node.attrs.opt_ints("nodes_modes") {
        let modes: Vec<u8> = modes.iter().map(|&mode| mode as u8).collect();
        attributes.retain(|attribute| attribute.name() != "nodes_modes");
        attributes.extend(tensor_attribute("nodes_modes", &Tensor::from_slice(&[modes.len()], &modes)));
    }
    attributes.extend(node.blocks.iter().map(|body| AttributeProto {
        name: Some(body.name.to_string()),
        g: Some(block(graph, body)),
        r#type: Some(AttributeType::Graph as i32),
        ..Default::default()
    }));
    NodeProto {
        name: Some(format!("n{}", node.outputs[0])),
        op_type: Some(op_type.to_string()),
        domain: Some(domain.to_string()).filter(|domain| !domain.is_empty()),
        input: inputs,
        output: node.outputs.iter().map(|&output| name(output)).collect(),
        attribute: attributes,
        ..Default::default()
    }
}

fn tensor_attribute(name: &str, value: &Tensor) -> Option<AttributeProto> {
    Some(AttributeProto {
        name: Some(name.to_string()),
        t: Some(tensor(name, value)?),
        r#type: Some(AttributeType::Tensor as i32),
        ..Default::default()
    })
}

fn has_other_domain(nodes: &[Node]) -> bool {
    let is_other = |node: &Node| {
        !fitted::in_onnx(node.def).0.is_empty()
            || node.blocks.iter().any(|body| has_other_domain(&body.nodes))
    };
    nodes.iter().any(is_other)
}

/// What a model need not say. Rows have attributes that older versions of ONNX's operators have not.
fn is_default(def: &OpDef, name: &str, value: &AttrValue) -> bool {
    let declared = def.attrs.iter().find(|declared| declared.name == name);
    declared.is_some_and(
        |declared| matches!(&declared.presence, Presence::Default(default) if default() == *value),
    )
}

/// Parameters have their types; their shapes may be others in each iteration.
fn block(graph: &Graph, body: &Body) -> GraphProto {
    let parameter = |&at: &usize| typed(at, i32::from(graph.values[at].tensor.dtype().code()), None);
    GraphProto {
        name: Some(body.name.to_string()),
        node: protos(graph, &body.nodes),
        input: body.parameters.iter().map(parameter).collect(),
        output: body
            .results
            .iter()
            .map(|&at| ValueInfoProto { name: Some(name(at)), ..Default::default() })
            .collect(),
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
