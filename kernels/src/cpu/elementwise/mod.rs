//! Element-wise operators: alone and in regions.

pub mod broadcast;
pub(crate) mod loops;
pub(crate) mod operators;
pub mod region;
