//! Runs one case on every way from a model to its outputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use repops::digest::tensor_digest;
use repops::exec::{Execution, Executor, HashLevel, Unobserved};
use repops::reference::Reference;
use repops::trace::Trace;
use repops::{Program, Tensor};
use repops_io::tensor_proto::{self, Kind};

use super::cases::{Case, Data, name_of};
use super::compare::{self, Mismatch};
use super::model::Model;
use super::{CaseReport, Difference, Outcome, OutputDigest};

/// The file in a data set that says nothing of outputs.
const NO_OUTPUTS: &str = "no_outputs";

/// Which ways a case is computed.
#[derive(Clone, Copy)]
pub struct Ways<'a> {
    pub kernels: Option<&'a dyn Executor>,
    /// Also by the operators' own evaluation, of the program and node by node of the model, which large models take long for;
    /// without it goldens alone say whether the bits are right.
    pub reference: bool,
}

/// Why a case does not pass.
pub(super) struct Failure {
    pub outcome: Outcome,
    pub reason: String,
    pub difference: Option<Difference>,
}

impl Failure {
    pub fn new(reason: impl Into<String>) -> Failure {
        Failure { outcome: Outcome::Failed, reason: reason.into(), difference: None }
    }

    pub fn unsupported(reason: impl Into<String>) -> Failure {
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

/// Runs a case. A panic is a failure of the case, not the end of the run.
pub fn run(case: &Case, ways: Ways<'_>) -> CaseReport {
    let mut report = CaseReport {
        name: case.name.clone(),
        operator: super::model::operator(case),
        outcome: Outcome::Passed,
        reason: String::new(),
        difference: None,
        outputs: Vec::new(),
    };
    let found = catch_unwind(AssertUnwindSafe(|| check(case, ways, &mut report)));
    if let Err(failure) = found.unwrap_or_else(|_| Err(Failure::new("panicked"))) {
        report.outcome = failure.outcome;
        report.reason = failure.reason;
        report.difference = failure.difference;
    }
    report
}

fn check(case: &Case, ways: Ways<'_>, report: &mut CaseReport) -> Result<(), Failure> {
    let model = Model::load(case)?;
    report.operator.clone_from(&model.about.operator);
    let sets = match &case.data {
        Data::Protos(sets) => sets.clone(),
        Data::Arrays(folder) => vec![folder.clone()],
    };
    if sets.is_empty() {
        return Err(Failure::new("the case has no data"));
    }
    for (index, set) in sets.iter().enumerate() {
        let (inputs, expected) = match case.data {
            Data::Protos(_) => {
                let says_outputs = !set.join(NO_OUTPUTS).is_file();
                let expected =
                    says_outputs.then(|| protos(set, "output", &model.about.outputs)).transpose()?;
                (protos(set, "input", &model.about.inputs)?, expected)
            }
            Data::Arrays(_) => (arrays(set, &model.program)?, None),
        };
        check_set(&Set { model: &model, inputs, expected, index }, ways, &mut report.outputs)?;
    }
    Ok(())
}

struct Set<'a> {
    model: &'a Model,
    inputs: Vec<Tensor>,
    expected: Option<Vec<Tensor>>,
    index: usize,
}

fn check_set(set: &Set<'_>, ways: Ways<'_>, outputs: &mut Vec<OutputDigest>) -> Result<(), Failure> {
    let header = set.model.program.header();
    let names = &header.outputs;
    if let Some(expected) = &set.expected
        && (set.inputs.len() != header.inputs.len() || expected.len() != names.len())
    {
        return Err(Failure::new(format!(
            "the model has {} inputs and {} outputs, the case {} and {}",
            header.inputs.len(),
            names.len(),
            set.inputs.len(),
            expected.len()
        )));
    }
    let reference = match ways.reference {
        true => Some(execute("reference", &Reference, set)?),
        false => None,
    };
    let by_kernels = ways.kernels.map(|kernels| execute("kernels", kernels, set)).transpose()?;
    let (found, _) = by_kernels
        .as_ref()
        .or(reference.as_ref())
        .ok_or_else(|| Failure::new("neither by the reference nor by kernels"))?;
    for (name, tensor) in names.iter().zip(found) {
        let name: Vec<&str> = name.split_whitespace().collect();
        outputs.push(OutputDigest {
            name: format!("{} {}", set.index, name.join("_")),
            ty: compare::type_of(tensor),
            digest: tensor_digest(tensor.view()).to_hex(),
        });
    }
    if let (Some((kernels, trace)), Some((reference, expected))) = (&by_kernels, &reference) {
        all("kernels and reference", names, reference, kernels, compare::same)?;
        let other = expected.records.iter().zip(&trace.records).position(|(a, b)| a != b);
        if let Some(step) = other {
            return Err(Failure::new(format!("kernels and reference: the records of step {step} differ")));
        }
    }
    if let Some((reference, _)) = &reference {
        node_by_node(set, names, reference)?;
    }
    match &set.expected {
        Some(expected) => all("found and expected", names, expected, found, compare::close),
        None => Ok(()),
    }
}

/// Compares with the model as it was imported.
#[cfg(feature = "compiler")]
fn node_by_node(set: &Set<'_>, names: &[String], reference: &[Tensor]) -> Result<(), Failure> {
    let Some(graph) = &set.model.graph else { return Ok(()) };
    let imported = super::interpret::run(graph, set.inputs.clone())
        .map_err(|error| Failure::new(format!("node by node: {error}")))?;
    all("program and model node by node", names, &imported, reference, compare::same)
}

#[cfg(not(feature = "compiler"))]
fn node_by_node(_: &Set<'_>, _: &[String], _: &[Tensor]) -> Result<(), Failure> {
    Ok(())
}

fn execute(what: &str, executor: &dyn Executor, set: &Set<'_>) -> Result<(Vec<Tensor>, Trace), Failure> {
    let Execution { result, trace } = executor
        .execute(&set.model.program, &set.inputs, HashLevel::Operators, &mut Unobserved)
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

/// The values `input_0.pb`, `input_1.pb` ... of a data set.
pub(super) fn protos(set: &Path, kind: &str, kinds: &[Kind]) -> Result<Vec<Tensor>, Failure> {
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
pub(super) fn arrays(folder: &Path, program: &Program) -> Result<Vec<Tensor>, Failure> {
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
