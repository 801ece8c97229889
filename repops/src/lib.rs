//! What every operator means: the normative numerics, the operator table, programs, and the reference
//! evaluator. SPEC.md is its text; this crate is the form that an auditor reads and runs.
//!
//! Invariants: no unsafe code, no threads, no SIMD; nothing depends on the machine, the time, or the
//! order of a hash table; no panic is reachable from input.
#![forbid(unsafe_code)]

pub mod attrs;
pub mod blocks;
pub mod control;
pub mod digest;
pub mod dim;
pub mod dtype;
pub mod exec;
pub mod fma;
pub mod lane;
pub mod lane_op;
pub mod ops;
pub mod packed;
pub mod philox;
pub mod program;
pub mod reduce;
pub mod reference;
pub mod region;
pub mod scalar;
pub mod sequence;
pub mod symbolic;
pub mod tensor;
pub mod trace;

pub use digest::{Digest, Layout};
pub use dim::DimExpr;
pub use dtype::DType;
pub use program::Program;
pub use tensor::{Tensor, TensorView, TensorViewMut};
