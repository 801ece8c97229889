//! Element-wise operators: alone and in regions.

pub mod broadcast;
mod gelu;
pub(crate) mod loops;
pub(crate) mod operators;
#[cfg(target_arch = "x86_64")]
mod quick;
pub mod region;
