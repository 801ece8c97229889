//! Operators that move elements and compute none: any element type, by its size.

pub(crate) mod blocks;
pub(crate) mod copy;
pub(crate) mod join;
pub(crate) mod named;
pub(crate) mod pad;
pub(crate) mod scatter;
pub(crate) mod strided;
pub(crate) mod trilu;
