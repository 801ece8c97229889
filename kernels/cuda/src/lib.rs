//! CUDA kernels with the bits of repops: PTX texts, and the plans of their launches.
//!
//! [`table::lookup`] finds the launch of an operator; without one, the caller computes it on the host. A launch
//! is generic over [`Device`], so the same plan and the same PTX run on a GPU and in an interpreter.
//! Invariants: a launch gives the bits of the operator's `eval` and writes every element of its outputs; how a
//! grid is cut never decides an order of summation. Never uses floating-point atomics.
#![deny(unsafe_code)]

pub mod cubins;
pub mod device;
#[cfg(feature = "driver")]
pub mod driver;
mod error;
pub mod lanes;
pub mod launch;
pub mod ledger;
pub mod self_test;
pub mod table;

pub use device::{Argument, Device, Kernel, Module, ModuleRef, Operand, View};
pub use error::Error;
pub use table::{Call, Launch, lookup};
