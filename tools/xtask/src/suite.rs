//! `cargo xtask test`: every check that must hold before a change is accepted, in one run.
//!
//! Invariant: a step that fails does not stop those after it; the last line is `N passed, N failed`, which counts
//! the tests of test runners and, for other steps, each step as one. Never passes over a failing step.

use crate::command::{self, Error, Result, cargo};
use crate::setup::{self, cargo_with_llvm};
use crate::{aarch64, cuda, matrix, models, tidy};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Where a step needs what this machine lacks and may not install, fail instead of skipping it.
    #[arg(long)]
    pub strict: bool,
    /// Only the steps whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// What a step found.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Count {
    passed: u64,
    failed: u64,
}

struct Outcome {
    name: &'static str,
    elapsed: Duration,
    result: Result<Count>,
    was_skipped: bool,
}

type Check = fn() -> Result<Count>;

/// In the order of running: the quick ones first, then those that share what was built.
const STEPS: &[(&str, Check)] = &[
    ("format", || counted(cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", || tidy::run().map(|()| ONE)),
    ("cuda", || cuda::check().map(|()| ONE)),
    ("lints", lints),
    ("tests", tests),
    ("doc tests", || counted(cargo_with_llvm().args(["test", "--quiet", "--doc", "--no-fail-fast"]))),
    ("small build", small_build),
    ("aarch64", aarch64_step),
    ("bit matrix", bit_matrix),
];

const ONE: Count = Count { passed: 1, failed: 0 };

#[expect(clippy::disallowed_methods, reason = "says how long each step took")]
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    // The build's needs are demanded at once: without them nearly every step fails for the same reason.
    let wanted = setup::Options::default();
    setup::provide_all(&wanted)?;
    models_if_possible();
    for (name, check) in STEPS {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        println!("\n==== {name}");
        let step_started = Instant::now();
        let result = check();
        let lacks_something =
            matches!(result, Err(Error::Environment(_) | Error::Start { .. })) && !options.strict;
        let outcome = Outcome { name, elapsed: step_started.elapsed(), result, was_skipped: lacks_something };
        if let Err(error) = &outcome.result {
            println!("{error}");
        }
        println!("==== {name}: {} in {:.1?}", verdict(&outcome), outcome.elapsed);
        outcomes.push(outcome);
    }
    summarize(&outcomes, started.elapsed())
}

fn verdict(outcome: &Outcome) -> &'static str {
    match &outcome.result {
        Ok(count) if count.failed == 0 => "passed",
        Err(_) if outcome.was_skipped => "SKIPPED (this machine lacks something)",
        Ok(_) | Err(_) => "FAILED",
    }
}

fn summarize(outcomes: &[Outcome], elapsed: Duration) -> Result<()> {
    println!("\n==== summary, {elapsed:.1?} in all");
    let mut total = Count::default();
    for outcome in outcomes {
        println!("{:<12} {:>9.1?}  {}", outcome.name, outcome.elapsed, verdict(outcome));
        match &outcome.result {
            Ok(count) => {
                total.passed += count.passed;
                total.failed += count.failed;
            }
            Err(_) if outcome.was_skipped => {}
            Err(_) => total.failed += 1,
        }
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 {
        return Ok(());
    }
    // `main` must print nothing after the closing line.
    Err(Error::Reported)
}

/// Tests that need models say so themselves; here the models are only made available.
fn models_if_possible() {
    let wanted = models::Options::default();
    if let Err(error) = models::fetch_all(&wanted) {
        println!("note: {error}");
    }
}

fn lints() -> Result<Count> {
    counted(cargo_with_llvm().args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]))
}

/// nextest where it is installed: it runs the tests of all crates side by side.
fn tests() -> Result<Count> {
    let mut runner = cargo_with_llvm();
    runner.env("REPOPS_MODELS", models::dir());
    if setup::python_path().is_file() {
        runner.env("REPOPS_PYTHON", setup::python_path());
    }
    if command::succeeds(cargo().args(["nextest", "--version"])) {
        runner.args([
            "nextest",
            "run",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--show-progress",
            "none",
        ]);
    } else {
        runner.args(["test", "--quiet", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]);
    }
    counted(&mut runner)
}

/// The command line without the compiler: it must build, and know nothing of LLVM.
fn small_build() -> Result<Count> {
    let tree =
        ["tree", "-p", "repops-cli", "--no-default-features", "-e", "normal,build", "--prefix", "none"];
    let tree = command::capture(cargo().args(tree))?;
    tidy::without_llvm("the command line without default features", &tree)?;
    // Built beside the compiler, though nothing of it is linked: alone, its procedural macros would have other
    // features, and everything from `repops` upwards would be built once more for them.
    let beside = ["-p", "repops-compiler", "-p", "repops-conformance", "-p", "repops-kernels"];
    counted(
        cargo_with_llvm()
            .args(["build", "--quiet", "-p", "repops-cli", "--no-default-features"])
            .args(beside),
    )
}

/// Without the means for aarch64 the step before has said so; the rest of the matrix runs all the same.
fn bit_matrix() -> Result<Count> {
    let no_aarch64 = setup::aarch64_rustc().is_none();
    matrix::check(&matrix::Options { fast: true, no_aarch64, ..matrix::Options::default() })?;
    Ok(ONE)
}

fn aarch64_step() -> Result<Count> {
    setup::provide_all(&setup::Options { aarch64: true, ..setup::Options::default() })?;
    aarch64::run_all(&aarch64::Options::default())?;
    Ok(ONE)
}

/// Runs the command, passing its output on, and counts the tests that its closing lines report.
fn counted(command: &mut Command) -> Result<Count> {
    println!("$ {}", command::line(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| command::start_error(command, source))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (from_out, from_err) = std::thread::scope(|scope| {
        let from_out = scope.spawn(|| pass_on(out));
        let from_err = scope.spawn(|| pass_on(err));
        (from_out.join().unwrap_or_default(), from_err.join().unwrap_or_default())
    });
    let status = child.wait().map_err(|source| command::start_error(command, source))?;
    let mut count =
        Count { passed: from_out.passed + from_err.passed, failed: from_out.failed + from_err.failed };
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    if count == Count::default() {
        count = ONE;
    }
    Ok(count)
}

fn pass_on(stream: Option<impl Read>) -> Count {
    let mut count = Count::default();
    let Some(stream) = stream else { return count };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        if let Some(found) = closing_line(&text) {
            count.passed += found.passed;
            count.failed += found.failed;
        }
        line.clear();
    }
    count
}

/// The counts in a closing line of the standard test runner or of nextest, where the line is one.
fn closing_line(line: &str) -> Option<Count> {
    let line = line.trim();
    if !(line.starts_with("test result:") || (line.starts_with("Summary [") && line.contains("tests run:"))) {
        return None;
    }
    let before = |word: &str| {
        let mut words = line.split([' ', ',', ';', ':']).filter(|text| !text.is_empty()).rev();
        words.by_ref().find(|text| *text == word)?;
        words.next()?.parse::<u64>().ok()
    };
    Some(Count {
        passed: before("passed")?,
        failed: before("failed").unwrap_or(0) + before("timed").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_runners_are_read() {
        let standard = "test result: FAILED. 24 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s";
        assert_eq!(closing_line(standard), Some(Count { passed: 24, failed: 3 }));
        let good = "     Summary [   0.011s] 27 tests run: 27 passed, 0 skipped";
        assert_eq!(closing_line(good), Some(Count { passed: 27, failed: 0 }));
        let bad = "     Summary [   1.2s] 30 tests run: 27 passed (1 slow), 2 failed, 1 timed out, 0 skipped";
        assert_eq!(closing_line(bad), Some(Count { passed: 27, failed: 3 }));
        assert_eq!(closing_line("27 passed"), None);
    }

    #[test]
    fn a_command_that_fails_counts_as_a_failure() {
        let count = counted(command::command("sh").args(["-c", "echo no; exit 1"])).unwrap();
        assert_eq!(count, Count { passed: 0, failed: 1 });
        let count = counted(command::command("sh").args(["-c", "true"])).unwrap();
        assert_eq!(count, ONE);
        let crashed = "echo 'test result: ok. 4 passed; 0 failed;' >&2; exit 101";
        let count = counted(command::command("sh").args(["-c", crashed])).unwrap();
        assert_eq!(count, Count { passed: 4, failed: 1 });
    }

    #[test]
    fn a_skipped_step_is_no_success_and_no_failure() {
        let outcome =
            |result, was_skipped| Outcome { name: "x", elapsed: Duration::ZERO, result, was_skipped };
        let lacking = || Err(Error::Environment("no qemu".to_owned()));
        assert!(summarize(&[outcome(lacking(), true), outcome(Ok(ONE), false)], Duration::ZERO).is_ok());
        assert!(summarize(&[outcome(lacking(), false)], Duration::ZERO).is_err());
        assert!(summarize(&[outcome(Ok(Count { passed: 9, failed: 1 }), false)], Duration::ZERO).is_err());
    }
}
