//! Everything that can go wrong in this crate.

/// A failure of the compiler.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Import(#[from] crate::onnx::ImportError),
    #[error(transparent)]
    Model(#[from] crate::decoder::ModelError),
    #[error("{0}; --as-is compiles it with the inputs and outputs that it has")]
    Sequence(#[from] crate::sequence::NotSequence),
    #[error("the text is no valid module: {}", diagnostics.join("; "))]
    Parse { diagnostics: Vec<String> },
    #[error("there is no pass named `{name}`")]
    UnknownPass { name: String },
    #[error("pass `{pass}` failed: {}", diagnostics.join("; "))]
    Pass { pass: String, diagnostics: Vec<String> },
    #[error("the module is invalid after pass `{pass}`: {}", diagnostics.join("; "))]
    Invalid { pass: String, diagnostics: Vec<String> },
    #[error("the module holds no `repops.program`, or more than one")]
    NotOneProgram,
    #[error("{origin}: {error}")]
    Op { origin: String, error: repops::ops::OpError },
    #[error("{origin}: the operator table has no {op} version {version}")]
    UnknownOperator { origin: String, op: String, version: u16 },
    #[error("constant {id} is not in the constant store")]
    UnknownConstant { id: u32 },
    #[error("the compiled program is invalid: {0}")]
    Program(#[from] repops::program::ProgramError),
    #[error(transparent)]
    Fma(#[from] repops::fma::FmaError),
    #[error("native code: {reason}")]
    Native { reason: String },
}

pub type Result<T> = std::result::Result<T, CompileError>;
