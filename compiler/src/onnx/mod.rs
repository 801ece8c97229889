//! ONNX files -> [`Graph`].
//!
//! Everything in a model file is hostile until it has been checked: the bytes are scanned before they are
//! decoded ([`scan`]), sizes are compared with what is there before anything is allocated, recursion is
//! bounded, and an error names the byte, tensor, value or node that it is about. Every operator goes
//! through the import table ([`table`]), which says for each opset version how it becomes operators of
//! `repops` in their newest form. This module never decides what an operator computes.

mod call;
mod convert;
mod error;
mod importer;
mod scan;
mod sort;
mod sparse;
pub mod table;
mod tensor;
mod types;

use std::path::Path;

use bytes::{Buf, Bytes};
pub use error::{ImportError, TensorProblem};
use prost::Message;

use crate::graph::Graph;
use tensor::ExternalFiles;

/// ONNX's messages, generated from its definition.
#[expect(clippy::all, reason = "generated")]
pub mod proto {
    include!("../generated/onnx.rs");
}

/// The largest model file: protobuf itself ends here. Weights beyond it are external data.
pub const MODEL_BYTES_MAX: u64 = 1 << 31;
/// The opset versions of ai.onnx that are understood; of those before 7 the operators that have not changed since.
pub const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;

/// Imports the model in a file. Weights stay in the file, which is mapped.
pub fn load(path: &Path) -> Result<Graph, ImportError> {
    let io = |source| ImportError::Io { path: path.to_path_buf(), source };
    let bytes = crate::mapped::map_file(path).map_err(io)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    import(&name, bytes, Some(folder))
}

/// Imports the model in `bytes`. External data are looked for in `folder`.
pub fn import(name: &str, bytes: Bytes, folder: Option<&Path>) -> Result<Graph, ImportError> {
    let model = decode(bytes.clone())?;
    let mut files = ExternalFiles::new(folder.map(Path::to_path_buf));
    let mut graph = importer::import(&model, &mut files)?;
    graph.sources.push(crate::folder::source_of(name, &bytes));
    graph.sources.extend(files.sources());
    Ok(graph)
}

/// Decodes a model; its `Bytes` share the memory of `bytes`.
pub fn decode(mut bytes: Bytes) -> Result<proto::ModelProto, ImportError> {
    let total = bytes.len();
    if total as u64 > MODEL_BYTES_MAX {
        let what = "bytes of the model file".to_string();
        return Err(ImportError::Limit { what, found: total as u64, limit: MODEL_BYTES_MAX });
    }
    scan::scan(&bytes)?;
    proto::ModelProto::decode(&mut bytes).map_err(|error| ImportError::Malformed {
        offset: total - bytes.remaining(),
        field: "model".to_string(),
        problem: error.to_string(),
    })
}

/// A node's name, or where it has none its first output's.
fn node_name(node: &proto::NodeProto) -> String {
    if !node.name().is_empty() {
        return node.name().to_string();
    }
    node.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default()
}

/// The domain as people write it.
fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}
