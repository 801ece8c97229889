//! Operators that move elements and compute none: any element type, by its size.

pub(crate) mod copy;
pub(crate) mod join;
pub(crate) mod strided;
