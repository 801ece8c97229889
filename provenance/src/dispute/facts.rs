//! What a judgement may rely on: parts of the program, agreed records, and bytes of tensors with known digests.
//!
//! A judgement is a function of [`Facts`] alone. The referee's facts are what was opened and verified
//! ([`Verified`]); a party runs the same judgement over everything it has and sends what was asked for, so
//! that nothing is missing. Invariant of `Verified`: every fact follows from the program's digest, the first
//! party's trace or sequence root, or a tensor's own digest.

use std::collections::BTreeMap;

use repops::digest::{LEAF_BYTES, bind_tensor, leaf_hash, sha256};
use repops::ops::dispute::{Stop, WHOLE_BYTES_MAX, bits_at};
use repops::program::{Part, Step, ValueId, stored_byte_len};
use repops::sequence::trace::{Entry, bind_entries, step_leaf};
use repops::trace::{Frame, StepRecord};
use repops::{DType, Digest, Layout, Tensor};

use super::message::{Evidence, TensorEvidence};
use super::partial;
use super::rows::Heads;
use crate::trace_file::decode_record;

/// Why a fact is not there.
#[derive(Clone, PartialEq, Debug)]
pub enum Gap {
    /// It was not opened.
    Missing(&'static str),
    /// What was opened is no part of a program that can be run.
    Program(String),
    /// The rules do not reach this far.
    Undecidable(&'static str),
    Stop(Stop),
}

impl From<Stop> for Gap {
    fn from(stop: Stop) -> Gap {
        match stop {
            Stop::Closed { .. } => Gap::Missing("an element of an input"),
            other => Gap::Stop(other),
        }
    }
}

/// Type, layout and shape of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorHeader {
    pub dtype: DType,
    pub layout: Layout,
    pub shape: Vec<usize>,
}

/// Numbers of a program's constants, and what each block has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub constants: u32,
    pub blocks: Vec<BlockPlan>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockPlan {
    pub params: u32,
    pub steps: u32,
    pub results: Vec<ValueId>,
}

impl Plan {
    /// The leaf of a step.
    pub fn step_leaf(&self, block: u32, step: u32) -> Option<u64> {
        let own = self.blocks.get(block as usize)?;
        let before: u64 = self.blocks[..block as usize].iter().map(|b| u64::from(b.steps)).sum();
        let first = 1 + u64::from(self.constants) + self.blocks.len() as u64;
        (step < own.steps).then(|| first + before + u64::from(step))
    }

    /// Block and number of the step at a leaf.
    pub fn step_at(&self, leaf: u64) -> Option<(u32, u32)> {
        let mut at = leaf.checked_sub(1 + u64::from(self.constants) + self.blocks.len() as u64)?;
        for (block, plan) in self.blocks.iter().enumerate() {
            match at.checked_sub(u64::from(plan.steps)) {
                None => return Some((block as u32, at as u32)),
                Some(rest) => at = rest,
            }
        }
        None
    }
}

/// A step as its leaf has it.
#[derive(Clone, PartialEq, Debug)]
pub struct StepFact {
    pub first_output: u32,
    pub step: Step,
}

/// What a judgement asks for.
pub trait Facts {
    fn plan(&mut self) -> Result<Plan, Gap>;
    /// The part at a leaf.
    fn part(&mut self, leaf: u64) -> Result<Part, Gap>;
    /// The leaf of the step that gives a value.
    fn producer(&mut self, value: u32) -> Result<u64, Gap>;
    fn record(&mut self, index: u64) -> Result<StepRecord, Gap>;
    /// The digests of what a step gave at a position of a sequence.
    fn row(&mut self, position: u64, step: u32) -> Result<Vec<Digest>, Gap>;
    /// The record of a path, before record `before`.
    fn record_of(&mut self, path: &[Frame], before: u64) -> Result<StepRecord, Gap>;
    fn header(&mut self, tensor: Digest) -> Result<TensorHeader, Gap>;
    /// The bits of an element by its row-major position.
    fn element(&mut self, tensor: Digest, at: u64) -> Result<u64, Gap>;
    /// A tensor of at most [`WHOLE_BYTES_MAX`] bytes.
    fn whole(&mut self, tensor: Digest) -> Result<Tensor, Gap>;

    fn step(&mut self, block: u32, step: u32) -> Result<StepFact, Gap> {
        let leaf = self.plan()?.step_leaf(block, step);
        let leaf = leaf.ok_or_else(|| Gap::Program(format!("block {block} has no step {step}")))?;
        self.step_part(leaf)
    }

    fn step_part(&mut self, leaf: u64) -> Result<StepFact, Gap> {
        match self.part(leaf)? {
            Part::Step { first_output, step } => Ok(StepFact { first_output: first_output.0, step: *step }),
            _ => Err(Gap::Program(format!("part {leaf} is no step"))),
        }
    }
}

/// The byte at which the element at `at` is stored.
pub fn stored_offset(header: &TensorHeader, at: u64) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    let count: usize = header.shape.iter().product();
    if at >= count {
        return None;
    }
    let element = header.layout.place(&header.shape, at);
    Some(element * header.dtype.size())
}

/// A tensor's bytes in `layout` as a row-major tensor.
pub fn row_major(header: &TensorHeader, bytes: &[u8]) -> Result<Tensor, Gap> {
    let tensor = match header.layout {
        Layout::RowMajor => Tensor::from_bytes(header.dtype, &header.shape, bytes),
        layout => repops::reference::unpack(header.dtype, &header.shape, layout, bytes),
    };
    tensor.map_err(|error| Gap::Stop(error.into()))
}

/// The most verified bytes that the referee keeps; more evidence than that is refused.
const FACT_BYTES_MAX: usize = 4 << 20;

/// Facts that were opened, each checked against a digest.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    program: Digest,
    trace_root: Digest,
    trace_count: u64,
    part_count: u64,
    parts: BTreeMap<u64, Part>,
    records: BTreeMap<u64, StepRecord>,
    tensors: BTreeMap<Digest, (TensorHeader, BTreeMap<u64, Vec<u8>>)>,
    /// The first party's log, where the dispute is about a generation.
    log: Option<LogRoot>,
    rows: BTreeMap<(u64, u32), Vec<Digest>>,
    bytes: usize,
}

/// What is known of a log before anything of it is opened.
#[derive(Clone, Debug)]
pub struct LogRoot {
    pub root: Digest,
    /// Positions, and the first one whose logits count.
    pub count: u64,
    pub first: u64,
    pub tokens: Vec<u32>,
    /// Which steps are the head, once both parties have said so.
    pub heads: Option<Heads>,
}

/// What of the first party's trace or log both parties agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shared {
    /// So many records.
    Records(u64),
    /// All rows before a position, and of its row the leaves of a half before one; of the head only after all of the
    /// carried steps.
    Rows { positions: u64, half: usize, leaves: u64 },
}

impl Verified {
    pub fn new(program: Digest, trace_root: Digest, trace_count: u64) -> Verified {
        Verified { program, trace_root, trace_count, ..Verified::default() }
    }

    /// The same about the log of a generation.
    pub fn of_log(program: Digest, log: LogRoot) -> Verified {
        Verified { program, log: Some(log), ..Verified::default() }
    }

    /// Says which steps are the head.
    pub fn agree_on_heads(&mut self, heads: Heads) {
        if let Some(log) = &mut self.log {
            log.heads = Some(heads);
        }
    }

    /// Checks and keeps what was opened, of the trace or log only what both parties share.
    /// `false`: something of it is not as the digests demand.
    pub fn add(&mut self, evidence: &Evidence, shared: Shared) -> bool {
        let size = |leaves: &[(u64, Vec<u8>)]| leaves.iter().map(|l| l.1.len()).sum::<usize>();
        let tensors: usize = evidence.tensors.iter().map(|t| size(&t.leaves)).sum();
        let halves = evidence.rows.iter().flat_map(|row| &row.halves);
        let rows: usize = halves.flat_map(|half| &half.leaves).map(|leaf| 32 * leaf.1.len()).sum();
        self.bytes += size(&evidence.parts) + size(&evidence.records) + tensors + rows;
        let records = if let Shared::Records(count) = shared { count } else { 0 };
        self.bytes <= FACT_BYTES_MAX
            && self.add_parts(evidence)
            && self.add_records(evidence, records)
            && self.add_rows(evidence, shared)
            && evidence.tensors.iter().all(|tensor| self.add_tensor(tensor))
    }

    fn add_parts(&mut self, evidence: &Evidence) -> bool {
        if evidence.parts.is_empty() {
            return evidence.part_hashes.is_empty();
        }
        let leaves: Vec<(u64, Digest)> = evidence.parts.iter().map(|(i, p)| (*i, leaf_hash(p))).collect();
        let Some(root) = partial::root(evidence.part_count, &leaves, &evidence.part_hashes) else {
            return false;
        };
        let count = evidence.part_count.to_le_bytes();
        if sha256(&[b"repops.program.0", &count, &root.0]) != self.program {
            return false;
        }
        self.part_count = evidence.part_count;
        for (index, part) in &evidence.parts {
            // A part that cannot be decoded is the program's fault, found when it is asked for.
            if let Ok(part) = Part::decode(part) {
                self.parts.insert(*index, part);
            }
        }
        true
    }

    fn add_records(&mut self, evidence: &Evidence, agreed: u64) -> bool {
        if evidence.records.is_empty() {
            return evidence.record_hashes.is_empty();
        }
        if evidence.records.last().is_some_and(|(index, _)| *index >= agreed) {
            return false;
        }
        let leaves: Vec<(u64, Digest)> = evidence.records.iter().map(|(i, r)| (*i, sha256(&[r]))).collect();
        let Some(root) = partial::root(self.trace_count, &leaves, &evidence.record_hashes) else {
            return false;
        };
        let count = self.trace_count.to_le_bytes();
        if sha256(&[b"repops.trace.0\0\0", &count, &root.0]) != self.trace_root {
            return false;
        }
        for (index, record) in &evidence.records {
            match decode_record(record) {
                Ok(record) => self.records.insert(*index, record),
                Err(_) => return false,
            };
        }
        true
    }

    fn add_rows(&mut self, evidence: &Evidence, shared: Shared) -> bool {
        if evidence.rows.is_empty() {
            return evidence.row_hashes.is_empty();
        }
        let (Some(log), Shared::Rows { positions, half, leaves }) = (&self.log, shared) else { return false };
        let Some(heads) = &log.heads else { return false };
        let mut entries = Vec::new();
        for row in &evidence.rows {
            let Some(token) = log.tokens.get(row.position as usize) else { return false };
            let mut roots = [Digest::default(); 2];
            for (own, opened) in row.halves.iter().enumerate() {
                let mut found = Vec::new();
                for (step, outputs) in &opened.leaves {
                    let Some((_, index)) = heads.place(*step).filter(|place| place.0 == own) else {
                        return false;
                    };
                    let is_shared = row.position < positions
                        || (row.position == positions && (own < half || (own == half && index < leaves)));
                    if !is_shared {
                        return false;
                    }
                    found.push((index, step_leaf(*step as u32, outputs)));
                }
                let root = match (found.as_slice(), opened.hashes.as_slice()) {
                    ([], [root]) => Some(*root),
                    _ => partial::root(heads.count(own), &found, &opened.hashes),
                };
                let Some(root) = root else { return false };
                roots[own] = root;
            }
            let entry = Entry { token: *token, carried: roots[0], head: Some(roots[1]) };
            entries.push((row.position, entry.digest(row.position)));
        }
        let root = partial::root(log.count, &entries, &evidence.row_hashes);
        if root.is_none_or(|root| bind_entries(log.count, log.first, &root) != log.root) {
            return false;
        }
        for row in &evidence.rows {
            for (step, outputs) in row.halves.iter().flat_map(|half| &half.leaves) {
                self.rows.insert((row.position, *step as u32), outputs.clone());
            }
        }
        true
    }

    fn add_tensor(&mut self, evidence: &TensorEvidence) -> bool {
        let shape: Option<Vec<usize>> = evidence.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let Some(shape) = shape else { return false };
        let TensorEvidence { dtype, layout, ref leaves, ref hashes, .. } = *evidence;
        let Some(total) = stored_byte_len(dtype, &shape, layout) else { return false };
        let count = total.div_ceil(LEAF_BYTES) as u64;
        let right_length = |(index, leaf): &(u64, Vec<u8>)| {
            *index < count && leaf.len() == LEAF_BYTES.min(total - *index as usize * LEAF_BYTES)
        };
        if !leaves.iter().all(right_length) {
            return false;
        }
        let opened: Vec<(u64, Digest)> = leaves.iter().map(|(i, leaf)| (*i, leaf_hash(leaf))).collect();
        let Some(root) = partial::root(count, &opened, hashes) else { return false };
        let digest = bind_tensor(dtype, layout, &shape, total as u64, &root);
        let header = TensorHeader { dtype, layout, shape };
        let known = self.tensors.entry(digest).or_insert_with(|| (header, BTreeMap::new()));
        known.1.extend(leaves.iter().cloned());
        true
    }
}

impl Facts for Verified {
    fn plan(&mut self) -> Result<Plan, Gap> {
        const MISSING: Gap = Gap::Missing("the program's blocks");
        let is_block = |part: &Part| matches!(part, Part::Block { .. });
        let first = self.parts.iter().find(|(_, part)| is_block(part)).map(|(i, _)| *i).ok_or(MISSING)?;
        let before = self.parts.get(&(first - 1)).ok_or(MISSING)?;
        if !matches!(before, Part::Header { .. } | Part::Constant(_)) {
            return Err(MISSING);
        }
        let mut blocks = Vec::new();
        let mut leaf = first;
        while let Some(Part::Block { params, steps, results }) = self.parts.get(&leaf) {
            blocks.push(BlockPlan { params: *params, steps: *steps, results: results.clone() });
            leaf += 1;
        }
        if leaf != self.part_count && !matches!(self.parts.get(&leaf), Some(Part::Step { .. })) {
            return Err(MISSING);
        }
        Ok(Plan { constants: (first - 1) as u32, blocks })
    }

    fn part(&mut self, leaf: u64) -> Result<Part, Gap> {
        self.parts.get(&leaf).cloned().ok_or(Gap::Missing("a part of the program"))
    }

    fn producer(&mut self, value: u32) -> Result<u64, Gap> {
        let gives = |part: &Part| match part {
            Part::Step { first_output, step } => {
                value.checked_sub(first_output.0).is_some_and(|k| (k as usize) < step.outputs.len())
            }
            _ => false,
        };
        let found = self.parts.iter().find(|(_, part)| gives(part));
        found.map(|(leaf, _)| *leaf).ok_or(Gap::Missing("the step that gives a value"))
    }

    fn record(&mut self, index: u64) -> Result<StepRecord, Gap> {
        self.records.get(&index).cloned().ok_or(Gap::Missing("a record"))
    }

    fn row(&mut self, position: u64, step: u32) -> Result<Vec<Digest>, Gap> {
        self.rows.get(&(position, step)).cloned().ok_or(Gap::Missing("a row"))
    }

    fn record_of(&mut self, path: &[Frame], before: u64) -> Result<StepRecord, Gap> {
        let found = self.records.range(..before).find(|(_, record)| record.path == path);
        found.map(|(_, record)| record.clone()).ok_or(Gap::Missing("the record of an earlier step"))
    }

    fn header(&mut self, tensor: Digest) -> Result<TensorHeader, Gap> {
        self.tensors.get(&tensor).map(|t| t.0.clone()).ok_or(Gap::Missing("the type of a tensor"))
    }

    fn element(&mut self, tensor: Digest, at: u64) -> Result<u64, Gap> {
        let missing = Gap::Missing("an element of a tensor");
        let (header, leaves) = self.tensors.get(&tensor).ok_or(missing.clone())?;
        let offset = stored_offset(header, at).ok_or(Gap::Stop(Stop::NoTerm))?;
        let leaf = leaves.get(&((offset / LEAF_BYTES) as u64)).ok_or(missing)?;
        let within = offset % LEAF_BYTES / header.dtype.size();
        bits_at(header.dtype, leaf, within).ok_or(Gap::Stop(Stop::NoTerm))
    }

    fn whole(&mut self, tensor: Digest) -> Result<Tensor, Gap> {
        let missing = Gap::Missing("a whole tensor");
        let (header, leaves) = self.tensors.get(&tensor).ok_or(missing.clone())?;
        let total = stored_byte_len(header.dtype, &header.shape, header.layout).unwrap_or(usize::MAX);
        if total > WHOLE_BYTES_MAX {
            return Err(Gap::Stop(Stop::TooLarge { bytes: total }));
        }
        let mut bytes = Vec::with_capacity(total);
        for leaf in 0..total.div_ceil(LEAF_BYTES) as u64 {
            bytes.extend_from_slice(leaves.get(&leaf).ok_or(missing.clone())?);
        }
        row_major(header, &bytes)
    }
}
