//! Runs one case on every way from a model to its outputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use repops::digest::tensor_digest;
use repops::exec::{Execution, Executor, HashLevel, Unobserved};
use repops::reference::Reference;
use repops::{Program, Tensor};
use repops_compiler::graph::Graph;
use repops_compiler::onnx::proto::{ValueInfoProto, type_proto};
use repops_compiler::onnx::{self, ImportError, TensorProblem};
use repops_compiler::{CompileOptions, compile};
use repops_io::tensor_proto::{self, Kind};

use super::cases::{Case, Data, name_of};
use super::compare::{self, Mismatch};
use super::{CaseReport, Difference, Outcome, OutputDigest, interpret};

/// Why a case does not pass.
struct Failure {
    outcome: Outcome,
    reason: String,
    difference: Option<Difference>,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Failure {
        Failure { outcome: Outcome::Failed, reason: reason.into(), difference: None }
    }

    fn unsupported(reason: impl Into<String>) -> Failure {
        Failure { outcome: Outcome::Unsupported, ..Failure::new(reason) }
    }

    /// Two tensors that do not agree.
    fn mismatch(between: &str, output: &str, mismatch: Mismatch) -> Failure {
        let reason = format!("{between}: output {output}: {mismatch}");
        let difference = match mismatch {
            Mismatch::Type { .. } => None,
            Mismatch::Elements(difference) => {
                let (between, output) = (between.to_string(), output.to_string());
                Some(Difference { between, output, ..difference })
            }
        };
        Failure { difference, ..Failure::new(reason) }
    }
}

/// Runs a case: by the reference, and by `kernels` if there are any. A panic is a failure of the case, not the
/// end of the run.
pub fn run(case: &Case, kernels: Option<&dyn Executor>) -> CaseReport {
    let mut report = CaseReport {
        name: case.name.clone(),
        operator: operator_of(case),
        outcome: Outcome::Passed,
        reason: String::new(),
        difference: None,
        outputs: Vec::new(),
    };
    let outputs = &mut report.outputs;
    let found = catch_unwind(AssertUnwindSafe(|| check(case, kernels, outputs)));
    if let Err(failure) = found.unwrap_or_else(|_| Err(Failure::new("panicked"))) {
        report.outcome = failure.outcome;
        report.reason = failure.reason;
        report.difference = failure.difference;
    }
    report
}

/// A case's program, and the inputs of each of its data sets; or why there is none.
pub fn packed(case: &Case) -> Result<(Program, Vec<Vec<Tensor>>), String> {
    let graph = onnx::load(&case.model).map_err(|error| error.to_string())?;
    let program = compiled(&graph).map_err(|failure| failure.reason)?;
    let kinds = interface(&case.model).ok_or("the model cannot be read again")?;
    let inputs = match &case.data {
        Data::Protos(sets) => sets.iter().map(|set| protos(set, "input", &kinds[0])).collect(),
        Data::Arrays(folder) => arrays(folder, &program).map(|inputs| vec![inputs]),
    };
    Ok((program, inputs.map_err(|failure: Failure| failure.reason)?))
}

fn check(
    case: &Case,
    kernels: Option<&dyn Executor>,
    outputs: &mut Vec<OutputDigest>,
) -> Result<(), Failure> {
    let graph = onnx::load(&case.model).map_err(|error| match is_unsupported(&error) {
        true => Failure::unsupported(error.to_string()),
        false => Failure::new(format!("import: {error}")),
    })?;
    let program = compiled(&graph)?;
    let sets = match &case.data {
        Data::Protos(sets) => sets.clone(),
        Data::Arrays(folder) => vec![folder.clone()],
    };
    if sets.is_empty() {
        return Err(Failure::new("the case has no data"));
    }
    let kinds = interface(&case.model).ok_or_else(|| Failure::new("the model cannot be read again"))?;
    for (index, set) in sets.iter().enumerate() {
        let (inputs, expected) = match case.data {
            Data::Protos(_) => (protos(set, "input", &kinds[0])?, Some(protos(set, "output", &kinds[1])?)),
            Data::Arrays(_) => (arrays(set, &program)?, None),
        };
        check_set(&Set { graph: &graph, program: &program, inputs, expected, index }, kernels, outputs)?;
    }
    Ok(())
}

/// The program, written and read again.
fn compiled(graph: &Graph) -> Result<Program, Failure> {
    let program = compile(graph.clone(), &CompileOptions::default(), &mut |_, _| ())
        .map_err(|error| Failure::new(format!("compile: {error}")))?;
    let mut file = Vec::new();
    program.write(&mut file).map_err(|error| Failure::new(format!("write: {error}")))?;
    Program::decode(Arc::new(file)).map_err(|error| Failure::new(format!("the program: {error}")))
}

struct Set<'a> {
    graph: &'a Graph,
    program: &'a Program,
    inputs: Vec<Tensor>,
    expected: Option<Vec<Tensor>>,
    index: usize,
}

fn check_set(
    set: &Set<'_>,
    kernels: Option<&dyn Executor>,
    outputs: &mut Vec<OutputDigest>,
) -> Result<(), Failure> {
    let names = &set.program.header().outputs;
    if let Some(expected) = &set.expected
        && (set.inputs.len() != set.program.header().inputs.len() || expected.len() != names.len())
    {
        return Err(Failure::new(format!(
            "the model has {} inputs and {} outputs, the case {} and {}",
            set.program.header().inputs.len(),
            names.len(),
            set.inputs.len(),
            expected.len()
        )));
    }
    let (reference, reference_trace) = execute("reference", &Reference, set)?;
    let mut found = &reference;
    let by_kernels = kernels.map(|kernels| execute("kernels", kernels, set)).transpose()?;
    if let Some((tensors, _)) = &by_kernels {
        found = tensors;
    }
    for (name, tensor) in names.iter().zip(found) {
        let name: Vec<&str> = name.split_whitespace().collect();
        outputs.push(OutputDigest {
            name: format!("{} {}", set.index, name.join("_")),
            ty: compare::type_of(tensor),
            digest: tensor_digest(tensor.view()).to_hex(),
        });
    }
    if let Some((kernels, trace)) = &by_kernels {
        all("kernels and reference", names, &reference, kernels, compare::same)?;
        let other = reference_trace.records.iter().zip(&trace.records).position(|(a, b)| a != b);
        if let Some(step) = other {
            return Err(Failure::new(format!("kernels and reference: the records of step {step} differ")));
        }
    }
    let imported = interpret::run(set.graph, set.inputs.clone())
        .map_err(|error| Failure::new(format!("node by node: {error}")))?;
    all("program and model node by node", names, &imported, &reference, compare::same)?;
    match &set.expected {
        Some(expected) => all("found and expected", names, expected, &reference, compare::close),
        None => Ok(()),
    }
}

fn execute(
    what: &str,
    executor: &dyn Executor,
    set: &Set<'_>,
) -> Result<(Vec<Tensor>, repops::trace::Trace), Failure> {
    let Execution { result, trace } = executor
        .execute(set.program, &set.inputs, HashLevel::Operators, &mut Unobserved)
        .map_err(|error| Failure::new(format!("{what}: {error}")))?;
    let outputs =
        result.map_err(|at| Failure::new(format!("{what}: {}: {}: {}", at.op, at.node, at.fault)))?;
    Ok((outputs, trace.unwrap_or_default()))
}

/// Compares outputs one by one.
fn all(
    between: &str,
    names: &[String],
    expected: &[Tensor],
    found: &[Tensor],
    compare: fn(&Tensor, &Tensor) -> Result<(), Mismatch>,
) -> Result<(), Failure> {
    for (name, (expected, found)) in names.iter().zip(expected.iter().zip(found)) {
        compare(expected, found).map_err(|mismatch| Failure::mismatch(between, name, mismatch))?;
    }
    Ok(())
}

/// Whether an import failed for want of an operator, a version or a type.
fn is_unsupported(error: &ImportError) -> bool {
    match error {
        ImportError::UnknownOperator { .. } | ImportError::Unsupported { .. } | ImportError::Opset { .. } => {
            true
        }
        ImportError::Value { problem, .. } => problem.contains("not supported"),
        ImportError::Tensor { source, .. } => {
            matches!(source, TensorProblem::DType { .. } | TensorProblem::Sparse)
        }
        ImportError::Attribute { problem, .. } => problem.contains("not supported"),
        _ => false,
    }
}

/// The operator of a model of one node; `_expanded` cases have the one of the case that they expand.
fn operator_of(case: &Case) -> String {
    let plain = case.name.split_once("_expanded").map(|(plain, _)| plain).and_then(|plain| {
        let folder = case.model.parent()?.parent()?;
        only_node(&folder.join(plain).join("model.onnx"))
    });
    plain.or_else(|| only_node(&case.model)).unwrap_or_else(|| "(several)".to_string())
}

fn only_node(model: &Path) -> Option<String> {
    let model = onnx::decode(std::fs::read(model).ok()?.into()).ok()?;
    match model.graph?.node.as_slice() {
        [node] => Some(node.op_type().to_string()),
        _ => None,
    }
}

/// What kinds of values the model's inputs and outputs are; initializers are no inputs.
fn interface(model: &Path) -> Option<[Vec<Kind>; 2]> {
    let graph = onnx::decode(std::fs::read(model).ok()?.into()).ok()?.graph?;
    let kind = |info: &ValueInfoProto| match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(type_proto::Value::SequenceType(_)) => Kind::Sequence,
        Some(type_proto::Value::OptionalType(_)) => Kind::Optional,
        _ => Kind::Tensor,
    };
    let is_input = |info: &&ValueInfoProto| !graph.initializer.iter().any(|t| t.name() == info.name());
    Some([graph.input.iter().filter(is_input).map(kind).collect(), graph.output.iter().map(kind).collect()])
}

/// The values `input_0.pb`, `input_1.pb` ... of a data set.
fn protos(set: &Path, kind: &str, kinds: &[Kind]) -> Result<Vec<Tensor>, Failure> {
    let mut out = Vec::new();
    loop {
        let path = set.join(format!("{kind}_{}.pb", out.len()));
        if !path.exists() {
            return Ok(out);
        }
        let name = name_of(&path);
        let bytes = std::fs::read(&path).map_err(|e| Failure::new(format!("{name}: {e}")))?;
        let tensor = tensor_proto::parse_as(kinds.get(out.len()).copied().unwrap_or(Kind::Tensor), &bytes);
        out.push(tensor.map_err(|e| Failure::unsupported(format!("{name}: {e}")))?);
    }
}

/// The arrays that are named as the program's inputs.
fn arrays(folder: &Path, program: &Program) -> Result<Vec<Tensor>, Failure> {
    let params = program.header().inputs.iter().zip(&program.main().params);
    let read = |(name, declared): (&String, &Option<repops::ops::SymType>)| {
        let path = folder.join(format!("{name}.npy"));
        let declared = declared.as_ref();
        let dtype = declared.map(|ty| ty.dtype);
        repops_io::read_tensor(repops_io::Source { path: &path, name, declared, dtype })
            .map_err(|error| Failure::new(error.to_string()))
    };
    params.map(read).collect()
}
