//! Loops that never end and values that grow: the run ends with an error that names the node, where the caller says.

use std::sync::Arc;

use prost::Message;
use repops::exec::{ExecError, Executor, HashLevel, Limits, Observer};
use repops::ops::OpError;
use repops::reference::Reference;
use repops::{Program, Tensor};
use repops_compiler::onnx::proto::*;
use repops_compiler::{CompileOptions, compile, onnx};
use repops_runtime::{Runtime, RuntimeOptions};

struct Limited(Limits);

impl Observer for Limited {
    fn limits(&self) -> Limits {
        self.0
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_string()),
        name: Some(format!("the {op}")),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        attribute,
        ..Default::default()
    }
}

fn value(name: &str, elem_type: i32, extents: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(extent)),
        denotation: None,
    };
    let shape = Some(TensorShapeProto { dim: extents.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_string()), r#type: Some(ty), ..Default::default() }
}

fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_string()), ..Default::default() }
}

/// x is carried through a Loop of `trips` iterations; `body` makes `next` of `x_in`, and `slice` is collected.
fn looping(trips: i64, body: Vec<NodeProto>) -> Program {
    let mut nodes = vec![node("Identity", &["c_in"], &["c_out"], vec![])];
    nodes.extend(body);
    let body = GraphProto {
        name: Some("body".to_string()),
        node: nodes,
        input: vec![value("i", 7, &[]), value("c_in", 9, &[]), named("x_in")],
        output: vec![named("c_out"), named("next"), named("slice")],
        ..Default::default()
    };
    let body = AttributeProto {
        name: Some("body".to_string()),
        r#type: Some(attribute_proto::AttributeType::Graph as i32),
        g: Some(body),
        ..Default::default()
    };
    let count = TensorProto {
        name: Some("m".to_string()),
        data_type: Some(7),
        raw_data: Some(trips.to_le_bytes().to_vec().into()),
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("g".to_string()),
        node: vec![node("Loop", &["m", "", "x"], &["y", "slices"], vec![body])],
        input: vec![value("x", 1, &[64])],
        output: vec![named("y"), named("slices")],
        initializer: vec![count],
        ..Default::default()
    };
    let import = OperatorSetIdProto { domain: None, version: Some(17) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![import],
        graph: Some(graph),
        ..Default::default()
    };
    let graph = onnx::import("m", model.encode_to_vec().into(), None).unwrap();
    let program = compile(graph, &CompileOptions::default(), &mut |_, _| ()).unwrap();
    let mut file = Vec::new();
    program.write(&mut file).unwrap();
    Program::decode(Arc::new(file)).unwrap()
}

/// What a run within limits ends in, by the reference and by kernels.
fn both(program: &Program, limits: Limits) -> [Result<Vec<Tensor>, (String, OpError)>; 2] {
    let runtime = Runtime::new(RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).unwrap();
    let x = Tensor::from_slice(&[64], &[1.0f32; 64]);
    let executors: [&dyn Executor; 2] = [&Reference, &runtime];
    executors.map(|executor| {
        let inputs = std::slice::from_ref(&x);
        match executor.execute(program, inputs, HashLevel::None, &mut Limited(limits)) {
            Ok(execution) => Ok(execution.result.map_err(|at| at.fault).unwrap()),
            Err(ExecError::Step { node, error, .. }) => Err((node, error)),
            Err(other) => panic!("{other}"),
        }
    })
}

/// What both end in.
fn ended(program: &Program, limits: Limits) -> Result<Vec<Tensor>, (String, OpError)> {
    let [reference, kernels] = both(program, limits);
    assert_eq!(reference, kernels);
    kernels
}

fn same_size() -> Vec<NodeProto> {
    vec![node("Neg", &["x_in"], &["next"], vec![]), node("Abs", &["x_in"], &["slice"], vec![])]
}

const BYTES: u64 = 1 << 20;

#[test]
fn iterations_are_limited() {
    let endless = looping(i64::MAX, same_size());
    let limits = Limits { iterations: 100, ..Limits::default() };
    let (node, error) = ended(&endless, limits).unwrap_err();
    assert_eq!((node.as_str(), error), ("the Loop", OpError::Limit { what: "iterations", limit: 100 }));
    let outputs = ended(&looping(100, same_size()), limits).unwrap();
    assert_eq!(outputs[1].shape(), [100, 64]);
}

#[test]
fn collected_slices_are_limited() {
    let limits = Limits { bytes: BYTES, ..Limits::default() };
    for found in both(&looping(i64::MAX, same_size()), limits) {
        // By whichever the limit is passed: the Loop that keeps slices, or an operator in it that wants room.
        let (node, error) = found.unwrap_err();
        assert!(["the Loop", "the Neg", "the Abs", "the Identity"].contains(&node.as_str()), "{node}");
        assert_eq!(error, OpError::Limit { what: "bytes", limit: BYTES });
    }
    assert!(ended(&looping(100, same_size()), limits).is_ok());
}

#[test]
fn values_that_grow_are_limited() {
    // Twice as long in each iteration.
    let concat = AttributeProto {
        name: Some("axis".to_string()),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        i: Some(0),
        ..Default::default()
    };
    let body = vec![
        node("Concat", &["x_in", "x_in"], &["next"], vec![concat]),
        node("Identity", &["i"], &["slice"], vec![]),
    ];
    let limits = Limits { bytes: BYTES, ..Limits::default() };
    let (node, error) = ended(&looping(i64::MAX, body), limits).unwrap_err();
    assert_eq!((node.as_str(), error), ("the Concat", OpError::Limit { what: "bytes", limit: BYTES }));
}
