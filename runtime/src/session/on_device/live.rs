//! Steps of a session that give each sequence one row: the work for all steps of the program is recorded once, and replayed.
//!
//! What differs from row to row is in the device's memory: tokens and positions, how many positions there are, and which pages they are
//! in. The steps that read the program's inputs are done before, each time, since the host looks at what they read. A recording
//! holds for as many sequences, and as many pages of the longest one. Invariant: it gives what the steps give one by one.

use std::collections::BTreeMap;

use repops_cuda::Device;
use repops_kernels::sequence::PAGE;

use super::places::Places;
use super::{DeviceWork, Stop, Stopped, Turn};
use crate::session::Feed;
use crate::session::step::Batch;

/// Recordings kept.
const RECORDINGS_MAX: usize = 32;

/// Rows of sequences that have one each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LiveRows {
    pub rows: usize,
    /// Each table of pages has this many numbers.
    pub pages: usize,
}

impl LiveRows {
    /// `None` where some sequence gets none or several, or the head fewer, or places do not allow it.
    pub fn of(places: &Places, batch: &Batch, feeds: &[Feed<'_>]) -> Option<LiveRows> {
        let is_single = feeds.iter().all(|feed| feed.tokens.len() == 1) && !batch.picks();
        let pages = feeds.iter().map(|feed| (feed.state.tokens.len() + 1).div_ceil(PAGE)).max()?;
        let pages = pages.checked_next_power_of_two()?;
        // Positions are numbers of 32 bits.
        let fits = pages <= 1 << 22;
        (is_single && fits && places.keeps && places.has_early)
            .then_some(LiveRows { rows: feeds.len(), pages })
    }

    /// The most positions that a sequence may have.
    pub fn positions(&self) -> usize {
        self.pages * PAGE
    }

    /// How many positions each sequence has with its row.
    pub fn counts(&self, feeds: &[Feed<'_>]) -> Vec<u32> {
        feeds.iter().map(|feed| feed.state.tokens.len() as u32 + 1).collect()
    }
}

enum Known<R> {
    /// Done once, so that everything that it needs is on the device.
    Done,
    Recorded(R),
    /// It cannot be recorded.
    Plain,
}

/// The recordings of a session.
pub(super) struct Recordings<R>(BTreeMap<LiveRows, Known<R>>);

impl<R> Default for Recordings<R> {
    fn default() -> Self {
        Recordings(BTreeMap::new())
    }
}

impl<R> Recordings<R> {
    /// Forgets them: memory that they name is gone, or goes.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn keep(&mut self, rows: LiveRows, known: Known<R>) {
        if self.0.len() >= RECORDINGS_MAX && !self.0.contains_key(&rows) {
            self.0.clear();
        }
        self.0.insert(rows, known);
    }
}

impl<D: Device> DeviceWork<D> {
    /// All steps of the program, one by one or by a recording.
    pub(super) fn run(&mut self, turn: &Turn<'_, D::Buffer>, feeds: &[Feed<'_>]) -> Result<(), Stopped> {
        let Some(rows) = turn.live else { return self.steps(turn, feeds, |_| false) };
        let places = &turn.shape.places;
        let early = |index: usize| places.steps[index].is_early;
        for (index, step) in turn.session.plan.steps.iter().enumerate().filter(|(index, _)| early(*index)) {
            self.compute(turn, index, step, feeds).map_err(|stop| (Some(index), stop))?;
        }
        let pools = self.pools.clone();
        if matches!(self.recordings.0.get(&rows), Some(Known::Done)) {
            let recorded =
                pools.device.record(&mut || self.steps(turn, feeds, early).map_err(|(_, stop)| stop.into()));
            // Whatever is wrong shows when the steps are done one by one.
            let known = recorded.map_or(Known::Plain, Known::Recorded);
            self.recordings.keep(rows, known);
        }
        match self.recordings.0.get(&rows) {
            Some(Known::Recorded(recording)) => {
                pools.device.replay(recording).map_err(|error| (None, Stop::Device(error)))
            }
            Some(_) => self.steps(turn, feeds, early),
            None => {
                self.steps(turn, feeds, early)?;
                self.recordings.keep(rows, Known::Done);
                Ok(())
            }
        }
    }
}
