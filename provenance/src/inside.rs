//! What happens inside of a fused step: the value that each instruction of its region gives.
//!
//! Only a step's inputs and outputs are committed to; what is inside follows from the program and is shown
//! by evaluating again. Invariant: evaluation is the reference's, whoever executed the steps before.

use std::collections::{BTreeMap, BTreeSet};

use repops::digest::Layout;
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::ops::OpError;
use repops::program::{BlockId, Program, Step, ValueId};
use repops::reference::{region_products, region_values, unpack};
use repops::region::Region;
use repops::tensor::TensorError;
use repops::trace::{Frame, StepRecord};
use repops::{Tensor, TensorView};

/// Why there is nothing to show.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InsideError {
    #[error("the program has no such step")]
    NoSuchStep,
    #[error("the step is {op}, not a fused region: there is nothing inside of it")]
    NotFused { op: &'static str },
    #[error("input {index} of the step comes from outside of its block and cannot be followed")]
    Input { index: usize },
    #[error("the region: {0}")]
    Region(OpError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Execution(#[from] ExecError),
}

/// The values of the region of the step at `path`, which is run `index`-th: one for each product, and one for each instruction.
pub fn region_at<'a>(
    program: &'a Program,
    inputs: &[Tensor],
    path: &[Frame],
    index: u64,
    executor: &dyn Executor,
    observer: &mut dyn Observer,
) -> Result<(&'a Region, Vec<Tensor>), InsideError> {
    let step = crate::diff::step_at(program, path).ok_or(InsideError::NoSuchStep)?;
    let region = step.region.as_ref().ok_or(InsideError::NotFused { op: step.def().name })?;
    let tensors = step_inputs(program, inputs, step, index, executor, observer)?;
    let views: Vec<Option<TensorView<'_>>> = tensors.iter().map(|t| Some(t.view())).collect();
    let (products, rest) = region_products(region, &views).map_err(InsideError::Region)?;
    let params: Vec<_> = products.iter().map(|p| Some(p.view())).chain(rest.iter().copied()).collect();
    let computed = region_values(region, &params).map_err(InsideError::Region)?;
    Ok((region, products.into_iter().chain(computed).collect()))
}

/// The inputs of a step, by running the program up to it.
fn step_inputs(
    program: &Program,
    inputs: &[Tensor],
    step: &Step,
    index: u64,
    executor: &dyn Executor,
    observer: &mut dyn Observer,
) -> Result<Vec<Tensor>, InsideError> {
    let mut collector = Collector {
        inner: observer,
        program,
        wanted: step.inputs.iter().flatten().copied().collect(),
        found: BTreeMap::new(),
        index,
        is_done: false,
        error: None,
    };
    match executor.execute(program, inputs, HashLevel::None, &mut collector) {
        Err(ExecError::Interrupted) if collector.is_done => {}
        Err(error) => return Err(error.into()),
        Ok(_) if collector.is_done => {}
        Ok(_) => return Err(InsideError::NoSuchStep),
    }
    if let Some(error) = collector.error {
        return Err(error.into());
    }
    let mut tensors = Vec::with_capacity(step.inputs.len());
    for (at, value) in step.inputs.iter().enumerate() {
        let value = value.ok_or(InsideError::Input { index: at })?;
        let tensor = match collector.found.get(&value) {
            Some(tensor) => Some(tensor.clone()),
            None => outer_value(program, inputs, value)?,
        };
        tensors.push(tensor.ok_or(InsideError::Input { index: at })?);
    }
    Ok(tensors)
}

/// A constant or an input of the program.
fn outer_value(program: &Program, inputs: &[Tensor], value: ValueId) -> Result<Option<Tensor>, TensorError> {
    if let Some(constant) = program.as_constant(value) {
        let decl = &program.constants()[constant.index()];
        return match decl.layout {
            Layout::RowMajor => program.constant(constant).map(|view| view.to_tensor()).transpose(),
            layout => unpack(decl.dtype, &decl.shape, layout, program.constant_bytes(constant)).map(Some),
        };
    }
    let param = value.index().checked_sub(program.first_param(BlockId(0)).index());
    let canonical = |tensor: &Tensor| {
        let mut tensor = tensor.clone();
        tensor.canonicalize();
        tensor
    };
    Ok(param.and_then(|at| inputs.get(at)).map(canonical))
}

/// Keeps the newest value of each wanted step output, and ends the run at the step.
struct Collector<'a> {
    inner: &'a mut dyn Observer,
    program: &'a Program,
    wanted: BTreeSet<ValueId>,
    found: BTreeMap<ValueId, Tensor>,
    index: u64,
    is_done: bool,
    error: Option<TensorError>,
}

impl Observer for Collector<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        self.is_done |= event.index as u64 >= self.index;
        // The step itself may run again in a loop; what it read is what was there before it.
        if self.is_done {
            return;
        }
        if let Some(frame) = event.path.last() {
            let firsts = self.program.first_outputs(BlockId(frame.block));
            let first = firsts[frame.step as usize].0;
            for (value, view) in (first..).map(ValueId).zip(event.outputs) {
                if self.wanted.contains(&value) {
                    match view.to_tensor() {
                        Ok(tensor) => drop(self.found.insert(value, tensor)),
                        Err(error) => self.error = Some(error),
                    }
                }
            }
        }
        self.inner.step(event);
    }

    fn record(&mut self, record: &StepRecord) {
        self.inner.record(record);
    }

    fn interrupted(&mut self) -> bool {
        self.is_done || self.error.is_some() || self.inner.interrupted()
    }
}
