//! Fast CPU kernels with the bits of repops.
