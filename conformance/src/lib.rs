//! Conformance suites and the matrix of machines.
#![forbid(unsafe_code)]

pub mod mutate;
#[cfg(feature = "compiler")]
pub mod node_suite;
