//! `repops trace diff --generation`: the first position, and the step of its row, in which two generations differ.
//!
//! A log is read from a file, or computed again from the claim's tokens; a file has of the head's steps one hash alone.

use repops::Program;
use repops_provenance::dispute::{Keep, SequenceLog};
use repops_provenance::generation::{GenerationClaim, GenerationReceipt};
use repops_provenance::row_log::{self, LogDifference, LoggedRow};
use serde_json::json;

use crate::arguments::TraceDiff;
use crate::engine::Engine;
use crate::inspect::origin_text;
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result};

pub fn diff(arguments: &TraceDiff, program: &Program) -> Result<Answer> {
    let claim = |path: &std::path::PathBuf| {
        let text = std::fs::read(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
        Ok::<GenerationClaim, Failure>(GenerationReceipt::parse(&text)?.claim)
    };
    let claims = arguments.generation.iter().map(claim).collect::<Result<Vec<_>>>()?;
    let (first, second) = match claims.as_slice() {
        [one] => (one, one),
        [one, other] => (one, other),
        _ => return Err(Failure::new("--generation is given once or twice")),
    };
    let [a, b] = [rows(arguments, program, first, 0)?, rows(arguments, program, second, 1)?];
    let Some(found) = row_log::first_difference(program, &a, &b)? else {
        match arguments.json {
            true => print_json(&json!({ "same": true })),
            false => print("the traces are equal"),
        }
        return Ok(Answer::Yes);
    };
    let (position, step, what) = match found {
        LogDifference::End { position } => (position, None, "one of them ends".to_string()),
        LogDifference::Token { position, tokens: [a, b] } => {
            (position, None, format!("A has read token {a}, B token {b}"))
        }
        LogDifference::Step { position, step } => (position, Some(step), "what the step gave".to_string()),
        LogDifference::Head { position } => (position, None, "a step of the head".to_string()),
    };
    let own = step.map(|step| &program.main().steps[step]);
    let nodes = own.map(|step| step.origins.iter().map(origin_text).collect::<Vec<_>>().join(", "));
    if arguments.json {
        print_json(&json!({
            "same": false, "position": position, "step": step, "op": own.map(|step| step.def().name),
            "node": nodes, "what": what,
        }));
        return Ok(Answer::No);
    }
    match (step, own, nodes) {
        (Some(step), Some(own), Some(nodes)) => {
            print(&format!("position {position}, step {step}, {}, {nodes}: {what}", own.def().name));
        }
        _ => print(&format!("position {position}: {what}")),
    }
    Ok(Answer::No)
}

/// The log of a side.
fn rows(
    arguments: &TraceDiff,
    program: &Program,
    claim: &GenerationClaim,
    side: usize,
) -> Result<Vec<LoggedRow>> {
    if program.digest() != claim.program {
        return Err(Failure(format!("the receipt is about program {}", claim.program)));
    }
    if let Some(path) = arguments.traces.get(side) {
        let file = std::fs::File::open(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
        return Ok(row_log::read(program, claim, &mut std::io::BufReader::new(file))?);
    }
    let engine = Engine::new(&arguments.engine)?;
    let log = SequenceLog::run(program, claim, &engine, repops_kernels::bytes_digest, Keep::Nothing)?.log;
    if claim.trace_root.is_some_and(|root| root != log.sequence_root()) {
        note(&format!("{}: this run does not give the root that is claimed", ["A", "B"][side]));
    }
    Ok(log.entries_of())
}
