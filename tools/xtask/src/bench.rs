//! `cargo xtask bench`: our side by criterion; with `--peers` beside OpenBLAS and ONNX Runtime; with `--generation` a language
//! model beside llama.cpp and ONNX Runtime; with `--instructions` counted by callgrind.
//!
//! Invariant: the peers live in a Python environment of their own under the target folder; nothing is
//! measured there that was not built from this checkout in the same call.

use crate::command::{self, Result, command, run};
use crate::repops::{Profile, Repops};
use crate::{instructions, llama, models, setup};
use std::path::{Path, PathBuf};

const REQUIREMENTS: &str = "benches/requirements.txt";
const RESULTS: &str = "benches/RESULTS.md";

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Measure the peers, too, alternating with our side; prints one table of ratios.
    #[arg(long, conflicts_with = "instructions")]
    peers: bool,
    /// Read and write with a language model beside llama.cpp, which is built for this machine, and ONNX Runtime.
    #[arg(long, conflicts_with_all = ["peers", "instructions"])]
    generation: bool,
    /// Count the instructions of the key kernels instead, and compare with the committed counts.
    #[arg(long)]
    instructions: bool,
    /// With --instructions: write the counts down as the new ones.
    #[arg(long, requires = "instructions")]
    bless: bool,
    /// With --peers: only these groups (gemm, gemv, gemv16, int8, conv, rows, attention, models, hashed, hash).
    #[arg(long, num_args = 1.., value_name = "GROUP", requires = "peers")]
    only: Vec<String>,
    /// With --peers: only rows whose name holds this.
    #[arg(long, requires = "peers")]
    filter: Option<String>,
    /// With --peers or --generation: the numbers of threads (1 2).
    #[arg(long, num_args = 1.., value_name = "N")]
    threads: Vec<u32>,
    /// With --peers: the instruction sets for the group gemm (auto avx2).
    #[arg(long, num_args = 1.., requires = "peers")]
    isa: Vec<String>,
    /// With --peers: how regions are evaluated (tiles, native, steps).
    #[arg(long, requires = "peers")]
    regions: Option<String>,
    /// With --peers or --generation: rounds, in each of which all sides have their turn.
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// With --peers: seconds of each side in each round.
    #[arg(long, requires = "peers")]
    seconds: Option<String>,
    /// With --peers: fewer rows, rounds and seconds.
    #[arg(long, requires = "peers")]
    quick: bool,
    /// With --peers: write the table to benches/RESULTS.md.
    #[arg(long, requires = "peers")]
    write: bool,
    /// Without --peers: what criterion is told.
    #[arg(last = true, conflicts_with_all = ["peers", "generation", "instructions"])]
    criterion: Vec<String>,
}

pub fn measure(options: &Options) -> Result<()> {
    if options.instructions {
        return instructions::guard(options.bless);
    }
    let repops = Repops::build(Profile::Release)?;
    match (options.peers, options.generation) {
        (true, _) => beside_peers(options, &repops),
        (_, true) => generation(options, &repops),
        _ => criterion(options, &repops),
    }
}

/// The environment of the peers.
fn environment() -> Result<PathBuf> {
    let venv = command::target_dir().join("bench-venv");
    setup::environment(&venv, REQUIREMENTS, false, "`cargo xtask bench --peers`")?;
    Ok(venv)
}

/// Our programs of this package, which stand beside `repops`.
fn programs(repops: &Repops) -> Result<PathBuf> {
    run(command::cargo().args(["build", "--release", "-p", "repops-benches", "--bins"]))?;
    let release = command::target_dir().join("release");
    Ok(repops.program().parent().map_or(release, Path::to_owned))
}

fn generation(options: &Options, repops: &Repops) -> Result<()> {
    let model = models::dir().join(models::SMOLLM2);
    if !model.is_file() {
        models::fetch_all(&models::Options { all: true, ..models::Options::default() })?;
    }
    let folder = programs(repops)?;
    let venv = environment()?;
    let peers = llama::build(&venv)?;
    let mut python = command(venv.join("bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg("benches/generation.py").arg(repops.program()).arg(&model);
    python.arg(command::target_dir().join("bench-models/generation")).arg("--onnx-runtime");
    python.arg("--llama").arg(peers).arg("--limits").arg(folder.join("limits"));
    if !options.threads.is_empty() {
        python.arg("--threads").args(options.threads.iter().map(u32::to_string));
    }
    if let Some(rounds) = options.rounds {
        python.arg("--rounds").arg(rounds.to_string());
    }
    run(&mut python)
}

fn beside_peers(options: &Options, repops: &Repops) -> Result<()> {
    let folder = programs(repops)?;
    let venv = environment()?;
    let scratch = command::target_dir().join("bench-models");
    let mut python = command(venv.join("bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg("benches/peers").arg("--build").arg(folder).arg("--scratch").arg(scratch);
    python.arg("--models").arg(models::dir());
    let lists = [("--only", &options.only), ("--isa", &options.isa)];
    for (name, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
        python.arg(name).args(values);
    }
    if !options.threads.is_empty() {
        python.arg("--threads").args(options.threads.iter().map(u32::to_string));
    }
    let rounds = options.rounds.map(|rounds| rounds.to_string());
    let words = [
        ("--filter", &options.filter),
        ("--regions", &options.regions),
        ("--rounds", &rounds),
        ("--seconds", &options.seconds),
    ];
    for (name, value) in words {
        python.args(value.iter().flat_map(|value| [name, value.as_str()]));
    }
    if options.quick {
        python.arg("--quick");
    }
    if options.write {
        python.args(["--write", RESULTS]);
    }
    run(&mut python)
}

/// Criterion's benchmarks; whole models are compiled for them before.
fn criterion(options: &Options, repops: &Repops) -> Result<()> {
    let programs = command::target_dir().join("bench-programs");
    command::fresh_dir(&programs)?;
    let magika = command::root().join("assets/magika/standard_v3_3.onnx");
    repops.compile(&magika, &programs.join("magika.rep"), &[])?;
    for (name, file) in
        [("minilm", "minilm/model.onnx"), ("det", "ppocr/det.onnx"), ("rec", "ppocr/rec.onnx")]
    {
        let model = models::dir().join(file);
        if model.is_file() {
            repops.compile(&model, &programs.join(name).with_extension("rep"), &[])?;
        } else {
            println!("left out {name}: `cargo xtask models` fetches it");
        }
    }
    run(bench_command(&programs).args(&options.criterion))
}

fn bench_command(programs: &Path) -> std::process::Command {
    let mut cargo = command::cargo();
    cargo.args(["bench", "-p", "repops-benches", "--benches", "--"]).env("REPOPS_BENCH_PROGRAMS", programs);
    cargo
}
