//! Constants that programs computed; each file names its generator.

pub(crate) mod tables;
