//! The log of a generation as a file, and the check of single positions against it.
//!
//! A file holds what the entries of a sequence's log are made of, and the rows of keys and values. Whoever has it can compute any
//! position from the rows before it, which the log binds, without computing those: SPEC.md, "Checking single positions".
//! Invariant: nothing in a file is believed that the receipt's trace root does not bind.

use std::io::{Read, Write};

use repops::Tensor;
use repops::digest::{Digest, merkle_root, tensor_digest};
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::program::{BlockId, Program, ValueId};
use repops::sequence::sampling::{Draw, Functions, choose, log_probability};
use repops::sequence::spot::{Kept, SpotExecutor, kept};
use repops::sequence::trace::{Entry, row_digest, sequence_root, step_leaf};
use repops::sequence::{Sequence, SequenceError};
use repops::tensor::TensorError;

use crate::generation::{Difference, GenerationClaim, GenerationReceipt, Unverifiable, check_head};
use crate::keys::PublicKey;
use crate::verify::BytesDigest;

const MAGIC: &[u8; 16] = b"repops.rowlog.00";
/// Magic, program, positions, first, leaves, kept.
const HEADER_BYTES: usize = 16 + 32 + 8 + 8 + 4 + 4;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowLogError {
    #[error("the trace file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("the trace file is no log of rows, or of another version")]
    Magic,
    #[error("the trace file is of {field} {found}; the receipt and its program need {expected}")]
    Field { field: &'static str, found: String, expected: String },
    #[error("the trace file ends in the record of position {position}")]
    Truncated { position: usize },
    #[error("the trace file goes on after its last position")]
    Trailing,
    #[error("the receipt claims no trace")]
    NoTrace,
    #[error("keys or values of the program are no outputs of steps")]
    Kept,
    #[error("the rows give the root {found}, the claim {claimed}")]
    Root { claimed: Digest, found: Digest },
    #[error("the run ended with a fault: {0}")]
    Fault(String),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// What a position's record is made of, for a program.
struct Form {
    kept: Vec<Kept>,
    /// The steps of carried leaves, ascending.
    carried: Vec<usize>,
    /// Carried steps of several outputs, of which one is kept: the digests of all of them are in the record.
    several: Vec<(usize, usize)>,
}

impl Form {
    fn of(program: &Program, sequence: &Sequence) -> Result<Form, RowLogError> {
        let kept = kept(program, sequence).ok_or(RowLogError::Kept)?;
        let carried: Vec<usize> =
            sequence.carried.iter().enumerate().filter(|(_, carried)| **carried).map(|(at, _)| at).collect();
        let steps = &program.main().steps;
        let mut several: Vec<(usize, usize)> = kept
            .iter()
            .map(|kept| (kept.step, steps[kept.step].outputs.len()))
            .filter(|(_, outputs)| *outputs > 1)
            .collect();
        several.sort_unstable();
        several.dedup();
        if kept.iter().any(|kept| carried.binary_search(&kept.step).is_err()) {
            return Err(RowLogError::Kept);
        }
        Ok(Form { kept, carried, several })
    }

    fn record_bytes(&self) -> usize {
        let rows: usize = self.kept.iter().map(|kept| kept.row.bytes()).sum();
        let digests: usize = self.several.iter().map(|(_, outputs)| outputs).sum();
        32 * (1 + self.carried.len() + digests) + rows
    }
}

/// A position's record, as bytes of a known form.
struct Record<'a> {
    head: Digest,
    leaves: Vec<Digest>,
    /// In the order of [`Form::kept`].
    rows: Vec<&'a [u8]>,
    /// In the order of [`Form::several`].
    several: Vec<Vec<Digest>>,
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(bytes.try_into().expect("32 bytes"))
}

impl<'a> Record<'a> {
    /// `bytes` has the form's length.
    fn read(form: &Form, bytes: &'a [u8]) -> Record<'a> {
        let (head, rest) = bytes.split_at(32);
        let (leaves, mut rest) = rest.split_at(32 * form.carried.len());
        let mut rows = Vec::with_capacity(form.kept.len());
        for kept in &form.kept {
            let (row, after) = rest.split_at(kept.row.bytes());
            rows.push(row);
            rest = after;
        }
        let mut several = Vec::new();
        for (_, outputs) in &form.several {
            let (own, after) = rest.split_at(32 * outputs);
            several.push(own.chunks_exact(32).map(digest).collect());
            rest = after;
        }
        Record { head: digest(head), leaves: leaves.chunks_exact(32).map(digest).collect(), rows, several }
    }

    /// The first kept row that is not what its step's leaf says.
    fn wrong_row(&self, form: &Form) -> Option<usize> {
        form.kept.iter().zip(&self.rows).position(|(kept, row)| {
            let own = row_digest(&kept.row, row);
            let several = form.several.iter().position(|(step, _)| *step == kept.step);
            let outputs = match several {
                None => vec![own],
                Some(at) if self.several[at][kept.output] == own => self.several[at].clone(),
                Some(_) => return true,
            };
            let at = form.carried.binary_search(&kept.step).expect("checked with the form");
            step_leaf(kept.step as u32, &outputs) != self.leaves[at]
        })
    }

    fn entry(&self, token: u32, has_head: bool) -> Entry {
        // Where no head counts its bytes are zeros; any others change the entry.
        let head = (has_head || self.head != Digest::default()).then_some(self.head);
        Entry { token, carried: merkle_root(&self.leaves), head }
    }
}

/// What an entry of a log is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedRow {
    pub token: u32,
    /// Leaves of the carried steps.
    pub carried: Vec<Digest>,
    /// The root over the other steps; zero where they do not count.
    pub head: Digest,
    /// Their leaves, where they are known: a file has the root alone.
    pub head_leaves: Option<Vec<Digest>>,
}

/// In what two logs of a program differ first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogDifference {
    /// One has no such position.
    End {
        position: usize,
    },
    Token {
        position: usize,
        tokens: [u32; 2],
    },
    Step {
        position: usize,
        step: usize,
    },
    /// One of the steps that no later position depends on.
    Head {
        position: usize,
    },
}

/// The first difference of two logs, in the order in which rows are computed.
pub fn first_difference(
    program: &Program,
    a: &[LoggedRow],
    b: &[LoggedRow],
) -> Result<Option<LogDifference>, SequenceError> {
    let sequence = Sequence::of(program)?;
    let (carried, head): (Vec<usize>, Vec<usize>) =
        (0..sequence.carried.len()).partition(|step| sequence.carried[*step]);
    let differs = |a: &[Digest], b: &[Digest], steps: &[usize]| {
        a.iter().zip(b).position(|(a, b)| a != b).and_then(|at| steps.get(at).copied())
    };
    for (position, (a, b)) in a.iter().zip(b).enumerate() {
        if a.token != b.token {
            return Ok(Some(LogDifference::Token { position, tokens: [a.token, b.token] }));
        }
        if let Some(step) = differs(&a.carried, &b.carried, &carried) {
            return Ok(Some(LogDifference::Step { position, step }));
        }
        // Where logits count in one log alone, nothing else is said.
        if a.head != b.head && a.head != Digest::default() && b.head != Digest::default() {
            let leaves = a.head_leaves.as_ref().zip(b.head_leaves.as_ref());
            let step = leaves.and_then(|(a, b)| differs(a, b, &head));
            return Ok(Some(
                step.map_or(LogDifference::Head { position }, |step| LogDifference::Step { position, step }),
            ));
        }
    }
    let position = a.len().min(b.len());
    Ok((a.len() != b.len()).then_some(LogDifference::End { position }))
}

/// What a file's entries are made of; they give the claim's root.
pub fn read(
    program: &Program,
    claim: &GenerationClaim,
    file: &mut dyn Read,
) -> Result<Vec<LoggedRow>, RowLogError> {
    let claimed = claim.trace_root.ok_or(RowLogError::NoTrace)?;
    let sequence = Sequence::of(program).map_err(|error| RowLogError::Fault(error.to_string()))?;
    let form = Form::of(program, &sequence)?;
    let (tokens, first) = (claim.rows(), claim.prompt.len().saturating_sub(1));
    header(&form, program, claim, tokens.len(), file)?;
    let mut bytes = vec![0; form.record_bytes()];
    let (mut rows, mut entries) = (Vec::new(), Vec::new());
    for (position, &token) in tokens.iter().enumerate() {
        fill(file, &mut bytes, position)?;
        let record = Record::read(&form, &bytes);
        entries.push(record.entry(token, position >= first).digest(position as u64));
        rows.push(LoggedRow { token, carried: record.leaves, head: record.head, head_leaves: None });
    }
    if file.read(&mut [0])? != 0 {
        return Err(RowLogError::Trailing);
    }
    let found = sequence_root(&entries, first as u64);
    if found != claimed {
        return Err(RowLogError::Root { claimed, found });
    }
    Ok(rows)
}

/// Collects the records of all positions.
struct Recorder<'a> {
    form: &'a Form,
    sequence: &'a Sequence,
    firsts: Vec<ValueId>,
    heads: Vec<Vec<Digest>>,
    leaves: Vec<Vec<Digest>>,
    rows: Vec<Vec<Vec<u8>>>,
    several: Vec<Vec<Vec<Digest>>>,
}

impl Observer for Recorder<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        let (step, first) = (event.index, self.firsts[event.index].index());
        for position in 0..self.leaves.len() {
            let row = |at: usize| {
                let row = self.sequence.rows[first + at].as_ref().expect("every output has rows");
                (row, &event.outputs[at].bytes[position * row.bytes()..][..row.bytes()])
            };
            let digests: Vec<Digest> = (0..event.outputs.len())
                .map(|at| {
                    let (row, bytes) = row(at);
                    row_digest(row, bytes)
                })
                .collect();
            let leaf = step_leaf(step as u32, &digests);
            if !self.sequence.carried[step] {
                self.heads[position].push(leaf);
                continue;
            }
            self.leaves[position].push(leaf);
            for (at, kept) in self.form.kept.iter().enumerate().filter(|(_, kept)| kept.step == step) {
                self.rows[position][at] = row(kept.output).1.to_vec();
            }
            if let Some(at) = self.form.several.iter().position(|(several, _)| *several == step) {
                self.several[position][at] = digests;
            }
        }
    }
}

/// About the bytes that [`write`] takes for a file of so many positions, which it makes in memory; `None` if the program
/// has no such files.
pub fn bytes_needed(program: &Program, positions: usize) -> Option<usize> {
    let sequence = Sequence::of(program).ok()?;
    let form = Form::of(program, &sequence).ok()?;
    // What is recorded and the file that is written; the logits of all positions.
    positions.checked_mul(2 * form.record_bytes() + 4 * sequence.vocabulary)
}

/// Computes all rows of a claim again and writes them as a file.
pub fn write(
    program: &Program,
    claim: &GenerationClaim,
    logprobs: &[f32],
    executor: &dyn Executor,
    out: &mut dyn Write,
) -> Result<(), RowLogError> {
    let claimed = claim.trace_root.ok_or(RowLogError::NoTrace)?;
    let sequence = Sequence::of(program).map_err(|error| RowLogError::Fault(error.to_string()))?;
    let form = Form::of(program, &sequence)?;
    let tokens = claim.rows();
    let (count, first) = (tokens.len(), claim.prompt.len() - 1);
    let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
    let positions: Vec<i64> = (0..count as i64).collect();
    let mut inputs = vec![Tensor::from_slice(&[count], &positions); program.header().inputs.len()];
    inputs[sequence.tokens] = Tensor::from_slice(&[count], &ids);
    let mut recorder = Recorder {
        form: &form,
        sequence: &sequence,
        firsts: program.first_outputs(BlockId(0)),
        heads: vec![Vec::new(); count],
        leaves: vec![Vec::new(); count],
        rows: vec![vec![Vec::new(); form.kept.len()]; count],
        several: vec![vec![Vec::new(); form.several.len()]; count],
    };
    let execution = executor.execute(program, &inputs, HashLevel::None, &mut recorder)?;
    if let Err(at) = execution.result {
        return Err(RowLogError::Fault(format!("{at:?}")));
    }
    let Recorder { heads, leaves, rows, several, .. } = recorder;
    let head = |position: usize| (position >= first).then(|| merkle_root(&heads[position]));
    let entries: Vec<Digest> = (0..count)
        .map(|p| {
            let entry = Entry { token: tokens[p], carried: merkle_root(&leaves[p]), head: head(p) };
            entry.digest(p as u64)
        })
        .collect();
    let found = sequence_root(&entries, first as u64);
    if found != claimed {
        return Err(RowLogError::Root { claimed, found });
    }
    out.write_all(MAGIC)?;
    out.write_all(&program.digest().0)?;
    out.write_all(&(count as u64).to_le_bytes())?;
    out.write_all(&(first as u64).to_le_bytes())?;
    out.write_all(&(form.carried.len() as u32).to_le_bytes())?;
    out.write_all(&(form.kept.len() as u32).to_le_bytes())?;
    for logprob in logprobs {
        out.write_all(&logprob.to_le_bytes())?;
    }
    for position in 0..count {
        out.write_all(&head(position).unwrap_or_default().0)?;
        leaves[position].iter().try_for_each(|leaf| out.write_all(&leaf.0))?;
        rows[position].iter().try_for_each(|row| out.write_all(row))?;
        several[position].iter().flatten().try_for_each(|digest| out.write_all(&digest.0))?;
    }
    Ok(())
}

/// Checks the claim at some positions: that the file opens the claimed root, and that each of `positions` follows from the
/// rows before it. `None` when all of that is true.
#[expect(clippy::too_many_arguments, reason = "the two sides, the file, and what the check is made with")]
pub fn spot(
    receipt: &GenerationReceipt,
    program: &Program,
    signer: Option<PublicKey>,
    file: &mut dyn Read,
    positions: &[usize],
    executor: &dyn SpotExecutor,
    functions: &dyn Functions,
    hash: BytesDigest,
) -> Result<Option<Difference>, Unverifiable> {
    if let Some(difference) = check_head(receipt, program, signer, hash)? {
        return Ok(Some(difference));
    }
    let claim = &receipt.claim;
    let claimed = claim.trace_root.ok_or(RowLogError::NoTrace)?;
    let sequence = Sequence::of(program)?;
    let form = Form::of(program, &sequence)?;
    let tokens = claim.rows();
    let first = claim.prompt.len() - 1;
    let logprobs = header(&form, program, claim, tokens.len(), file)?;
    let found = tensor_digest(Tensor::from_slice(&[logprobs.len()], &logprobs).view());
    if found != claim.logprobs {
        return Ok(Some(Difference::Logprobs { claimed: claim.logprobs, found }));
    }
    let last = positions.iter().copied().max().unwrap_or(0);
    let mut prefix: Vec<Vec<f32>> = vec![Vec::new(); form.kept.len()];
    let (mut entries, mut digests) = (Vec::new(), Vec::new());
    let mut bytes = vec![0; form.record_bytes()];
    for (position, &token) in tokens.iter().enumerate() {
        fill(file, &mut bytes, position)?;
        let record = Record::read(&form, &bytes);
        if let Some(at) = record.wrong_row(&form) {
            let what = if at % 2 == 0 { "keys" } else { "values" };
            return Ok(Some(Difference::Row { position, attention: at / 2, what }));
        }
        let entry = record.entry(token, position >= first);
        digests.push(entry.digest(position as u64));
        entries.push(entry);
        if position < last {
            for (all, row) in prefix.iter_mut().zip(&record.rows) {
                all.extend(row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
        }
    }
    if file.read(&mut [0]).map_err(RowLogError::Io)? != 0 {
        return Err(RowLogError::Trailing.into());
    }
    let found = sequence_root(&digests, first as u64);
    if found != claimed {
        return Ok(Some(Difference::TraceRoot { claimed, found }));
    }
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    for &position in positions.iter().filter(|position| **position < tokens.len()) {
        let rows: Vec<&[f32]> = form
            .kept
            .iter()
            .zip(&prefix)
            .map(|(kept, rows)| &rows[..position * (kept.row.bytes() / 4)])
            .collect();
        let row = executor.row(program, &tokens[..=position], position >= first, &rows);
        let (entry, logits) = row.map_err(Unverifiable::Rows)?;
        if entry != entries[position] {
            return Ok(Some(Difference::Position { position }));
        }
        let Some(logits) = logits else { continue };
        let next = all[position + 1];
        let draw = Draw { seed: claim.seed, nonce: claim.nonce, position: position as u32 };
        match choose(&logits, &claim.sampling, &all[..=position], claim.prompt.len(), draw, functions) {
            Ok(found) if found == next => {
                let logprob = log_probability(&logits, found, functions);
                if logprob.to_bits() != logprobs[position - first].to_bits() {
                    return Ok(Some(Difference::Position { position }));
                }
            }
            Ok(found) => {
                return Ok(Some(Difference::Token { position: position + 1, claimed: next, found }));
            }
            Err(error) => {
                let problem = error.to_string();
                return Ok(Some(Difference::NoDistribution { position: position + 1, problem }));
            }
        }
    }
    Ok(None)
}

/// The log-probabilities, once the header fits.
fn header(
    form: &Form,
    program: &Program,
    claim: &GenerationClaim,
    count: usize,
    file: &mut dyn Read,
) -> Result<Vec<f32>, RowLogError> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => RowLogError::Magic,
        _ => error.into(),
    })?;
    if &bytes[..16] != MAGIC {
        return Err(RowLogError::Magic);
    }
    let found = digest(&bytes[16..48]);
    if found != program.digest() {
        let (found, expected) = (found.to_hex(), program.digest().to_hex());
        return Err(RowLogError::Field { field: "program", found, expected });
    }
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let short = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")));
    for (field, found, expected) in [
        ("positions", long(48), count),
        ("first position", long(56), claim.prompt.len() - 1),
        ("steps", short(64), form.carried.len()),
        ("kept rows", short(68), form.kept.len()),
    ] {
        if found != expected as u64 {
            let (found, expected) = (found.to_string(), expected.to_string());
            return Err(RowLogError::Field { field, found, expected });
        }
    }
    let mut bytes = vec![0; 4 * claim.tokens.len()];
    fill(file, &mut bytes, 0)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

fn fill(file: &mut dyn Read, bytes: &mut [u8], position: usize) -> Result<(), RowLogError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => RowLogError::Truncated { position },
        _ => error.into(),
    })
}

/// `count` different positions of `below`, ascending, from the operating system's randomness: whoever made the claim must
/// not know them.
pub fn draw(count: usize, below: usize) -> Result<Vec<usize>, getrandom::Error> {
    let mut all: Vec<usize> = (0..below).collect();
    let count = count.min(below);
    for at in 0..count {
        // Without bias: numbers beyond the last whole multiple are drawn again.
        let left = (below - at) as u64;
        let whole = u64::MAX - u64::MAX % left;
        let number = loop {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes)?;
            let number = u64::from_le_bytes(bytes);
            if number < whole {
                break number;
            }
        };
        all.swap(at, at + (number % left) as usize);
    }
    all.truncate(count);
    all.sort_unstable();
    Ok(all)
}
