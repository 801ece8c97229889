//! Constants that programs computed; each file names its generator.

pub(crate) mod double_tables;
pub(crate) mod tables;
