//! Models of many nodes and of large weights: what compiling them takes grows as they do, and weights stay in their files.
//!
//! Nothing here asserts a time. Work is counted in bytes that Rust's heap gave out and in steps; `--ignored` prints how long
//! graphs of every form take (`cargo xtask slow`, in release).

use std::alloc::System;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cap::Cap;
use prost::Message;
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::{Program, Tensor};
use repops_compiler::onnx::proto::attribute_proto::AttributeType;
use repops_compiler::onnx::proto::*;
use repops_compiler::{CompileOptions, compile, compile_file, onnx};
use repops_runtime::{Runtime, RuntimeOptions};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// One test at a time: they count what the program allocates.
static ALONE: Mutex<()> = Mutex::new(());

const F32: i32 = 1;
const I64: i32 = 7;
const BOOL: i32 = 9;

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_string()),
        name: Some(format!("node {output}")),
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.to_string()],
        ..Default::default()
    }
}

fn value(name: &str, elem_type: i32, extents: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| tensor_shape_proto::Dimension {
        value: Some(match extent {
            0.. => tensor_shape_proto::dimension::Value::DimValue(extent),
            _ => tensor_shape_proto::dimension::Value::DimParam(format!("N{extent}")),
        }),
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

fn weight(name: &str, dims: &[i64], data: Vec<u8>, data_type: i32) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        raw_data: Some(data.into()),
        ..Default::default()
    }
}

/// A graph that grows node by node from the input `x`; the last value is its output.
struct Growing {
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    last: String,
}

impl Growing {
    fn new() -> Growing {
        let int = |name, dims: &[i64], value: i64| weight(name, dims, value.to_le_bytes().to_vec(), I64);
        let weights = vec![int("zero", &[], 0), int("first", &[1], 0), int("rest", &[1], -1)];
        Growing { nodes: Vec::new(), weights, last: "x".to_string() }
    }

    fn push(&mut self, op: &str, inputs: &[&str]) -> String {
        self.last = format!("v{}", self.nodes.len());
        self.nodes.push(node(op, inputs, &self.last));
        self.last.clone()
    }

    fn model(self, extents: &[i64], functions: Vec<FunctionProto>) -> Vec<u8> {
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.to_string()),
            version: Some(version),
        };
        let graph = GraphProto {
            name: Some("large".to_string()),
            node: self.nodes,
            input: vec![value("x", F32, extents), value("c", BOOL, &[])],
            output: vec![named(&self.last)],
            initializer: self.weights,
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: Some(9),
            opset_import: vec![opset("", 18), opset("local", 1)],
            graph: Some(graph),
            functions,
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

/// Products with weights of their own, sums with a value far above, and functions of rows.
fn deep(nodes: usize) -> Vec<u8> {
    let mut graph = Growing::new();
    for at in 0..nodes {
        let last = graph.last.clone();
        match at % 4 {
            0 => {
                let data = (0..16u16).flat_map(|i| f32::from(i).to_le_bytes()).collect();
                let name = format!("w{at}");
                graph.weights.push(weight(&name, &[4, 4], data, F32));
                graph.push("MatMul", &[&last, &name]);
            }
            1 => {
                let far = graph.nodes[at / 2].output[0].clone();
                graph.push("Add", &[&last, &far]);
            }
            2 => drop(graph.push("Softmax", &[&last])),
            _ => drop(graph.push("Tanh", &[&last])),
        }
    }
    graph.model(&[2, 4], vec![])
}

/// One value that half of the nodes read, and the sum of what they make of it.
fn fan(nodes: usize) -> Vec<u8> {
    let mut graph = Growing::new();
    let read = graph.push("Tanh", &["x"]);
    let ends: Vec<String> =
        (0..nodes / 2).map(|at| graph.push(["Neg", "Abs", "Exp"][at % 3], &[&read])).collect();
    ends.iter().for_each(|end| {
        let last = graph.last.clone();
        graph.push("Add", &[&last, end]);
    });
    graph.model(&[2, 4], vec![])
}

/// What exporters write around each Reshape: sizes taken from shapes.
fn shapes(nodes: usize) -> Vec<u8> {
    let mut graph = Growing::new();
    while graph.nodes.len() < nodes {
        let last = graph.last.clone();
        let shape = graph.push("Shape", &[&last]);
        let size = graph.push("Gather", &[&shape, "zero"]);
        let size = graph.push("Unsqueeze", &[&size, "first"]);
        let sizes = graph.push("Concat", &[&size, "rest"]);
        let axis = AttributeProto {
            name: Some("axis".to_string()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(0),
            ..Default::default()
        };
        graph.nodes.last_mut().unwrap().attribute.push(axis);
        let turned = graph.push("Reshape", &[&last, &sizes]);
        graph.push("Relu", &[&turned]);
    }
    graph.model(&[-1, -2], vec![])
}

/// Conditions, each with two graphs of its own.
fn branches(nodes: usize) -> Vec<u8> {
    let mut graph = Growing::new();
    while graph.nodes.len() * 2 < nodes {
        let (last, at) = (graph.last.clone(), graph.nodes.len());
        let branch = |name: &str, op: &str| {
            let output = format!("{op}{at}");
            let graph = GraphProto {
                name: Some(name.to_string()),
                node: vec![node(op, &[&last], &output)],
                output: vec![named(&output)],
                ..Default::default()
            };
            AttributeProto {
                name: Some(name.to_string()),
                r#type: Some(AttributeType::Graph as i32),
                g: Some(graph),
                ..Default::default()
            }
        };
        let both = vec![branch("then_branch", "Neg"), branch("else_branch", "Abs")];
        let chosen = graph.push("If", &["c"]);
        graph.nodes.last_mut().unwrap().attribute = both;
        graph.push("Relu", &[&chosen]);
    }
    graph.model(&[-1, 4], vec![])
}

/// Calls of one function of the model.
fn calls(nodes: usize) -> Vec<u8> {
    let mut graph = Growing::new();
    for _ in 0..nodes / 3 {
        let last = graph.last.clone();
        graph.push("F", &[&last]);
        graph.nodes.last_mut().unwrap().domain = Some("local".to_string());
    }
    let import = OperatorSetIdProto { domain: None, version: Some(18) };
    let body = vec![node("Neg", &["a"], "t"), node("Softmax", &["t"], "u"), node("Add", &["a", "u"], "b")];
    let function = FunctionProto {
        name: Some("F".to_string()),
        domain: Some("local".to_string()),
        input: vec!["a".to_string()],
        output: vec!["b".to_string()],
        node: body,
        opset_import: vec![import],
        ..Default::default()
    };
    graph.model(&[-1, 4], vec![function])
}

type Form = (&'static str, fn(usize) -> Vec<u8>);
const FORMS: [Form; 5] =
    [("deep", deep), ("fan", fan), ("shapes", shapes), ("branches", branches), ("calls", calls)];

fn compiled(bytes: Vec<u8>) -> Program {
    let graph = onnx::import("m", bytes.into(), None).unwrap();
    compile(graph, &CompileOptions::default(), &mut |_, _| ()).unwrap()
}

#[test]
fn twice_the_nodes_take_twice_the_work() {
    let _alone = ALONE.lock().unwrap();
    for (name, form) in FORMS {
        let work = |nodes: usize| {
            let bytes = form(nodes);
            let before = ALLOCATOR.total_allocated();
            let program = compiled(bytes);
            assert!(program.blocks().iter().any(|block| !block.steps.is_empty()));
            ALLOCATOR.total_allocated() - before
        };
        let (half, whole) = (work(1_500), work(3_000));
        println!("{name}: {half} bytes allocated in all for 1,500 nodes, {whole} for 3,000");
        // A quadratic part that is a tenth of the whole at 1,500 nodes would make it 2.2.
        assert!(whole < half / 100 * 220, "{name}: {half} bytes for 1,500 nodes, {whole} for 3,000");
    }
}

#[test]
fn a_graph_of_ten_thousand_nodes_is_compiled() {
    let _alone = ALONE.lock().unwrap();
    let program = compiled(deep(10_000));
    assert!(program.main().steps.len() >= 5_000, "{program:?}");
}

/// How long graphs take that are twice and four times as large, for whoever reads it.
#[test]
#[ignore = "prints times"]
#[expect(clippy::disallowed_methods, reason = "says how long it took")]
fn seconds_by_nodes() {
    let _alone = ALONE.lock().unwrap();
    println!("{:<10}{:>10}{:>10}{:>10}  seconds from bytes to program", "", "5,000", "10,000", "20,000");
    for (name, form) in FORMS {
        let seconds = [5_000, 10_000, 20_000].map(|nodes| {
            let bytes = form(nodes);
            let started = std::time::Instant::now();
            drop(compiled(bytes));
            started.elapsed().as_secs_f64()
        });
        println!("{name:<10}{:>10.2}{:>10.2}{:>10.2}", seconds[0], seconds[1], seconds[2]);
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = Folder(std::env::temp_dir().join(format!("repops-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const COLUMNS: i64 = 1 << 10;

fn external(name: &str, rows: i64, offset: u64) -> TensorProto {
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_string()), value: Some(value) };
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(F32),
        dims: vec![rows, COLUMNS],
        data_location: Some(tensor_proto::DataLocation::External as i32),
        external_data: vec![entry("location", "weights".to_string()), entry("offset", offset.to_string())],
        ..Default::default()
    }
}

/// A model that adds rows of two tables, of which the second begins at `far` in the file of weights. All elements are zero but
/// one of the far table, in its row 7: a file with holes takes no room on the disk.
fn tables(folder: &Folder, rows: i64, far: u64) -> PathBuf {
    let bytes = (rows * COLUMNS * 4) as u64;
    let mut weights = File::create(folder.path("weights")).unwrap();
    weights.set_len(far + bytes).unwrap();
    weights.seek(SeekFrom::Start(far + 7 * 4 * COLUMNS as u64)).unwrap();
    weights.write_all(&2.5f32.to_le_bytes()).unwrap();
    let graph = GraphProto {
        name: Some("tables".to_string()),
        node: vec![
            node("Gather", &["near", "rows"], "a"),
            node("Gather", &["far", "rows"], "b"),
            node("Add", &["a", "b"], "y"),
        ],
        input: vec![value("rows", I64, &[3])],
        output: vec![named("y")],
        initializer: vec![external("near", rows, 0), external("far", rows, far)],
        ..Default::default()
    };
    let import = OperatorSetIdProto { domain: None, version: Some(17) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![import],
        graph: Some(graph),
        ..Default::default()
    };
    let path = folder.path("m.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// What compiling, writing, reading and running such a model may hold on the heap at once, beyond what was held before.
const HEAP: usize = 16 << 20;

/// An allocation beyond [`HEAP`] fails, and ends the test.
fn within_the_heap(rows: i64, far: u64) {
    let folder = Folder::new("scale");
    let model = tables(&folder, rows, far);
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + HEAP).unwrap();
    let program = compile_file(&model, &CompileOptions::default(), &mut |_, _| ()).unwrap();
    let file = folder.path("m.rep");
    program.write(&mut File::create(&file).unwrap()).unwrap();
    drop(program);
    let found = ran(&file, rows);
    ALLOCATOR.set_limit(usize::MAX).unwrap();
    let others = found.iter().enumerate().filter(|(_, v)| v.to_bits() != 0);
    assert_eq!(others.map(|(at, v)| (at, *v)).collect::<Vec<_>>(), [(2 * COLUMNS as usize, 2.5)]);
}

fn ran(file: &Path, rows: i64) -> Vec<f32> {
    let program = repops_runtime::load(file).unwrap();
    let runtime = Runtime::new(RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).unwrap();
    runtime.check_constants(&program).unwrap();
    let wanted = Tensor::from_slice(&[3], &[0i64, rows - 1, 7]);
    let run = runtime.execute(&program, &[wanted], HashLevel::Operators, &mut Unobserved).unwrap();
    let outputs = run.result.map_err(|at| at.fault).unwrap();
    assert_eq!(outputs[0].shape(), [3, COLUMNS as usize]);
    outputs[0].as_slice::<f32>().to_vec()
}

#[test]
fn weights_stay_in_their_file() {
    let _alone = ALONE.lock().unwrap();
    // Two tables of 32 MiB; the second lies past what 32 bits address.
    within_the_heap(8 << 10, 5 << 30);
}

#[test]
#[ignore = "writes a program of 2.5 GiB"]
fn weights_of_more_than_two_gigabytes_stay_in_their_file() {
    let _alone = ALONE.lock().unwrap();
    let rows = 320 << 10;
    within_the_heap(rows, (rows * COLUMNS * 4) as u64);
}
