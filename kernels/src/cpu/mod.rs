//! Kernels of the CPU: one file per operation, instantiated per instruction set.

pub mod lane;
pub mod map;
pub mod unary;
