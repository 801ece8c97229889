//! Element-wise operators: alone and in regions.

pub(crate) mod loops;
pub mod region;
