//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, with the stable toolchain and no `cargo fuzz`.
//!
//! Coverage counters come from flags that stable rustc accepts; `cargo fuzz` on a nightly toolchain runs the same
//! targets with sanitizers. Invariant: `fuzz/corpus` is read and never written; what is found new goes to the
//! target folder. A target that finds something does not stop those after it.

use crate::command::{self, Error, Result, capture, command};
use crate::setup;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// The targets; all of them by default.
    pub targets: Vec<String>,
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
    let known = targets(&folder)?;
    if let Some(name) = options.targets.iter().find(|name| !known.contains(name)) {
        return Err(Error::Environment(format!("there is no target {name} in {}", folder.display())));
    }
    let targets = if options.targets.is_empty() { known } else { options.targets.clone() };
    setup::provide_all(&setup::Options::default())?;
    let host = host()?;
    let target_dir = command::target_dir().join("fuzz");
    command::run(
        setup::cargo_with_llvm()
            .args(["build", "--quiet", "--release", "--target", &host, "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .args(targets.iter().flat_map(|name| ["--bin", name.as_str()]))
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}")),
    )?;
    let mut summary = Vec::new();
    let mut has_failed = false;
    for name in &targets {
        let program = target_dir.join(&host).join("release").join(name);
        let result = fuzz(name, &program, &folder.join("corpus").join(name), &target_dir, options.seconds);
        has_failed |= result.is_err();
        summary.push(match result {
            Ok(runs) => format!("{name:<14} {runs:>12} inputs, none at fault"),
            Err(error) => format!("{name:<14} FAILED: {error}"),
        });
    }
    println!("\n==== fuzzing, {} s for each target", options.seconds);
    for line in summary {
        println!("{line}");
    }
    if has_failed { Err(Error::Reported) } else { Ok(()) }
}

/// Runs one target; gives the number of inputs that it was given.
fn fuzz(name: &str, program: &Path, corpus: &Path, target_dir: &Path, seconds: u32) -> Result<u64> {
    let found = target_dir.join("corpus").join(name);
    let faults = target_dir.join("artifacts").join(name);
    command::make_dir(&found)?;
    command::make_dir(&faults)?;
    let mut fuzzer = command(program);
    fuzzer
        .args([&found, corpus])
        .arg(format!("-artifact_prefix={}/", faults.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg("-verbosity=1")
        .arg("-print_final_stats=1")
        .env("LD_LIBRARY_PATH", setup::library_path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    println!("$ {}", command::line(&fuzzer));
    let mut child = fuzzer.spawn().map_err(|source| command::start_error(&fuzzer, source))?;
    let mut runs = None;
    if let Some(stream) = child.stderr.take() {
        // Lines that are no UTF-8 are an input's own bytes, in a report.
        for line in BufReader::new(stream).split(b'\n').map_while(|line| line.ok()) {
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            runs = executed(&line).or(runs);
        }
    }
    let status = child.wait().map_err(|source| command::start_error(&fuzzer, source))?;
    match runs {
        Some(runs) if status.success() => Ok(runs),
        _ => Err(Error::Failed(format!("{status}; the input is in {}", faults.display()))),
    }
}

/// The number in the line of libFuzzer's final statistics that says how many inputs were executed.
fn executed(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_are_read() {
        assert_eq!(executed("stat::number_of_executed_units: 1048576"), Some(1 << 20));
        assert_eq!(executed("stat::average_exec_per_sec:     17189"), None);
        assert_eq!(executed("stat::number_of_executed_units: many"), None);
    }

    #[test]
    fn every_target_is_known_by_its_file() {
        let names = targets(&command::root().join("fuzz")).unwrap();
        assert!(names.iter().any(|name| name == "onnx"), "{names:?}");
    }
}
