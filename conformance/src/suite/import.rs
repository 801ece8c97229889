//! Cases as ONNX models: imported, compiled, and packed for machines that cannot compile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use repops::{Program, Tensor};
use repops_compiler::graph::Graph;
use repops_compiler::onnx::proto::{ValueInfoProto, type_proto};
use repops_compiler::onnx::{self, ImportError, TensorProblem};
use repops_compiler::{CompileOptions, compile};
use repops_io::tensor_proto::Kind;

use super::cases::{Case, Data, name_of};
use super::model::{ABOUT, About, Model, Problem};
use super::run::{Failure, arrays, protos};

pub(super) fn load(case: &Case) -> Result<Model, Failure> {
    let graph = onnx::load(&case.model).map_err(|error| match is_unsupported(&error) {
        true => Failure::unsupported(error.to_string()),
        false => Failure::new(format!("import: {error}")),
    })?;
    let program = compiled(&graph)?;
    let [inputs, outputs] =
        interface(&case.model).ok_or_else(|| Failure::new("the model cannot be read again"))?;
    let about = About { operator: operator_of(case), inputs, outputs, problem: None };
    Ok(Model { program, about, graph: Some(graph) })
}

/// A case's program, and the inputs of each of its data sets; or why there is none.
pub fn packed(case: &Case) -> Result<(Program, Vec<Vec<Tensor>>), String> {
    let Model { program, about, .. } = Model::load(case).map_err(|failure| failure.reason)?;
    let inputs = match &case.data {
        Data::Protos(sets) => sets.iter().map(|set| protos(set, "input", &about.inputs)).collect(),
        Data::Arrays(folder) => arrays(folder, &program).map(|inputs| vec![inputs]),
    };
    Ok((program, inputs.map_err(|failure: Failure| failure.reason)?))
}

/// The files of a case for a machine without a compiler, by their paths in the case's folder. Of a model that cannot be compiled
/// the reason takes the program's place.
pub fn files(case: &Case) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let mut program = Vec::new();
    let about = match Model::load(case) {
        Ok(model) => {
            model.program.write(&mut program).map_err(|error| error.to_string())?;
            model.about
        }
        Err(Failure { outcome, reason, .. }) => About {
            operator: operator_of(case),
            inputs: Vec::new(),
            outputs: Vec::new(),
            problem: Some(Problem { outcome, reason }),
        },
    };
    let about = serde_json::to_vec(&about).map_err(|error| error.to_string())?;
    let mut files = vec![(PathBuf::from("model.rep"), program), (PathBuf::from(ABOUT), about)];
    let folders = match &case.data {
        Data::Protos(sets) => sets.clone(),
        Data::Arrays(folder) => vec![folder.clone()],
    };
    let failed = |error: std::io::Error| format!("{}: {error}", case.name);
    for folder in folders {
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = Path::new(&name_of(&folder)).join(name_of(&path));
            files.push((name, std::fs::read(&path).map_err(failed)?));
        }
    }
    Ok(files)
}

/// The program, written and read again.
fn compiled(graph: &Graph) -> Result<Program, Failure> {
    let program = compile(graph.clone(), &CompileOptions::default(), &mut |_, _| ())
        .map_err(|error| Failure::new(format!("compile: {error}")))?;
    let mut file = Vec::new();
    program.write(&mut file).map_err(|error| Failure::new(format!("write: {error}")))?;
    Program::decode(Arc::new(file)).map_err(|error| Failure::new(format!("the program: {error}")))
}

/// Whether an import failed for want of an operator, a version or a type.
fn is_unsupported(error: &ImportError) -> bool {
    match error {
        ImportError::UnknownOperator { .. } | ImportError::Unsupported { .. } | ImportError::Opset { .. } => {
            true
        }
        ImportError::Value { problem, .. } => problem.contains("not supported"),
        ImportError::Tensor { source, .. } => {
            matches!(source, TensorProblem::DType { .. })
        }
        ImportError::Attribute { problem, .. } => problem.contains("not supported"),
        _ => false,
    }
}

/// The operator of a model of one node; `_expanded` cases have the one of the case that they expand.
pub(super) fn operator_of(case: &Case) -> String {
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
