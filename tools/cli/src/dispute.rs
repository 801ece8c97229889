//! `repops dispute`: whole disputes in one process, and recorded ones again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use repops::exec::{HashLevel, Unobserved};
use repops_provenance::dispute::simulate::{GenerationStage, Kind, Outcome, Scenario, SimulateError, Stage};
use repops_provenance::dispute::{Keep, Keeper, Loser, Party, SequenceLog, Transcript};
use repops_provenance::verify;
use repops_referee::{Options, describe, page};
use serde_json::{Value, json};

use crate::arguments::{DisputeReplay, DisputeSimulate, RefereeServe};
use crate::engine::{self, Engine};
use crate::interrupt::{interrupted, watch_for_interrupts};
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result, generate, inputs};

pub fn simulate(arguments: &DisputeSimulate) -> Result<Answer> {
    let kind = Kind::from_name(&arguments.kind).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        Failure(format!("--kind {}: it is one of {}", arguments.kind, names.join(", ")))
    })?;
    let step = match arguments.fault.as_str() {
        "random" => None,
        number => Some(
            number
                .parse()
                .map_err(|_| Failure(format!("--fault {number}: the number of a record, or random")))?,
        ),
    };
    let liar = if arguments.liar_first { Party::First } else { Party::Second };
    let what = Lie { kind, step, liar };
    let program = Arc::new(engine::load(&arguments.program)?);
    let engine = Engine::new(&arguments.engine)?;
    engine.check_constants(&program)?;
    let hash = repops_kernels::bytes_digest;
    let keep = arguments.keep.of();
    if let Some(claim) =
        generate::claim_for(&arguments.generation, &program, &arguments.engine, arguments.seed)?
    {
        let stage = GenerationStage::regenerate(&program, claim.clone(), &engine, hash, keep)?;
        if claim.trace_root.is_some_and(|root| Some(root) != stage.claim.trace_root) {
            return Err(SimulateError::Root.into());
        }
        let op = |record: u64| stage.program.main().steps[stage.place(record).1 as usize].def().name;
        let play = |scenario: &Scenario| stage.play(scenario);
        let prepared = timed(|| stage.prepare()).0;
        let again = |keep: Keep| {
            let (time, ran) = timed(|| SequenceLog::run(&program, &claim, &engine, hash, keep));
            ran.map(|_| time).map_err(SimulateError::from)
        };
        let run =
            Run { records: stage.records(), kept_bytes: stage.kept.bytes, prepared, again: &again, keep };
        return played(arguments, what, &run, &op, &play);
    }
    let tensors = inputs::read(&arguments.inputs, &program)?;
    let stage = Stage::keeping(&program, &tensors, &engine, hash, keep)?;
    let records = &stage.trace.records;
    let op = |record: u64| {
        let record = &records[record as usize];
        repops::ops::by_id(record.op, record.version).map_or("", |def| def.name)
    };
    let play = |scenario: &Scenario| stage.play(scenario);
    let prepared = timed(|| stage.prepare()).0;
    let again = |keep: Keep| {
        let mut unobserved = Unobserved;
        let mut keeper = Keeper::new(&program, keep, &mut unobserved);
        let level = HashLevel::Operators;
        let (time, ran) = timed(|| verify::run(&program, &tensors, level, &engine, hash, &mut keeper));
        ran.map(|_| time).map_err(SimulateError::from)
    };
    let run =
        Run { records: records.len() as u64, kept_bytes: stage.kept.bytes, prepared, again: &again, keep };
    played(arguments, what, &run, &op, &play)
}

/// What the honest party has run before the first dispute, with all its hashes.
struct Run<'a> {
    records: u64,
    kept_bytes: u64,
    /// Hashing the program's constants, once for all disputes.
    prepared: Duration,
    /// Runs again, keeping something or nothing; the time that it takes.
    again: &'a dyn Fn(Keep) -> std::result::Result<Duration, SimulateError>,
    keep: Keep,
}

pub fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    #[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
    let start = std::time::Instant::now();
    let found = act();
    (start.elapsed(), found)
}

/// The time in the middle of some.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What is lied about, where, and by whom.
#[derive(Clone, Copy)]
struct Lie {
    kind: Kind,
    step: Option<u64>,
    liar: Party,
}

/// Plays the disputes that the arguments ask for, over a run or a generation.
fn played(
    arguments: &DisputeSimulate,
    Lie { kind, step, liar }: Lie,
    run: &Run<'_>,
    op: &dyn Fn(u64) -> &'static str,
    play: &dyn Fn(&Scenario) -> std::result::Result<Outcome, SimulateError>,
) -> Result<Answer> {
    let mut table = Table::default();
    let mut last = None;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count) {
        let scenario = Scenario { kind, step, seed, liar };
        let (mut own, mut partial) = (Vec::new(), Vec::new());
        let outcome = loop {
            // By turns, so that whatever else the machine does is in all times.
            if arguments.repeat > 1 || table.runs.is_empty() {
                table.runs.push((run.again)(Keep::Nothing)?);
                table.keeping.push((run.again)(run.keep)?);
            }
            let outcome = play(&scenario)?;
            own.push(outcome.honest.saturating_sub(outcome.rerun));
            partial.push(outcome.rerun);
            if own.len() as u64 >= arguments.repeat {
                break outcome;
            }
        };
        let rerun = median(&mut partial);
        let outcome = Outcome { honest: median(&mut own) + rerun, rerun, ..outcome };
        table.note(op(outcome.step), run.records, &outcome, liar)?;
        last = Some(outcome);
    }
    let Some(outcome) = last else { return Err(Failure::new("no dispute was played")) };
    if let Some(path) = &arguments.transcript {
        repops_io::atomic::write(path, |out| out.write_all(&outcome.transcript.encode()))?;
    }
    if arguments.count > 1 || arguments.table {
        table.print(arguments.json, run);
    } else {
        let mut object = describe(&outcome.recorded.referee);
        object.insert("rounds".into(), json!(outcome.rounds));
        object.insert("rounds_max".into(), json!(outcome.size.rounds_max()));
        object.insert("bytes".into(), json!(outcome.bytes));
        object
            .insert("referee_ms".into(), json!(crate::run::milliseconds(referee_time(&outcome.transcript)?)));
        object.insert(
            "lie".into(),
            json!({ "kind": kind.name(), "record": outcome.step, "step": outcome.step }),
        );
        object.insert("steps".into(), json!(run.records));
        object.insert("leaves".into(), json!(outcome.size.leaves));
        object.insert("chunks".into(), json!(outcome.size.chunks));
        object.insert("reruns".into(), json!(outcome.reruns));
        object.insert("steps_rerun".into(), json!(outcome.steps_rerun));
        object.insert("party_ms".into(), json!(crate::run::milliseconds(outcome.honest)));
        object.insert("kept_bytes".into(), json!(run.kept_bytes));
        show(object, arguments.json);
    }
    Ok(if table.wrong == 0 && table.long == 0 { Answer::Yes } else { Answer::No })
}

pub fn referee(arguments: RefereeServe) -> Result<Answer> {
    let answer_ms = arguments.answer_seconds * 1000;
    let options = Options { listen: arguments.listen, data: arguments.data, answer_ms };
    watch_for_interrupts();
    repops_referee::serve(&options, &note, &interrupted)?;
    Ok(Answer::Yes)
}

pub fn replay(arguments: &DisputeReplay) -> Result<Answer> {
    let (transcript, referee) = repops_referee::replay(&arguments.transcript)?;
    if let Some(path) = &arguments.page {
        let page = page::dispute(&transcript);
        repops_io::atomic::write(path, |out| out.write_all(page.as_bytes()))?;
    }
    let mut object = describe(&referee);
    object.insert("peak_kib".into(), json!(repops_referee::peak_kib()));
    show(object, arguments.json);
    Ok(if referee.verdict().is_some() { Answer::Yes } else { Answer::No })
}

/// Enough that one of them is not interrupted on a busy machine.
const REPLAYS: u32 = 9;

/// What the referee does in a whole dispute, receipts and signatures included: the least of nine replays, so
/// that other work of the machine is not counted.
fn referee_time(transcript: &Transcript) -> Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..REPLAYS {
        let (time, replayed) = timed(|| transcript.replay());
        replayed?;
        least = least.min(time);
    }
    Ok(least)
}

/// For people, or as one JSON object.
pub fn show(object: serde_json::Map<String, Value>, as_json: bool) {
    if as_json {
        return print_json(&Value::Object(object));
    }
    for (name, value) in object {
        match value {
            Value::Null => {}
            Value::String(text) => print(&format!("{name:12} {text}")),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(value) => print(&format!("{name:12} {value:.3}")),
                None => print(&format!("{name:12} {number}")),
            },
            other => print(&format!("{name:12} {other}")),
        }
    }
}

/// Many disputes, by the operator under dispute.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, Row>,
    wrong: u64,
    /// Disputes of more rounds than the size of their subject allows.
    long: u64,
    /// Times of runs that kept nothing, and of such that made checkpoints.
    runs: Vec<Duration>,
    keeping: Vec<Duration>,
}

#[derive(Default)]
struct Row {
    count: u64,
    named: u64,
    undecided: u64,
    rounds: (u64, u32),
    bytes: (u64, u64),
    micros: Vec<u64>,
    rerun: u64,
    party_micros: u64,
    rerun_micros: u64,
    reruns: u64,
}

impl Table {
    fn note(&mut self, op: &str, records: u64, outcome: &Outcome, liar: Party) -> Result<()> {
        let time = referee_time(&outcome.transcript)?;
        let verdict = &outcome.verdict;
        let row = self.rows.entry(op.to_string()).or_default();
        row.count += 1;
        row.undecided += u64::from(verdict.loser == Loser::Neither);
        // A verdict against the honest party would be a fault of the game.
        self.wrong += u64::from(!matches!(verdict.loser, Loser::Neither) && verdict.loser != liar.into());
        self.long += u64::from(outcome.rounds > outcome.size.rounds_max());
        let place = outcome.recorded.referee.place();
        let steps = outcome.recorded.referee.row().heads.as_ref().map_or(records, |heads| heads.steps);
        let named = place
            .map(|place| place.row.as_ref().map_or(place.index, |row| row.position * steps + place.index));
        row.named += u64::from(named == Some(outcome.step));
        row.rounds = (row.rounds.0 + u64::from(outcome.rounds), row.rounds.1.max(outcome.rounds));
        row.bytes = (row.bytes.0 + outcome.bytes, row.bytes.1.max(outcome.bytes));
        row.micros.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        row.rerun += outcome.steps_rerun;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        row.party_micros += micros(outcome.honest);
        row.rerun_micros += micros(outcome.rerun);
        row.reruns = row.reruns.max(u64::from(outcome.reruns));
        Ok(())
    }

    #[expect(clippy::float_arithmetic, reason = "statistics, for people")]
    fn print(&mut self, as_json: bool, run: &Run<'_>) {
        let mut rows = Vec::new();
        if !as_json {
            print(
                "operator                  games named undecided  rounds mean/max   bytes mean/max    referee ms median/most",
            );
        }
        for (name, row) in &mut self.rows {
            row.micros.sort_unstable();
            let median = row.micros[row.micros.len() / 2] as f64 / 1000.0;
            let most = *row.micros.last().unwrap_or(&0) as f64 / 1000.0;
            let mean = |sum: u64| sum as f64 / row.count as f64;
            let (rounds, bytes) = (mean(row.rounds.0), mean(row.bytes.0));
            if as_json {
                rows.push(json!({
                    "op": name, "games": row.count, "named": row.named, "undecided": row.undecided,
                    "rounds_mean": rounds, "rounds_max": row.rounds.1,
                    "bytes_mean": bytes, "bytes_max": row.bytes.1,
                    "referee_ms_median": median, "referee_ms_max": most,
                    "steps_rerun_mean": mean(row.rerun),
                }));
            } else {
                print(&format!(
                    "{name:25} {:5} {:5} {:9} {rounds:8.1} {:6} {bytes:10.0} {:8} {median:13.2} {most:8.2}",
                    row.count, row.named, row.undecided, row.rounds.1, row.bytes.1
                ));
            }
        }
        if as_json {
            let sum = |of: fn(&Row) -> u64| {
                let total: u64 = self.rows.values().map(of).sum();
                total as f64
            };
            let games = sum(|row| row.count);
            let own = sum(|row| row.party_micros - row.rerun_micros.min(row.party_micros)) / 1000.0 / games;
            let (run_time, keeping) = (median(&mut self.runs), median(&mut self.keeping));
            print_json(&json!({
                "operators": rows, "against_the_honest": self.wrong, "beyond_rounds_max": self.long, "kept_bytes": run.kept_bytes,
                "run_ms": crate::run::milliseconds(run_time),
                "keeping_run_ms": crate::run::milliseconds(keeping),
                "prepared_ms": crate::run::milliseconds(run.prepared),
                "rerun_ms_mean": sum(|row| row.rerun_micros) / 1000.0 / games,
                "own_ms_mean": own,
                "own_percent": 100.0 * own / (run_time.as_secs_f64() * 1000.0),
                "reruns_max": self.rows.values().map(|row| row.reruns).max(),
                "steps_rerun_mean": sum(|row| row.rerun) / games,
                "party_ms_mean": sum(|row| row.party_micros) / 1000.0 / games,
            }));
        } else {
            print(&format!("verdicts against the honest party: {}", self.wrong));
            print(&format!(
                "disputes beyond log2(steps) + log2(leaves) + log2(chunks) + 6 rounds: {}",
                self.long
            ));
        }
    }
}
