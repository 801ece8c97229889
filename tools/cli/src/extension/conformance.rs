//! `repops conformance`: suites of cases, their reports, and a page of them.

use std::io::Write;
use std::path::{Path, PathBuf};

use repops::exec::Executor;
use repops_conformance::suite::{
    self, Case, CaseReport, Counts, Goldens, Known, Machine, Outcome, Report, SUITES, Ways, cases,
};
use repops_io::atomic;
use serde_json::json;

use repops_cli::arguments::{ConformanceCompare, ConformancePack, ConformancePage, ConformanceRun};
use repops_cli::engine::Engine;
use repops_cli::report::{print, print_json};
use repops_cli::{Answer, Failure, Result};

pub fn run(arguments: &ConformanceRun) -> Result<Answer> {
    let engine = Engine::new(&arguments.engine)?;
    let folder = folder_of(&arguments.suite, &arguments.folder)?;
    let mut chosen = cases(&folder)?;
    chosen.retain(|case| case.name.contains(&arguments.only));
    if chosen.is_empty() {
        return Err(Failure(format!("{}: no case's name contains {:?}", folder.display(), arguments.only)));
    }
    let machine = Machine {
        arch: std::env::consts::ARCH.to_string(),
        isa: match &engine {
            Engine::Reference => "reference".to_string(),
            Engine::Runtime(runtime) => runtime.isa().name().to_string(),
            Engine::Device(device) => device.name().to_string(),
        },
        threads: engine.threads(),
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    let report = Report::new(&arguments.suite, machine, run_all(&chosen, &engine, !arguments.no_reference));
    if let Some(path) = &arguments.output {
        atomic::write(path, |out| out.write_all(report.to_json().as_bytes()))?;
    }
    answer(arguments, &report)
}

/// A build without LLVM runs, compares and shows.
#[cfg(not(feature = "compile"))]
pub fn pack(arguments: &ConformancePack) -> Result<Answer> {
    let suite = &arguments.suite;
    Err(Failure(format!("{suite}: cases are ONNX models, and the compiler is not part of this build")))
}

#[cfg(feature = "compile")]
pub use packing::pack;

pub fn compare(arguments: &ConformanceCompare) -> Result<Answer> {
    let (first, second) = (Report::read(&arguments.first)?, Report::read(&arguments.second)?);
    let found = suite::differences(&first, &second);
    if arguments.json {
        print_json(&json!({
            "first": first.machine.name(),
            "second": second.machine.name(),
            "cases": [first.cases.len(), second.cases.len()],
            "differences": found,
        }));
    } else {
        found.iter().for_each(|line| print(line));
        let (a, b) = (first.machine.name(), second.machine.name());
        print(&format!(
            "{a} and {b}: {} and {} cases, {} differences",
            first.cases.len(),
            second.cases.len(),
            found.len()
        ));
    }
    Ok(if found.is_empty() { Answer::Yes } else { Answer::No })
}

pub fn page(arguments: &ConformancePage) -> Result<Answer> {
    let reports = arguments
        .reports
        .iter()
        .map(|path| Report::read(path))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let html = suite::page(&reports);
    atomic::write(&arguments.output, |out| out.write_all(html.as_bytes()))?;
    Ok(Answer::Yes)
}

fn folder_of(suite: &String, folder: &Path) -> Result<PathBuf> {
    let folder = if SUITES.contains(&suite.as_str()) { folder.join(suite) } else { PathBuf::from(suite) };
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Failure(format!(
        "{}: there is no such folder; conformance/node_cases.py writes ONNX's suites, --folder says where they are",
        folder.display()
    )))
}

fn run_all(cases: &[Case], engine: &Engine, reference: bool) -> Vec<CaseReport> {
    let kernels: Option<&dyn Executor> = match engine {
        Engine::Reference => None,
        Engine::Runtime(runtime) => Some(runtime),
        Engine::Device(device) => Some(device.as_ref()),
    };
    let ways = Ways { kernels, reference };
    // Panics are outcomes here; where they happened is said by the default hook, on standard error.
    let bar = indicatif::ProgressBar::new(cases.len() as u64);
    let done = cases.iter().map(|case| {
        let report = suite::run(case, ways);
        bar.inc(1);
        report
    });
    let reports = done.collect();
    bar.finish_and_clear();
    reports
}

fn answer(arguments: &ConformanceRun, report: &Report) -> Result<Answer> {
    let (mut known, mut goldens) = (None, None);
    if let Some(path) = &arguments.expect {
        known = Some(if arguments.bless && !path.exists() { Known::default() } else { Known::read(path)? });
    }
    if let Some(path) = &arguments.goldens {
        let is_new = arguments.bless && !path.exists();
        goldens = Some(if is_new { Goldens::default() } else { Goldens::read(path)? });
    }
    if arguments.bless {
        if !arguments.only.is_empty() {
            return Err(Failure::new("--bless with --only would forget the other cases"));
        }
        let write = |path: &Option<PathBuf>, text: Option<String>| -> Result<()> {
            if let (Some(path), Some(text)) = (path, text) {
                write_text(path, &text)?;
            }
            Ok(())
        };
        write(&arguments.expect, known.as_ref().map(|known| known.blessed(report).to_text()))?;
        write(&arguments.goldens, goldens.as_ref().map(|goldens| goldens.blessed(report).to_text()))?;
        (known, goldens) = (None, None);
    }
    let mut findings: Vec<String> = match &known {
        Some(known) => known.findings(report, &arguments.only),
        // When there is something else to compare with, or new files were wanted, that alone decides.
        None if arguments.bless => Vec::new(),
        None => failed(report),
    };
    findings.extend(goldens.iter().flat_map(|goldens| goldens.findings(report, &arguments.only)));
    let mut counts = Counts::default();
    report.cases.iter().for_each(|case| counts.add(case.outcome));
    if arguments.json {
        print_json(&json!({
            "machine": report.machine.name(),
            "passed": counts.passed,
            "failed": counts.failed,
            "unsupported": counts.unsupported,
            "findings": findings,
        }));
    } else {
        findings.iter().for_each(|line| print(line));
        print(&format!(
            "{} on {}: {} passed, {} failed, {} unsupported, {} findings",
            report.suite,
            report.machine.name(),
            counts.passed,
            counts.failed,
            counts.unsupported,
            findings.len()
        ));
    }
    Ok(if findings.is_empty() { Answer::Yes } else { Answer::No })
}

/// Without a list of known ones, every case that does not pass.
fn failed(report: &Report) -> Vec<String> {
    let failed = report.cases.iter().filter(|case| case.outcome != Outcome::Passed);
    failed.map(|case| format!("{}: {}: {}", case.name, case.outcome.name(), case.reason)).collect()
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    Ok(atomic::write(path, |out: &mut dyn Write| out.write_all(text.as_bytes()))?)
}

#[cfg(feature = "compile")]
mod packing {
    use repops::{Program, Tensor};
    use repops_conformance::suite::{files, packed};

    use super::*;

    /// Files by their paths below the folder that is written.
    type Files = Vec<(PathBuf, Vec<u8>)>;

    /// Writes each case as `NAME.rep` and, for its data set number N, `NAME.N.inputs.rep`; with its data as a folder.
    pub fn pack(arguments: &ConformancePack) -> Result<Answer> {
        let folder = folder_of(&arguments.suite, &arguments.folder)?;
        std::fs::create_dir_all(&arguments.output)?;
        let most = match (arguments.most, arguments.with_data) {
            (None, true) => u64::MAX,
            (most, _) => most.unwrap_or(256) << 10,
        };
        let (mut written, mut left, mut bytes) = (0, 0, 0u64);
        for case in cases(&folder)?.iter().filter(|case| case.name.contains(&arguments.only)) {
            let packed = if arguments.with_data { with_data(case) } else { for_replay(case) };
            let size = |files: &Files| files.iter().map(|(_, file)| file.len() as u64).sum::<u64>();
            let files = match packed {
                Ok(files) if size(&files) <= most => files,
                Ok(files) => {
                    print(&format!("{}: left out, {} bytes", case.name, size(&files)));
                    left += 1;
                    continue;
                }
                Err(problem) => {
                    print(&format!("{}: left out: {problem}", case.name));
                    left += 1;
                    continue;
                }
            };
            bytes += size(&files);
            for (name, file) in files {
                let path = arguments.output.join(name);
                path.parent().map(std::fs::create_dir_all).transpose()?;
                atomic::write(&path, |out| out.write_all(&file))?;
            }
            written += 1;
        }
        print(&format!("{written} cases, {bytes} bytes; {left} left out"));
        Ok(if written > 0 { Answer::Yes } else { Answer::No })
    }

    fn with_data(case: &Case) -> std::result::Result<Files, String> {
        let folder = PathBuf::from(&case.name);
        Ok(files(case)?.into_iter().map(|(name, file)| (folder.join(name), file)).collect())
    }

    /// A case that is not supported, or whose inputs cannot be constants, has none.
    fn for_replay(case: &Case) -> std::result::Result<Files, String> {
        let (program, sets) = packed(case)?;
        pack_case(case, &program, &sets).map_err(|failure| failure.0)
    }

    /// Names and contents of a case's files.
    fn pack_case(case: &Case, program: &Program, sets: &[Vec<Tensor>]) -> Result<Files> {
        let mut files = vec![(PathBuf::from(format!("{}.rep", case.name)), Vec::new())];
        program.write(&mut files[0].1)?;
        for (index, inputs) in sets.iter().enumerate() {
            let mut file = Vec::new();
            repops_cli::replay::container(&program.header().inputs, inputs)?.write(&mut file)?;
            files.push((PathBuf::from(format!("{}.{index}.inputs.rep", case.name)), file));
        }
        Ok(files)
    }
}
