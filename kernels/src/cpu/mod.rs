//! Kernels of the CPU: one file per operation, instantiated per instruction set.

pub(crate) mod contract;
pub mod elementwise;
pub mod lane;
pub mod map;
pub(crate) mod matmul;
pub mod unary;
