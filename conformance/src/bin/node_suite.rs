//! Runs ONNX's own test cases: `node_suite FOLDER [--only TEXT] [--expect FILE] [--write FILE]`.
//!
//! FOLDER holds a folder for each case (`model.onnx`, `test_data_set_0/`), as `conformance/node_cases.py` writes them.
//! `--expect` names the cases that do not pass, a line each: `NAME: REASON`. It exits with 1 when a case that is not
//! named does not pass, or one that is named passes or is missing. `--write` writes such a file: reasons that it has
//! stay, for new ones it says what happened. Exit code 2: the folder or a file cannot be read.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// Cases that are known not to pass, `NAME: REASON`; all others must.
    #[arg(long)]
    expect: Option<PathBuf>,
    /// Writes the cases that do not pass in that form.
    #[arg(long)]
    write: Option<PathBuf>,
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
    if let Some(path) = &options.write {
        std::fs::write(path, known_text(&reports, path)?)?;
    }
    match &options.expect {
        None => Ok(true),
        Some(path) => Ok(agrees(&reports, &read_known(path)?, &options.only)),
    }
}

/// The cases that a file names, with their reasons.
fn read_known(path: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let known = |line: &str| {
        let (name, reason) = line.split_once(": ")?;
        Some((name.to_string(), reason.to_string()))
    };
    let bad = |line| std::io::Error::other(format!("{}: {line:?} is not NAME: REASON", path.display()));
    lines.map(|line| known(line).ok_or_else(|| bad(line))).collect()
}

/// Whether the cases that do not pass are those named. Says which are not.
fn agrees(reports: &[Report], known: &BTreeMap<String, String>, only: &str) -> bool {
    let mut agrees = true;
    let mut differ = |case: &str, how: &str| {
        println!("{case} {how}");
        agrees = false;
    };
    for report in reports {
        match (report.outcome == Outcome::Passed, known.contains_key(&report.case)) {
            (true, true) => differ(&report.case, "passes, but is named as one that does not"),
            (false, false) => differ(&report.case, "does not pass"),
            _ => {}
        }
    }
    for case in known.keys().filter(|case| case.contains(only)) {
        if !reports.iter().any(|report| report.case == *case) {
            differ(case, "is named but not in the folder");
        }
    }
    agrees
}

/// The text of a file that names the cases that do not pass. Its head and the reasons of `path` stay.
fn known_text(reports: &[Report], path: &Path) -> std::io::Result<String> {
    let (old, head) = match path.exists() {
        true => (read_known(path)?, std::fs::read_to_string(path)?),
        false => (BTreeMap::new(), String::new()),
    };
    let mut out: String =
        head.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for report in reports {
        let reason = match &report.outcome {
            Outcome::Passed => continue,
            Outcome::Failed(why) | Outcome::Unsupported(why) => why.replace('\n', " "),
        };
        let reason = old.get(&report.case).unwrap_or(&reason);
        out.push_str(&format!("{}: {reason}\n", report.case));
    }
    Ok(out)
}

/// A panic is a failure of its case, not the end of the run.
fn run_caught(folder: &Path) -> Report {
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
