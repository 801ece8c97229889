//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, with the stable toolchain and nothing to install.
//!
//! Coverage counters come from flags that stable rustc accepts; `cargo fuzz` on a nightly toolchain runs the same
//! targets with sanitizers. Invariant: `fuzz/corpus` is read and never written; what is found new goes to the
//! target folder.

use crate::command::{self, Error, Result, capture, command};
use crate::setup;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone)]
pub struct Options {
    /// The target; all of them by default.
    pub target: Option<String>,
    /// How long to run each.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub seconds: u32,
}

/// What `cargo fuzz` passes for coverage, less what needs a nightly compiler.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// A target that wants more than this for one input is at fault: its inputs are some kilobytes.
const MEMORY_MAX_MIB: u32 = 2048;
const INPUT_SECONDS_MAX: u32 = 10;

pub fn run(options: &Options) -> Result<()> {
    let folder = command::root().join("fuzz");
    let targets: Vec<String> = targets(&folder)?
        .into_iter()
        .filter(|name| options.target.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    if targets.is_empty() {
        return Err(Error::Environment(format!("there is no such target in {}", folder.display())));
    }
    let host = host()?;
    let target_dir = command::target_dir().join("fuzz");
    command::run(
        setup::cargo_with_llvm()
            .args(["build", "--quiet", "--release", "--bins", "--target", &host, "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}")),
    )?;
    for name in &targets {
        let program = target_dir.join(&host).join("release").join(name);
        fuzz(name, &program, &folder.join("corpus").join(name), &target_dir, options.seconds)?;
    }
    Ok(())
}

fn fuzz(name: &str, program: &Path, corpus: &Path, target_dir: &Path, seconds: u32) -> Result<()> {
    let found = target_dir.join("corpus").join(name);
    let crashes = target_dir.join("artifacts").join(name);
    command::make_dir(&found)?;
    command::make_dir(&crashes)?;
    let mut fuzzer = command(program);
    fuzzer
        .args([&found, corpus])
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg("-verbosity=1")
        .arg("-print_final_stats=1");
    command::run(&mut fuzzer).map_err(|error| {
        Error::Failed(format!("fuzz target {name}: {error}; the input is in {}", crashes.display()))
    })
}

/// Every target is one file.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let dir = folder.join("fuzz_targets");
    let entries = std::fs::read_dir(&dir).map_err(|source| Error::file("listing", &dir, source))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path: PathBuf| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let version = capture(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Error::Environment("`rustc -vV` names no host".to_owned()))
}
