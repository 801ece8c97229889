//! A strict interpreter of PTX: what the shipped CUDA kernels compute, without a GPU.
//!
//! [`parse`] reads text, [`lower`] turns an entry into code whose operands are numbered registers, [`machine`] runs it
//! warp by warp.
//!
//! Invariant: it accepts only what it understands completely. Float arithmetic without an explicit rounding, unknown
//! opcodes and suffixes are errors of the text; accesses out of bounds, misaligned or of memory that nothing has
//! written, races, divergent barriers and endless loops are errors of a launch. No text and no launch makes it panic.
#![forbid(unsafe_code)]

mod ast;
mod code;
pub mod definition;
mod device;
mod error;
pub mod flow;
mod lex;
mod lower;
mod machine;
pub mod mutate;
mod parse;

pub use device::{Buffer, Interpreter, Name, Reached};
pub mod suite;

pub use error::{Error, Fault, Result, Space};
pub use machine::memory::{Full, Memory};
pub use machine::{Loaded, Machine, STEPS_MAX, Shape, Value};

/// The names of the entries of a text.
pub fn entries(text: &str) -> Result<Vec<String>> {
    let module = parse::module(text)?;
    Ok(module.functions.iter().filter(|f| f.is_entry).map(|f| f.name.to_owned()).collect())
}
