//! `repops bench`: how long a program takes, and where.
//!
//! Invariant: what is timed is what `repops run` does between reading its inputs and writing its files, on a
//! program that was loaded once and a thread that was started once (`Runtime::install`). Times are for people and never enter a claim. Without `--profile-steps`
//! nothing watches the timed runs.
#![expect(clippy::disallowed_methods, clippy::float_arithmetic, reason = "measuring time is its purpose")]

mod generation;
mod profile;

use std::time::{Duration, Instant};

use repops::exec::{Executor, HashLevel, Observer, bind_sizes};
use repops::{Program, Tensor};
use repops_provenance::verify;
use serde_json::{Value, json};

use crate::arguments::{Bench, Level};
use crate::engine::{self, Engine};
use crate::interrupt::{Watcher, watch_for_interrupts};
use crate::report::{bytes, note, print, print_json, table};
use crate::{Answer, Failure, Result, inputs};
use profile::Profile;

pub fn bench(arguments: &Bench) -> Result<Answer> {
    watch_for_interrupts();
    let program = engine::load(&arguments.program)?;
    if let Some(prefill) = arguments.prefill {
        return generation::bench(arguments, prefill, program);
    }
    let inputs = inputs::read(&arguments.inputs, &program)?;
    bind_sizes(&program, &inputs)?;
    let engine = Engine::new(&arguments.engine)?;
    let bench = Timed { program: &program, inputs: &inputs, level: arguments.hash, engine: &engine };
    let measured = match engine.install(|| bench.measure(arguments))? {
        Ok(measured) => measured,
        Err(fault) => {
            note(&format!("the run ended in a fault: {fault}"));
            return Ok(Answer::No);
        }
    };
    let given: u64 = inputs.iter().map(|input| input.bytes().len() as u64).sum();
    let report = Report {
        program: &program,
        arguments,
        engine: &engine,
        times: Spread::of(measured.times),
        committed_bytes: match arguments.hash {
            Level::None => 0,
            Level::Outputs => given + measured.produced,
            // The trace's digests, then the claim's.
            Level::Operators => given + measured.computed + given + measured.produced,
        },
        peak_memory_bytes: peak_memory_bytes(),
        profile: measured.profile,
    };
    if arguments.json {
        print_json(&report.to_json());
    } else {
        print(&report.to_text());
    }
    Ok(Answer::Yes)
}

/// What is run again and again.
struct Timed<'a> {
    program: &'a Program,
    inputs: &'a [Tensor],
    level: Level,
    engine: &'a Engine,
}

enum Ran {
    /// With the number of their bytes.
    Outputs(u64),
    Fault(String),
}

/// What the timed runs gave.
struct Measured {
    times: Vec<Duration>,
    /// Bytes of the outputs.
    produced: u64,
    /// Bytes of everything that the steps computed.
    computed: u64,
    profile: Option<Profile>,
}

impl Timed<'_> {
    /// All runs, on the thread that calls; the inner error is the fault that the first run ended in.
    fn measure(&self, arguments: &Bench) -> Result<std::result::Result<Measured, String>> {
        // The first run also counts what is hashed, so that nothing needs to watch the others.
        let mut first = Profile::new();
        if let Ran::Fault(fault) = self.run(&mut first)? {
            return Ok(Err(fault));
        }
        for _ in 1..arguments.warm_up {
            self.run(&mut Watcher::silent())?;
        }
        let mut profile = arguments.profile_steps.then(Profile::new);
        let mut times = Vec::with_capacity(arguments.runs as usize);
        let mut produced = 0;
        for _ in 0..arguments.runs {
            let start = Instant::now();
            let ran = match &mut profile {
                Some(profile) => self.run(profile)?,
                None => self.run(&mut Watcher::silent())?,
            };
            let elapsed = start.elapsed();
            times.push(elapsed);
            if let Some(profile) = &mut profile {
                profile.end_run(elapsed);
            }
            match ran {
                Ran::Outputs(bytes) => produced = bytes,
                Ran::Fault(fault) => return Err(Failure(format!("a run ended in a fault: {fault}"))),
            }
        }
        Ok(Ok(Measured { times, produced, computed: first.computed_bytes(), profile }))
    }

    fn run(&self, observer: &mut dyn Observer) -> Result<Ran> {
        let (program, inputs, engine) = (self.program, self.inputs, self.engine);
        let execution = match self.level {
            Level::None => engine.execute(program, inputs, HashLevel::None, observer)?,
            level => {
                let hash = repops_kernels::bytes_digest;
                verify::run(program, inputs, level.into(), engine, hash, observer)?.execution
            }
        };
        Ok(match execution.result {
            Ok(outputs) => {
                let bytes = outputs.iter().map(|output| output.bytes().len() as u64).sum();
                engine.give_back(outputs);
                Ran::Outputs(bytes)
            }
            Err(at) => Ran::Fault(format!("{} ({}, ONNX node {})", at.fault, at.op, at.node)),
        })
    }
}

/// Times of equal runs.
struct Spread {
    median: Duration,
    min: Duration,
    max: Duration,
}

impl Spread {
    /// The upper median, of one time at least.
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        Spread { median: times[times.len() / 2], min: times[0], max: times[times.len() - 1] }
    }
}

struct Report<'a> {
    program: &'a Program,
    arguments: &'a Bench,
    engine: &'a Engine,
    times: Spread,
    /// Bytes hashed in each run.
    committed_bytes: u64,
    peak_memory_bytes: Option<u64>,
    profile: Option<Profile>,
}

impl Report<'_> {
    fn level(&self) -> &'static str {
        match self.arguments.hash {
            Level::None => "none",
            Level::Outputs => "outputs",
            Level::Operators => "operators",
        }
    }

    fn constant_bytes(&self) -> u64 {
        let lengths = self.program.constants().iter().filter_map(|constant| constant.byte_len());
        lengths.map(|len| len as u64).sum()
    }

    fn to_json(&self) -> Value {
        let mut object = json!({
            "program": self.program.digest().to_hex(),
            "device": self.engine.device(),
            "threads": self.engine.threads(),
            "hash": self.level(),
            "runs": self.arguments.runs,
            "warm_up": self.arguments.warm_up,
            "median_ms": milliseconds(self.times.median),
            "min_ms": milliseconds(self.times.min),
            "max_ms": milliseconds(self.times.max),
            "peak_memory_bytes": self.peak_memory_bytes,
            "buffer_bytes": self.engine.buffer_bytes(),
            "constant_bytes": self.constant_bytes(),
            "committed_bytes": self.committed_bytes,
        });
        if let Some(profile) = &self.profile {
            object["steps"] = profile.to_json();
            object["outside_steps_ms"] = json!(milliseconds(profile.outside()));
        }
        object
    }

    fn to_text(&self) -> String {
        let time = |time: Duration| format!("{:.3}", milliseconds(time));
        let size = |size: Option<u64>| size.map_or("unknown".to_string(), bytes);
        let rows = [
            ("program", self.program.digest().to_hex()),
            ("device", format!("{}, {} threads", self.engine.device(), self.engine.threads())),
            ("hash", self.level().to_string()),
            ("runs", format!("{} after {}", self.arguments.runs, self.arguments.warm_up)),
            ("median_ms", time(self.times.median)),
            ("min_ms", time(self.times.min)),
            ("max_ms", time(self.times.max)),
            ("peak memory", size(self.peak_memory_bytes)),
            ("buffers", size(self.engine.buffer_bytes().map(|b| b as u64))),
            ("constants", bytes(self.constant_bytes())),
            ("committed", format!("{} bytes hashed a run", self.committed_bytes)),
        ];
        let mut out = table(&rows.map(|(name, value)| vec![name.to_string(), value]));
        if let Some(profile) = &self.profile {
            out += "\n\n";
            out += &profile.to_text();
        }
        out
    }
}

/// Milliseconds to the nanosecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// The most memory that this process has had resident, the program's mapped and used pages included;
/// `None` where the system does not tell.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_of_sorted_times() {
        let spread = Spread::of([5, 1, 4, 2].map(Duration::from_millis).to_vec());
        assert_eq!([spread.min, spread.median, spread.max].map(|t| t.as_millis()), [1, 4, 5]);
    }
}
