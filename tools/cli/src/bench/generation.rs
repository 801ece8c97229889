//! How fast a sequence program reads and writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use repops::Program;
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

/// One run: the time to read all prompts, and of each step that writes one token to every sequence.
fn run(session: &Session, prompts: &[Vec<u32>], decode: usize) -> Result<(Duration, Vec<Duration>)> {
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
    let prefill = start.elapsed();
    let mut steps = Vec::with_capacity(decode);
    for _ in 0..decode {
        let start = Instant::now();
        let mut feeds: Vec<Feed<'_>> = states
            .iter_mut()
            .zip(&next)
            .map(|(state, token)| Feed { state, tokens: token, logits_from: 0 })
            .collect();
        let logits = session.step(&mut feeds)?;
        let chosen: Vec<[u32; 1]> =
            (0..prompts.len()).filter_map(|feed| Some([greatest(logits.of(feed).last()?)])).collect();
        steps.push(start.elapsed());
        next = chosen;
    }
    Ok((prefill, steps))
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
    let (read, step, verify) = (Spread::of(reads), Spread::of(steps), Spread::of(verifications));
    let per_second =
        |count: usize, time: Duration| count as f64 * 1e6 / time.as_micros().clamp(1, 1 << 60) as f64;
    let prefill_rate = per_second(prefill * arguments.batch, read.median);
    let decode_rate = per_second(arguments.batch, step.median);
    let generation = read.median + step.median * arguments.decode as u32;
    let peak = peak_memory_bytes();
    if arguments.json {
        print_json(&json!({
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
        }));
        return Ok(Answer::Yes);
    }
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("read", format!("{prefill_rate:.1} tokens/s ({} ms)", milliseconds(read.median))),
        row("write", format!("{decode_rate:.1} tokens/s ({} ms a step)", milliseconds(step.median))),
        row("verify all rows of one", format!("{} ms", milliseconds(verify.median))),
    ];
    if let Some(peak) = peak {
        rows.push(row("peak memory", bytes(peak)));
    }
    print(&table(&rows));
    Ok(Answer::Yes)
}
