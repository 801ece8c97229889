//! Where a party has tensors from: what it keeps, and one run of a part of the program for what a dispute is about.
//!
//! Invariant: the first time that something of the disputed step has to be computed, so is everything that the rest of
//! the dispute can ask for, from the last checkpoint before the step, which holds what was computed before it. So a party
//! runs a part of its program at most once a dispute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repops::digest::tensor_digest;
use repops::exec::{ExecError, HashLevel, Observer, StepEvent};
use repops::ops;
use repops::program::{BlockId, Program, ValueId};
use repops::trace::StepRecord;
use repops::{Digest, Tensor};

use super::ask::Ask;
use super::held::Stored;
use super::judge::Question;
use super::player::{Player, PlayerError};
use super::referee::Referee;
use super::rows::value_name;
use super::section;
use crate::diff::step_at;

/// Conditions and counts are no larger; a run that passes iterations keeps them all, up to so many.
const SMALL_BYTES: usize = 64;
const SMALL_MAX: usize = 1 << 16;
/// A party that has computed more than this for disputes forgets it before the next one.
const LENT_BYTES_MAX: usize = 64 << 20;

/// How far a dispute was followed.
#[derive(Debug, Default)]
struct Course {
    course: Digest,
    round: u32,
}

/// What the dispute at hand is about.
#[derive(Debug, Default)]
pub(super) struct Near {
    dispute: Course,
    /// The record or step that differs.
    focus: Option<u64>,
    /// Looking for slices of scanned tensors, which themselves are no slices.
    is_searching: bool,
    /// Tensors that were computed for disputes.
    lent: BTreeSet<Digest>,
}

impl Near {
    /// Takes note of what the dispute has come to; `true` when it does not go on from what it was before.
    pub fn turn_to(&mut self, referee: &Referee) -> bool {
        self.focus = match referee.ask() {
            Ask::Record { index: at }
            | Ask::Outputs { step: at, .. }
            | Ask::Evidence(Question::Record { index: at, .. } | Question::Row { step: at, .. }) => Some(*at),
            _ => referee.place().map(|place| place.index),
        };
        let goes_on = referee.course_of(self.dispute.round) == Some(self.dispute.course);
        self.dispute = Course { course: referee.course(), round: referee.round() };
        !goes_on
    }
}

impl<'a> Player<'a> {
    /// Forgets what was computed for disputes, if it is much.
    pub(super) fn forget(&mut self) {
        let bytes = |digest: &Digest| self.tensors.get(digest).map_or(0, |stored| stored.bytes.len());
        if self.near.lent.iter().map(bytes).sum::<usize>() > LENT_BYTES_MAX {
            for digest in std::mem::take(&mut self.near.lent) {
                self.tensors.remove(&digest);
            }
        }
    }

    /// Goes on to a step of its own accord.
    pub(super) fn look_at(&mut self, step: u64) {
        self.near.focus = Some(step);
        self.forget();
    }

    fn lend(&mut self, digest: Digest, tensor: Arc<Tensor>) {
        self.store(digest, tensor);
        self.near.lent.insert(digest);
    }

    pub(super) fn stored(&mut self, digest: Digest) -> Result<&Stored<'a>, PlayerError> {
        self.fetch(&[digest])?;
        self.tensors.get(&digest).ok_or(PlayerError::Unknown("a tensor"))
    }

    /// Makes sure that tensors with these digests are at hand, running the program again where they are
    /// not; those that no run gives stay unknown.
    pub(super) fn fetch(&mut self, wanted: &[Digest]) -> Result<(), PlayerError> {
        let mut missing: BTreeSet<Digest> = wanted.iter().copied().collect();
        missing.retain(|digest| !self.tensors.contains_key(digest));
        let program = self.program;
        for (index, decl) in program.constants().iter().enumerate() {
            if missing.remove(&decl.digest) {
                self.tensors.insert(decl.digest, Stored::constant(program, index));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for input in self.inputs {
            let mut input = input.clone();
            input.canonicalize();
            let digest = tensor_digest(input.view());
            if missing.remove(&digest) {
                self.store(digest, Arc::new(input));
            }
        }
        self.block_parameters(&mut missing);
        let mut at = self.places(&mut missing);
        let before = self.kept.before(self.near.focus.or(at.keys().next().map(|key| key.0)).unwrap_or(0));
        self.take_live(before, &mut at);
        if !at.is_empty() {
            let mut more = self.neighbourhood();
            more.retain(|digest| !self.tensors.contains_key(digest));
            at.append(&mut self.places(&mut more));
            self.take_live(before, &mut at);
        }
        // What neither the checkpoint has nor comes after it, from an earlier one.
        let start = before.map_or(0, |at| self.kept.list[at].records);
        let mut groups: BTreeMap<Option<usize>, BTreeMap<(u64, usize), Digest>> = BTreeMap::new();
        for (key, digest) in at {
            let from = if key.0 >= start { before } else { self.kept.before(key.0) };
            groups.entry(from).or_default().insert(key, digest);
        }
        for (checkpoint, wanted) in groups {
            self.run_again(checkpoint, &wanted)?;
        }
        self.scanned_slices(&mut missing)
    }

    /// Where records have digests as outputs; what is found is no longer missing.
    fn places(&self, missing: &mut BTreeSet<Digest>) -> BTreeMap<(u64, usize), Digest> {
        let mut at = BTreeMap::new();
        for (index, record) in self.run.records.iter().enumerate() {
            for (output, digest) in record.outputs.iter().enumerate() {
                if missing.remove(digest) {
                    at.insert((index as u64, output), *digest);
                }
            }
        }
        at
    }

    /// Takes what a checkpoint has.
    fn take_live(&mut self, checkpoint: Option<usize>, at: &mut BTreeMap<(u64, usize), Digest>) {
        let Some(live) = checkpoint.and_then(|at| self.kept.list.get(at)).map(|from| from.live.clone())
        else {
            return;
        };
        let firsts = self.program.first_outputs(BlockId(0));
        let mut found = Vec::new();
        at.retain(|(index, output), digest| {
            let value = match self.run.records[*index as usize].path.as_slice() {
                [frame] => firsts.get(frame.step as usize).map(|first| ValueId(first.0 + *output as u32)),
                _ => None,
            };
            match value.and_then(|value| live.get(&value)) {
                Some(tensor) => found.push((*digest, tensor.clone())),
                None => return true,
            }
            false
        });
        for (digest, tensor) in found {
            self.lend(digest, tensor);
        }
    }

    /// What a dispute about the focused step can ask for.
    fn neighbourhood(&self) -> BTreeSet<Digest> {
        let Some(record) = self.near.focus.and_then(|focus| self.run.records.get(focus as usize)) else {
            return BTreeSet::new();
        };
        let mut wanted: BTreeSet<Digest> = record.inputs.iter().flatten().copied().collect();
        wanted.extend(&record.outputs);
        let Some(step) = step_at(self.program, &record.path) else { return wanted };
        if self.log.is_some() {
            let rows =
                step.inputs.iter().flatten().filter(|value| self.program.as_constant(**value).is_none());
            wanted.extend(rows.map(|value| value_name(value.0)));
            return wanted;
        }
        // What the steps around it read: conditions, counts, scanned tensors.
        for depth in 1..record.path.len() {
            let holder = self.run.records.iter().find(|holder| holder.path == record.path[..depth]);
            wanted.extend(holder.into_iter().flat_map(|holder| &holder.inputs).flatten());
        }
        // What it is stacked from.
        if matches!(record.op, ops::LOOP | ops::SCAN)
            && let Some(body) = step.blocks.first()
        {
            let firsts = self.program.first_outputs(*body);
            let results = &self.program.block(*body).results;
            let own = record.path.len();
            let inner = self.run.records.iter().filter(|inner| {
                inner.path.len() == own + 1
                    && inner.path[..own] == record.path
                    && inner.path[own].block == body.0
            });
            for inner in inner {
                let Some(first) = firsts.get(inner.path[own].step as usize) else { continue };
                let values = (first.0..).map(ValueId).zip(&inner.outputs);
                wanted.extend(values.filter(|(value, _)| results.contains(value)).map(|(_, digest)| *digest));
            }
        }
        wanted
    }

    /// Runs the program from a checkpoint, or from the start, until it has the wanted outputs.
    fn run_again(
        &mut self,
        checkpoint: Option<usize>,
        wanted: &BTreeMap<(u64, usize), Digest>,
    ) -> Result<(), PlayerError> {
        let Some(last) = wanted.keys().next_back().map(|key| key.0) else { return Ok(()) };
        let start = (self.clock)();
        let section = checkpoint.and_then(|at| self.section(at, last));
        let first = if section.is_some() { checkpoint.map_or(0, |at| self.kept.list[at].records) } else { 0 };
        let has_blocks = self.log.is_none() && self.program.blocks().len() > 1;
        let records = if has_blocks { self.run.records.as_slice() } else { &[] };
        let mut catcher = Catcher { at: wanted, records, first, last, found: Vec::new(), small: 0, steps: 0 };
        let ran = match &section {
            Some((program, inputs)) => self.executor.execute(program, inputs, HashLevel::None, &mut catcher),
            None => self.executor.execute(self.program, self.inputs, HashLevel::None, &mut catcher),
        };
        match ran {
            Ok(_) | Err(ExecError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        let Catcher { found, steps, .. } = catcher;
        self.steps_rerun += steps;
        self.reruns += 1;
        self.rerun_time += (self.clock)().saturating_sub(start);
        for (digest, tensor) in found {
            // A party that lies may say of an output what no run gives, and have that.
            if !self.tensors.contains_key(&digest) {
                self.lend(digest, Arc::new(tensor));
            }
        }
        Ok(())
    }

    /// The steps from a checkpoint to the one with a record, and what they read.
    fn section(&self, checkpoint: usize, last: u64) -> Option<(Program, Vec<Tensor>)> {
        let from = self.kept.list.get(checkpoint)?;
        let end = self.run.records.get(last as usize)?.path.first()?.step as usize + 1;
        let first_input = self.program.first_param(BlockId(0)).index();
        let known = |value: ValueId| match from.live.get(&value) {
            Some(tensor) => Some(&**tensor),
            None => value.index().checked_sub(first_input).and_then(|input| self.inputs.get(input)),
        };
        let section = section::of_main(self.program, from.steps..end.max(from.steps), known)?.ok()?;
        let inputs = section.inputs.iter().filter_map(|value| known(*value).cloned()).collect();
        Some((section.program, inputs))
    }

    /// Keeps what blocks are given and no step puts out: iteration numbers, and conditions that hold.
    fn block_parameters(&mut self, missing: &mut BTreeSet<Digest>) {
        let frames = self.run.records.iter().flat_map(|record| &record.path);
        let iterations: BTreeSet<u64> = frames.map(|frame| frame.iteration).collect();
        for iteration in iterations {
            self.keep_if(missing, Tensor::scalar(iteration as i64));
        }
        self.keep_if(missing, Tensor::from_bools(&[], &[true]));
    }

    /// Keeps slices of scanned tensors that are among the digests.
    fn scanned_slices(&mut self, missing: &mut BTreeSet<Digest>) -> Result<(), PlayerError> {
        if missing.is_empty() || self.near.is_searching {
            return Ok(());
        }
        self.near.is_searching = true;
        let found = self.search_scans(missing);
        self.near.is_searching = false;
        found
    }

    fn search_scans(&mut self, missing: &mut BTreeSet<Digest>) -> Result<(), PlayerError> {
        let mut scans: Vec<StepRecord> =
            self.run.records.iter().filter(|r| r.op == ops::SCAN).cloned().collect();
        // First the one in which the dispute is.
        let focus = self.near.focus.and_then(|focus| self.run.records.get(focus as usize));
        let focus = focus.map(|record| record.path.clone()).unwrap_or_default();
        scans.sort_by_key(|scan| !focus.starts_with(&scan.path));
        for record in scans {
            // A liar's records need not be those of its program.
            let step = step_at(self.program, &record.path).filter(|step| step.op == ops::SCAN);
            let Some(step) = step else { continue };
            let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(0);
            let first = record.inputs.len().saturating_sub(scanned);
            let axes =
                step.attrs.opt_ints("scan_input_axes").map_or_else(|| vec![0; scanned], <[i64]>::to_vec);
            let Ok(sources) = self.tensors_of(&record.inputs[first..]) else { continue };
            for (tensor, axis) in sources.iter().flatten().zip(axes) {
                let Ok(axis) = ops::infer::normalize_axis(axis, tensor.shape().len()) else { continue };
                for at in 0..tensor.shape()[axis] {
                    if missing.is_empty() {
                        return Ok(());
                    }
                    if let Ok(slice) = repops::control::slice(tensor, axis, at) {
                        self.keep_if(missing, slice);
                    }
                }
            }
        }
        Ok(())
    }

    fn keep_if(&mut self, missing: &mut BTreeSet<Digest>, tensor: Tensor) {
        if missing.remove(&tensor_digest(tensor.view())) {
            self.keep(&tensor);
        }
    }
}

/// Keeps outputs of a run.
struct Catcher<'a> {
    at: &'a BTreeMap<(u64, usize), Digest>,
    /// Of a program with blocks, whose small outputs may be conditions.
    records: &'a [StepRecord],
    /// Records before the first step of the run.
    first: u64,
    last: u64,
    found: Vec<(Digest, Tensor)>,
    small: usize,
    steps: u64,
}

impl Observer for Catcher<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        self.steps = event.index as u64 + 1;
        let index = self.first + event.index as u64;
        for (output, view) in event.outputs.iter().enumerate() {
            let digest = self.at.get(&(index, output)).or_else(|| {
                let is_small = view.bytes.len() <= SMALL_BYTES && self.small < SMALL_MAX;
                let record = self.records.get(index as usize).filter(|_| is_small)?;
                self.small += 1;
                record.outputs.get(output)
            });
            if let Some(digest) = digest
                && let Ok(tensor) = view.to_tensor()
            {
                self.found.push((*digest, tensor));
            }
        }
    }

    fn interrupted(&mut self) -> bool {
        self.first + self.steps > self.last
    }
}
