//! What a case runs: a program, compiled here from the case's ONNX model or packed on another machine.

use std::path::Path;
use std::sync::Arc;

use repops::Program;
use repops_io::tensor_proto::Kind;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::cases::Case;
use super::run::Failure;

/// The file beside a packed program that says what a program does not.
pub const ABOUT: &str = "case.json";

/// What a case's model is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Of a model of one node its operator.
    pub operator: String,
    /// What kinds of values the files of inputs and outputs hold, which these do not say.
    #[serde(with = "kinds")]
    pub inputs: Vec<Kind>,
    #[serde(with = "kinds")]
    pub outputs: Vec<Kind>,
    /// Why there is no program: what importing or compiling ended in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Why a case has no program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub outcome: Outcome,
    pub reason: String,
}

/// A case's program.
pub struct Model {
    pub program: Program,
    pub about: About,
    /// The model as it was imported, where it was.
    #[cfg(feature = "compiler")]
    pub graph: Option<repops_compiler::graph::Graph>,
}

impl Model {
    pub(super) fn load(case: &Case) -> Result<Model, Failure> {
        if case.is_program() { Model::read(&case.model) } else { Model::import(case) }
    }

    #[cfg(feature = "compiler")]
    fn import(case: &Case) -> Result<Model, Failure> {
        super::import::load(case)
    }

    #[cfg(not(feature = "compiler"))]
    fn import(_: &Case) -> Result<Model, Failure> {
        Err(Failure::new("an ONNX model, and the compiler is not part of this build"))
    }

    /// A packed program.
    fn read(path: &Path) -> Result<Model, Failure> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let about = read(&path.with_file_name(ABOUT))?;
        let about: About =
            serde_json::from_slice(&about).map_err(|error| Failure::new(format!("{ABOUT}: {error}")))?;
        if let Some(Problem { outcome, reason }) = about.problem {
            return Err(Failure { outcome, ..Failure::new(reason) });
        }
        let program = Program::decode(Arc::new(read(path)?))
            .map_err(|error| Failure::new(format!("the program: {error}")))?;
        Ok(Model {
            program,
            about,
            #[cfg(feature = "compiler")]
            graph: None,
        })
    }
}

/// What a case is about, as far as that is known before its model is loaded.
#[cfg(feature = "compiler")]
pub(super) fn operator(case: &Case) -> String {
    if case.is_program() { String::new() } else { super::import::operator_of(case) }
}

#[cfg(not(feature = "compiler"))]
pub(super) fn operator(_: &Case) -> String {
    String::new()
}

/// Kinds of values by name.
mod kinds {
    use repops_io::tensor_proto::Kind;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const NAMES: [(Kind, &str); 3] =
        [(Kind::Tensor, "tensor"), (Kind::Sequence, "sequence"), (Kind::Optional, "optional")];

    pub fn serialize<S: Serializer>(kinds: &[Kind], to: S) -> Result<S::Ok, S::Error> {
        let name = |kind| NAMES.iter().find(|(known, _)| *known == kind).map_or("tensor", |(_, name)| name);
        kinds.iter().map(|kind| name(*kind)).collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<Kind>, D::Error> {
        let kind = |text: &String| NAMES.iter().find(|(_, name)| name == text).map(|(kind, _)| *kind);
        let names = Vec::<String>::deserialize(from)?;
        let kinds: Option<Vec<Kind>> = names.iter().map(kind).collect();
        kinds.ok_or_else(|| serde::de::Error::custom(format!("{names:?} are not all kinds of values")))
    }
}
