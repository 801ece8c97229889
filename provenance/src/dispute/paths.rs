//! Which step comes next, and which value a step reads: derived from the program and earlier records.
//!
//! Invariant: everything follows from [`Facts`]; where it does not follow, a [`Gap`] says why.

use repops::control::ITERATIONS_MAX;
use repops::digest::tensor_digest;
use repops::ops::{IF, LOOP, SCAN};
use repops::program::{Part, Step};
use repops::trace::Frame;
use repops::{DType, Digest, Tensor};

use super::facts::{Facts, Gap, Plan};

/// The most passages of one carried value through iterations that are followed.
const PASSAGES_MAX: usize = 4096;

/// What both claims say of the program's inputs, in the program's order of names.
pub trait Inputs {
    fn input(&self, name: &str) -> Option<Digest>;
}

/// Derivations about records before `before`.
pub struct Paths<'a> {
    pub facts: &'a mut dyn Facts,
    pub inputs: &'a dyn Inputs,
    pub before: u64,
}

fn extended(path: &[Frame], block: u32, step: u32, iteration: u64) -> Vec<Frame> {
    [path, &[Frame { block, step, iteration }]].concat()
}

impl Paths<'_> {
    /// The path of the first record; `None` of a program without steps.
    pub fn first(&mut self) -> Result<Option<Vec<Frame>>, Gap> {
        self.enter(Vec::new(), 0, 0)
    }

    /// The path of the record that follows the one at `path`; `None` after the last.
    pub fn after(&mut self, path: &[Frame]) -> Result<Option<Vec<Frame>>, Gap> {
        let (last, outer) = path.split_last().ok_or(Gap::Undecidable("an empty path"))?;
        let plan = self.facts.plan()?;
        let own = plan.blocks.get(last.block as usize).ok_or_else(|| no_block(last.block))?;
        if last.step + 1 < own.steps {
            return self.descend(extended(outer, last.block, last.step + 1, last.iteration)).map(Some);
        }
        let Some(holder) = outer.last() else { return Ok(None) };
        let step = self.facts.step(holder.block, holder.step)?.step;
        let next = last.iteration + 1;
        let goes_on = match step.op {
            // One that may not go on any further ends in a fault of its own.
            LOOP => self.repeats(&step, path)? && next < ITERATIONS_MAX,
            SCAN => next < self.scan_length(&step, outer)?,
            _ => false,
        };
        match goes_on {
            true => self.enter(outer.to_vec(), last.block, next),
            false => Ok(Some(outer.to_vec())),
        }
    }

    /// Whether a loop has another iteration after the one that ended with the record at `path`.
    fn repeats(&mut self, step: &Step, path: &[Frame]) -> Result<bool, Gap> {
        let (last, outer) = path.split_last().ok_or(Gap::Undecidable("an empty path"))?;
        let plan = self.facts.plan()?;
        let own = plan.blocks.get(last.block as usize).ok_or_else(|| no_block(last.block))?;
        let go_on = *own.results.first().ok_or_else(|| no_block(last.block))?;
        let end = extended(outer, last.block, own.steps, last.iteration);
        let digest = self.digest_of(go_on.0, &end)?;
        Ok(self.truth(digest)? && self.trips(step, outer)?.is_none_or(|trips| last.iteration + 1 < trips))
    }

    /// Whether a loop at `path`, before whose record the one at `last` stands, has had as many iterations as there may be
    /// and would go on.
    pub fn goes_on_at_limit(
        &mut self,
        step: &Step,
        path: &[Frame],
        last: Option<&[Frame]>,
    ) -> Result<bool, Gap> {
        let inside = last.filter(|last| last.len() > path.len() && last[..path.len()] == *path);
        let Some(end) = inside.and_then(|last| last.get(..path.len() + 1)) else { return Ok(false) };
        Ok(end[path.len()].iteration + 1 >= ITERATIONS_MAX && self.repeats(step, end)?)
    }

    /// The first record of a run of a block.
    fn enter(&mut self, outer: Vec<Frame>, block: u32, iteration: u64) -> Result<Option<Vec<Frame>>, Gap> {
        let plan = self.facts.plan()?;
        match plan.blocks.get(block as usize).ok_or_else(|| no_block(block))?.steps {
            0 => Ok(None),
            _ => self.descend(extended(&outer, block, 0, iteration)).map(Some),
        }
    }

    /// The first record of a step: its own, or one of the blocks that it holds.
    fn descend(&mut self, mut path: Vec<Frame>) -> Result<Vec<Frame>, Gap> {
        loop {
            let last = *path.last().ok_or(Gap::Undecidable("an empty path"))?;
            let step = self.facts.step(last.block, last.step)?.step;
            let block = match step.op {
                IF => {
                    let digest = self.input_of(&step, 0, &path)?;
                    Some(if self.truth(digest)? { 0 } else { 1 })
                }
                LOOP => {
                    let go_on = match step.inputs.get(1).copied().flatten() {
                        Some(value) => {
                            let digest = self.digest_of(value.0, &path)?;
                            self.truth(digest)?
                        }
                        None => true,
                    };
                    (go_on && self.trips(&step, &path)? != Some(0)).then_some(0)
                }
                SCAN => (1..=ITERATIONS_MAX).contains(&self.scan_length(&step, &path)?).then_some(0),
                _ => None,
            };
            let Some(block) = block else { return Ok(path) };
            let block = step.blocks.get(block).ok_or_else(|| Gap::Program("a block is missing".into()))?.0;
            let plan = self.facts.plan()?;
            if plan.blocks.get(block as usize).ok_or_else(|| no_block(block))?.steps == 0 || path.len() > 16 {
                return Ok(path);
            }
            path.push(Frame { block, step: 0, iteration: 0 });
        }
    }

    /// The trip count of a loop at `path`.
    fn trips(&mut self, step: &Step, path: &[Frame]) -> Result<Option<u64>, Gap> {
        if step.inputs.first().copied().flatten().is_none() {
            return Ok(None);
        }
        let digest = self.input_of(step, 0, path)?;
        let tensor = self.facts.whole(digest)?;
        match tensor.view().to_i64s().as_deref() {
            Some([trips]) => Ok(Some((*trips).max(0) as u64)),
            _ => Err(Gap::Program("a trip count is one integer".into())),
        }
    }

    /// The number of slices that a scan at `path` runs over.
    pub fn scan_length(&mut self, step: &Step, path: &[Frame]) -> Result<u64, Gap> {
        let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(usize::MAX);
        let bad = || Gap::Program("a scan without scanned inputs".into());
        let first = step.inputs.len().checked_sub(scanned).filter(|_| scanned > 0).ok_or_else(bad)?;
        let digest = self.input_of(step, first, path)?;
        let header = self.facts.header(digest)?;
        let axis = step.attrs.opt_ints("scan_input_axes").and_then(|axes| axes.first().copied()).unwrap_or(0);
        let axis = repops::ops::infer::normalize_axis(axis, header.shape.len()).map_err(Gap::Program)?;
        Ok(header.shape[axis] as u64)
    }

    fn truth(&mut self, digest: Digest) -> Result<bool, Gap> {
        let header = self.facts.header(digest)?;
        if header.dtype != DType::Bool || header.shape.iter().product::<usize>() != 1 {
            return Err(Gap::Program("a condition is one bool".into()));
        }
        Ok(self.facts.element(digest, 0)? != 0)
    }

    fn input_of(&mut self, step: &Step, index: usize, path: &[Frame]) -> Result<Digest, Gap> {
        let value = step.inputs.get(index).copied().flatten();
        self.digest_of(value.ok_or_else(|| Gap::Program("an input is missing".into()))?.0, path)
    }

    /// The digest of a value as it is read within the blocks of `path`; the last frame names a block and an
    /// iteration, its step does not matter.
    pub fn digest_of(&mut self, value: u32, path: &[Frame]) -> Result<Digest, Gap> {
        match self.value_of(value, path)? {
            Value::Digest(digest) => Ok(digest),
            Value::Slice(_) => Err(Gap::Undecidable("a slice of a scanned tensor")),
        }
    }

    /// As [`Paths::digest_of`]; a slice of a scanned tensor has no digest that follows from others.
    pub fn value_of(&mut self, value: u32, path: &[Frame]) -> Result<Value, Gap> {
        let (mut value, mut path) = (value, path.to_vec());
        for _ in 0..PASSAGES_MAX {
            match self.step_towards(value, &path)? {
                Found::Digest(digest) => return Ok(Value::Digest(digest)),
                Found::Slice(slice) => return Ok(Value::Slice(slice)),
                Found::Elsewhere(next, at) => (value, path) = (next, at),
            }
        }
        Err(Gap::Undecidable("a value that is passed through too many iterations"))
    }

    fn step_towards(&mut self, value: u32, path: &[Frame]) -> Result<Found, Gap> {
        let plan = self.facts.plan()?;
        if value < plan.constants {
            return match self.facts.part(1 + u64::from(value))? {
                Part::Constant(decl) => Ok(Found::Digest(decl.digest)),
                _ => Err(Gap::Program("a constant is missing".into())),
            };
        }
        // From the innermost block outwards: values of inner blocks have the greater numbers.
        for depth in (0..path.len()).rev() {
            let frame = path[depth];
            let own = plan.blocks.get(frame.block as usize).ok_or_else(|| no_block(frame.block))?;
            if own.steps == 0 {
                match (depth, own.params) {
                    // The first value after the constants.
                    (0, _) => {
                        if let Some(index) = value.checked_sub(plan.constants).filter(|i| *i < own.params) {
                            return self.parameter(index, path, 0);
                        }
                    }
                    (_, 0) => {}
                    _ => return Err(Gap::Undecidable("a block of parameters without steps")),
                }
                continue;
            }
            let outputs = self.facts.step(frame.block, 0)?.first_output;
            let bad = || Gap::Program("values are numbered wrongly".into());
            let params = outputs.checked_sub(own.params).ok_or_else(bad)?;
            if value >= outputs {
                return self.output(value, &path[..=depth], &plan);
            }
            if value >= params {
                return self.parameter(value - params, path, depth);
            }
        }
        Err(Gap::Program(format!("value {value} is not defined")))
    }

    /// An output of an earlier step of the block of the last frame.
    fn output(&mut self, value: u32, path: &[Frame], plan: &Plan) -> Result<Found, Gap> {
        let (last, outer) = path.split_last().ok_or(Gap::Undecidable("an empty path"))?;
        let leaf = self.facts.producer(value)?;
        let fact = self.facts.step_part(leaf)?;
        let index = value.checked_sub(fact.first_output).map(|k| k as usize);
        match (plan.step_at(leaf), index) {
            (Some((block, step)), Some(index)) if block == last.block && index < fact.step.outputs.len() => {
                let record =
                    self.facts.record_of(&extended(outer, block, step, last.iteration), self.before)?;
                let digest = record.outputs.get(index).copied();
                digest.map(Found::Digest).ok_or(Gap::Missing("the output of an earlier step"))
            }
            _ => Err(Gap::Missing("the step that gives a value")),
        }
    }

    /// A parameter of the block at `path[depth]`.
    fn parameter(&mut self, index: u32, path: &[Frame], depth: usize) -> Result<Found, Gap> {
        let index = index as usize;
        if depth == 0 {
            let Part::Header { inputs, .. } = self.facts.part(0)? else {
                return Err(Gap::Program("there is no header".into()));
            };
            let digest = inputs.get(index).and_then(|name| self.inputs.input(name));
            return digest.map(Found::Digest).ok_or(Gap::Program("an input has no name".into()));
        }
        let (frame, outer) = (path[depth], &path[..depth]);
        let holder = outer[depth - 1];
        let step = self.facts.step(holder.block, holder.step)?.step;
        let results = self.facts.plan()?.blocks[frame.block as usize].results.clone();
        let steps = self.facts.plan()?.blocks[frame.block as usize].steps;
        // Input of the step that starts the parameter, and result that carries it on.
        let (input, result) = match step.op {
            LOOP if index == 0 => {
                return Ok(Found::Digest(tensor_digest(Tensor::scalar(frame.iteration as i64).view())));
            }
            LOOP if index == 1 => {
                return Ok(Found::Digest(tensor_digest(Tensor::from_bools(&[], &[true]).view())));
            }
            LOOP => (index, index - 1),
            SCAN => {
                let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(usize::MAX);
                let states = step.inputs.len().checked_sub(scanned);
                if let Some(number) = states.and_then(|states| index.checked_sub(states)) {
                    return self.slice(&step, index, number, frame.iteration, outer).map(Found::Slice);
                }
                (index, index)
            }
            _ => return Err(Gap::Program("a block that takes no parameters has some".into())),
        };
        let missing = || Gap::Program("a carried value is missing".into());
        if frame.iteration == 0 {
            let value = step.inputs.get(input).copied().flatten().ok_or_else(missing)?;
            return Ok(Found::Elsewhere(value.0, outer.to_vec()));
        }
        let value = results.get(result).ok_or_else(missing)?;
        Ok(Found::Elsewhere(value.0, extended(outer, frame.block, steps, frame.iteration - 1)))
    }

    /// The slice of a scanned input in an iteration.
    fn slice(
        &mut self,
        step: &Step,
        input: usize,
        number: usize,
        iteration: u64,
        path: &[Frame],
    ) -> Result<Slice, Gap> {
        let source = self.input_of(step, input, path)?;
        let header = self.facts.header(source)?;
        let axis = listed(step, "scan_input_axes", number);
        let axis = repops::ops::infer::normalize_axis(axis, header.shape.len()).map_err(Gap::Program)?;
        let extent = header.shape[axis] as u64;
        let last = extent.checked_sub(1 + iteration).ok_or(Gap::Program("a scan runs too far".into()))?;
        let at = if listed(step, "scan_input_directions", number) != 0 { last } else { iteration };
        Ok(Slice { source, axis, at })
    }

    /// An output of a loop or scan that is stacked from slices: how many, along which axis, and where the
    /// slice at a position comes from.
    pub fn stack(
        &mut self,
        step: &Step,
        index: usize,
        path: &[Frame],
        last: Option<&[Frame]>,
    ) -> Result<Stack, Gap> {
        let missing = || Gap::Program("a result is missing".into());
        let block = step.blocks.first().ok_or_else(missing)?.0;
        let own = self.facts.plan()?.blocks.get(block as usize).ok_or_else(|| no_block(block))?.clone();
        let states = carried(step);
        let number = index.checked_sub(states).ok_or_else(missing)?;
        let inside = last.filter(|last| last.len() > path.len() && last[..path.len()] == *path);
        let count = inside.map_or(0, |last| last[path.len()].iteration + 1);
        let result = if step.op == LOOP { 1 + states + number } else { states + number };
        let value = own.results.get(result).ok_or_else(missing)?.0;
        let (axis, backwards) = match step.op {
            LOOP => (0, false),
            _ => (
                listed(step, "scan_output_axes", number),
                listed(step, "scan_output_directions", number) != 0,
            ),
        };
        Ok(Stack { count, axis, backwards, value, block, steps: own.steps })
    }

    /// The digest of the slice at a position of a stack.
    pub fn stacked(&mut self, stack: &Stack, path: &[Frame], at: u64) -> Result<Digest, Gap> {
        let iteration = if stack.backwards { stack.count.checked_sub(1 + at) } else { Some(at) };
        let iteration = iteration.filter(|i| *i < stack.count);
        let iteration = iteration.ok_or(Gap::Program("a stack has fewer slices".into()))?;
        self.digest_of(stack.value, &extended(path, stack.block, stack.steps, iteration))
    }

    /// The outputs of a control-flow step, as far as they are values of its blocks. `last` is the path of
    /// the record before.
    pub fn control_output(
        &mut self,
        step: &Step,
        index: usize,
        path: &[Frame],
        last: Option<&[Frame]>,
    ) -> Result<Digest, Gap> {
        let plan = self.facts.plan()?;
        let block_plan = |block: u32| plan.blocks.get(block as usize).ok_or_else(|| no_block(block));
        let missing = || Gap::Program("a result is missing".into());
        if step.op == IF {
            let digest = self.input_of(step, 0, path)?;
            let block = step.blocks.get(if self.truth(digest)? { 0 } else { 1 }).ok_or_else(missing)?.0;
            let own = block_plan(block)?;
            let value = own.results.get(index).ok_or_else(missing)?;
            return self.digest_of(value.0, &extended(path, block, own.steps, 0));
        }
        let block = step.blocks.first().ok_or_else(missing)?.0;
        let own = block_plan(block)?;
        if own.steps == 0 {
            return Err(Gap::Undecidable("a loop whose body has no steps"));
        }
        // Iterations that ran: the record before is the last of the body, or lies before the loop.
        let inside = last.filter(|last| last.len() > path.len() && last[..path.len()] == *path);
        let (input, result) = if step.op == LOOP { (index + 2, index + 1) } else { (index, index) };
        match inside.map(|last| last[path.len()].iteration) {
            None => self.input_of(step, input, path),
            Some(iteration) => {
                let value = own.results.get(result).ok_or_else(missing)?;
                self.digest_of(value.0, &extended(path, block, own.steps, iteration))
            }
        }
    }
}

/// Values that a loop or scan carries; its further outputs are stacked.
pub fn carried(step: &Step) -> usize {
    match step.op {
        LOOP => step.inputs.len().saturating_sub(2),
        SCAN => {
            let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(usize::MAX);
            step.inputs.len().saturating_sub(scanned)
        }
        _ => usize::MAX,
    }
}

/// An entry of an optional list of integers; 0 where there is none.
fn listed(step: &Step, name: &str, at: usize) -> i64 {
    step.attrs.opt_ints(name).and_then(|list| list.get(at).copied()).unwrap_or(0)
}

/// What a step reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    Digest(Digest),
    Slice(Slice),
}

/// The slice at `at` along `axis` of a tensor, without that axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    pub source: Digest,
    pub axis: usize,
    pub at: u64,
}

/// Slices put together along a new axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack {
    pub count: u64,
    /// Not yet normalized.
    pub axis: i64,
    backwards: bool,
    value: u32,
    block: u32,
    steps: u32,
}

enum Found {
    Digest(Digest),
    Slice(Slice),
    /// It is this value, read there.
    Elsewhere(u32, Vec<Frame>),
}

fn no_block(block: u32) -> Gap {
    Gap::Program(format!("there is no block {block}"))
}
