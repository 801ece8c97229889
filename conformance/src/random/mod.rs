//! Random small graphs from the operator table, and whether every executor computes the same bits for them.
//!
//! A graph grows node by node: a row of the table, operands among the values that there are, attributes drawn by their
//! kinds. What inference refuses is drawn again, so a graph is valid by construction, whatever its shapes. The operators' own
//! evaluation gives the values on the way; a graph never reads what is too large.
//!
//! Invariant: a seed and a [`Taste`] give one graph, on every machine.

mod control;
mod draw;
mod fitted;
mod model;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use repops::exec::{Execution, Executor, HashLevel, Unobserved};
use repops::ops::{self, OpDef};
use repops::reference::Reference;
use repops::{Program, Tensor};
use repops_compiler::onnx::{self, table};
use repops_compiler::{CompileOptions, compile};

use crate::suite::compare;
use crate::suite::interpret;

use draw::{Numbers, Pool};

/// What kind of graphs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taste {
    /// Of ai.onnx, which decides the operators that there are.
    pub opset: i64,
    /// Infinities, NaN, subnormal and large numbers too; without them what other runtimes compute can be compared.
    pub wild: bool,
}

/// A node of a graph. Values are numbered: inputs, constants and outputs of nodes as they were drawn.
pub(crate) struct Node {
    pub def: &'static OpDef,
    pub attrs: repops::attrs::Attrs,
    pub inputs: Vec<Option<usize>>,
    pub outputs: Vec<usize>,
    /// Of If, Loop and Scan.
    pub blocks: Vec<Body>,
}

/// A block, under the name of the attribute that holds it.
pub(crate) struct Body {
    pub name: &'static str,
    pub parameters: Vec<usize>,
    pub nodes: Vec<Node>,
    pub results: Vec<usize>,
}

/// A value, computed by the operators' evaluation.
pub(crate) struct Known {
    pub tensor: Tensor,
    pub origin: Origin,
    pub is_read: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Origin {
    /// A name of a size for each axis that is not declared by its extent.
    Input {
        symbolic: bool,
    },
    Constant,
    Node,
    /// A parameter of a block, or what a node in one gives.
    Inner,
}

/// A graph with inputs.
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) values: Vec<Known>,
    pub(crate) opset: i64,
}

/// Elements of one value at most.
const ELEMENTS_MAX: usize = 4096;
/// How often a node is drawn before the graph is as large as it gets.
const TRIES: usize = 400;

impl Graph {
    /// The graph of a seed.
    pub fn draw(seed: u64, taste: Taste) -> Graph {
        let mut numbers = Numbers::new(seed);
        let rows = rows(taste);
        let mut pool = Pool::new(&mut numbers, taste);
        let wanted = 2 + numbers.below(7);
        let mut nodes = Vec::new();
        for _ in 0..wanted {
            let drawn =
                (0..TRIES).find_map(|_| pool.node(rows[numbers.below(rows.len())], &rows, &mut numbers));
            nodes.extend(drawn);
        }
        Graph { nodes, values: pool.values, opset: taste.opset }
    }

    /// The names of its operators, in their order; of nodes with blocks first their own.
    pub fn operators(&self) -> Vec<&'static str> {
        fn add(nodes: &[Node], to: &mut Vec<&'static str>) {
            for node in nodes {
                to.push(node.def.name);
                node.blocks.iter().for_each(|block| add(&block.nodes, to));
            }
        }
        let mut out = Vec::new();
        add(&self.nodes, &mut out);
        out
    }

    /// The model, in the bytes of a file.
    pub fn to_onnx(&self) -> Vec<u8> {
        model::encode(self, &model::outputs(self))
    }

    /// The model with every value that a node gives as an output.
    fn to_onnx_with_all_values(&self) -> Vec<u8> {
        model::encode(self, &model::node_values(self))
    }

    /// Writes a case: the model with all values as outputs, its inputs, and the values but sequences and optional ones.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let data = folder.join("test_data_set_0");
        std::fs::create_dir_all(&data)?;
        std::fs::write(folder.join("model.onnx"), self.to_onnx_with_all_values())?;
        for (kind, values) in [("input", self.inputs()), ("output", self.node_values())] {
            for (index, (name, value)) in values.iter().enumerate() {
                if let Some(tensor) = model::tensor(name, value) {
                    std::fs::write(data.join(format!("{kind}_{index}.pb")), tensor.encode_to_vec())?;
                }
            }
        }
        Ok(())
    }

    /// Names and values of what its nodes give.
    fn node_values(&self) -> Vec<(String, Tensor)> {
        let values = model::node_values(self).into_iter();
        values.map(|at| (model::name(at), self.values[at].tensor.clone())).collect()
    }

    /// Names and values of its inputs.
    pub fn inputs(&self) -> Vec<(String, Tensor)> {
        let is_input = |known: &&(usize, &Known)| matches!(known.1.origin, Origin::Input { .. });
        let inputs = self.values.iter().enumerate().filter(|known| is_input(&known));
        inputs.map(|(at, known)| (model::name(at), known.tensor.clone())).collect()
    }

    /// What was computed while drawing for the model's outputs.
    fn expected(&self) -> Vec<&Tensor> {
        model::outputs(self).into_iter().map(|at| &self.values[at].tensor).collect()
    }
}

/// Rows that are never drawn, each with the reason.
pub const NEVER_DRAWN: [(&str, &str); 6] = [
    ("Embedding", "of language models, not of ONNX"),
    ("MatMulBlocks", "of language models, not of ONNX"),
    ("ProductRegion", "made by the compiler; drawn graphs have many"),
    ("Region", "made by the compiler; drawn graphs have many"),
    ("SequenceAttention", "of language models, not of ONNX"),
    ("SequenceRotary", "of language models, not of ONNX"),
];

/// The rows that graphs of this taste are drawn from.
pub fn rows(taste: Taste) -> Vec<&'static OpDef> {
    let is_drawn = |def: &&OpDef| {
        NEVER_DRAWN.iter().all(|(name, _)| *name != def.name) && {
            let (domain, op_type) = fitted::in_onnx(def);
            let version = if domain.is_empty() { taste.opset } else { fitted::ML_VERSION };
            table::find(domain, op_type, Some(version)).is_ok()
        }
    };
    ops::all().iter().copied().filter(is_drawn).collect()
}

/// A graph that an executor computes otherwise than another, or not at all.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, {operators:?}: {problem}")]
pub struct Finding {
    pub seed: u64,
    pub operators: Vec<&'static str>,
    pub problem: String,
}

/// Imports, compiles and runs the graph of a seed: node by node as imported, by the reference and by each of `executors`.
/// All must give the bits that were computed while drawing, and the reference's trace.
pub fn check(seed: u64, taste: Taste, executors: &[(String, &dyn Executor)]) -> Result<Graph, Finding> {
    let graph = Graph::draw(seed, taste);
    let found = catch_unwind(AssertUnwindSafe(|| agree(&graph, executors)));
    match found.unwrap_or_else(|_| Err("panics".to_string())) {
        Ok(()) => Ok(graph),
        Err(problem) => Err(Finding { seed, operators: graph.operators(), problem }),
    }
}

fn agree(graph: &Graph, executors: &[(String, &dyn Executor)]) -> Result<(), String> {
    let imported =
        onnx::import("m", graph.to_onnx().into(), None).map_err(|error| format!("import: {error}"))?;
    let program = compile(imported.clone(), &CompileOptions::default(), &mut |_, _| ())
        .map_err(|error| format!("compile: {error}"))?;
    let mut file = Vec::new();
    program.write(&mut file).map_err(|error| format!("write: {error}"))?;
    let program = Program::decode(Arc::new(file)).map_err(|error| format!("the program: {error}"))?;
    let inputs: Vec<Tensor> = graph.inputs().into_iter().map(|(_, tensor)| tensor).collect();
    let expected = graph.expected();
    let same = |what: &str, found: &[Tensor]| -> Result<(), String> {
        for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
            compare::same(expected, found).map_err(|m| format!("{what}: output {index}: {m}"))?;
        }
        Ok(())
    };
    let run = |what: &str, executor: &dyn Executor| -> Result<_, String> {
        let Execution { result, trace } = executor
            .execute(&program, &inputs, HashLevel::Operators, &mut Unobserved)
            .map_err(|error| format!("{what}: {error}"))?;
        let outputs = result.map_err(|at| format!("{what}: {}: {}: {}", at.op, at.node, at.fault))?;
        same(what, &outputs)?;
        trace.ok_or_else(|| format!("{what}: gives no trace"))
    };
    let node_by_node = interpret::run(&imported, inputs.clone()).map_err(|e| format!("node by node: {e}"))?;
    same("node by node", &node_by_node)?;
    let trace = run("reference", &Reference)?;
    for (name, executor) in executors {
        let other = run(name, *executor)?;
        let differing = trace.records.iter().zip(&other.records).position(|(a, b)| a != b);
        if differing.is_some() || trace.root() != other.root() {
            return Err(format!("{name}: the trace is another, from record {differing:?} on"));
        }
    }
    Ok(())
}
