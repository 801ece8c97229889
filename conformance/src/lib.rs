//! Conformance suites and the matrix of machines.
#![forbid(unsafe_code)]

pub mod mutate;
