//! ONNX's own test cases: one folder each, with a model and the expected outputs for given inputs.
//!
//! A case is imported, executed node by node by the reference evaluation ([`interpret`]) and its outputs
//! compared under the tolerance that ONNX uses for its own. A case that cannot be imported because an
//! operator or type is not supported says so; everything else that is not a pass is a failure.

pub mod compare;
pub mod interpret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use repops::Tensor;
use repops_compiler::graph::Graph;
use repops_compiler::onnx::{self, ImportError, TensorProblem};

/// What became of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Passed,
    /// What is not supported.
    Unsupported(String),
    Failed(String),
}

/// A case and what became of it.
#[derive(Clone, Debug)]
pub struct Report {
    pub case: String,
    /// The operator that the case is about: its model's, or `(several)`.
    pub operator: String,
    pub outcome: Outcome,
}

/// The folders below `folder` that hold a model, in the order of their names.
pub fn cases(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("model.onnx").is_file() {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// Runs one case.
pub fn run(folder: &Path) -> Report {
    let case = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let model = folder.join("model.onnx");
    let operator = operator_of(&model);
    let outcome = match onnx::load(&model) {
        Ok(graph) => match data_sets(folder) {
            Ok(sets) => run_sets(&graph, &sets),
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Err(error) if is_unsupported(&error) => Outcome::Unsupported(error.to_string()),
        Err(error) => Outcome::Failed(format!("import: {error}")),
    };
    Report { case, operator, outcome }
}

/// Whether an import failed for want of an operator, a version or a type.
fn is_unsupported(error: &ImportError) -> bool {
    match error {
        ImportError::UnknownOperator { .. } | ImportError::Unsupported { .. } | ImportError::Opset { .. } => {
            true
        }
        ImportError::Value { problem, .. } => {
            problem.contains("not supported") || problem.contains("only tensors")
        }
        ImportError::Tensor { source, .. } => {
            matches!(source, TensorProblem::DType { .. } | TensorProblem::Sparse)
        }
        ImportError::Attribute { problem, .. } => problem.contains("not supported"),
        _ => false,
    }
}

fn operator_of(model: &Path) -> String {
    let model = std::fs::read(model).ok().and_then(|bytes| onnx::decode(bytes.into()).ok());
    let nodes = model.and_then(|m| m.graph).map(|g| g.node).unwrap_or_default();
    match nodes.as_slice() {
        [node] => node.op_type().to_string(),
        _ => "(several)".to_string(),
    }
}

fn data_sets(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        if name.starts_with("test_data_set_") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

fn run_sets(graph: &Graph, sets: &[PathBuf]) -> Outcome {
    if sets.is_empty() {
        return Outcome::Failed("the case has no data".to_string());
    }
    for set in sets {
        let outcome = run_set(graph, set);
        if outcome != Outcome::Passed {
            return outcome;
        }
    }
    Outcome::Passed
}

fn run_set(graph: &Graph, set: &Path) -> Outcome {
    let (inputs, expected) = match (tensors(set, "input"), tensors(set, "output")) {
        (Ok(inputs), Ok(expected)) => (inputs, expected),
        (Err(error), _) | (_, Err(error)) => return Outcome::Unsupported(error),
    };
    let parameters = &graph.main.parameters;
    if inputs.len() != parameters.len() || expected.len() != graph.outputs.len() {
        return Outcome::Failed(format!(
            "the model has {} inputs and {} outputs, the case {} and {}",
            parameters.len(),
            graph.outputs.len(),
            inputs.len(),
            expected.len()
        ));
    }
    let found = match interpret::run(graph, inputs) {
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    for ((output, expected), found) in graph.outputs.iter().zip(&expected).zip(&found) {
        if let Err(difference) = compare::close(expected, found) {
            return Outcome::Failed(format!("output {}: {difference}", output.name));
        }
    }
    Outcome::Passed
}

/// The tensors `input_0.pb`, `input_1.pb` ... of a data set.
fn tensors(set: &Path, kind: &str) -> Result<Vec<Tensor>, String> {
    let mut out = Vec::new();
    loop {
        let path = set.join(format!("{kind}_{}.pb", out.len()));
        if !path.exists() {
            return Ok(out);
        }
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        out.push(repops_io::tensor_proto::parse(&bytes).map_err(|e| format!("{name}: {e}"))?);
    }
}

/// Passed, failed and unsupported cases of one operator.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub unsupported: usize,
}

/// The counts by operator.
pub fn summarize(reports: &[Report]) -> BTreeMap<&str, Counts> {
    let mut out: BTreeMap<&str, Counts> = BTreeMap::new();
    for report in reports {
        let counts = out.entry(&report.operator).or_default();
        match report.outcome {
            Outcome::Passed => counts.passed += 1,
            Outcome::Failed(_) => counts.failed += 1,
            Outcome::Unsupported(_) => counts.unsupported += 1,
        }
    }
    out
}
