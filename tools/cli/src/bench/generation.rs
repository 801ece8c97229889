//! How fast a sequence program reads and writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use repops::Program;
use repops::exec::HashLevel;
use repops::sequence::reference::RowsExecutor;
use repops_runtime::session::{Feed, SequenceState, Session, SessionOptions};
use serde_json::json;

use super::{Spread, milliseconds, peak_memory_bytes};
use crate::arguments::Bench;
use crate::generate::session;
use crate::report::{bytes, print, print_json, table};
use crate::{Answer, Failure, Result};

/// Rows of a prompt that are read at once.
const PIECE: usize = 512;

/// Tokens that follow no pattern, the same in every run.
fn tokens(count: usize, seed: usize, vocabulary: usize) -> Vec<u32> {
    let token = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7).wrapping_add(31 * seed) % vocabulary;
    (0..count).map(|i| token(i + 1) as u32).collect()
}

/// Sequences that are written to, a token each at a time.
struct Writing<'a> {
    session: &'a Session,
    states: Vec<SequenceState>,
    next: Vec<[u32; 1]>,
}

impl<'a> Writing<'a> {
    /// Reads all prompts; gives the time that takes.
    fn after(session: &'a Session, prompts: &[Vec<u32>]) -> Result<(Writing<'a>, Duration)> {
        let mut states: Vec<SequenceState> = prompts.iter().map(|_| session.begin()).collect();
        let start = Instant::now();
        let mut next = Vec::new();
        for (state, prompt) in states.iter_mut().zip(prompts) {
            for piece in prompt.chunks(PIECE) {
                let logits_from = prompt.len() - 1;
                let logits = session.step(&mut [Feed { state, tokens: piece, logits_from }])?;
                if let Some(row) = logits.of(0).last() {
                    next.push([greatest(row)]);
                }
            }
        }
        Ok((Writing { session, states, next }, start.elapsed()))
    }

    /// Writes one token to every sequence; gives the time that takes.
    fn write(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let mut feeds: Vec<Feed<'_>> = self
            .states
            .iter_mut()
            .zip(&self.next)
            .map(|(state, token)| Feed { state, tokens: token, logits_from: 0 })
            .collect();
        let logits = self.session.step(&mut feeds)?;
        let chosen = (0..feeds.len()).filter_map(|feed| Some([greatest(logits.of(feed).last()?)])).collect();
        let elapsed = start.elapsed();
        self.next = chosen;
        Ok(elapsed)
    }
}

/// One run: the time to read all prompts, and of each step that writes one token to every sequence.
fn run(session: &Session, prompts: &[Vec<u32>], decode: usize) -> Result<(Duration, Vec<Duration>)> {
    let (mut writing, prefill) = Writing::after(session, prompts)?;
    let steps = (0..decode).map(|_| writing.write()).collect::<Result<Vec<Duration>>>()?;
    Ok((prefill, steps))
}

/// What a step takes that nothing is hashed of, beside what the session's takes.
struct Unhashed {
    step: Spread,
    /// Of each token by which its hashed step was longer, over the median unhashed step: the median.
    added: f64,
    /// The shortest hashed step over the shortest unhashed one, less 1.
    added_at_best: f64,
}

/// The same steps hashed and not, token by token in turn, so that both see the machine as it is at that moment.
fn beside_unhashed(session: &Session, prompts: &[Vec<u32>], arguments: &Bench) -> Result<Unhashed> {
    let (program, cache) = (session.program(), session.cache_limit());
    let plain = crate::generate::session(program, &arguments.engine, HashLevel::None, cache)?;
    let (mut hashed, mut unhashed) = (Vec::new(), Vec::new());
    for index in 0..arguments.warm_up + arguments.runs {
        let (mut with, _) = Writing::after(session, prompts)?;
        let (mut without, _) = Writing::after(&plain, prompts)?;
        for at in 0..arguments.decode {
            // Who comes second finds weights and caches as the first has left them.
            let (first, second) =
                if at % 2 == 0 { (&mut with, &mut without) } else { (&mut without, &mut with) };
            let (first, second) = (first.write()?, second.write()?);
            if index >= arguments.warm_up {
                let (own, other) = if at % 2 == 0 { (first, second) } else { (second, first) };
                hashed.push(own);
                unhashed.push(other);
            }
        }
    }
    let mut longer: Vec<f64> = hashed.iter().zip(&unhashed).map(|(a, b)| seconds(*a) - seconds(*b)).collect();
    longer.sort_by(f64::total_cmp);
    let (own, step) = (Spread::of(hashed), Spread::of(unhashed));
    let added = longer[longer.len() / 2] / seconds(step.median);
    Ok(Unhashed { added, added_at_best: seconds(own.min) / seconds(step.min) - 1.0, step })
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn greatest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = token;
        }
    }
    best as u32
}

pub fn bench(arguments: &Bench, prefill: usize, program: Program) -> Result<Answer> {
    if prefill == 0 || arguments.batch == 0 || arguments.batch > 1024 {
        return Err(Failure::new("--prefill takes at least 1 token, --batch 1 to 1024 sequences"));
    }
    let program = Arc::new(program);
    let cache = SessionOptions::default().cache_bytes;
    let session = session(&program, &arguments.engine, arguments.hash.into(), cache)?;
    let vocabulary = session.sequence().vocabulary;
    let prompts: Vec<Vec<u32>> = (0..arguments.batch).map(|seed| tokens(prefill, seed, vocabulary)).collect();
    let (mut reads, mut steps, mut verifications) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..arguments.warm_up + arguments.runs {
        let (read, written) = run(&session, &prompts, arguments.decode)?;
        // All rows at once, as verification computes them.
        let all = [prompts[0].as_slice(), &tokens(arguments.decode, 7, vocabulary)].concat();
        let start = Instant::now();
        let rows = session.rows(&program, &all, prefill - 1, true, &mut |_, _| Ok(()));
        rows.map_err(|error| Failure(error.to_string()))?;
        if index >= arguments.warm_up {
            reads.push(read);
            steps.extend(written);
            verifications.push(start.elapsed());
        }
    }
    let unhashed = match arguments.beside_unhashed {
        true if arguments.decode > 0 => Some(beside_unhashed(&session, &prompts, arguments)?),
        _ => None,
    };
    let (read, step, verify) = (Spread::of(reads), Spread::of(steps), Spread::of(verifications));
    let per_second =
        |count: usize, time: Duration| count as f64 * 1e6 / time.as_micros().clamp(1, 1 << 60) as f64;
    let prefill_rate = per_second(prefill * arguments.batch, read.median);
    let decode_rate = per_second(arguments.batch, step.median);
    let generation = read.median + step.median * arguments.decode as u32;
    let peak = peak_memory_bytes();
    if arguments.json {
        let mut object = json!({
            "program": program.digest().to_hex(),
            "prefill": prefill,
            "decode": arguments.decode,
            "batch": arguments.batch,
            "threads": session.runtime().threads(),
            "isa": session.runtime().isa().name(),
            "prefill_ms": milliseconds(read.median),
            "prefill_tokens_per_s": prefill_rate,
            "decode_step_ms": milliseconds(step.median),
            "decode_step_min_ms": milliseconds(step.min),
            "decode_tokens_per_s": decode_rate,
            "verify_ms": milliseconds(verify.median),
            "generate_ms": milliseconds(generation),
            "cache_bytes": session.cache_bytes(),
            "peak_memory_bytes": peak,
        });
        if let Some(unhashed) = &unhashed {
            object["unhashed_step_ms"] = json!(milliseconds(unhashed.step.median));
            object["unhashed_step_min_ms"] = json!(milliseconds(unhashed.step.min));
            object["hashing_added"] = json!(unhashed.added);
            object["hashing_added_at_best"] = json!(unhashed.added_at_best);
        }
        print_json(&object);
        return Ok(Answer::Yes);
    }
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("read", format!("{prefill_rate:.1} tokens/s ({} ms)", milliseconds(read.median))),
        row("write", format!("{decode_rate:.1} tokens/s ({} ms a step)", milliseconds(step.median))),
        row("verify all rows of one", format!("{} ms", milliseconds(verify.median))),
    ];
    if let Some(Unhashed { step, added, added_at_best }) = &unhashed {
        let percent = |share: f64| format!("{:+.1} %", 100.0 * share);
        let value = format!(
            "{} and {} of {} ms",
            percent(*added),
            percent(*added_at_best),
            milliseconds(step.median)
        );
        rows.push(row("hashing adds, median and best", value));
    }
    if let Some(peak) = peak {
        rows.push(row("peak memory", bytes(peak)));
    }
    print(&table(&rows));
    Ok(Answer::Yes)
}
