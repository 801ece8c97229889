//! Why a model cannot be imported: what is wrong, and where.

use std::path::PathBuf;

use repops::ops::OpError;
use repops::tensor::TensorError;

/// A failure of the import.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The bytes are no protobuf of a model.
    #[error("byte {offset}, {field}: {problem}")]
    Malformed { offset: usize, field: String, problem: String },
    #[error("{what}: {found} is above the limit of {limit}")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("the model holds no graph")]
    NoGraph,
    #[error("the model does not say which opsets it uses")]
    NoOpset,
    #[error("opset {version} of {domain} is not supported; {supported}")]
    Opset { domain: String, version: i64, supported: String },
    #[error("opset imports name {domain} twice, as version {first} and {second}")]
    OpsetTwice { domain: String, first: i64, second: i64 },
    #[error("tensor {tensor:?}: {source}")]
    Tensor { tensor: String, source: TensorProblem },
    #[error("{what} {name:?}: {problem}")]
    Value { what: &'static str, name: String, problem: String },
    #[error("{name:?} is defined twice in graph {graph:?}, the second time by {by}")]
    DefinedTwice { graph: String, name: String, by: String },
    #[error("{user} uses {name:?}, which nothing defines")]
    Undefined { user: String, name: String },
    #[error("graph {graph:?} has a cycle through node {node:?} ({op_type})")]
    Cycle { graph: String, node: String, op_type: String },
    #[error("function {name} calls itself, or functions call each other too deeply")]
    RecursiveFunction { name: String },
    #[error("node {node:?}: operator {op_type} of {domain} version {opset} is not known; {supported}")]
    UnknownOperator { node: String, op_type: String, domain: String, opset: i64, supported: String },
    #[error("node {node:?} ({op_type}): attribute {attribute}: {problem}")]
    Attribute { node: String, op_type: String, attribute: String, problem: String },
    #[error("node {node:?} ({op_type}): {problem}")]
    Unsupported { node: String, op_type: String, problem: String },
    #[error("node {node:?} ({op_type}): {source}")]
    Op { node: String, op_type: String, source: OpError },
}

/// What is wrong with a tensor of the model.
#[derive(Debug, thiserror::Error)]
pub enum TensorProblem {
    #[error("data type {code} ({name}) is not supported")]
    DType { code: i32, name: &'static str },
    #[error("dimension {axis} is {value}")]
    Dimension { axis: usize, value: i64 },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("{elements} elements are declared, {field} holds {found}")]
    Elements { elements: usize, field: &'static str, found: usize },
    #[error("element {index} of {field} is {value}, which is no {dtype}")]
    Range { index: usize, field: &'static str, value: i64, dtype: &'static str },
    #[error("its data are in both {first} and {second}")]
    Ambiguous { first: &'static str, second: &'static str },
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("it is a segment of a larger tensor, which is not supported")]
    Segment,
    #[error("it is sparse, and {problem}")]
    Sparse { problem: String },
    #[error("external data: {field} is {value:?}, which is no number of bytes")]
    ExternalNumber { field: &'static str, value: String },
    #[error("external data: no location is given")]
    NoLocation,
    #[error("external data: {location:?} is not a relative path inside of the model's folder")]
    Outside { location: String },
    #[error("external data: the model did not come from a folder, so {location:?} cannot be found")]
    NoFolder { location: String },
    #[error("external data: {location:?}: {source}")]
    ExternalIo { location: String, source: std::io::Error },
    #[error(
        "external data: bytes {offset} to {end} are asked of {location:?}, which has {file_bytes}; \
         the tensor takes {expected}"
    )]
    ExternalRange { location: String, offset: u64, end: u64, file_bytes: u64, expected: u64 },
}
