//! Tensors in the ecosystem's formats: `.npy`, `.npz`, ONNX `TensorProto`, raw bytes; and files that
//! appear whole or not at all.
//!
//! Invariant: what is read is hostile. A size that a file declares is compared with the bytes that are
//! there before anything is allocated for it, and every error names the offset, field or member.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

pub mod atomic;
pub mod npy;
pub mod npz;
pub mod raw;
pub mod read;
pub mod tensor_proto;

pub use read::{ReadError, Source, read_tensor};
