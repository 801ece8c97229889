//! `--input NAME=FILE`: files to tensors in the program's order.

use std::collections::BTreeMap;
use std::path::Path;

use repops::ops::SymType;
use repops::{DType, Program, Tensor};
use repops_io::{Source, read_tensor};

use crate::arguments;
use crate::{Failure, Result};

/// One argument, taken apart.
struct Given<'a> {
    path: &'a Path,
    dtype: Option<DType>,
}

/// Reads the program's inputs; each must be given once, and nothing else.
pub fn read(arguments: &arguments::Inputs, program: &Program) -> Result<Vec<Tensor>> {
    if let Some(packed) = &arguments.packed {
        return crate::replay::contained(&crate::engine::load(packed)?);
    }
    let names = &program.header().inputs;
    let mut given = BTreeMap::new();
    for argument in &arguments.inputs {
        let (name, file) = argument
            .split_once('=')
            .ok_or_else(|| Failure(format!("--input {argument:?}: NAME=FILE is expected")))?;
        let (name, dtype) = split_type(name, names);
        if !names.iter().any(|n| n == name) {
            return Err(Failure(format!("--input {name}: the program has no such input; it has {names:?}")));
        }
        if given.insert(name, Given { path: Path::new(file), dtype }).is_some() {
            return Err(Failure(format!("--input {name}: given twice")));
        }
    }
    let mut tensors = Vec::with_capacity(names.len());
    for (name, declared) in names.iter().zip(&program.main().params) {
        let given = given.get(name.as_str()).ok_or_else(|| {
            Failure(format!("input {name} is missing: --input {name}=FILE{}", hint(declared)))
        })?;
        let source = Source { path: given.path, name, declared: declared.as_ref(), dtype: given.dtype };
        tensors.push(read_tensor(source).map_err(|error| Failure(format!("input {name}: {error}")))?);
    }
    Ok(tensors)
}

/// What is expected, for the message.
fn hint(declared: &Option<SymType>) -> String {
    declared.as_ref().map_or(String::new(), |ty| format!(" ({ty})"))
}

/// `NAME:bf16`; names may hold colons themselves.
fn split_type<'a>(name: &'a str, names: &[String]) -> (&'a str, Option<DType>) {
    if names.iter().any(|n| n == name) {
        return (name, None);
    }
    match name.rsplit_once(':').map(|(name, dtype)| (name, DType::from_name(dtype))) {
        Some((name, Some(dtype))) => (name, Some(dtype)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_may_follow_the_name() {
        let names = ["x".to_string(), "y:0".to_string(), "z:f32".to_string()];
        assert_eq!(split_type("x", &names), ("x", None));
        assert_eq!(split_type("x:bf16", &names), ("x", Some(DType::BF16)));
        assert_eq!(split_type("y:0", &names), ("y:0", None));
        assert_eq!(split_type("y:0:i8", &names), ("y:0", Some(DType::I8)));
        assert_eq!(split_type("z:f32", &names), ("z:f32", None));
        assert_eq!(split_type("x:nonsense", &names), ("x:nonsense", None));
    }
}
