//! `repops`: compile models, run and time programs, verify receipts, look inside.
//!
//! Exit codes, for every command: 0 yes, 1 no (refuted, different, a run that data made fail), 2 bad
//! input or environment. Invariant: results go to standard output, everything else to standard error;
//! with `--json` standard output is one object or nothing.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod arguments;
mod audit;
mod bench;
mod compile;
mod conformance;
mod devices;
mod dispute;
mod engine;
mod exhaustive;
mod generate;
mod inputs;
mod inspect;
mod interrupt;
mod keys;
mod party;
mod replay;
mod report;
mod run;
mod serve;
mod trace;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use arguments::{
    Arguments, Command, ConformanceCommand, DisputeCommand, ProviderCommand, RefereeCommand, TraceCommand,
};

/// The answer of a command that could be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Yes,
    No,
}

/// Why a command could not be carried out: exit code 2.
#[derive(Debug)]
struct Failure(String);

type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn new(problem: impl Into<String>) -> Failure {
        Failure(problem.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

fn main() -> ExitCode {
    let answer = match Arguments::parse().command {
        Command::Compile(arguments) => compile::compile(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Generate(arguments) => generate::generate(&arguments),
        Command::Score(arguments) => generate::score(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Trace { command: TraceCommand::Show(arguments) } => trace::show(&arguments),
        Command::Trace { command: TraceCommand::Diff(arguments) } => trace::diff(&arguments),
        Command::Dispute { command: DisputeCommand::Simulate(arguments) } => dispute::simulate(&arguments),
        Command::Dispute { command: DisputeCommand::Open(arguments) } => party::open(&arguments),
        Command::Provider { command: ProviderCommand::Serve(arguments) } => party::provide(&arguments),
        Command::Referee { command: RefereeCommand::Serve(arguments) } => dispute::referee(arguments),
        Command::Dispute { command: DisputeCommand::Replay(arguments) } => dispute::replay(&arguments),
        Command::Conformance { command: ConformanceCommand::Run(arguments) } => conformance::run(&arguments),
        Command::Conformance { command: ConformanceCommand::Compare(arguments) } => {
            conformance::compare(&arguments)
        }
        Command::Conformance { command: ConformanceCommand::Pack(arguments) } => {
            conformance::pack(&arguments)
        }
        Command::Conformance { command: ConformanceCommand::Replay(arguments) } => replay::replay(&arguments),
        Command::Conformance { command: ConformanceCommand::Exhaustive(arguments) } => {
            exhaustive::exhaustive(&arguments)
        }
        Command::Conformance { command: ConformanceCommand::Page(arguments) } => {
            conformance::page(&arguments)
        }
        Command::Audit(arguments) => audit::audit(&arguments),
        Command::Devices(arguments) => devices::devices(&arguments),
        Command::Keygen(arguments) => keys::keygen(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(Failure(problem)) => {
            report::error(&problem);
            ExitCode::from(2)
        }
    }
}
