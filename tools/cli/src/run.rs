//! `repops run`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use repops::exec::{Executor, HashLevel, Limits, bind_sizes};
use repops::trace::Trace;
use repops::{Digest, Program, Tensor};
use repops_io::atomic::Staged;
use repops_io::npy;
use repops_provenance::json::INTEGER_MAX;
use repops_provenance::verify;
use repops_provenance::{Claim, Info, Key, trace_file};
use serde_json::{Map, Value, json};

use crate::arguments::{Level, Run};
use crate::engine::{self, Engine};
use crate::interrupt::{Watcher, watch_for_interrupts};
use crate::report::{note, print, print_json, table};
use crate::{Answer, Failure, Result, inputs, keys};

pub fn run(arguments: &Run) -> Result<Answer> {
    check_arguments(arguments)?;
    watch_for_interrupts();
    let program = engine::load(&arguments.program)?;
    let tensors = inputs::read(&arguments.inputs, &program)?;
    // Before anything is made, a key for instance: do the inputs fit?
    bind_sizes(&program, &tensors)?;
    let engine = Engine::new(&arguments.engine)?;
    // What is signed or recorded names constants by the digests that the program declares.
    if arguments.receipt.is_some() || arguments.trace.is_some() {
        engine.check_constants(&program)?;
    }
    let key = arguments.receipt.as_ref().map(|_| signing_key(arguments)).transpose()?;
    let limits = Limits {
        iterations: arguments.iterations_max.unwrap_or(u64::MAX),
        bytes: arguments.memory_max.unwrap_or(u64::MAX),
    };
    let ran = execute(&program, &tensors, arguments.hash, &engine, limits)?;
    let files = write(arguments, &program, &engine, key.as_ref(), &ran)?;
    if arguments.json {
        let mut object = ran.to_json(&program, &files);
        if let Some(fallbacks) = engine.fallbacks() {
            object["device"] = json!(engine.device());
            object["on_cpu"] = json!(fallbacks);
        }
        print_json(&object);
    } else {
        print(&ran.to_text(&program, &files));
    }
    if let Some(fault) = &ran.fault {
        note(&format!("the run ended in a fault: {fault}"));
        return Ok(Answer::No);
    }
    Ok(Answer::Yes)
}

fn check_arguments(arguments: &Run) -> Result<()> {
    if arguments.receipt.is_some() && arguments.hash == Level::None {
        return Err(Failure::new("--receipt needs --hash outputs or operators"));
    }
    if arguments.trace.is_some() && arguments.hash != Level::Operators {
        return Err(Failure::new("--trace needs --hash operators"));
    }
    if arguments.nonce > INTEGER_MAX {
        return Err(Failure(format!(
            "--nonce: at most {INTEGER_MAX}, the largest integer that JSON carries"
        )));
    }
    Ok(())
}

fn signing_key(arguments: &Run) -> Result<Key> {
    match &arguments.key {
        Some(path) => Ok(Key::load(path)?),
        None => keys::user_key(),
    }
}

/// What a run gave, for printing and writing.
struct Ran {
    /// Empty after a fault.
    outputs: Vec<Tensor>,
    trace: Option<Trace>,
    fault: Option<String>,
    /// Not at level `none`.
    claim: Option<Claim>,
    elapsed: Duration,
}

#[expect(clippy::disallowed_methods, reason = "for people; outside of what is signed")]
fn execute(
    program: &Program,
    inputs: &[Tensor],
    level: Level,
    engine: &Engine,
    limits: Limits,
) -> Result<Ran> {
    let mut watcher = Watcher::new(program, "running").within(limits);
    let start = Instant::now();
    let (execution, claim) = match level {
        Level::None => (engine.execute(program, inputs, HashLevel::None, &mut watcher)?, None),
        level => {
            let hash = repops_kernels::bytes_digest;
            let run = verify::run(program, inputs, level.into(), engine, hash, &mut watcher)?;
            (run.execution, Some(run.claim))
        }
    };
    let elapsed = start.elapsed();
    let (outputs, fault) = match execution.result {
        Ok(outputs) => (outputs, None),
        Err(at) => (Vec::new(), Some(format!("{} ({}, ONNX node {})", at.fault, at.op, at.node))),
    };
    Ok(Ran { outputs, trace: execution.trace, fault, claim, elapsed })
}

/// Writes everything that was asked for, all or nothing; gives the outputs' paths.
fn write(
    arguments: &Run,
    program: &Program,
    engine: &Engine,
    key: Option<&Key>,
    ran: &Ran,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut staged = Staged::new();
    let mut files = BTreeMap::new();
    if let (Some(folder), None) = (&arguments.output, &ran.fault) {
        std::fs::create_dir_all(folder).map_err(|e| Failure(format!("{}: {e}", folder.display())))?;
        let names = &program.header().outputs;
        for ((name, file), tensor) in names.iter().zip(file_names(names)).zip(&ran.outputs) {
            let path = folder.join(file);
            staged.write(&path, |out| npy::write(out, tensor.view()))?;
            files.insert(name.clone(), path);
        }
    }
    if let (Some(path), Some(trace)) = (&arguments.trace, &ran.trace) {
        create_parent(path)?;
        staged.write(path, |out| trace_file::write(out, &program.digest(), trace))?;
    }
    if let (Some(path), Some(claim), Some(key)) = (&arguments.receipt, &ran.claim, key) {
        let claim = Claim { nonce: arguments.nonce, ..claim.clone() };
        let info = Info {
            device: Some(engine.device()),
            host: None,
            time: Some(utc_now()),
            version: Some(format!("repops {}", env!("CARGO_PKG_VERSION"))),
        };
        let receipt = claim.sign(key, info);
        create_parent(path)?;
        staged.write(path, |out| out.write_all(receipt.to_json().as_bytes()))?;
    }
    staged.commit()?;
    Ok(files)
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|e| Failure(format!("{}: {e}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// `NAME.npy` for each output, characters outside of `[A-Za-z0-9_.-]` as `_`. Names that become equal so,
/// also on file systems that ignore case, get a number.
fn file_names(names: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let mut base: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        // File systems take 255 bytes.
        base.truncate(200);
        let mut file = format!("{base}.npy");
        let mut number = 2;
        while !taken.insert(file.to_ascii_lowercase()) {
            file = format!("{base}_{number}.npy");
            number += 1;
        }
        out.push(file);
    }
    out
}

impl Ran {
    fn to_json(&self, program: &Program, files: &BTreeMap<String, PathBuf>) -> Value {
        let digests = |names: &[String], known: Option<&BTreeMap<String, Digest>>| -> Map<String, Value> {
            let digest = |name: &String| known.and_then(|k| k.get(name)).map(|d| d.to_hex());
            names.iter().map(|name| (name.clone(), json!(digest(name)))).collect()
        };
        let claim = self.claim.as_ref();
        let header = program.header();
        let outputs: &[String] = if self.fault.is_some() { &[] } else { &header.outputs };
        let mut object = json!({
            "program": program.digest().to_hex(),
            "inputs": digests(&header.inputs, claim.map(|c| &c.inputs)),
            "outputs": digests(outputs, claim.map(|c| &c.outputs)),
            "files": files,
            "trace_root": claim.and_then(|c| c.trace).map(|t| t.root.to_hex()),
            "elapsed_ms": milliseconds(self.elapsed),
        });
        if let Some(fault) = claim.and_then(|c| c.fault) {
            object["fault"] = json!({ "code": fault.fault as u32, "step": fault.step, "text": self.fault });
        } else if self.fault.is_some() {
            object["fault"] = json!({ "text": self.fault });
        }
        object
    }

    fn to_text(&self, program: &Program, files: &BTreeMap<String, PathBuf>) -> String {
        let mut rows = vec![vec!["program".to_string(), program.digest().to_hex()]];
        if let Some(claim) = &self.claim {
            for (kind, digests) in [("input", &claim.inputs), ("output", &claim.outputs)] {
                for (name, digest) in digests {
                    rows.push(vec![format!("{kind} {name}"), digest.to_hex()]);
                }
            }
        }
        for (name, path) in files {
            rows.push(vec![format!("file {name}"), path.display().to_string()]);
        }
        if let Some(trace) = self.claim.as_ref().and_then(|c| c.trace) {
            rows.push(vec!["trace root".to_string(), trace.root.to_hex()]);
            rows.push(vec!["steps".to_string(), trace.steps.to_string()]);
        }
        rows.push(vec!["elapsed".to_string(), format!("{} ms", milliseconds(self.elapsed))]);
        table(&rows)
    }
}

/// Milliseconds with three decimals.
#[expect(clippy::float_arithmetic, reason = "for people; outside of what is signed")]
pub fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_micros() as f64 / 1000.0
}

/// RFC 3339, in UTC, to the second.
#[expect(clippy::disallowed_methods, reason = "for people; outside of what is signed")]
pub fn utc_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    utc_text(now.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970 in the Gregorian calendar, counted in eras of 400 years that start in March.
fn utc_text(seconds: u64) -> String {
    let (days, second) = (seconds / 86400 + 719_468, seconds % 86400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(utc_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc_text(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc_text(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn file_names_are_plain_and_different() {
        let names = ["a/b", "a_b", "A_B", "..", "logits-1.x", "", "é"].map(str::to_string);
        let found = file_names(&names);
        let expected = ["a_b.npy", "a_b_2.npy", "A_B_3.npy", "...npy", "logits-1.x.npy", ".npy", "_.npy"];
        assert_eq!(found, expected);
        assert_eq!(file_names(&["x".repeat(300)])[0].len(), 204);
    }
}
