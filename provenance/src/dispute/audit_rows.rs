//! Audits of generations: a step at a position, or the choice of a token, computed again from what the provider opens.
//!
//! Invariant: as with audits of runs, a check relies on the claim, the program and nothing that is not bound by the claim's
//! digests. A row is believed as far as the log that the claim binds has its digest; whether that row is right is the
//! audit of the step that gave it.

use std::collections::{BTreeMap, BTreeSet};

use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::program::{BlockId, Program, Step, ValueId};
use repops::sequence::sampling::{Draw, Functions, choose, log_probability};
use repops::sequence::{Row, Sequence};
use repops::{Digest, Layout, Tensor};

use super::audit::{Finding, Opening};
use super::facts::{Facts, Gap, LogRoot, Shared, Verified};
use super::message::Evidence;
use super::player::{Player, PlayerError};
use super::rows::Heads;
use super::section;
use super::verdict::Reason;
use crate::generation::GenerationClaim;
use crate::verify::BytesDigest;

/// What of a generation is audited by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Step {
        position: u64,
        step: u32,
    },
    /// The token that is chosen after a position, and its log-probability.
    Choice {
        position: u64,
    },
}

/// All such places of a claim, in order: carried steps by positions, then the steps of the head and the choice.
#[derive(Clone, Debug)]
pub struct Places {
    sequence: Sequence,
    heads: Heads,
    positions: u64,
    first: u64,
}

impl Places {
    /// `None` of a program that is no sequence program.
    pub fn of(program: &Program, claim: &GenerationClaim) -> Option<Places> {
        let sequence = Sequence::of(program).ok()?;
        let head = (0..).zip(&sequence.carried).filter(|(_, carried)| !**carried).map(|(step, _)| step);
        let heads = Heads { steps: sequence.carried.len() as u64, head: head.collect() };
        let positions = claim.rows().len() as u64;
        Some(Places { sequence, heads, positions, first: claim.prompt.len().saturating_sub(1) as u64 })
    }

    pub fn count(&self) -> u64 {
        let chosen = self.positions.saturating_sub(self.first);
        self.positions * self.heads.count(0) + chosen * (self.heads.count(1) + 1)
    }

    pub fn at(&self, index: u64) -> Option<Place> {
        if index >= self.count() {
            return None;
        }
        let (carried, head) = (self.heads.count(0), self.heads.count(1));
        let step = |half, at| Some(self.heads.step(half, at)? as u32);
        match index.checked_sub(self.positions * carried) {
            None => Some(Place::Step { position: index / carried, step: step(0, index % carried)? }),
            Some(rest) => {
                let position = self.first + rest / (head + 1);
                Some(match rest % (head + 1) {
                    at if at < head => Place::Step { position, step: step(1, at)? },
                    _ => Place::Choice { position },
                })
            }
        }
    }

    /// A row of a step's output.
    fn row(&self, program: &Program, step: u32, output: usize) -> Option<&Row> {
        let first = program.first_outputs(BlockId(0)).get(step as usize)?.index();
        self.sequence.rows.get(first + output)?.as_ref()
    }
}

/// The step, and which of its outputs, that gives a value; `None` of constants and inputs.
fn giver(program: &Program, value: ValueId) -> Option<(u32, usize)> {
    let firsts = program.first_outputs(BlockId(0));
    let step = firsts.partition_point(|first| first.0 <= value.0).checked_sub(1)?;
    let output = (value.0 - firsts[step].0) as usize;
    (output < program.main().steps[step].outputs.len()).then_some((step as u32, output))
}

/// Whether an input is read at all positions up to the step's own: keys and values.
fn reads_all(step: &Step, input: usize) -> bool {
    step.def().name == "SequenceAttention" && input > 0
}

/// The rows that a place is computed from, by their digests, each with what it is a row of.
fn needed(
    program: &Program,
    place: Place,
    facts: &mut dyn Facts,
) -> Result<BTreeMap<(u64, u32, usize), Digest>, Gap> {
    let mut found = BTreeMap::new();
    let mut read = |position: u64, step: u32, output: usize, facts: &mut dyn Facts| {
        let outputs = facts.row(position, step)?;
        let digest = outputs.get(output).ok_or(Gap::Missing("an output of a row"))?;
        found.insert((position, step, output), *digest);
        Ok::<(), Gap>(())
    };
    match place {
        Place::Step { position, step } => {
            facts.row(position, step)?;
            let own = &program.main().steps[step as usize];
            for (input, value) in own.inputs.iter().enumerate() {
                let Some((giver, output)) = value.and_then(|value| giver(program, value)) else { continue };
                let from = if reads_all(own, input) { 0 } else { position };
                for position in from..=position {
                    read(position, giver, output, facts)?;
                }
            }
        }
        Place::Choice { position } => {
            let logits = program.main().results.first().and_then(|value| giver(program, *value));
            let (step, output) = logits.ok_or_else(|| Gap::Program("logits that no step gives".into()))?;
            read(position, step, output, facts)?;
        }
    }
    Ok(found)
}

impl Player<'_> {
    /// Opens what an audit of a generation's place needs.
    pub fn open_place(&mut self, claim: &GenerationClaim, index: u64) -> Result<Opening, PlayerError> {
        let program = self.program();
        let places = Places::of(program, claim).ok_or(PlayerError::Unknown("the sequence"))?;
        let place = places.at(index).ok_or(PlayerError::Unknown("such a place"))?;
        if let Place::Step { step, .. } = place {
            self.look_at(u64::from(step));
        }
        let mut wanted = BTreeSet::new();
        let evidence = self.evidence(|facts| {
            if let Ok(found) = needed(program, place, facts) {
                wanted.extend(found.into_values());
            }
        });
        if matches!(place, Place::Choice { .. }) {
            wanted.insert(claim.logprobs);
        }
        let wanted: Vec<_> = wanted.into_iter().map(Some).collect();
        let tensors = self.tensors_of(&wanted)?.into_iter().flatten().collect();
        // The auditor has the program.
        let evidence = Evidence { part_count: 0, ..evidence };
        Ok(Opening { index, evidence, tensors })
    }
}

/// Checks an opening of a place of a generation. `hash` hashes tensors.
pub fn check(
    program: &Program,
    claim: &GenerationClaim,
    opening: &Opening,
    executor: &dyn Executor,
    functions: &dyn Functions,
    hash: BytesDigest,
) -> Finding {
    let Some(root) = claim.trace_root else {
        return Finding::Unknown("the claim is of no trace".to_string());
    };
    let places = Places::of(program, claim).filter(|_| program.digest() == claim.program);
    let Some(places) = places else { return Finding::Unknown("it is no sequence program".to_string()) };
    let Some(place) = places.at(opening.index) else { return Finding::Wrong(Reason::Evidence) };
    let log = LogRoot {
        root,
        count: places.positions,
        first: places.first,
        tokens: claim.rows(),
        heads: Some(places.heads.clone()),
    };
    let mut facts = Verified::of_log(claim.program, log);
    let all = Shared::Rows { positions: places.positions, half: 0, leaves: 0 };
    if !facts.add(&opening.evidence, all) {
        return Finding::Wrong(Reason::Evidence);
    }
    let digest = |tensor: &Tensor| hash(tensor.dtype(), Layout::RowMajor, tensor.shape(), tensor.bytes());
    let tensors: BTreeMap<Digest, &Tensor> = opening.tensors.iter().map(|t| (digest(t), t)).collect();
    let mut rows = BTreeMap::new();
    let found = match needed(program, place, &mut facts) {
        Ok(found) => found,
        Err(Gap::Program(problem)) => return Finding::Unknown(problem),
        Err(_) => return Finding::Wrong(Reason::Evidence),
    };
    for (key, digest) in found {
        let row = places.row(program, key.1, key.2);
        let tensor = tensors.get(&digest).filter(|tensor| {
            row.is_some_and(|row| row.dtype == tensor.dtype() && row.shape == tensor.shape())
        });
        let Some(tensor) = tensor else { return Finding::Wrong(Reason::Evidence) };
        rows.insert(key, *tensor);
    }
    match place {
        Place::Step { position, step } => {
            let Ok(outputs) = facts.row(position, step) else { return Finding::Wrong(Reason::Evidence) };
            let claimed = Claimed { position, step, outputs };
            computed(program, claim, &places, &claimed, &rows, executor, hash)
        }
        Place::Choice { position } => {
            let (Some(logits), Some(logprobs)) = (rows.into_values().next(), tensors.get(&claim.logprobs))
            else {
                return Finding::Wrong(Reason::Evidence);
            };
            chosen(claim, &places, position, logits, logprobs, functions)
        }
    }
}

/// What the claim binds of a step at a position.
struct Claimed {
    position: u64,
    step: u32,
    outputs: Vec<Digest>,
}

/// Computes a step's row again.
fn computed(
    program: &Program,
    claim: &GenerationClaim,
    places: &Places,
    claimed: &Claimed,
    rows: &BTreeMap<(u64, u32, usize), &Tensor>,
    executor: &dyn Executor,
    hash: BytesDigest,
) -> Finding {
    let step = &program.main().steps[claimed.step as usize];
    if claimed.outputs.len() != step.outputs.len() {
        return Finding::Wrong(Reason::OutputCount);
    }
    let last = claimed.position;
    // Attention needs all positions up to its own; any other step this one.
    let first = if (0..step.inputs.len()).any(|input| reads_all(step, input)) { 0 } else { last };
    let count = (last + 1 - first) as usize;
    let tokens = claim.rows();
    let inputs_from = program.first_param(BlockId(0)).index();
    let mut known: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    for (input, value) in step.inputs.iter().enumerate() {
        let Some(value) = value.filter(|value| program.as_constant(*value).is_none()) else { continue };
        let tensor = match giver(program, value) {
            None => {
                let own = first as usize..=last as usize;
                let ids: Vec<i64> = match value.index() - inputs_from == places.sequence.tokens {
                    true => tokens[own].iter().map(|token| i64::from(*token)).collect(),
                    false => own.map(|position| position as i64).collect(),
                };
                Tensor::from_slice(&[count], &ids)
            }
            Some((giver, output)) => {
                let Some(row) = places.row(program, giver, output) else {
                    return Finding::Unknown("an input that is no row".to_string());
                };
                let shape = [&[count], row.shape.as_slice()].concat();
                let Ok(mut tensor) = Tensor::zeros(row.dtype, &shape) else {
                    return Finding::Unknown("an input is too large".to_string());
                };
                // Of queries only the last counts.
                let from = if reads_all(step, input) { first } else { last };
                for position in from..=last {
                    let Some(row) = rows.get(&(position, giver, output)) else {
                        return Finding::Wrong(Reason::Evidence);
                    };
                    let start = (position - first) as usize * row.bytes().len();
                    tensor.bytes_mut()[start..][..row.bytes().len()].copy_from_slice(row.bytes());
                }
                tensor
            }
        };
        known.insert(value, tensor);
    }
    let section = match section::of_step(program, step, |value| known.get(&value)) {
        Some(Ok(section)) => section,
        Some(Err(error)) => return Finding::Unknown(error.to_string()),
        None => return Finding::Wrong(Reason::Evidence),
    };
    let inputs: Vec<Tensor> = section.inputs.iter().filter_map(|value| known.get(value).cloned()).collect();
    let mut seen = Outputs(Vec::new());
    match executor.execute(&section.program, &inputs, HashLevel::None, &mut seen) {
        Err(error @ (ExecError::Interrupted | ExecError::Fma(_))) => Finding::Unknown(error.to_string()),
        Err(error) => Finding::Unknown(error.to_string()),
        Ok(execution) if execution.result.is_err() => Finding::Wrong(Reason::Fault),
        Ok(_) => {
            let is_right = |(output, digest): (usize, &Digest)| {
                let row = places.row(program, claimed.step, output)?;
                let bytes = seen.0.get(output)?.bytes();
                let own = bytes.get(bytes.len().checked_sub(row.bytes())?..)?;
                Some(hash(row.dtype, Layout::RowMajor, &row.shape, own) == *digest)
            };
            match claimed.outputs.iter().enumerate().all(|pair| is_right(pair) == Some(true)) {
                true => Finding::Right,
                false => Finding::Wrong(Reason::Element),
            }
        }
    }
}

/// Chooses a token again.
fn chosen(
    claim: &GenerationClaim,
    places: &Places,
    position: u64,
    logits: &Tensor,
    logprobs: &Tensor,
    functions: &dyn Functions,
) -> Finding {
    let at = (position - places.first) as usize;
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    let is_f32 =
        |tensor: &Tensor, len: usize| tensor.dtype() == repops::DType::F32 && tensor.shape() == [len];
    if !is_f32(logprobs, claim.tokens.len()) || !is_f32(logits, places.sequence.vocabulary) {
        return Finding::Wrong(Reason::Outcome);
    }
    let draw = Draw { seed: claim.seed, nonce: claim.nonce, position: position as u32 };
    let logits = logits.as_slice::<f32>();
    let known = &all[..=position as usize];
    match choose(logits, &claim.sampling, known, claim.prompt.len(), draw, functions) {
        Ok(token) if token == claim.tokens[at] => {
            let found = log_probability(logits, token, functions);
            match found.to_bits() == logprobs.as_slice::<f32>()[at].to_bits() {
                true => Finding::Right,
                false => Finding::Wrong(Reason::Outcome),
            }
        }
        _ => Finding::Wrong(Reason::Token),
    }
}

/// Keeps the outputs of the only step.
struct Outputs(Vec<Tensor>);

impl Observer for Outputs {
    fn step(&mut self, event: StepEvent<'_>) {
        self.0 = event.outputs.iter().filter_map(|view| view.to_tensor().ok()).collect();
    }
}
