//! The command line's arguments.

mod devices;
mod dispute;
mod generation;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use repops::exec::HashLevel;

pub use devices::*;
pub use dispute::*;
pub use generation::{Generate, Prompt, Sample, Score};

/// Open, bitwise-deterministic machine learning: compile, run, prove, verify.
///
/// Exit codes: 0 yes, 1 no (refuted, different, data made the run fail), 2 bad input or environment.
#[derive(Parser)]
#[command(name = "repops", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Compile a model to a program.
    Compile(Compile),
    /// Make code of programs' fused steps for GPUs, for machines without the compiler.
    RegionCode(RegionCode),
    /// Run a program; write outputs, a receipt, a trace.
    Run(Run),
    /// Run a program many times; say how long it takes, and with `--profile-steps` where.
    Bench(Bench),
    /// Continue a text by a language model; write a receipt of it.
    Generate(Generate),
    /// Say how likely a model finds a text, and whether it could have written it.
    Score(Score),
    /// Check a receipt: form, signature, and by running the program again.
    Verify(Verify),
    /// Show what a program consists of.
    Inspect(Inspect),
    /// Show or compare traces.
    Trace {
        #[command(subcommand)]
        command: TraceCommand,
    },
    /// Settle who is wrong about a run.
    Dispute {
        #[command(subcommand)]
        command: DisputeCommand,
    },
    /// Compute random steps of a claimed run again, from what its provider opens.
    Audit(Audit),
    /// Stand for a claim in disputes and audits.
    Provider {
        #[command(subcommand)]
        command: ProviderCommand,
    },
    /// Decide disputes.
    Referee {
        #[command(subcommand)]
        command: RefereeCommand,
    },
    /// Run the suites of cases; compare and show what came of them.
    Conformance {
        #[command(subcommand)]
        command: ConformanceCommand,
    },
    /// List what programs can run on.
    Devices(Devices),
    /// Make a signing key, or show the public half of one.
    Keygen(Keygen),
    /// Serve a language model over HTTP, as OpenAI's clients speak it, with a receipt for every answer.
    Serve(Serve),
}

impl Command {
    /// How the command runs programs, where it does.
    pub fn engine(&self) -> Option<&Engine> {
        match self {
            Command::Run(arguments) => Some(&arguments.engine),
            Command::Bench(arguments) => Some(&arguments.engine),
            Command::Generate(arguments) => Some(&arguments.engine),
            Command::Score(arguments) => Some(&arguments.engine),
            Command::Verify(arguments) => Some(&arguments.engine),
            Command::Trace { command: TraceCommand::Show(arguments) } => Some(&arguments.engine),
            Command::Trace { command: TraceCommand::Diff(arguments) } => Some(&arguments.engine),
            Command::Dispute { command: DisputeCommand::Simulate(arguments) } => Some(&arguments.engine),
            Command::Provider { command: ProviderCommand::Serve(arguments) } => Some(&arguments.engine),
            Command::Audit(arguments) => Some(&arguments.engine),
            Command::Serve(arguments) => Some(&arguments.engine),
            Command::Conformance { command } => command.engine(),
            Command::Compile(_)
            | Command::RegionCode(_)
            | Command::Inspect(_)
            | Command::Dispute { command: DisputeCommand::Open(_) | DisputeCommand::Replay(_) }
            | Command::Referee { .. }
            | Command::Devices(_)
            | Command::Keygen(_) => None,
        }
    }
}

#[derive(Subcommand)]
pub enum ConformanceCommand {
    /// Run every case of a suite by the reference and by the kernels; write a report.
    Run(ConformanceRun),
    /// Say in which cases two reports differ.
    Compare(ConformanceCompare),
    /// Write a suite's cases as programs with inputs, for machines without a compiler.
    Pack(ConformancePack),
    /// Run what `pack` has written, on a device and by the CPU; say where they differ.
    Replay(ConformanceReplay),
    /// Compare a device with the CPU on every input of functions and conversions, and on drawn ones of others.
    Exhaustive(ConformanceExhaustive),
    /// Make a page of reports: operators by machines, and what failed.
    Page(ConformancePage),
}

impl ConformanceCommand {
    /// As of [`Command::engine`].
    pub fn engine(&self) -> Option<&Engine> {
        match self {
            ConformanceCommand::Run(arguments) => Some(&arguments.engine),
            ConformanceCommand::Replay(arguments) => Some(&arguments.engine),
            ConformanceCommand::Exhaustive(arguments) => Some(&arguments.engine),
            ConformanceCommand::Compare(_) | ConformanceCommand::Pack(_) | ConformanceCommand::Page(_) => {
                None
            }
        }
    }
}

#[derive(Args)]
pub struct ConformanceRun {
    /// node, simple, light, pytorch-operator, pytorch-converted, microsoft, narrow, types, versions, found or matrix below `--folder`; or a folder of cases,
    /// which builds without the compiler take as `pack --with-data` has written it.
    #[arg(long, value_name = "SUITE|DIR", default_value = "node")]
    pub suite: String,
    /// Where the suites are: what conformance/node_cases.py writes; of the matrix, conformance.
    #[arg(long, value_name = "DIR", default_value = "conformance")]
    pub folder: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Cases that are known not to pass, `NAME: REASON` a line; all others must pass, and these must not.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Digests that the outputs must have, `CASE SET OUTPUT TYPE DIGEST` a line.
    #[arg(long, value_name = "FILE")]
    pub goldens: Option<PathBuf>,
    /// Write the files of `--expect` and `--goldens` anew instead of comparing with them.
    #[arg(long)]
    pub bless: bool,
    /// By the kernels alone: quick for large models, and `--goldens` says whether the bits are right.
    #[arg(long, conflicts_with = "reference")]
    pub no_reference: bool,
    #[command(flatten)]
    pub engine: Engine,
    /// Where to write the report.
    #[arg(short, long, value_name = "REPORT.json")]
    pub output: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConformancePack {
    /// As of `conformance run`.
    #[arg(long, value_name = "SUITE|DIR", default_value = "node")]
    pub suite: String,
    /// As of `conformance run`.
    #[arg(long, value_name = "DIR", default_value = "conformance")]
    pub folder: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Leave out cases of more than so many KiB; 256 where nothing is said, with `--with-data` none.
    #[arg(long, value_name = "KIB")]
    pub most: Option<u64>,
    /// A folder for each case, with its data as they are, for `conformance run`; without this programs and inputs for `replay`.
    #[arg(long)]
    pub with_data: bool,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Args)]
pub struct ConformanceReplay {
    /// What `pack` has written.
    pub folder: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConformanceExhaustive {
    /// Only checks whose name contains this: an operator, or `Cast f32 to i8`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Do one of so many runs of 4194304 inputs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// Draw so many inputs where there are too many.
    #[arg(long, value_name = "N", default_value_t = 1 << 26)]
    pub drawn: u64,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConformanceCompare {
    pub first: PathBuf,
    pub second: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConformancePage {
    /// Reports, a column each.
    #[arg(value_name = "REPORT.json", required = true)]
    pub reports: Vec<PathBuf>,
    /// Where to write the page.
    #[arg(short, long, value_name = "PAGE.html")]
    pub output: PathBuf,
}

#[derive(Subcommand)]
pub enum TraceCommand {
    /// Show the records of a trace.
    Show(TraceShow),
    /// Name the first step in which two traces differ, and its first differing elements.
    Diff(TraceDiff),
}

#[derive(Args)]
pub struct Compile {
    /// The model: an ONNX or GGUF file, or a Hugging Face folder.
    pub model: PathBuf,
    /// Where to write the program.
    #[arg(short, long, value_name = "P.rep", required_unless_present_any = ["check", "emit"])]
    pub output: Option<PathBuf>,
    /// Keep every operator a step of its own.
    #[arg(long)]
    pub no_fuse: bool,
    /// Keep constants in row-major order.
    #[arg(long)]
    pub no_layout: bool,
    /// Leave a decoder exported to ONNX with a cache as it stands; without this it becomes a sequence program, or the
    /// node that prevents it is named.
    #[arg(long)]
    pub as_is: bool,
    /// The most positions of a language model from GGUF or a folder; without it as many as the model allows, up to 32768.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub context: Option<u32>,
    /// Show the module after this pass, or after each with `all`.
    #[arg(long, value_name = "PASS")]
    pub emit: Option<String>,
    /// Write what `--emit` shows into this folder, a file for each pass.
    #[arg(long, value_name = "DIR", requires = "emit")]
    pub emit_dir: Option<PathBuf>,
    /// Compare with this program instead of writing one: exit code 0 when it is the same, 1 when not.
    #[arg(long, value_name = "P.rep", conflicts_with = "output")]
    pub check: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Run {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub inputs: Inputs,
    /// The folder to write outputs to, `NAME.npy` each; without it only digests are shown.
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// How much to hash: nothing, inputs and outputs, or every operator's outputs.
    #[arg(long, value_enum, default_value_t = Level::Operators)]
    pub hash: Level,
    #[command(flatten)]
    pub engine: Engine,
    /// Write a signed receipt.
    #[arg(long, value_name = "R.json")]
    pub receipt: Option<PathBuf>,
    /// Write the trace.
    #[arg(long, value_name = "T.trace")]
    pub trace: Option<PathBuf>,
    /// The key that signs the receipt; by default one in the user's configuration folder, made when needed.
    #[arg(long, value_name = "FILE", requires = "receipt")]
    pub key: Option<PathBuf>,
    /// A number of the client's choice that makes the receipt its own.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "receipt")]
    pub nonce: u64,
    /// End the run when a loop wants more iterations.
    #[arg(long, value_name = "N")]
    pub iterations_max: Option<u64>,
    /// End the run when its values, without inputs and constants, would take more bytes at once.
    #[arg(long, value_name = "BYTES")]
    pub memory_max: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Bench {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub inputs: Inputs,
    /// How many runs are timed.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: u32,
    /// How many runs go before them.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub warm_up: u32,
    /// How much to hash: nothing, inputs and outputs, or every operator's outputs.
    #[arg(long, value_enum, default_value_t = Level::Operators)]
    pub hash: Level,
    /// Time every step, too.
    #[arg(long)]
    pub profile_steps: bool,
    /// Of a sequence program: read prompts of so many tokens, then write.
    #[arg(long, value_name = "N", conflicts_with_all = ["inputs", "profile_steps"])]
    pub prefill: Option<usize>,
    /// Write so many tokens after each prompt.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "prefill")]
    pub decode: usize,
    /// So many sequences at once.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "prefill")]
    pub batch: usize,
    /// Time the same steps without hashing, too, token by token in turn.
    #[arg(long, requires = "prefill")]
    pub beside_unhashed: bool,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Verify {
    /// The receipt.
    pub receipt: PathBuf,
    /// The program that the receipt names.
    #[arg(long, value_name = "P.rep")]
    pub program: PathBuf,
    #[command(flatten)]
    pub inputs: Inputs,
    /// The public key (64 hexadecimal digits, or a key file) whose signature it must be.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,
    /// Of a generation, check so many positions, drawn at random, instead of all; needs --trace.
    #[arg(long, value_name = "K", requires = "trace", value_parser = clap::value_parser!(u32).range(1..))]
    pub spot: Option<u32>,
    /// The trace file that `generate --trace` has written.
    #[arg(long, value_name = "FILE", requires = "spot")]
    pub trace: Option<PathBuf>,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Inspect {
    /// The program.
    pub program: PathBuf,
    /// Show one step of the main block, or with BLOCK:STEP of another.
    #[arg(long, value_name = "N")]
    pub step: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TraceShow {
    /// The trace.
    pub trace: PathBuf,
    /// The program, to name operators' ONNX nodes.
    #[arg(long, value_name = "P.rep")]
    pub program: Option<PathBuf>,
    /// Show only the record with this number.
    #[arg(long, value_name = "N")]
    pub step: Option<u64>,
    /// Run the program up to this record, a fused step, and show what each instruction in it gives.
    #[arg(long, value_name = "N", requires = "program", conflicts_with = "step")]
    pub inside: Option<u64>,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TraceDiff {
    /// Traces; one that is not given is made by running the program.
    #[arg(value_name = "TRACE", num_args = 0..=2)]
    pub traces: Vec<PathBuf>,
    /// The program that the traces, or the first of them, are of.
    #[arg(long, value_name = "P.rep")]
    pub program: PathBuf,
    /// The program that the second trace is of, when it is another.
    #[arg(long, value_name = "Q.rep")]
    pub program_b: Option<PathBuf>,
    /// Compare generations: the receipt of each, given once if both are of one claim. Traces are then what `generate
    /// --trace` writes, and what is not given is computed again.
    #[arg(long, value_name = "R.json", conflicts_with = "program_b")]
    pub generation: Vec<PathBuf>,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Serve {
    /// The program, compiled from a language model with its tokenizer.
    pub program: PathBuf,
    /// Address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// The model's name for clients; by default the program's file name.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub max_tokens: usize,
    /// Requests that are answered or wait; others are told to come again.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_requests: usize,
    /// Mebibytes that keys and values may take.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub cache_mib: u64,
    /// How much to hash: with `operators` receipts bind every step's rows.
    #[arg(long, value_enum, default_value_t = Level::Operators)]
    pub hash: Level,
    /// The key that signs receipts; by default the user's own.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Args)]
pub struct Keygen {
    /// Where to write the new key; an existing file is never replaced.
    #[arg(short, long, value_name = "FILE", required_unless_present = "show")]
    pub output: Option<PathBuf>,
    /// Print the public key of this key file instead.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub show: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Inputs {
    /// An input: .npy, .npz (the member NAME, or the only one), .pb (ONNX TensorProto), .bin or .raw.
    /// NAME:DTYPE names the element type where the file cannot: bf16 in .npy, all types in raw files.
    #[arg(long = "input", short, value_name = "NAME=FILE")]
    pub inputs: Vec<String>,
    /// All inputs at once, as `conformance pack` writes them.
    #[arg(long, value_name = "FILE.inputs.rep", conflicts_with = "inputs")]
    pub packed: Option<PathBuf>,
}

/// How to run. None of this changes a bit of any result.
#[derive(Args)]
pub struct Engine {
    /// What computes: cpu, or cuda:N for the GPU number N (`repops devices` lists them). What a GPU has no kernel for
    /// the CPU computes.
    #[arg(long, value_name = "cpu|cuda:N", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Threads; 0: as many as the machine has.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// The instruction set.
    #[arg(long, value_enum, default_value_t = IsaChoice::Auto)]
    pub isa: IsaChoice,
    /// How fused steps are evaluated: as native code (on a GPU, too), tile by tile, or operator by operator.
    #[arg(long, value_enum, default_value_t = Regions::Tiles)]
    pub regions: Regions,
    /// Code of fused steps that `repops region-code` has made, for `--device cuda:N`. It runs as it stands there: take it from those
    /// whom you trust with the machine.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["regions", "unfused", "reference"])]
    pub region_code: Option<PathBuf>,
    /// The same as `--regions steps`.
    #[arg(long)]
    pub unfused: bool,
    /// Use the reference evaluation: slow, and plain enough to be audited.
    #[arg(long, conflicts_with = "device")]
    pub reference: bool,
}

impl Engine {
    /// Whether the compiler has part in the run.
    pub fn wants_native_code(&self) -> bool {
        self.regions == Regions::Native && !self.unfused && !self.reference
    }
}

/// What computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceChoice {
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain)
        };
        match (text, text.strip_prefix("cuda:").and_then(number)) {
            ("cpu", _) => Ok(DeviceChoice::Cpu),
            (_, Some(index)) => Ok(DeviceChoice::Cuda(index)),
            _ => Err("a device is cpu, or cuda:N with the number of a GPU".to_string()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    None,
    Outputs,
    Operators,
}

impl From<Level> for HashLevel {
    fn from(level: Level) -> HashLevel {
        match level {
            Level::None => HashLevel::None,
            Level::Outputs => HashLevel::Outputs,
            Level::Operators => HashLevel::Operators,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IsaChoice {
    Auto,
    Portable,
    Avx2,
    Avx512,
    Neon,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Regions {
    Native,
    #[value(alias = "interpreted")]
    Tiles,
    Steps,
}
