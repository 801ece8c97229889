//! What a party keeps of its run, so that it need not start from the beginning to have a part of it again.
//!
//! A *checkpoint* after a step of the main block holds the values that later steps read. Invariant: what is computed from
//! a checkpoint has the bits of the whole run.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::Tensor;
use repops::exec::{Observer, StepEvent};
use repops::program::{BlockId, Program, ValueId};
use repops::trace::StepRecord;

/// How often a checkpoint is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Never: parts are computed from the start.
    #[default]
    Nothing,
    /// After so many steps of the main block.
    Steps(u64),
    /// After so many bytes of outputs.
    Bytes(u64),
}

/// Values after some steps of the main block.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    /// Steps of the main block that have run.
    pub steps: usize,
    /// Records that they gave.
    pub records: u64,
    pub live: BTreeMap<ValueId, Arc<Tensor>>,
}

/// The checkpoints of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    pub(super) list: Vec<Checkpoint>,
    /// Bytes of all tensors in them, each counted once.
    pub bytes: u64,
}

impl Checkpoints {
    /// The last one before a record.
    pub(super) fn before(&self, record: u64) -> Option<usize> {
        self.list.partition_point(|checkpoint| checkpoint.records <= record).checked_sub(1)
    }
}

/// Makes checkpoints of a run that it sees.
pub struct Keeper<'a> {
    inner: &'a mut dyn Observer,
    keep: Keep,
    firsts: Vec<ValueId>,
    dead: Vec<Vec<ValueId>>,
    live: BTreeMap<ValueId, (Arc<Tensor>, bool)>,
    /// Bytes of outputs since the last checkpoint.
    since: u64,
    found: Checkpoints,
    /// A tensor could not be copied: there are no checkpoints then.
    is_lost: bool,
}

impl<'a> Keeper<'a> {
    pub fn new(program: &Program, keep: Keep, inner: &'a mut dyn Observer) -> Keeper<'a> {
        let main = BlockId(0);
        Keeper {
            inner,
            keep,
            firsts: program.first_outputs(main),
            dead: program.dead_after(main),
            live: BTreeMap::new(),
            since: 0,
            found: Checkpoints::default(),
            is_lost: false,
        }
    }

    pub fn checkpoints(self) -> Checkpoints {
        if self.is_lost { Checkpoints::default() } else { self.found }
    }

    fn note(&mut self, step: usize, event: &StepEvent<'_>) {
        let (Some(first), Some(dead)) = (self.firsts.get(step), self.dead.get(step)) else { return };
        for (value, view) in (first.0..).map(ValueId).zip(event.outputs) {
            self.since += view.bytes.len() as u64;
            if dead.contains(&value) {
                continue;
            }
            match view.to_tensor() {
                Ok(tensor) => drop(self.live.insert(value, (Arc::new(tensor), false))),
                Err(_) => self.is_lost = true,
            }
        }
        dead.iter().for_each(|value| drop(self.live.remove(value)));
        let is_due = match self.keep {
            Keep::Nothing => false,
            Keep::Steps(every) => (step as u64 + 1).is_multiple_of(every.max(1)),
            Keep::Bytes(every) => self.since >= every,
        };
        if is_due && step + 1 < self.firsts.len() {
            self.since = 0;
            for (tensor, is_counted) in self.live.values_mut() {
                if !std::mem::replace(is_counted, true) {
                    self.found.bytes += tensor.bytes().len() as u64;
                }
            }
            let live = self.live.iter().map(|(value, (tensor, _))| (*value, tensor.clone())).collect();
            let records = event.index as u64 + 1;
            self.found.list.push(Checkpoint { steps: step + 1, records, live });
        }
    }
}

impl Observer for Keeper<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        if let [frame] = event.path
            && self.keep != Keep::Nothing
            && event.evaluation.is_some()
        {
            self.note(frame.step as usize, &event);
        }
        self.inner.step(event);
    }

    fn record(&mut self, record: &StepRecord) {
        self.inner.record(record);
    }

    fn interrupted(&mut self) -> bool {
        self.inner.interrupted()
    }
}
