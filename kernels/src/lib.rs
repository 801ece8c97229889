//! Fast CPU kernels with the bits of repops.

pub mod cpu;
pub mod isa;
