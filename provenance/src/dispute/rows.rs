//! Rows of a sequence as facts: a step of one position, whose inputs are constants and rows of this and earlier positions.
//!
//! Whatever depends on the position has it as its first axis, so a step at position `p` is the program's step over positions `0 ..=
//! p`, of which only row `p` counts. [`RowView`] shows a judgement such tensors, which nobody has whole and which have no digest:
//! they are named by their value, and an element is looked up in the row that holds it. Invariant: an element comes
//! from a row's own digest, and that from the log.

use repops::digest::{Layout, sha256};
use repops::program::{Part, Step};
use repops::sequence::{POSITIONS, TOKENS};
use repops::trace::{Frame, StepRecord};
use repops::{DType, Digest, Tensor};

use super::facts::{Facts, Gap, Plan, TensorHeader};
use repops::ops::dispute::Stop;

/// The most steps of a program whose sequence is disputed.
pub const STEPS_MAX: u64 = 1 << 24;

/// Names a value that has a row for each position.
pub fn value_name(value: u32) -> Digest {
    sha256(&[b"repops.value.0\0\0", &value.to_le_bytes()])
}

/// Which steps are the head: no later position depends on them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heads {
    /// Of the program.
    pub steps: u64,
    /// Ascending.
    pub head: Vec<u64>,
}

impl Heads {
    /// From what a party states; `None` of what cannot be.
    pub fn of(stated: &[u64]) -> Option<Heads> {
        let (steps, head) = stated.split_first()?;
        let ordered = head.windows(2).all(|pair| pair[0] < pair[1]);
        let within = head.last().is_none_or(|last| last < steps);
        (ordered && within && *steps <= STEPS_MAX).then(|| Heads { steps: *steps, head: head.to_vec() })
    }

    pub fn stated(&self) -> Vec<u64> {
        [&[self.steps], self.head.as_slice()].concat()
    }

    /// Leaves of the half.
    pub fn count(&self, half: usize) -> u64 {
        match half {
            0 => self.steps - self.head.len() as u64,
            _ => self.head.len() as u64,
        }
    }

    /// Half and number within it of a step.
    pub fn place(&self, step: u64) -> Option<(usize, u64)> {
        if step >= self.steps {
            return None;
        }
        match self.head.binary_search(&step) {
            Ok(at) => Some((1, at as u64)),
            Err(before) => Some((0, step - before as u64)),
        }
    }

    /// The step with a number in a half.
    pub fn step(&self, half: usize, index: u64) -> Option<u64> {
        if half == 1 {
            return self.head.get(usize::try_from(index).ok()?).copied();
        }
        if index >= self.count(0) {
            return None;
        }
        // Steps of the head before it move it back.
        let passed = |at: usize| self.head[at] - at as u64 <= index;
        let (mut low, mut high) = (0, self.head.len());
        while low < high {
            let middle = low.midpoint(high);
            if passed(middle) { low = middle + 1 } else { high = middle }
        }
        Some(index + low as u64)
    }
}

/// Where the rows of a value come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowValue {
    Tokens,
    Positions,
    Step { step: u32, output: u32 },
}

/// A step at a position.
#[derive(Clone, PartialEq, Debug)]
pub struct RowPlace {
    pub position: u64,
    /// The values that the step reads, by name.
    pub values: Vec<(Digest, RowValue)>,
    /// It is not the step's output that is disputed but the token that its output leads to.
    pub is_choice: bool,
}

impl RowPlace {
    fn find(&self, name: Digest) -> Option<RowValue> {
        self.values.iter().find(|value| value.0 == name).map(|value| value.1)
    }
}

/// Where a value comes from, or the digest of a constant.
pub(super) fn source(value: u32, facts: &mut dyn Facts) -> Result<Result<RowValue, Digest>, Gap> {
    let plan = facts.plan()?;
    let main = plan.blocks.first().ok_or_else(|| Gap::Program("there is no block".into()))?;
    if value < plan.constants {
        return match facts.part(1 + u64::from(value))? {
            Part::Constant(decl) => Ok(Err(decl.digest)),
            _ => Err(Gap::Program("a constant is missing".into())),
        };
    }
    let input = value - plan.constants;
    if input < main.params {
        let Part::Header { inputs, .. } = facts.part(0)? else {
            return Err(Gap::Program("there is no header".into()));
        };
        return match inputs.get(input as usize).map(String::as_str) {
            Some(TOKENS) => Ok(Ok(RowValue::Tokens)),
            Some(POSITIONS) => Ok(Ok(RowValue::Positions)),
            _ => Err(Gap::Program("an input that sequence programs do not have".into())),
        };
    }
    let leaf = facts.producer(value)?;
    let fact = facts.step_part(leaf)?;
    let output = value.checked_sub(fact.first_output).filter(|k| (*k as usize) < fact.step.outputs.len());
    match (plan.step_at(leaf), output) {
        (Some((0, step)), Some(output)) => Ok(Ok(RowValue::Step { step, output })),
        _ => Err(Gap::Program("a value of another block".into())),
    }
}

/// What a record of a step at a position would name as its inputs, and the values among them that have rows.
pub(super) fn inputs_of(
    step: &Step,
    facts: &mut dyn Facts,
) -> Result<(Vec<Option<Digest>>, Vec<(Digest, RowValue)>), Gap> {
    let (mut inputs, mut values) = (Vec::new(), Vec::new());
    for value in &step.inputs {
        inputs.push(match value {
            None => None,
            Some(value) => Some(match source(value.0, facts)? {
                Err(constant) => constant,
                Ok(source) => {
                    let name = value_name(value.0);
                    values.push((name, source));
                    name
                }
            }),
        });
    }
    Ok((inputs, values))
}

/// Facts with the values of a place as tensors over all positions up to its own.
pub(super) struct RowView<'a> {
    pub inner: &'a mut dyn Facts,
    pub place: &'a RowPlace,
    /// The sequence, on which both parties agree as far as it is read.
    pub tokens: &'a [u32],
}

impl RowView<'_> {
    fn row(&mut self, position: u64, step: u32, output: u32) -> Result<Digest, Gap> {
        let outputs = self.inner.row(position, step)?;
        outputs.get(output as usize).copied().ok_or_else(|| Gap::Program("a step of fewer outputs".into()))
    }
}

impl Facts for RowView<'_> {
    fn plan(&mut self) -> Result<Plan, Gap> {
        self.inner.plan()
    }

    fn part(&mut self, leaf: u64) -> Result<Part, Gap> {
        self.inner.part(leaf)
    }

    fn producer(&mut self, value: u32) -> Result<u64, Gap> {
        self.inner.producer(value)
    }

    fn record(&mut self, index: u64) -> Result<StepRecord, Gap> {
        self.inner.record(index)
    }

    fn record_of(&mut self, path: &[Frame], before: u64) -> Result<StepRecord, Gap> {
        self.inner.record_of(path, before)
    }

    fn row(&mut self, position: u64, step: u32) -> Result<Vec<Digest>, Gap> {
        self.inner.row(position, step)
    }

    fn header(&mut self, tensor: Digest) -> Result<TensorHeader, Gap> {
        let positions = self.place.position as usize + 1;
        match self.place.find(tensor) {
            None => self.inner.header(tensor),
            Some(RowValue::Tokens | RowValue::Positions) => {
                Ok(TensorHeader { dtype: DType::I64, layout: Layout::RowMajor, shape: vec![positions] })
            }
            Some(RowValue::Step { step, output }) => {
                let row = self.row(self.place.position, step, output)?;
                let mut header = self.inner.header(row)?;
                header.shape.insert(0, positions);
                header.layout = Layout::RowMajor;
                Ok(header)
            }
        }
    }

    fn element(&mut self, tensor: Digest, at: u64) -> Result<u64, Gap> {
        let source = match self.place.find(tensor) {
            None => return self.inner.element(tensor, at),
            Some(source) => source,
        };
        let own = match source {
            RowValue::Tokens | RowValue::Positions => 1,
            RowValue::Step { .. } => {
                let header = self.header(tensor)?;
                header.shape[1..].iter().product::<usize>() as u64
            }
        };
        let position = at.checked_div(own).filter(|p| *p <= self.place.position);
        let position = position.ok_or(Gap::Stop(Stop::NoTerm))?;
        match source {
            RowValue::Positions => Ok(position),
            RowValue::Tokens => {
                let token = self.tokens.get(position as usize).ok_or(Gap::Missing("a token"))?;
                Ok(u64::from(*token))
            }
            RowValue::Step { step, output } => {
                let row = self.row(position, step, output)?;
                self.inner.element(row, at % own)
            }
        }
    }

    fn whole(&mut self, tensor: Digest) -> Result<Tensor, Gap> {
        match self.place.find(tensor) {
            None => self.inner.whole(tensor),
            // No rule of a step that sequence programs have reads one.
            Some(_) => Err(Gap::Undecidable("all rows of a value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_count_their_steps() {
        for head in [vec![], vec![0], vec![2, 3, 7], vec![0, 1, 2, 3, 4, 5, 6, 7], vec![7]] {
            let heads = Heads::of(&[&[8], head.as_slice()].concat()).expect("an ascending list");
            let mut next = [0, 0];
            for step in 0..8 {
                let half = usize::from(head.contains(&step));
                assert_eq!(heads.place(step), Some((half, next[half])));
                assert_eq!(heads.step(half, next[half]), Some(step));
                next[half] += 1;
            }
            assert_eq!([heads.count(0), heads.count(1)], next);
            assert_eq!((heads.place(8), heads.step(0, next[0]), heads.step(1, next[1])), (None, None, None));
        }
        for bad in [vec![], vec![3, 3], vec![3, 1, 1], vec![3, 2, 1], vec![u64::MAX]] {
            assert_eq!(Heads::of(&bad), None);
        }
    }
}
