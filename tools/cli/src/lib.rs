//! `repops`: compile models, run and time programs, verify receipts, look inside.
//!
//! Exit codes, for every command: 0 yes, 1 no (refuted, different, a run that data made fail), 2 bad
//! input or environment. Invariant: results go to standard output, everything else to standard error;
//! with `--json` standard output is one object or nothing.
//!
//! LLVM is large, and most commands do without it: two executables share this library. `repops` is not linked with LLVM and
//! becomes `repops-compiler`, which stands beside it, for the commands that need it; a build without the compiler has `repops` alone.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

pub mod arguments;
mod audit;
mod bench;
mod devices;
mod dispute;
pub mod engine;
mod exhaustive;
mod generate;
mod inputs;
mod inspect;
mod interrupt;
mod keys;
mod party;
mod region_code;
pub mod replay;
pub mod report;
pub mod run;
mod serve;
mod trace;
mod verify;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;

use arguments::{
    Arguments, Command, Compile, ConformanceCommand, DisputeCommand, ProviderCommand, RefereeCommand,
    TraceCommand,
};

/// The executable that is linked with LLVM.
const COMPILER: &str = "repops-compiler";

/// What an executable adds to the library: the parts that have to do with the compiler.
pub trait Extension: Sync {
    fn compile(&self, arguments: &Compile) -> Result<Answer>;
    /// All but `replay` and `exhaustive`, which are the library's.
    fn conformance(&self, command: &ConformanceCommand) -> Result<Answer>;
    /// Fused regions as machine code, and as code for devices.
    fn native_regions(&self) -> Result<repops_runtime::Regions>;
}

static EXTENSION: OnceLock<&'static dyn Extension> = OnceLock::new();

/// The answer of a command that could be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Yes,
    No,
}

/// Why a command could not be carried out: exit code 2.
#[derive(Debug)]
pub struct Failure(pub String);

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(problem: impl Into<String>) -> Failure {
        Failure(problem.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

/// The extension of this executable.
fn extension() -> Result<&'static dyn Extension> {
    EXTENSION.get().copied().ok_or_else(|| Failure(format!("this is for {COMPILER}")))
}

/// Whether the arguments ask for what only an extension does.
fn needs_extension(command: &Command) -> bool {
    let always = match command {
        Command::Compile(_) | Command::RegionCode(_) => true,
        Command::Conformance { command } => {
            !matches!(command, ConformanceCommand::Replay(_) | ConformanceCommand::Exhaustive(_))
        }
        _ => false,
    };
    always || command.engine().is_some_and(arguments::Engine::wants_native_code)
}

/// Becomes the executable that has the extension; returns only where that fails.
fn hand_over() -> Failure {
    let program = match std::env::current_exe() {
        Ok(own) => own.with_file_name(COMPILER),
        Err(error) => {
            return Failure(format!("{COMPILER}: where this executable is cannot be found: {error}"));
        }
    };
    let error = std::process::Command::new(&program).args(std::env::args_os().skip(1)).exec();
    Failure(format!(
        "{}: {error}; compiling, conformance suites, region-code and --regions native need it, and it is built with repops where LLVM is",
        program.display()
    ))
}

/// Carries out the command line, with what the executable adds.
pub fn main(extension: Option<&'static dyn Extension>) -> ExitCode {
    let command = Arguments::parse().command;
    let answer = match extension {
        None if needs_extension(&command) => Err(hand_over()),
        None => carry_out(command),
        Some(extension) => {
            EXTENSION.get_or_init(|| extension);
            carry_out(command)
        }
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

fn carry_out(command: Command) -> Result<Answer> {
    match command {
        Command::Compile(arguments) => extension()?.compile(&arguments),
        Command::RegionCode(arguments) => region_code::make(&arguments, &extension()?.native_regions()?),
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
        Command::Conformance { command: ConformanceCommand::Replay(arguments) } => replay::replay(&arguments),
        Command::Conformance { command: ConformanceCommand::Exhaustive(arguments) } => {
            exhaustive::exhaustive(&arguments)
        }
        Command::Conformance { command } => extension()?.conformance(&command),
        Command::Audit(arguments) => audit::audit(&arguments),
        Command::Devices(arguments) => devices::devices(&arguments),
        Command::Keygen(arguments) => keys::keygen(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
    }
}
