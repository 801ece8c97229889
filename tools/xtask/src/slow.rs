//! `cargo xtask slow`: the proofs that take long, on the real models.
//!
//! Each development model is compiled, run, compared with ONNX Runtime's outputs and with the right answer, and
//! sent through the whole matrix; the kernels' own way to exp is compared with its definition over all inputs; the shipped PTX runs through every way, and faults are
//! planted in it; large graphs and weights are compiled, and ONNX's suites run on every instruction set. Invariant: nothing is left out silently; what cannot be fetched is an error.

use crate::command::{self, Error, Result, command, run};
use crate::repops::{Profile, Repops};
use crate::{matrix, models, setup, suites};
use std::path::PathBuf;

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Only compare with ONNX Runtime; leave out the matrix.
    #[arg(long)]
    pub no_matrix: bool,
    /// Leave out ONNX's suites.
    #[arg(long)]
    pub no_suites: bool,
    /// Leave out aarch64.
    #[arg(long)]
    pub no_aarch64: bool,
}

const REFERENCE: &str = "conformance/reference.py";

/// The kernels' own ways to a function's bits, over all of its inputs.
const EVERY_INPUT: [&str; 3] = ["--", "--ignored", "all_inputs"];

pub fn prove(options: &Options) -> Result<()> {
    setup::provide_all(&setup::Options { python: true, aarch64: !options.no_aarch64, check: false })?;
    models::fetch_all(&models::Options { all: true, check: false })?;
    let cases = make_cases()?;
    let repops = Repops::build(Profile::Release)?;
    let mut failures = Vec::new();
    for case in matrix::case_folders(&cases)? {
        if let Err(error) = compare(&repops, &case) {
            println!("{error}");
            failures.push(error.to_string());
        }
    }
    if !options.no_matrix {
        let options = matrix::Options {
            release: true,
            cases: Some(cases),
            no_aarch64: options.no_aarch64,
            ..matrix::Options::default()
        };
        if let Err(error) = matrix::check(&options) {
            failures.push(error.to_string());
        }
    }
    if let Err(error) =
        run(command::cargo().args(["test", "--release", "-p", "repops-kernels", "--lib"]).args(EVERY_INPUT))
    {
        failures.push(error.to_string());
    }
    // The shipped PTX on every way through it, and faults planted in it.
    let ptx = ["test", "--release", "-p", "repops-ptx", "--test", "suite", "--", "--include-ignored"];
    if let Err(error) = run(command::cargo().args(ptx)) {
        failures.push(error.to_string());
    }
    // Graphs of many nodes, and weights of more than two gigabytes.
    let scale =
        ["test", "--release", "-p", "repops-conformance", "--test", "scale", "--", "--include-ignored"];
    if let Err(error) = run(setup::cargo_with_llvm().args(scale).args(["--nocapture", "--test-threads", "1"]))
    {
        failures.push(error.to_string());
    }
    if !options.no_suites {
        let options = suites::Options { no_aarch64: options.no_aarch64, ..suites::Options::default() };
        if let Err(error) = suites::check(&options) {
            failures.push(error.to_string());
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Failed(failures.join("\n"))) }
}

/// The development models with real inputs and ONNX Runtime's outputs.
pub fn make_cases() -> Result<PathBuf> {
    let cases = command::target_dir().join("cases");
    run(command(setup::python_path()).args([REFERENCE, "cases"]).args([models::dir(), cases.clone()]))?;
    Ok(cases)
}

fn compare(repops: &Repops, case: &std::path::Path) -> Result<()> {
    let program = case.join("model.rep");
    repops.compile(&case.join("model.onnx"), &program, &[])?;
    let outputs = case.join("outputs");
    let found = repops.run(&program, &matrix::inputs_of(case)?, &[], &outputs)?;
    println!("{}: {} ms, trace root {}", case.display(), found.elapsed_ms, found.trace_root);
    run(command(setup::python_path()).args([REFERENCE, "compare"]).args([case, &outputs]))
}
