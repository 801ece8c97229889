//! Models (ONNX, GGUF, Hugging Face folders) to MLIR to Program, and fused regions to native code.
//!
//! Invariant: nothing in this crate decides what an operator computes; that is said by `repops` alone. Passes change
//! the shape of a model, never its bits. Only this crate links LLVM and MLIR.
#![deny(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod build;
mod compile;
pub mod decoder;
mod emit;
pub mod error;
mod folder;
pub mod gguf;
pub mod graph;
mod mapped;
pub mod mlir;
pub mod model;
pub mod native;
pub mod onnx;
pub mod passes;
pub mod safetensors;
pub mod sequence;
pub mod weights;

pub use compile::{CompileOptions, Observer, compile, compile_file};
pub use emit::COMPILER;
pub use error::{CompileError, Result};
