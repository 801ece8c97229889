//! A party's log of a sequence: the leaves and entries of all positions, from one run over all of them.
//!
//! Rows themselves are not kept; the run gives them again. Invariant: what is not said otherwise in `stated` is what the
//! program gives.

use std::collections::{BTreeMap, BTreeSet};

use repops::digest::{Layout, merkle_root};
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::program::{BlockId, Program, ValueId};
use repops::sequence::reference::inputs;
use repops::sequence::sampling::{Plain, log_probability};
use repops::sequence::trace::{Entry, sequence_root, step_leaf};
use repops::sequence::{Row, Sequence, SequenceError};
use repops::trace::{Frame, StepRecord, Trace};
use repops::{DType, Digest, Tensor};

use super::kept::{Checkpoints, Keep, Keeper};
use super::rows::{Heads, value_name};
use crate::generation::{GenerationClaim, logprobs_digest};
use crate::verify::BytesDigest;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error("token {token} of the sequence is none of the {vocabulary} of the program")]
    NoToken { token: u32, vocabulary: usize },
}

/// The log of a sequence.
#[derive(Clone, Debug)]
pub struct SequenceLog {
    pub heads: Heads,
    /// Entries' digests.
    pub entries: Vec<Digest>,
    /// For each position the leaves of the carried steps, and of the head from the first position on whose logits count.
    leaves: Vec<[Vec<Digest>; 2]>,
    /// By position, of steps with several outputs: these alone cannot be had from one output's row and a leaf.
    several: BTreeMap<(u64, u32), Vec<Digest>>,
    tokens: Vec<u32>,
    first: u64,
    /// Rows of each step's outputs.
    rows: Vec<Vec<Row>>,
    /// Of the chosen tokens.
    pub logprobs: Tensor,
    /// What this party states of steps at positions instead of what the program gives.
    pub stated: BTreeMap<(u64, u32), Vec<Digest>>,
}

/// A log, what can be kept of the run, and its inputs.
pub struct Logged {
    pub log: SequenceLog,
    pub inputs: Vec<Tensor>,
    pub kept: Checkpoints,
}

impl SequenceLog {
    /// Runs a claim's sequence. Of the claim only prompt and tokens are used.
    pub fn run(
        program: &Program,
        claim: &GenerationClaim,
        executor: &dyn Executor,
        hash: BytesDigest,
        keep: Keep,
    ) -> Result<Logged, LogError> {
        let sequence = Sequence::of(program)?;
        let tokens = claim.rows();
        let all = || claim.prompt.iter().chain(&claim.tokens);
        if let Some(token) = all().find(|token| sequence.token(**token).is_none()) {
            return Err(LogError::NoToken { token: *token, vocabulary: sequence.vocabulary });
        }
        let inputs = inputs(program, &sequence, &tokens);
        let first = claim.prompt.len().saturating_sub(1);
        let logits = program.main().results.first().copied().unwrap_or(ValueId(u32::MAX));
        let firsts = program.first_outputs(BlockId(0));
        let rows_of = |(step, first): (&repops::program::Step, &ValueId)| {
            (0..step.outputs.len()).filter_map(|k| sequence.rows[first.index() + k].clone()).collect()
        };
        let mut writer = Writer {
            rows: program.main().steps.iter().zip(&firsts).map(rows_of).collect(),
            carried: &sequence.carried,
            firsts,
            hash,
            first,
            logits,
            chosen: &claim.tokens,
            leaves: vec![[Vec::new(), Vec::new()]; tokens.len()],
            several: BTreeMap::new(),
            logprobs: Vec::new(),
        };
        let mut keeper = Keeper::new(program, keep, &mut writer);
        let execution = executor.execute(program, &inputs, HashLevel::None, &mut keeper)?;
        let kept = keeper.checkpoints();
        if let Err(at) = execution.result {
            let error = repops::ops::OpError::Fault(at.fault);
            return Err(ExecError::Step { op: at.op, node: at.node, error }.into());
        }
        let head = (0..).zip(&sequence.carried).filter(|(_, carried)| !**carried).map(|(step, _)| step);
        let heads = Heads { steps: sequence.carried.len() as u64, head: head.collect() };
        let Writer { leaves, several, rows, logprobs, .. } = writer;
        let logprobs = Tensor::from_slice(&[logprobs.len()], &logprobs);
        let mut log = SequenceLog {
            heads,
            entries: Vec::new(),
            leaves,
            several,
            tokens,
            first: first as u64,
            rows,
            logprobs,
            stated: BTreeMap::new(),
        };
        log.entries = (0..log.tokens.len() as u64).map(|position| log.entry(position)).collect();
        Ok(Logged { log, inputs, kept })
    }

    fn entry(&self, position: u64) -> Digest {
        let [carried, head] = [0, 1].map(|half| self.root(position, half));
        let token = self.tokens.get(position as usize).copied().unwrap_or_default();
        Entry { token, carried, head: Some(head) }.digest(position)
    }

    /// The sequence root.
    pub fn sequence_root(&self) -> Digest {
        sequence_root(&self.entries, self.first)
    }

    pub fn logprobs_digest(&self) -> Digest {
        logprobs_digest(self.logprobs.as_slice())
    }

    pub fn positions(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether a step's row counts at a position.
    pub fn has(&self, position: u64, step: u64) -> bool {
        self.heads.place(step).is_some_and(|(half, _)| half == 0 || position >= self.first)
    }

    /// Leaves of a half of a position's row.
    pub fn leaves(&self, position: u64, half: usize) -> &[Digest] {
        self.leaves.get(position as usize).map_or(&[], |halves| &halves[half])
    }

    /// The root of a half; zero where it does not count.
    pub fn root(&self, position: u64, half: usize) -> Digest {
        match half == 1 && position < self.first {
            true => Digest::default(),
            false => merkle_root(self.leaves(position, half)),
        }
    }

    /// The digests of what a step of several outputs gave at a position.
    pub(super) fn digests_of(&self, position: u64, step: u32) -> Option<&[Digest]> {
        self.several.get(&(position, step)).map(Vec::as_slice)
    }

    /// The rows of a step's outputs.
    pub fn rows_of(&self, step: u32) -> Option<&[Row]> {
        self.rows.get(step as usize).map(Vec::as_slice)
    }

    /// The steps of the run over all positions, their outputs named by their values.
    pub(super) fn records(&self, program: &Program) -> Trace {
        let firsts = program.first_outputs(BlockId(0));
        let record = |(index, (step, first)): (usize, (&repops::program::Step, ValueId))| StepRecord {
            path: vec![Frame { block: 0, step: index as u32, iteration: 0 }],
            op: step.op,
            version: step.version,
            body: Digest::default(),
            inputs: Vec::new(),
            outputs: (0..step.outputs.len() as u32).map(|k| value_name(first.0 + k)).collect(),
            fault: None,
        };
        Trace { records: program.main().steps.iter().zip(firsts).enumerate().map(record).collect() }
    }

    /// What the log's entries are made of.
    pub fn entries_of(&self) -> Vec<crate::row_log::LoggedRow> {
        let row = |(position, halves): (usize, &[Vec<Digest>; 2])| crate::row_log::LoggedRow {
            token: self.tokens[position],
            carried: halves[0].clone(),
            head: self.root(position as u64, 1),
            head_leaves: Some(halves[1].clone()),
        };
        self.leaves.iter().enumerate().map(row).collect()
    }

    /// States other digests for a step at a position, and, as a run that went on would, other leaves for everything
    /// after it.
    pub fn lie(&mut self, position: u64, step: u32, outputs: Vec<Digest>) {
        let Some((half, index)) = self.heads.place(u64::from(step)) else { return };
        let other = |leaf: &Digest| repops::digest::sha256(&[b"follows", &leaf.0]);
        for at in position as usize..self.leaves.len() {
            for own in half..2 {
                let from = if at as u64 == position && own == half { index as usize } else { 0 };
                // What is wrong in the head alone is read by no later position.
                if half == 0 || at as u64 == position {
                    let leaves = self.leaves[at][own].iter_mut().skip(from);
                    leaves.for_each(|leaf| *leaf = other(leaf));
                }
            }
        }
        self.leaves[position as usize][half][index as usize] = step_leaf(step, &outputs);
        self.stated.insert((position, step), outputs);
        self.entries = (0..self.tokens.len() as u64).map(|position| self.entry(position)).collect();
    }

    /// Has read another token at a place of the sequence.
    pub fn read_another(&mut self, place: usize, token: u32) {
        if let Some(own) = self.tokens.get_mut(place) {
            *own = token;
        }
        self.entries = (0..self.tokens.len() as u64).map(|position| self.entry(position)).collect();
    }
}

/// Makes leaves of what a run shows.
struct Writer<'a> {
    rows: Vec<Vec<Row>>,
    carried: &'a [bool],
    firsts: Vec<ValueId>,
    hash: BytesDigest,
    first: usize,
    logits: ValueId,
    chosen: &'a [u32],
    leaves: Vec<[Vec<Digest>; 2]>,
    several: BTreeMap<(u64, u32), Vec<Digest>>,
    logprobs: Vec<f32>,
}

impl Observer for Writer<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        let step = event.index;
        let (Some(rows), Some(first)) = (self.rows.get(step), self.firsts.get(step)) else { return };
        let half = usize::from(!self.carried[step]);
        let from = if half == 1 { self.first } else { 0 };
        for (position, leaves) in self.leaves.iter_mut().enumerate().skip(from) {
            let own = event.outputs.iter().zip(rows).map(|(output, row)| {
                let bytes = &output.bytes[position * row.bytes()..][..row.bytes()];
                (self.hash)(row.dtype, Layout::RowMajor, &row.shape, bytes)
            });
            let outputs: Vec<Digest> = own.collect();
            leaves[half].push(step_leaf(step as u32, &outputs));
            if outputs.len() > 1 {
                self.several.insert((position as u64, step as u32), outputs);
            }
        }
        for (value, output) in (first.0..).zip(event.outputs) {
            if value != self.logits.0 || output.dtype != DType::F32 {
                continue;
            }
            let vocabulary = output.shape.get(1).copied().unwrap_or(0);
            let rows = output.bytes.chunks_exact((vocabulary * 4).max(1)).skip(self.first);
            for (row, token) in rows.zip(self.chosen) {
                let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                let logits: Vec<f32> = row.chunks_exact(4).map(number).collect();
                self.logprobs.push(log_probability(&logits, *token, &Plain));
            }
        }
    }
}

/// Steps by which a step's output gets into keys or values of an attention; none where it does not.
pub(super) fn path(program: &Program, step: u64) -> Vec<u64> {
    let steps = &program.main().steps;
    let firsts = program.first_outputs(BlockId(0));
    let outputs = |at: usize| firsts[at].0..firsts[at].0 + steps[at].outputs.len() as u32;
    let Some(start) = usize::try_from(step).ok().filter(|step| *step < steps.len()) else {
        return Vec::new();
    };
    // From whom each step reads, so that the shortest way can be followed back.
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut reached = BTreeSet::from([start]);
    let mut latest = vec![start];
    while !latest.is_empty() {
        let mut next = Vec::new();
        for from in latest {
            let given = outputs(from);
            for at in from + 1..steps.len() {
                let read = |value: &Option<ValueId>| value.is_some_and(|value| given.contains(&value.0));
                let inputs = &steps[at].inputs;
                let is_attention = steps[at].def().name == "SequenceAttention";
                if is_attention && inputs.iter().skip(1).any(read) {
                    let mut way = vec![at as u64];
                    let mut last = from;
                    while last != start {
                        way.push(last as u64);
                        last = before[&last];
                    }
                    way.reverse();
                    return way;
                }
                if inputs.iter().any(read) && reached.insert(at) {
                    before.insert(at, from);
                    next.push(at);
                }
            }
        }
        latest = next;
    }
    Vec::new()
}
