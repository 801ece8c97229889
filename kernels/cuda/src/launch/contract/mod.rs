//! Products: MatMul, Gemm and their like, in chunks of 256 terms whose results the tree combines.

pub mod attention;
pub mod blocks;
pub mod conv;
pub mod conv_integer;
pub mod conv_transpose;
pub mod embedding;
pub mod gemm;
pub mod integer;
pub mod matmul;
pub mod onnx_attention;
pub mod product;
mod products;
mod wgmma;

/// Terms of a chunk (SPEC.md, section 3).
pub const CHUNK: usize = repops::reduce::CHUNK;
