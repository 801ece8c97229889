//! Native code for fused regions, made by the machine that runs it.
//!
//! Invariant: native code computes the interpreter's bits. It is made from the scalar definitions of `repops`, with
//! `math.fma` where they say `fma`, without any fast-math flag and without any call; what LLVM makes of it is
//! checked instruction by instruction (`cpp/Jit.cpp`).

pub mod emit;
pub mod jit;
pub mod kernel;
pub mod ptx;
pub mod regions;
pub use repops::symbolic as sym;
