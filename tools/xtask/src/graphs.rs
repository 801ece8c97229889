//! `cargo xtask graphs`: random graphs by the reference and on every kernel path of this machine, and node by node beside ONNX
//! Runtime.
//!
//! The tests check a few hundred on every run; this checks as many others as wanted.

use std::process::Command;

use crate::command::{self, Result};
use crate::setup;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// How many graphs.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub count: u64,
    /// The seed of the first.
    #[arg(long, value_name = "SEED", default_value_t = 1_000_000)]
    pub first: u64,
    /// Compare each node with ONNX Runtime instead; what differs for a reason is in conformance/known/onnxruntime.txt.
    #[arg(long)]
    pub onnx_runtime: bool,
}

/// The newest that ONNX Runtime knows all operators of.
const OPSET: &str = "22";
const KNOWN: &str = "conformance/known/onnxruntime.txt";

pub fn run(options: &Options) -> Result<()> {
    setup::provide_all(&setup::Options { python: options.onnx_runtime, ..setup::Options::default() })?;
    if options.onnx_runtime {
        return beside_onnx_runtime(options);
    }
    command::run(&mut tests("drawn_graphs_give_the_same_bits_everywhere", options))
}

fn beside_onnx_runtime(options: &Options) -> Result<()> {
    let folder = command::target_dir().join("graphs");
    command::fresh_dir(&folder)?;
    let mut write = tests("drawn_graphs_are_written_where_that_is_wanted", options);
    command::run(write.env("REPOPS_GRAPHS_FOLDER", &folder).env("REPOPS_GRAPHS_OPSET", OPSET))?;
    let mut compare = command::command(setup::python_path());
    command::run(compare.arg("conformance/random_cases.py").arg(&folder).args(["--expect", KNOWN]))
}

/// One of the tests about drawn graphs, over the graphs that are wanted.
fn tests(name: &str, options: &Options) -> Command {
    let mut cargo = setup::cargo_with_llvm();
    cargo
        .args([
            "test",
            "--quiet",
            "-p",
            "repops-conformance",
            "--test",
            "random",
            "--",
            "--nocapture",
            "--exact",
            name,
        ])
        .env("REPOPS_GRAPHS", options.count.to_string())
        .env("REPOPS_FIRST_GRAPH", options.first.to_string());
    cargo
}
