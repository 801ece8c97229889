//! `cargo xtask disputes`: what disputes over real models cost, and whether they end the same on a bad network.
//!
//! Invariant: a fault whose step is not named, or a verdict against the honest party, fails the task; the table is written
//! from what was measured and from nothing else.

mod network;
mod party;
mod proxy;

use crate::command::{self, Error, Result};
use crate::repops::{Profile, Repops, input_arguments};
use crate::{matrix, models, npy, setup, slow};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Folder of compiled models: in each subfolder `model.rep`; by default they are made.
    #[arg(long, value_name = "DIR")]
    pub cases: Option<PathBuf>,
    /// A program of a language model (SmolLM2): disputes about its generations are measured too; with `--network` instead.
    #[arg(long, value_name = "P.rep")]
    pub language: Option<PathBuf>,
    /// Faults for each model.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub faults: u32,
    /// Instead of the table: three processes in network namespaces, with delay, loss and kills, so many times. Needs root.
    #[arg(long, value_name = "RUNS")]
    pub network: Option<u32>,
    /// Instead of the table: what disputes take of a party's whole process, with transport.
    #[arg(long)]
    pub party: bool,
    /// The proxy of `--network`: from one address to another.
    #[arg(long, value_name = "FROM,TO", hide = true)]
    pub proxy: Option<String>,
}

/// Lies besides faults in outputs, and how many of each are played.
const KINDS: &[&str] = &["input", "wiring", "operator", "attribute", "constant", "silence"];
const GAMES_OF_A_KIND: u32 = 20;
const TABLE: &str = "benches/DISPUTES.md";
/// What begins with this is kept by hand.
const BY_HAND: &str = "\n## On a bad network";

pub fn run(options: &Options) -> Result<()> {
    if let Some(addresses) = &options.proxy {
        return proxy::serve(addresses);
    }
    let repops = Repops::build(Profile::Release)?;
    if let (Some(runs), Some(program)) = (options.network, &options.language) {
        return network::try_out(&repops, &language(program), runs);
    }
    let cases = match &options.cases {
        Some(folder) => folder.clone(),
        None => made(&repops)?,
    };
    if options.party {
        return measure_parties(&repops, &cases, options);
    }
    match options.network {
        Some(runs) => network::try_out(&repops, &subject(&cases, "minilm")?, runs),
        None => measure(&repops, &cases, options),
    }
}

fn made(repops: &Repops) -> Result<PathBuf> {
    setup::provide_all(&setup::Options { python: true, aarch64: false, check: false })?;
    models::fetch_all(&models::Options { all: true, check: false })?;
    let cases = slow::make_cases()?;
    for case in matrix::case_folders(&cases)? {
        repops.compile(&case.join("model.onnx"), &case.join("model.rep"), &[])?;
    }
    Ok(cases)
}

/// A program with inputs of a short shape.
pub struct Subject {
    name: String,
    program: PathBuf,
    inputs: Vec<(String, PathBuf)>,
    /// Of a generation.
    further: Vec<String>,
    shape: String,
    /// Lies besides faults in outputs.
    kinds: &'static [&'static str],
}

/// A language model, and what it is asked to write.
fn language(program: &Path) -> Subject {
    let words = ["--prompt", "The capital of France is", "--max-tokens", "12", "--temperature", "0.8"];
    Subject {
        name: "language".to_owned(),
        program: program.to_path_buf(),
        inputs: Vec::new(),
        further: words.map(str::to_owned).to_vec(),
        shape: "a prompt of 5 words and 12 tokens".to_owned(),
        kinds: &["wiring", "operator", "length", "digest", "outcome", "token", "silence"],
    }
}

/// Models, and the inputs that they are given: token ids or an image; with a number behind the name as large as texts, photographs
/// and lines of text are.
const SHAPES: &[(&str, &[usize])] = &[
    ("minilm", &[1, 16]),
    ("minilm-128", &[1, 128]),
    ("ppocr-det", &[1, 3, 64, 96]),
    ("ppocr-det-640", &[1, 3, 640, 640]),
    ("ppocr-rec", &[1, 3, 48, 64]),
    ("ppocr-rec-320", &[1, 3, 48, 320]),
];

/// A model's program, with inputs that are written beside it.
fn subject(cases: &Path, name: &str) -> Result<Subject> {
    let folder = command::target_dir().join("disputes").join(name);
    command::fresh_dir(&folder)?;
    // Numbers that are neither all equal nor large; what they mean does not matter here.
    let noise = |count: usize| (0..count).map(|i| (i * 7919 % 1000) as u32).collect::<Vec<_>>();
    let mut inputs = Vec::new();
    let mut write = |input: &str, bytes: Vec<u8>| -> Result<()> {
        let path = folder.join(format!("{input}.npy"));
        command::write(&path, &bytes)?;
        inputs.push((input.to_owned(), path));
        Ok(())
    };
    let known = SHAPES.iter().find(|(known, _)| *known == name);
    let (_, shape) = known.ok_or_else(|| Error::Failed(format!("there is no input for {name}")))?;
    let count = shape.iter().product();
    let dtype = if let [_, _] = shape {
        let ids: Vec<i64> = noise(count).into_iter().map(|n| i64::from(n) + 1000).collect();
        write("input_ids", npy::int64(shape, &ids))?;
        write("attention_mask", npy::int64(shape, &vec![1; count]))?;
        write("token_type_ids", npy::int64(shape, &vec![0; count]))?;
        "i64"
    } else {
        write("x", npy::float32_of(shape, &noise(count)))?;
        "f32"
    };
    let shape = format!("{dtype}{shape:?}");
    // What stands after the model's name is the shape.
    let model = name.trim_end_matches(|last: char| last == '-' || last.is_ascii_digit());
    let program = cases.join(model).join("model.rep");
    Ok(Subject { name: name.to_owned(), program, inputs, further: Vec::new(), shape, kinds: KINDS })
}

fn measure(repops: &Repops, cases: &Path, options: &Options) -> Result<()> {
    let faults = options.faults;
    let mut text = String::from(
        "# What disputes cost\n\n\
         Made by `cargo xtask disputes`. In each game one bit of one term of a random element of a random step is wrong, and everything\n\
         that is computed from it; an honest party disputes it. *named*: the verdict names that step. The referee's time is the least of nine\n\
         replays of the whole dispute (receipts and signatures included) by the same process; its memory the most that `repops-referee\n\
         replay`, a program that is a referee and nothing else, ever had resident, its code included.\n\
         A *run* is one with its hashes, as every party has made anyway; by the side of it one that makes the checkpoints. *All else* is what the honest party\n\
         does besides its partial run: reading and following everything that the referee passes on, answers, and their signatures, on top of\n\
         hashing the program's constants once when it is loaded. Each game is played five times, by turns with both runs; these times\n\
         are medians, with one thread, so that they are a processor's.\n",
    );
    let referee = lean_referee()?;
    let mut wrong = Vec::new();
    let mut subjects = Vec::new();
    for name in ["minilm", "ppocr-det", "ppocr-rec"] {
        subjects.push(subject(cases, name)?);
    }
    subjects.extend(options.language.as_deref().map(language));
    for subject in subjects {
        let name = subject.name.as_str();
        let found = subject.play(repops, &["--count", &faults.to_string()])?;
        let _ = write!(text, "\n## {name}, {}\n\n{}", subject.shape, families(&found));
        let unnamed = |found: &Value| {
            found["operators"]
                .as_array()
                .is_none_or(|rows| rows.iter().any(|row| row["named"] != row["games"]))
        };
        if found["against_the_honest"] != 0 || unnamed(&found) {
            wrong.push(format!("{name}: a fault was not named"));
        }
        let _ = writeln!(
            text,
            "\n| lie | games | lost by the liar | most rounds | most bytes |\n|---|---|---|---|---|"
        );
        for kind in subject.kinds {
            let count = GAMES_OF_A_KIND.to_string();
            let found = subject.play(repops, &["--count", &count, "--kind", kind])?;
            let rows = found["operators"].as_array().cloned().unwrap_or_default();
            let sum = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
            let most = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).max().unwrap_or(0);
            let lost = sum("games") - sum("undecided") - found["against_the_honest"].as_u64().unwrap_or(0);
            let _ = writeln!(
                text,
                "| {kind} | {} | {lost} | {} | {} |",
                sum("games"),
                most("rounds_max"),
                most("bytes_max")
            );
            if lost != sum("games") {
                wrong.push(format!("{name}: {lost} of {} lies of kind {kind} lost", sum("games")));
            }
        }
        let _ = writeln!(
            text,
            "\n| kept | bytes kept | a run, ms | with checkpoints, ms | partial runs, most | their steps, mean | their ms, mean | all else, ms, mean | of a run |\n\
             |---|---|---|---|---|---|---|---|---|"
        );
        let mut prepared = Value::Null;
        for every in [None, Some("64"), Some("16"), Some("4"), Some("1MiB"), Some("8MiB")] {
            let keep = every.map(|every| ["--checkpoint-every", every]);
            let further: Vec<&str> = ["--count", "20", "--repeat", "5", "--threads", "1"]
                .into_iter()
                .chain(keep.into_iter().flatten())
                .collect();
            let found = subject.play(repops, &further)?;
            prepared = found["prepared_ms"].clone();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} % |",
                every.map_or("nothing".to_owned(), |every| format!("every {every}")),
                found["kept_bytes"],
                tenths(&found["run_ms"]),
                tenths(&found["keeping_run_ms"]),
                found["reruns_max"],
                tenths(&found["steps_rerun_mean"]),
                tenths(&found["rerun_ms_mean"]),
                hundredths(&found["own_ms_mean"]),
                tenths(&found["own_percent"])
            );
        }
        let _ = writeln!(text, "\nThe program's constants are hashed in {} ms, once.", tenths(&prepared));
        let resident = subject.referee_memory(repops, &referee)?;
        let _ = writeln!(text, "\nThe referee's memory: {resident} KiB.");
    }
    print!("{text}");
    // What follows is made by `--party`, or kept by hand.
    let table = command::root().join(TABLE);
    let known = std::fs::read_to_string(&table).unwrap_or_default();
    if let Some(at) = known.find("\n## The whole process of a party").or_else(|| known.find(BY_HAND)) {
        text.push_str(&known[at..]);
    }
    command::write(&table, text.as_bytes())?;
    if wrong.is_empty() { Ok(()) } else { Err(Error::Failed(wrong.join("\n"))) }
}

/// Writes the table of whole processes anew, and leaves the others.
fn measure_parties(repops: &Repops, cases: &Path, options: &Options) -> Result<()> {
    let mut text = String::from(party::heading());
    for name in ["minilm", "minilm-128", "ppocr-rec", "ppocr-rec-320", "ppocr-det-640"] {
        text.push_str(&party::row(repops, &subject(cases, name)?)?);
    }
    if let Some(program) = &options.language {
        text.push_str(&party::row(repops, &language(program))?);
    }
    print!("{text}");
    let table = command::root().join(TABLE);
    let known = std::fs::read_to_string(&table).unwrap_or_default();
    let network = known.find(BY_HAND).unwrap_or(known.len());
    let title = text.trim_start().lines().next().unwrap_or_default();
    let begin = known.find(title).map_or(network, |at| at - 1);
    command::write(&table, [&known[..begin], &text, &known[network..]].concat().as_bytes())
}

/// The program that is a referee and nothing else; `REPOPS_REFEREE_BIN` names one that is built already.
fn lean_referee() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("REPOPS_REFEREE_BIN") {
        return Ok(program.into());
    }
    command::run(command::cargo().args(["build", "--release", "-p", "repops-referee"]))?;
    Ok(command::target_dir().join("release").join("repops-referee"))
}

/// A number with one place.
fn tenths(value: &Value) -> String {
    cut(value, 1)
}

fn hundredths(value: &Value) -> String {
    cut(value, 2)
}

fn cut(value: &Value, places: usize) -> String {
    let text = value.to_string();
    match text.split_once('.') {
        Some((whole, rest)) => format!("{whole}.{}", rest.get(..places).unwrap_or(rest)),
        None => text,
    }
}

fn families(found: &Value) -> String {
    let mut text = String::from(
        "| operator | games | named | rounds, mean | most | bytes, mean | most | referee ms, median | most |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in found["operators"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row["op"].as_str().unwrap_or_default(),
            row["games"],
            row["named"],
            tenths(&row["rounds_mean"]),
            row["rounds_max"],
            tenths(&row["bytes_mean"]),
            row["bytes_max"],
            row["referee_ms_median"],
            row["referee_ms_max"]
        );
    }
    text
}

impl Subject {
    /// `repops dispute simulate`, as a table in JSON.
    fn play(&self, repops: &Repops, further: &[&str]) -> Result<Value> {
        let mut simulate = repops.command()?;
        simulate.args(["dispute", "simulate"]).arg(&self.program).args(input_arguments(&self.inputs));
        simulate.args(&self.further).args(["--table", "--json"]).args(further);
        println!("{}: {}", self.name, further.join(" "));
        let text = command::capture(&mut simulate)?;
        serde_json::from_str(text.trim()).map_err(|error| Error::Failed(error.to_string()))
    }

    /// The most that a replay had resident, in KiB.
    fn referee_memory(&self, repops: &Repops, referee: &Path) -> Result<u64> {
        let transcript = command::target_dir().join("disputes").join("last.game");
        let mut simulate = repops.command()?;
        simulate.args(["dispute", "simulate"]).arg(&self.program).args(input_arguments(&self.inputs));
        command::capture(simulate.args(&self.further).args(["--json", "--transcript"]).arg(&transcript))?;
        let text = command::capture(command::command(referee).arg("replay").arg(&transcript))?;
        let found: Value =
            serde_json::from_str(text.trim()).map_err(|error| Error::Failed(error.to_string()))?;
        found["peak_kib"]
            .as_u64()
            .ok_or_else(|| Error::Failed("the replay did not say its memory".to_owned()))
    }
}
