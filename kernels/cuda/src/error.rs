//! Why a device did not do what it was asked.

use repops::ops::OpError;

/// What goes wrong on a device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no CUDA device: {0}")]
    NoDriver(String),
    #[error("out of device memory: {wanted} bytes wanted, {free} free")]
    OutOfMemory { wanted: usize, free: usize },
    #[error("kernel {kernel}: {what}")]
    Launch { kernel: String, what: String },
    /// A program of PTX broke a rule that the interpreter checks.
    #[error("PTX of {module}, line {line}: {what}")]
    Interpreter { module: String, line: usize, what: String },
    /// There is no kernel for it after all; the operator can be computed on the host.
    #[error("not supported on the device: {what}")]
    Unsupported { what: String },
    /// The operator's own error: the data are at fault, on every machine.
    #[error(transparent)]
    Operator(#[from] OpError),
}

impl Error {
    pub fn unsupported(what: impl Into<String>) -> Error {
        Error::Unsupported { what: what.into() }
    }
}
