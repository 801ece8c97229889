//! How each family of operators is launched: which kernels, in which grids, with which arguments.
//!
//! Invariant: a plan depends on shapes, types and attributes alone, never on the device's size or state.

pub mod axes;
pub mod contract;
pub mod elementwise;
