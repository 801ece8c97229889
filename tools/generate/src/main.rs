//! Writes the generated sources of the repository: Rust types for ONNX's protobuf definition.
//!
//! `repops-generate` writes them; `repops-generate --check` writes nothing and exits with 1 when a file
//! is not what would be written. Pure Rust: no `protoc` is called.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const BANNER: &str =
    "// Generated from compiler/proto/onnx-ml.proto by `cargo run -p repops-generate`. Do not edit.\n\n";

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: repops-generate [--check]");
            return ExitCode::from(2);
        }
    };
    match generate(&root(), check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, GenerateError::Stale { .. }) { 1 } else { 2 })
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum GenerateError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Proto(#[from] protox::Error),
    #[error("{} is not up to date; run `cargo run -p repops-generate`", path.display())]
    Stale { path: PathBuf },
    #[error("nothing was generated for package onnx")]
    NoPackage,
}

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn generate(root: &Path, check: bool) -> Result<(), GenerateError> {
    let text = onnx_rust(&root.join("compiler/proto"))?;
    let path = root.join("compiler/src/generated/onnx.rs");
    let io = |source| GenerateError::Io { path: path.clone(), source };
    if check {
        let found = std::fs::read_to_string(&path).map_err(io)?;
        return if found == text { Ok(()) } else { Err(GenerateError::Stale { path }) };
    }
    std::fs::write(&path, text).map_err(io)
}

/// The Rust text for `onnx-ml.proto`. Bytes fields share the file's memory (`bytes::Bytes`).
fn onnx_rust(folder: &Path) -> Result<String, GenerateError> {
    let files = protox::compile(["onnx-ml.proto"], [folder])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]).disable_comments(["."]);
    let requests = files
        .file
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let io = |source| GenerateError::Io { path: folder.to_path_buf(), source };
    let modules = config.generate(requests).map_err(io)?;
    let text = modules.into_values().next().ok_or(GenerateError::NoPackage)?;
    Ok(format!("{BANNER}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        generate(&root(), true).unwrap();
    }
}
