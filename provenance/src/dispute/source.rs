//! What a judgement reads of everything that a party has, and the opening of just that.
//!
//! Invariant: an opening holds every fact that the judgement asked for, and none that it did not.

use std::collections::{BTreeMap, BTreeSet};

use repops::digest::LEAF_BYTES;
use repops::ops::dispute::{Stop, WHOLE_BYTES_MAX};
use repops::program::Part;
use repops::trace::{Frame, StepRecord};
use repops::{Digest, Tensor};

use super::facts::{BlockPlan, Facts, Gap, Plan, TensorHeader, stored_offset};
use super::message::{Evidence, HalfEvidence, RowEvidence, TensorEvidence};
use super::partial;
use super::player::Player;

impl Player<'_> {
    /// Opens what a judgement over everything that this party has reads.
    pub(super) fn evidence(&mut self, judgement: impl FnOnce(&mut dyn Facts)) -> Evidence {
        let mut source = Source::new(self);
        judgement(&mut source);
        let log = source.log;
        self.open(&log)
    }

    /// Looks for something in everything that this party has.
    pub(super) fn search<T>(&mut self, look: impl FnOnce(&mut dyn Facts) -> T) -> T {
        look(&mut Source::new(self))
    }

    /// Opens what a judgement read.
    fn open(&self, log: &Log) -> Evidence {
        let opened = |wanted: &BTreeSet<u64>| wanted.iter().copied().collect::<Vec<u64>>();
        let mut evidence = Evidence { part_count: self.hashes.parts.len() as u64, ..Evidence::default() };
        if !log.parts.is_empty() {
            let parts = &self.hashes.parts;
            evidence.part_hashes = partial::prove(&self.hashes.leaves, &opened(&log.parts));
            evidence.parts = log.parts.iter().map(|&i| (i, parts[i as usize].clone())).collect();
        }
        if !log.records.is_empty() {
            evidence.record_hashes = partial::prove(&self.run.digests, &opened(&log.records));
            evidence.records =
                log.records.iter().map(|&i| (i, self.run.records[i as usize].encode())).collect();
        }
        self.open_rows(log, &mut evidence);
        for (digest, wanted) in &log.tensors {
            let Some(stored) = self.tensors.get(digest) else { continue };
            let leaf = |i: &u64| Some((*i, stored.leaf(*i)?.to_vec()));
            evidence.tensors.push(TensorEvidence {
                dtype: stored.header.dtype,
                layout: stored.header.layout,
                shape: stored.header.shape.iter().map(|&d| d as u64).collect(),
                leaves: wanted.iter().filter_map(leaf).collect(),
                hashes: partial::prove(&stored.hashes(&self.hashes), &opened(wanted)),
            });
        }
        evidence
    }

    /// Opens rows of the log.
    fn open_rows(&self, log: &Log, evidence: &mut Evidence) {
        let Some(own) = self.log.as_ref().filter(|_| !log.rows.is_empty()) else { return };
        for (position, steps) in &log.rows {
            let mut halves = [HalfEvidence::default(), HalfEvidence::default()];
            let mut wanted = [Vec::new(), Vec::new()];
            for (step, outputs) in steps {
                if let Some((half, index)) = own.heads.place(u64::from(*step)) {
                    wanted[half].push(index);
                    halves[half].leaves.push((u64::from(*step), outputs.clone()));
                }
            }
            for (half, opened) in halves.iter_mut().enumerate() {
                opened.hashes = match wanted[half].is_empty() {
                    true => vec![own.root(*position, half)],
                    false => partial::prove(own.leaves(*position, half), &wanted[half]),
                };
            }
            evidence.rows.push(RowEvidence { position: *position, halves });
        }
        let positions: Vec<u64> = log.rows.keys().copied().collect();
        evidence.row_hashes = partial::prove(&own.entries, &positions);
    }
}

/// What a judgement read.
#[derive(Default)]
pub(super) struct Log {
    parts: BTreeSet<u64>,
    records: BTreeSet<u64>,
    /// Outputs' digests by position and step.
    rows: BTreeMap<u64, BTreeMap<u32, Vec<Digest>>>,
    tensors: BTreeMap<Digest, BTreeSet<u64>>,
}

/// Facts of a party that has everything; remembers what was asked for.
struct Source<'p, 'a> {
    player: &'p mut Player<'a>,
    log: Log,
}

impl<'p, 'a> Source<'p, 'a> {
    fn new(player: &'p mut Player<'a>) -> Source<'p, 'a> {
        Source { player, log: Log::default() }
    }
}

impl Facts for Source<'_, '_> {
    fn plan(&mut self) -> Result<Plan, Gap> {
        let program = self.player.program;
        let constants = program.constants().len() as u64;
        // The blocks, and a neighbour on each side that shows that these are all.
        let end =
            (constants + 1 + program.blocks().len() as u64).min(self.player.hashes.parts.len() as u64 - 1);
        self.log.parts.extend(constants..=end);
        let block = |b: &repops::program::Block| BlockPlan {
            params: b.params.len() as u32,
            steps: b.steps.len() as u32,
            results: b.results.clone(),
        };
        Ok(Plan { constants: constants as u32, blocks: program.blocks().iter().map(block).collect() })
    }

    fn part(&mut self, leaf: u64) -> Result<Part, Gap> {
        let part = self.player.hashes.parts.get(leaf as usize).ok_or(Gap::Missing("a part"))?;
        let part = Part::decode(part).map_err(|_| Gap::Missing("a part of the program"))?;
        self.log.parts.insert(leaf);
        Ok(part)
    }

    fn producer(&mut self, value: u32) -> Result<u64, Gap> {
        let program = self.player.program;
        let mut leaf = 1 + program.constants().len() as u64 + program.blocks().len() as u64;
        for block in 0..program.blocks().len() as u32 {
            let block = repops::program::BlockId(block);
            for (first, step) in program.first_outputs(block).iter().zip(&program.block(block).steps) {
                if value.checked_sub(first.0).is_some_and(|k| (k as usize) < step.outputs.len()) {
                    self.log.parts.insert(leaf);
                    return Ok(leaf);
                }
                leaf += 1;
            }
        }
        Err(Gap::Missing("the step that gives a value"))
    }

    fn record(&mut self, index: u64) -> Result<StepRecord, Gap> {
        let record = self.player.run.records.get(index as usize).cloned().ok_or(Gap::Missing("a record"))?;
        self.log.records.insert(index);
        Ok(record)
    }

    fn row(&mut self, position: u64, step: u32) -> Result<Vec<Digest>, Gap> {
        let outputs = self.player.row(position, step).map_err(|_| Gap::Missing("a row"))?;
        self.log.rows.entry(position).or_default().insert(step, outputs.clone());
        Ok(outputs)
    }

    fn record_of(&mut self, path: &[Frame], before: u64) -> Result<StepRecord, Gap> {
        let earlier = self.player.run.records.iter().take(before as usize);
        let index = earlier.enumerate().find(|(_, record)| record.path == path).map(|(i, _)| i as u64);
        self.record(index.ok_or(Gap::Missing("the record of an earlier step"))?)
    }

    fn header(&mut self, tensor: Digest) -> Result<TensorHeader, Gap> {
        Ok(self.stored_header(tensor)?.0)
    }

    fn element(&mut self, tensor: Digest, at: u64) -> Result<u64, Gap> {
        let (header, _) = self.stored_header(tensor)?;
        let offset = stored_offset(&header, at).ok_or(Gap::Stop(Stop::NoTerm))?;
        self.log.tensors.entry(tensor).or_default().insert((offset / LEAF_BYTES) as u64);
        let stored = self.player.tensors.get(&tensor).ok_or(Gap::Missing("a tensor"))?;
        stored.element(at).ok_or(Gap::Stop(Stop::NoTerm))
    }

    fn whole(&mut self, tensor: Digest) -> Result<Tensor, Gap> {
        let (_, bytes) = self.stored_header(tensor)?;
        if bytes > WHOLE_BYTES_MAX {
            return Err(Gap::Stop(Stop::TooLarge { bytes }));
        }
        let leaves = 0..bytes.div_ceil(LEAF_BYTES) as u64;
        self.log.tensors.entry(tensor).or_default().extend(leaves);
        self.player.tensors.get(&tensor).ok_or(Gap::Missing("a tensor"))?.to_tensor()
    }
}

impl Source<'_, '_> {
    /// Header and number of bytes, without copying the bytes.
    fn stored_header(&mut self, digest: Digest) -> Result<(TensorHeader, usize), Gap> {
        let stored = self.player.stored(digest).map_err(|_| Gap::Missing("a tensor"))?;
        let found = (stored.header.clone(), stored.bytes.len());
        self.log.tensors.entry(digest).or_default();
        Ok(found)
    }
}
