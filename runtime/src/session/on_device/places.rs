//! Where the rows of a step of the session lie on a device: one piece of memory, planned for so many rows.
//!
//! Invariant: what a step reads is where the last step that gave it has put it. A plan that *keeps* puts nothing over
//! anything else, so that all that the steps gave is there at the end; one that does not has a place for each buffer.

use std::collections::BTreeMap;

use repops::program::{ConstantId, ValueId};
use repops_cuda::Error;

use crate::session::plan::{How, Operands, Place, Plan};

/// Places begin at multiples of this.
const ALIGN: usize = 256;

/// Where the rows of an operand are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Constant(ConstantId),
    /// This many bytes behind the beginning.
    Room(usize),
}

/// Rows that the head reads, of those that were computed: their bytes are copied together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pick {
    pub from: usize,
    pub to: usize,
    pub row_bytes: usize,
}

pub(super) struct StepPlaces {
    /// To be done before the step.
    pub picks: Vec<Pick>,
    pub inputs: Vec<Option<Source>>,
    /// Of every output; that of a view is where its input is.
    pub outputs: Vec<usize>,
    /// Whether its rows are the program's inputs alone, so that it may be done before all others.
    pub is_early: bool,
}

/// Where everything is for so many rows.
pub(super) struct Places {
    pub rows: usize,
    /// Those of the head.
    pub head: usize,
    /// Of the program's inputs.
    pub inputs: Vec<usize>,
    pub steps: Vec<StepPlaces>,
    pub logits: (Vec<Pick>, usize),
    /// All of it together.
    pub bytes: usize,
    /// Whether nothing is put over anything else.
    pub keeps: bool,
    /// Whether the program's inputs are read by early steps alone.
    pub has_early: bool,
}

/// Memory that is given out from its beginning on.
#[derive(Default)]
struct Room {
    bytes: usize,
}

impl Room {
    /// A size that no memory has stays one.
    fn take(&mut self, rows: usize, row_bytes: usize) -> usize {
        let at = self.bytes;
        let end = at.saturating_add(rows.saturating_mul(row_bytes));
        self.bytes = end.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX);
        at
    }
}

/// The state of planning.
struct Planner {
    places: Places,
    room: Room,
    /// By buffer, as far as the steps have been planned.
    now: Vec<usize>,
    picked: BTreeMap<ValueId, usize>,
}

impl Places {
    /// For `inputs` inputs of the program.
    pub fn new(plan: &Plan, inputs: usize, rows: usize, head: usize, keeps: bool) -> Result<Places, Error> {
        let mut room = Room::default();
        let inputs = (0..inputs).map(|_| room.take(rows, 8)).collect();
        let mut sizes = vec![0usize; plan.buffers];
        let count = |is_head: bool| if is_head { head } else { rows };
        for step in plan.steps.iter().filter(|_| !keeps) {
            for (target, at) in step.outputs.iter().filter_map(|target| Some((target, target.buffer?))) {
                sizes[at] = sizes[at].max(count(step.head).saturating_mul(target.row.bytes()));
            }
        }
        let now = sizes.iter().map(|size| room.take(1, *size)).collect();
        let steps = Vec::with_capacity(plan.steps.len());
        let logits = (Vec::new(), 0);
        let places = Places { rows, head, inputs, steps, logits, bytes: 0, keeps, has_early: true };
        let mut planner = Planner { places, room, now, picked: BTreeMap::new() };
        for step in &plan.steps {
            let with_rows = || step.inputs.iter().flatten().filter(|operand| operand.row.is_some());
            let reads = with_rows().filter(|operand| matches!(operand.place, Place::Input(_))).count();
            let is_early = reads > 0 && reads == with_rows().count();
            planner.places.has_early &= reads == 0 || is_early;
            let (picks, inputs, outputs) = (Vec::new(), Vec::new(), Vec::new());
            let mut places = StepPlaces { picks, inputs, outputs, is_early };
            for (at, input) in step.inputs.iter().enumerate() {
                // Keys and values are appended for all rows.
                let is_head = step.head && !(matches!(step.how, How::Attention(..)) && at > 0);
                let source =
                    input.as_ref().map(|operand| planner.source(operand, is_head, &mut places.picks));
                places.inputs.push(source);
            }
            for target in &step.outputs {
                places.outputs.push(match (target.buffer, places.inputs.first()) {
                    (Some(buffer), _) => {
                        if keeps {
                            planner.now[buffer] = planner.room.take(count(step.head), target.row.bytes());
                        }
                        planner.now[buffer]
                    }
                    (None, Some(Some(Source::Room(viewed)))) => *viewed,
                    (None, _) => return Err(Error::unsupported("a view of a constant as rows")),
                });
            }
            planner.places.steps.push(places);
        }
        let mut picks = Vec::new();
        let Source::Room(logits) = planner.source(&plan.logits, true, &mut picks) else {
            return Err(Error::unsupported("logits that are a constant"));
        };
        let mut places = planner.places;
        places.logits = (picks, logits);
        places.bytes = planner.room.bytes;
        Ok(places)
    }

    /// The number of rows of a value or step.
    pub fn count(&self, is_head: bool) -> usize {
        if is_head { self.head } else { self.rows }
    }
}

impl Planner {
    /// Where a step of the head, or another, finds an operand; what has to be picked before goes to `picks`.
    fn source(&mut self, operand: &Operands, is_head: bool, picks: &mut Vec<Pick>) -> Source {
        let all = match operand.place {
            Place::Constant(id) => return Source::Constant(id),
            Place::Input(at) => self.places.inputs[at],
            Place::Buffer(at) => self.now[at],
        };
        let (head, picks_rows) = (self.places.head, self.places.head != self.places.rows);
        let Some(row) = operand.row.as_ref().filter(|_| is_head && !operand.head && picks_rows) else {
            return Source::Room(all);
        };
        if let Some(known) = self.picked.get(&operand.value) {
            return Source::Room(*known);
        }
        let to = self.room.take(head, row.bytes());
        picks.push(Pick { from: all, to, row_bytes: row.bytes() });
        self.picked.insert(operand.value, to);
        Source::Room(to)
    }
}
