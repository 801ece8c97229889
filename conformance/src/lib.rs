//! Conformance suites and the matrix of machines.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

#[cfg(feature = "compiler")]
pub mod hostile;
pub mod mutate;
#[cfg(feature = "compiler")]
pub mod random;
pub mod suite;
