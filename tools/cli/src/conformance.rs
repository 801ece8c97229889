//! `repops conformance`: suites of cases, their reports, and a page of them.

use repops_conformance::suite::{self, Report};
use repops_io::atomic;
use serde_json::json;

use crate::arguments::{ConformanceCompare, ConformancePage};
#[cfg(not(feature = "compile"))]
use crate::arguments::{ConformancePack, ConformanceRun};
use crate::report::{print, print_json};
use crate::{Answer, Result};

/// A build without LLVM compares and shows.
#[cfg(not(feature = "compile"))]
pub fn run(arguments: &ConformanceRun) -> Result<Answer> {
    let suite = &arguments.suite;
    Err(crate::Failure(format!("{suite}: cases are ONNX models, and the compiler is not part of this build")))
}

#[cfg(not(feature = "compile"))]
pub fn pack(arguments: &ConformancePack) -> Result<Answer> {
    let suite = &arguments.suite;
    Err(crate::Failure(format!("{suite}: cases are ONNX models, and the compiler is not part of this build")))
}

#[cfg(feature = "compile")]
pub use with_compiler::{pack, run};

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

#[cfg(feature = "compile")]
mod with_compiler {
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use repops::exec::Executor;
    use repops::{Program, Tensor};
    use repops_conformance::suite::{
        Case, CaseReport, Counts, Goldens, Known, Machine, Outcome, Report, SUITES, cases, packed,
        run as run_case,
    };
    use repops_io::atomic;
    use serde_json::json;

    use crate::arguments::{ConformancePack, ConformanceRun};
    use crate::engine::Engine;
    use crate::report::{print, print_json};
    use crate::{Answer, Failure, Result};

    pub fn run(arguments: &ConformanceRun) -> Result<Answer> {
        let engine = Engine::new(&arguments.engine)?;
        let folder = folder_of(&arguments.suite, &arguments.folder)?;
        let mut chosen = cases(&folder)?;
        chosen.retain(|case| case.name.contains(&arguments.only));
        if chosen.is_empty() {
            return Err(Failure(format!(
                "{}: no case's name contains {:?}",
                folder.display(),
                arguments.only
            )));
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
        let report = Report::new(&arguments.suite, machine, run_all(&chosen, &engine));
        if let Some(path) = &arguments.output {
            atomic::write(path, |out| out.write_all(report.to_json().as_bytes()))?;
        }
        answer(arguments, &report)
    }

    /// Writes each case as `NAME.rep` and, for its data set number N, `NAME.N.inputs.rep`.
    pub fn pack(arguments: &ConformancePack) -> Result<Answer> {
        let folder = folder_of(&arguments.suite, &arguments.folder)?;
        std::fs::create_dir_all(&arguments.output)?;
        let (mut written, mut left, mut bytes) = (0, 0, 0u64);
        for case in cases(&folder)?.iter().filter(|case| case.name.contains(&arguments.only)) {
            // A case that is not supported, or whose inputs cannot be constants, is left out.
            let Some(files) =
                packed(case).ok().and_then(|(program, sets)| pack_case(case, &program, &sets).ok())
            else {
                left += 1;
                continue;
            };
            let size: u64 = files.iter().map(|(_, file)| file.len() as u64).sum();
            if size > arguments.most << 10 {
                left += 1;
                continue;
            }
            for (name, file) in files {
                atomic::write(&arguments.output.join(name), |out| out.write_all(&file))?;
            }
            (written, bytes) = (written + 1, bytes + size);
        }
        print(&format!("{written} cases, {bytes} bytes; {left} left out"));
        Ok(if written > 0 { Answer::Yes } else { Answer::No })
    }

    /// Names and contents of a case's files.
    fn pack_case(case: &Case, program: &Program, sets: &[Vec<Tensor>]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = vec![(format!("{}.rep", case.name), Vec::new())];
        program.write(&mut files[0].1)?;
        for (index, inputs) in sets.iter().enumerate() {
            let mut file = Vec::new();
            crate::replay::container(&program.header().inputs, inputs)?.write(&mut file)?;
            files.push((format!("{}.{index}.inputs.rep", case.name), file));
        }
        Ok(files)
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

    fn run_all(cases: &[Case], engine: &Engine) -> Vec<CaseReport> {
        let kernels: Option<&dyn Executor> = match engine {
            Engine::Reference => None,
            Engine::Runtime(runtime) => Some(runtime),
            Engine::Device(device) => Some(device.as_ref()),
        };
        // Panics are outcomes here; where they happened is said by the default hook, on standard error.
        let bar = indicatif::ProgressBar::new(cases.len() as u64);
        let done = cases.iter().map(|case| {
            let report = run_case(case, kernels);
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
            known =
                Some(if arguments.bless && !path.exists() { Known::default() } else { Known::read(path)? });
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
}
