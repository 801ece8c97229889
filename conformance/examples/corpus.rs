//! Writes the corpora under `fuzz/corpus` that come from the ONNX models there: their programs, traces, receipts;
//! and keys and tensors. Run after `fuzz/make_onnx_corpus.py`; the result is the same every time.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use repops::exec::{HashLevel, Unobserved};
use repops::program::Program;
use repops::reference::Reference;
use repops::{DType, Tensor};
use repops_compiler::{CompileOptions, compile_file};
use repops_io::npy;
use repops_provenance::{Info, Key, trace_file, verify};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut models: Vec<PathBuf> =
        fs::read_dir(folder.join("onnx"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    models.sort();
    for model in models {
        let name = model.file_name().ok_or("a folder has no name")?.to_string_lossy().into_owned();
        // Those of ai.onnx.ml are for the importer: they take texts, or become operators that others have too.
        if !name.starts_with("bad-") && !name.starts_with("ml-") {
            from_model(&folder, &name, &model)?;
        }
    }
    for (name, tensor) in tensors()? {
        let mut bytes = Vec::new();
        npy::write(&mut bytes, tensor.view())?;
        write(&folder, "npy", name, &bytes)?;
        let mut cut = bytes.clone();
        cut.pop();
        write(&folder, "npy", &format!("bad-cut-{name}"), &cut)?;
    }
    Ok(())
}

fn from_model(folder: &Path, name: &str, model: &Path) -> Result<()> {
    let program = compile_file(model, &CompileOptions::default(), &mut |_, _| {})?;
    let mut bytes = Vec::new();
    program.write(&mut bytes)?;
    write(folder, "program", name, &bytes)?;
    let cut = &bytes[..bytes.len() - bytes.len() / 3];
    write(folder, "program", &format!("bad-truncated-{name}"), cut)?;

    let run = verify::run(
        &program,
        &inputs(&program)?,
        HashLevel::Operators,
        &Reference,
        repops::digest::bytes_digest,
        &mut Unobserved,
    )?;
    let trace = run.execution.trace.ok_or("the run gave no trace")?;
    let mut bytes = Vec::new();
    trace_file::write(&mut bytes, &program.digest(), &trace)?;
    write(folder, "trace", name, &bytes)?;
    let key = Key::from_seed([7; 32]);
    let receipt = run.claim.sign(&key, Info::default()).to_json();
    write(folder, "receipt", name, receipt.as_bytes())?;
    write(
        folder,
        "receipt",
        &format!("bad-field-{name}"),
        receipt.replacen("\"nonce\"", "\"nunce\"", 1).as_bytes(),
    )?;
    write(folder, "key", "pem", key.to_pem().as_bytes())?;
    write(folder, "key", "bad-short", key.to_pem().replacen('M', "", 1).as_bytes())
}

/// Zeros, with 2 for every size that the program leaves open.
fn inputs(program: &Program) -> Result<Vec<Tensor>> {
    let types = program.main().params.iter();
    types
        .map(|ty| {
            let ty = ty.as_ref().ok_or("an input has no type")?;
            let shape: Vec<usize> =
                ty.shape.iter().map(|size| size.as_const().map_or(2, |n| n as usize)).collect();
            Ok(Tensor::zeros(ty.dtype, &shape)?)
        })
        .collect()
}

fn tensors() -> Result<Vec<(&'static str, Tensor)>> {
    Ok(vec![
        ("f32", Tensor::zeros(DType::F32, &[2, 3])?),
        ("i64-scalar", Tensor::zeros(DType::I64, &[])?),
        ("bool-empty", Tensor::zeros(DType::Bool, &[0, 4])?),
        ("u8", Tensor::zeros(DType::U8, &[5])?),
    ])
}

fn write(folder: &Path, corpus: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = folder.join(corpus);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}
