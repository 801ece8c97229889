//! Conformance suites and the matrix of machines.
