//! Everything that can go wrong in this crate.

/// A failure of the compiler.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    #[error("{origin}: {reason}")]
    Op { origin: String, reason: String },
    #[error("native code: {reason}")]
    Native { reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;
