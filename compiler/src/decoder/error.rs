//! Why a decoder's files cannot be made into a program: what is wrong, and where.

use std::path::PathBuf;

/// A failure while reading GGUF, safetensors or the files beside them.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {found} bytes are above the limit of {limit}", path.display())]
    FileSize { path: PathBuf, found: u64, limit: u64 },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("byte {offset}: {problem}")]
    Malformed { offset: usize, problem: String },
    #[error("tensor {tensor:?}: {problem}")]
    Tensor { tensor: String, problem: String },
    #[error("the model has no tensor {tensor:?}")]
    NoTensor { tensor: String },
    #[error("tensor {tensor:?} has no part in a model of architecture {architecture:?}")]
    UnusedTensor { tensor: String, architecture: String },
    #[error("{key}: {problem}")]
    Key { key: String, problem: String },
    #[error("{key} is missing")]
    NoKey { key: String },
    #[error("architecture {architecture:?} is not supported; {supported} are")]
    Architecture { architecture: String, supported: &'static str },
    #[error("the tokenizer: {problem}")]
    Tokenizer { problem: String },
    #[error("this is no model: neither ONNX nor GGUF, nor a folder with a config.json")]
    NoModel,
    #[error(transparent)]
    Memory(#[from] repops::tensor::TensorError),
    #[error("node {node:?}: {source}")]
    Op { node: String, source: repops::ops::OpError },
}
