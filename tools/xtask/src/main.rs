//! `cargo xtask`: every task of this repository that is not plain `cargo build`.
//!
//! Runs on a machine with Rust and nothing else, so it depends on no crate of the workspace and on no LLVM.
//! Exit codes: 0 done, 1 a check failed, 2 the machine lacks something or the command line is wrong.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod aarch64;
mod bench;
mod command;
mod cuda;
mod demo;
mod disputes;
mod fuzz;
mod generations;
mod graphs;
mod instructions;
mod llama;
mod magika;
mod matrix;
mod models;
mod npy;
mod onnx;
mod repops;
mod setup;
mod slow;
mod suite;
mod suites;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find what the build and the tests need; install what is missing, or say what to install.
    Setup(setup::Options),
    /// Fetch the development models into target/models, checked by SHA-256.
    Models(models::Options),
    /// Check what compilers and lints do not: dependency direction, file lengths, module docs, unsafe.
    Tidy,
    /// Everything that must hold before a change is accepted.
    #[command(visible_alias = "ci")]
    Test(suite::Options),
    /// Build for aarch64 and run there, or under qemu.
    Aarch64(aarch64::Options),
    /// The main job on a small real model, then a cheat and how it is found.
    Demo,
    /// The same programs and inputs on every path there is; one trace root is demanded.
    Matrix(matrix::Options),
    /// ONNX's suites and ours on every instruction set and on aarch64, against the goldens (opt-in).
    Suites(suites::Options),
    /// The proofs that take long, on the real models (opt-in).
    Slow(slow::Options),
    /// Measure: our side by criterion, beside the peers, or in instructions.
    Bench(bench::Options),
    /// What disputes over real models cost; with `--network` whether they end the same on a bad one (opt-in).
    Disputes(disputes::Options),
    /// Compile the CUDA kernels to PTX, or check that what is there is what their sources give.
    Cuda(cuda::Options),
    /// Run the fuzz targets under libFuzzer.
    Fuzz(fuzz::Options),
    /// Random graphs on every kernel path (opt-in; the tests check a few hundred).
    Graphs(graphs::Options),
    /// Prove a scalar function over all of its inputs (opt-in, long; builds GMP and MPFR).
    Prove {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup(options) => setup::provide_all(&options),
        Task::Models(options) => models::fetch_all(&options),
        Task::Tidy => tidy::run(),
        Task::Test(options) => suite::run(&options),
        Task::Aarch64(options) => aarch64::run_all(&options),
        Task::Demo => demo::show(),
        Task::Matrix(options) => matrix::check(&options),
        Task::Graphs(options) => graphs::run(&options),
        Task::Suites(options) => suites::check(&options),
        Task::Slow(options) => slow::prove(&options),
        Task::Bench(options) => bench::measure(&options),
        Task::Disputes(options) => disputes::run(&options),
        Task::Cuda(options) => cuda::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Prove { arguments } => command::run(
            command::cargo().args(["run", "--quiet", "--release", "-p", "prove", "--"]).args(arguments),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(command::Error::Reported) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
