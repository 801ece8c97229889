//! Runs ONNX's own test cases: `node_suite FOLDER [--only TEXT] [--list FILE] [--expect FILE]`.
//!
//! FOLDER holds a folder for each case (`model.onnx`, `test_data_set_0/`), as the package `onnx` has them
//! in `onnx/backend/test/data/node`. `--list` writes the names of the cases that pass; `--expect` exits
//! with 1 when a case named in the file does not pass. Exit code 2: the folder or a file cannot be read.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use repops_conformance::node_suite::{Outcome, Report, cases, run, summarize};

#[derive(Parser)]
#[command(about = "Runs ONNX's own test cases by the reference evaluation.")]
struct Options {
    /// The folder of the cases.
    folder: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes the names of the cases that pass.
    #[arg(long)]
    list: Option<PathBuf>,
    /// Cases that must pass, one name a line; those of the folder that are missing count as failed.
    #[arg(long)]
    expect: Option<PathBuf>,
    /// Leaves out the reasons of unsupported cases.
    #[arg(long)]
    brief: bool,
}

fn main() -> ExitCode {
    match suite(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn suite(options: &Options) -> std::io::Result<bool> {
    let mut reports = Vec::new();
    for folder in cases(&options.folder)? {
        if folder.to_string_lossy().contains(&options.only) {
            reports.push(run_caught(&folder));
        }
    }
    print(&reports, options.brief);
    let passed: Vec<&str> =
        reports.iter().filter(|r| r.outcome == Outcome::Passed).map(|r| r.case.as_str()).collect();
    if let Some(path) = &options.list {
        std::fs::write(path, passed.iter().map(|c| format!("{c}\n")).collect::<String>())?;
    }
    let Some(path) = &options.expect else { return Ok(true) };
    let expected = std::fs::read_to_string(path)?;
    let expected = expected.lines().filter(|l| !l.starts_with('#') && l.contains(&options.only));
    let missing: Vec<&str> = expected.filter(|case| !passed.contains(case)).collect();
    missing.iter().for_each(|case| println!("{case} is expected to pass"));
    Ok(missing.is_empty())
}

/// A panic is a failure of its case, not the end of the run.
fn run_caught(folder: &std::path::Path) -> Report {
    let case = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    std::panic::catch_unwind(|| run(folder)).unwrap_or_else(|_| Report {
        case,
        operator: "(panicked)".to_string(),
        outcome: Outcome::Failed("panicked".to_string()),
    })
}

fn print(reports: &[Report], brief: bool) {
    for report in reports {
        match &report.outcome {
            Outcome::Failed(why) => println!("FAILED      {}: {why}", report.case),
            Outcome::Unsupported(why) if !brief => println!("unsupported {}: {why}", report.case),
            _ => {}
        }
    }
    println!("\n{:<28} {:>6} {:>6} {:>11}", "operator", "passed", "failed", "unsupported");
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for (operator, counts) in summarize(reports) {
        println!("{operator:<28} {:>6} {:>6} {:>11}", counts.passed, counts.failed, counts.unsupported);
        passed += counts.passed;
        failed += counts.failed;
        unsupported += counts.unsupported;
    }
    println!("{:<28} {passed:>6} {failed:>6} {unsupported:>11}", "all");
}
