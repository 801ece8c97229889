//! Import of ONNX models: conversions of older versions, bad input, real models.
#![forbid(unsafe_code)]

mod bad_input;
mod build;
mod convert;
mod microsoft;
mod models;
mod versions;
