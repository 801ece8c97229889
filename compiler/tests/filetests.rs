//! Runs every `filetests/PASS/*.mlir`: the module before the line `// ----- after`, transformed by PASS, must print
//! as the text after it.
//!
//! Lines `// constant TYPE[SHAPE]: V, V, ...` fill the constant store, in order; a single value is repeated. Constants
//! that a pass has added are printed behind the module.
//!
//! A file whose first line is `// locations` is compared with locations. `REPOPS_BLESS=1` rewrites the expectations.

use std::fs;
use std::path::{Path, PathBuf};

use repops::{DType, Tensor};
use repops_compiler::mlir::{Context, Module};
use repops_compiler::passes::{self, Session};
use repops_compiler::weights::{Weight, WeightId};

const AFTER: &str = "// ----- after\n";
const ERROR: &str = "// error: ";

#[test]
fn filetests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let bless = std::env::var_os("REPOPS_BLESS").is_some();
    let mut failures = Vec::new();
    let mut count = 0;
    for directory in sorted(&root) {
        let pass = directory.file_name().unwrap().to_str().unwrap().to_owned();
        for file in sorted(&directory) {
            count += 1;
            let text = fs::read_to_string(&file).unwrap();
            let (before, expected) = text.split_once(AFTER).unwrap_or((&text, ""));
            let found = transform(&pass, before);
            if found == expected {
                continue;
            }
            if bless {
                fs::write(&file, format!("{before}{AFTER}{found}")).unwrap();
            } else {
                failures.push(format!("{}\n--- expected\n{expected}--- found\n{found}", file.display()));
            }
        }
    }
    assert!(count > 0, "no file tests found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The text after the pass, or the error it gave.
fn transform(pass: &str, before: &str) -> String {
    let context = Context::new();
    let run = || -> repops_compiler::Result<String> {
        let mut session = Session::new(Module::parse(&context, before)?);
        let given = before.lines().filter_map(|line| line.strip_prefix("// constant ")).map(constant);
        let given: Vec<WeightId> =
            given.map(|tensor| session.weights.borrow_mut().add_tensor(&tensor).unwrap()).collect();
        passes::run_one(&mut session, passes::find(pass)?)?;
        let mut text = session.module.to_text(before.starts_with("// locations"));
        let weights = session.weights.borrow();
        for id in (given.len() as u32..).map_while(|id| weights.get(WeightId(id))) {
            text.push_str(&format!("// {}\n", describe(&id)));
        }
        Ok(text)
    };
    run().unwrap_or_else(|error| format!("{ERROR}{error}\n"))
}

/// A constant's type, layout, and its values if they are few.
fn describe(weight: &Weight) -> String {
    let Weight { dtype, shape, layout, .. } = weight;
    let values = weight.view().filter(|view| view.bytes.len() <= 64);
    let values = values.map_or(String::new(), |view| match *dtype {
        DType::F32 => format!(": {:?}", view.as_slice::<f32>()),
        _ => format!(": {:?}", view.to_i64s().unwrap_or_default()),
    });
    format!("{dtype}{shape:?} {layout:?}{values}")
}

/// Parses `i64[2, 3]: 1, 2, 3, 4, 5, 6`.
fn constant(text: &str) -> Tensor {
    let (ty, values) = text.split_once("]:").unwrap();
    let (dtype, shape) = ty.split_once('[').unwrap();
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    let shape: Vec<usize> = list(shape).iter().map(|extent| extent.parse().unwrap()).collect();
    let mut values = list(values);
    let count = shape.iter().product();
    if values.len() == 1 {
        values = vec![values[0].clone(); count];
    }
    match DType::from_name(dtype).unwrap() {
        DType::F32 => {
            Tensor::from_slice(&shape, &values.iter().map(|v| v.parse().unwrap()).collect::<Vec<f32>>())
        }
        DType::I64 => {
            Tensor::from_slice(&shape, &values.iter().map(|v| v.parse().unwrap()).collect::<Vec<i64>>())
        }
        DType::I32 => {
            Tensor::from_slice(&shape, &values.iter().map(|v| v.parse().unwrap()).collect::<Vec<i32>>())
        }
        DType::F16 => {
            let values = values.iter().map(|v| half::f16::from_f32(v.parse().unwrap()));
            Tensor::from_slice(&shape, &values.collect::<Vec<half::f16>>())
        }
        DType::BF16 => {
            let values = values.iter().map(|v| half::bf16::from_f32(v.parse().unwrap()));
            Tensor::from_slice(&shape, &values.collect::<Vec<half::bf16>>())
        }
        DType::Bool => Tensor::from_bools(&shape, &values.iter().map(|v| v == "true").collect::<Vec<bool>>()),
        other => panic!("constants of {other} are not written here yet"),
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
