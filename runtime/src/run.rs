//! One run of a program: steps in program order, each by its kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::control::{self, BlockRunner};
use repops::digest::Layout;
use repops::exec::{
    Evaluation, ExecError, Execution, FaultAt, HashLevel, Limits, Observer, StepEvent, node_name,
};
use repops::ops::{Fault, OpClass, OpError};
use repops::program::{BlockId, Step, ValueId};
use repops::reference::unpack;
use repops::tensor::{AlignedBytes, byte_len};
use repops::trace::Frame;
use repops::{Program, Tensor, TensorView, TensorViewMut};
use repops_kernels::Operand;
use repops_kernels::isa::Isa;

use crate::bind::{Binding, Shape};
use crate::hashing::{DigestSource, Hashing, Pending};
use crate::memory::{Memory, Place, Value};
use crate::step::{HostStep, Prepared};

/// Everything a run needs.
pub(crate) struct Setup<'a> {
    pub program: &'a Program,
    pub isa: Isa,
    pub prepared: &'a Prepared,
    pub binding: &'a Binding,
    pub level: HashLevel,
    pub observer: &'a mut dyn Observer,
    pub memory: &'a mut Memory,
}

pub(crate) struct Run<'a> {
    setup: Setup<'a>,
    values: Vec<Option<Value>>,
    /// The inputs with canonical NaNs.
    inputs: Vec<std::borrow::Cow<'a, Tensor>>,
    hashing: Hashing,
    steps: usize,
    limits: Limits,
    /// Bytes of values, perhaps of some that are gone, and of slices of loops that are not over.
    held: u64,
    slices: u64,
}

/// Why a run ends early.
enum Stop {
    Fault(FaultAt),
    Error(ExecError),
    /// Not yet attributed to a step.
    Operator(OpError),
}

impl From<OpError> for Stop {
    fn from(error: OpError) -> Stop {
        Stop::Operator(error)
    }
}

/// A buffer that a step writes, and where it goes.
struct Target {
    shape: Shape,
    buffer: Arc<AlignedBytes>,
}

impl<'a> Run<'a> {
    pub fn new(setup: Setup<'a>) -> Run<'a> {
        let mut values: Vec<Option<Value>> = Vec::new();
        values.resize_with(setup.program.value_count(), || None);
        let limits = setup.observer.limits();
        let hashing = Hashing::default();
        Run { setup, values, inputs: Vec::new(), hashing, steps: 0, limits, held: 0, slices: 0 }
    }

    pub fn execute(mut self, inputs: &'a [Tensor]) -> Result<Execution, ExecError> {
        self.define_constants();
        let first = self.setup.program.first_param(BlockId(0)).index();
        for (index, input) in inputs.iter().enumerate() {
            let input = canonical(input);
            let digest = self
                .traced()
                .then(|| DigestSource::bind(input.dtype(), input.shape(), Hashing::root_now(input.bytes())));
            self.values[first + index] = Some(Value {
                dtype: input.dtype(),
                shape: input.shape().to_vec(),
                place: Place::Input(index),
                digest,
            });
            self.inputs.push(input);
        }
        let result = match self.main_block() {
            Ok(outputs) => Ok(outputs),
            Err(Stop::Fault(at)) => Err(at),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Operator(error)) => {
                unreachable!("every step attributes its errors, this one is not: {error}")
            }
        };
        let traced = self.traced();
        self.values.clear();
        let trace = self.hashing.finish(self.setup.observer);
        Ok(Execution { result, trace: traced.then_some(trace) })
    }

    fn traced(&self) -> bool {
        self.setup.level == HashLevel::Operators
    }

    fn define_constants(&mut self) {
        for (index, decl) in self.setup.program.constants().iter().enumerate() {
            self.values[index] = Some(Value {
                dtype: decl.dtype,
                shape: decl.shape.clone(),
                place: Place::Constant(repops::program::ConstantId(index as u32)),
                digest: Some(DigestSource::Known(decl.digest)),
            });
        }
    }

    fn value(&self, id: ValueId) -> &Value {
        self.values[id.index()].as_ref().expect("a checked program defines values before their use")
    }

    fn operand(&self, id: ValueId) -> Operand<'_> {
        operand(self.setup.program, &self.inputs, self.value(id))
    }

    fn digest(&self, id: ValueId) -> DigestSource {
        let digest = self.value(id).digest.clone();
        digest.expect("values have digests when a trace is asked for")
    }

    /// Runs the program's own block. Its results are handed out as they are where nobody else holds them.
    fn main_block(&mut self) -> Result<Vec<Tensor>, Stop> {
        let program = self.setup.program;
        self.steps(BlockId(0), &mut Vec::new(), 0)?;
        let results = &program.block(BlockId(0)).results;
        let mut outputs = Vec::with_capacity(results.len());
        for (index, id) in results.iter().enumerate() {
            let own = matches!(self.value(*id).place, Place::Buffer(_)) && !results[index + 1..].contains(id);
            let taken = if own { self.values[id.index()].take() } else { None };
            let Some(value) = taken else {
                outputs.push(self.result(*id)?);
                continue;
            };
            let Value { dtype, shape, place: Place::Buffer(buffer), digest } = value else { unreachable!() };
            match Arc::try_unwrap(buffer) {
                Ok(data) => outputs.push(Tensor::from_aligned(dtype, &shape, data)),
                Err(buffer) => {
                    self.values[id.index()] =
                        Some(Value { dtype, shape, place: Place::Buffer(buffer), digest });
                    outputs.push(self.result(*id)?);
                }
            }
        }
        Ok(outputs)
    }

    /// Runs a block whose parameters are defined; gives its results.
    fn block(&mut self, id: BlockId, path: &mut Vec<Frame>, iteration: u64) -> Result<Vec<Tensor>, Stop> {
        self.steps(id, path, iteration)?;
        self.setup.program.block(id).results.iter().map(|r| self.result(*r)).collect()
    }

    /// Runs the steps of a block whose parameters are defined.
    fn steps(&mut self, id: BlockId, path: &mut Vec<Frame>, iteration: u64) -> Result<(), Stop> {
        let program = self.setup.program;
        for (index, step) in program.block(id).steps.iter().enumerate() {
            if self.setup.observer.interrupted() {
                return Err(Stop::Error(ExecError::Interrupted));
            }
            path.push(Frame { block: id.0, step: index as u32, iteration });
            self.step(id, index, step, path)?;
            path.pop();
            // Their buffers are let go, so that slots can be written again.
            for dead in &self.setup.prepared.dead[id.index()][index] {
                self.values[dead.index()] = None;
            }
        }
        Ok(())
    }

    fn result(&self, id: ValueId) -> Result<Tensor, Stop> {
        let value = self.value(id);
        let copy = |bytes: &[u8]| {
            let data = AlignedBytes::copy_of(bytes).map_err(|e| Stop::Error(e.into()))?;
            Ok(Tensor::from_aligned(value.dtype, &value.shape, data))
        };
        let operand = self.operand(id);
        match operand.layout {
            Layout::RowMajor => copy(operand.bytes),
            layout => {
                unpack(value.dtype, &value.shape, layout, operand.bytes).map_err(|e| Stop::Error(e.into()))
            }
        }
    }

    fn step(&mut self, block: BlockId, index: usize, step: &Step, path: &mut Vec<Frame>) -> Result<(), Stop> {
        let first = self.setup.prepared.first_outputs[block.index()][index];
        match self.compute(block, index, step, first, path) {
            Ok(evaluation) => {
                self.record(block, index, step, first, path, Ok(evaluation));
                Ok(())
            }
            Err(Stop::Operator(OpError::Fault(fault))) => {
                self.record(block, index, step, first, path, Err(fault));
                let at = FaultAt { fault, node: node_name(step), op: step.def().name.to_string() };
                Err(Stop::Fault(at))
            }
            Err(Stop::Operator(error)) => Err(Stop::Error(ExecError::at(step, error))),
            Err(stop) => Err(stop),
        }
    }

    /// Defines the step's outputs; says by what they were computed.
    fn compute(
        &mut self,
        block: BlockId,
        index: usize,
        step: &Step,
        first: ValueId,
        path: &mut Vec<Frame>,
    ) -> Result<Evaluation, Stop> {
        let def = step.def();
        if matches!(def.class, OpClass::Control) {
            let inputs = self.owned_inputs(step)?;
            let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
            let slices = self.slices;
            let outputs = control::execute(step, &views, &mut Blocks { run: self, path })?;
            self.slices = slices;
            self.room(outputs.iter().map(|output| output.bytes().len() as u64))?;
            self.define_owned(first, outputs);
            return Ok(Evaluation::Control);
        }
        let shapes = match (block, &self.setup.binding.steps) {
            (BlockId(0), steps) if steps[index].is_some() => steps[index].clone(),
            _ => self.host(block, index, step).infer()?,
        };
        let Some(shapes) = shapes else {
            // The sizes depend on data: the operator's own evaluation finds them.
            let outputs = self.host(block, index, step).eval()?;
            self.room(outputs.iter().map(|output| output.bytes().len() as u64))?;
            self.define_owned(first, outputs);
            return Ok(Evaluation::Reference);
        };
        if let (OpClass::View, Some(Some(from))) = (def.class, step.inputs.first()) {
            let viewed = self.value(*from).clone();
            self.define_view(first, viewed, &shapes[0]);
            return Ok(Evaluation::View);
        }
        let mut lens = Vec::with_capacity(shapes.len());
        for shape in &shapes {
            lens.push(byte_len(shape.dtype, &shape.extents).map_err(OpError::from)?);
        }
        self.room(lens.iter().map(|&len| len as u64))?;
        let mut targets = Vec::with_capacity(shapes.len());
        for ((shape, output), len) in shapes.into_iter().zip(&step.outputs).zip(lens) {
            let buffer = self.setup.memory.take(block.index(), output.slot, len).map_err(OpError::from)?;
            targets.push(Target { shape, buffer });
        }
        let mut outputs: Vec<TensorViewMut<'_>> = targets
            .iter_mut()
            .map(|t| TensorViewMut {
                dtype: t.shape.dtype,
                shape: &t.shape.extents,
                bytes: Arc::get_mut(&mut t.buffer).expect("taken buffers have one holder").as_mut_slice(),
            })
            .collect();
        let evaluation = self.host(block, index, step).write(&mut outputs)?;
        for (at, (target, output)) in targets.into_iter().zip(&step.outputs).enumerate() {
            self.setup.memory.keep(block.index(), output.slot, &target.buffer);
            let Shape { dtype, extents: shape } = target.shape;
            let root = self.traced().then(|| self.hashing.root(&target.buffer));
            let digest = root.map(|root| DigestSource::bind(dtype, &shape, root));
            let place = Place::Buffer(target.buffer);
            self.values[first.index() + at] = Some(Value { dtype, shape, place, digest });
        }
        Ok(evaluation)
    }

    /// Makes room for outputs of these sizes. What is held is added up, and counted anew only when the sum passes the limit.
    fn room(&mut self, lens: impl Iterator<Item = u64>) -> Result<(), Stop> {
        let Limits { bytes: limit, .. } = self.limits;
        if limit == u64::MAX {
            return Ok(());
        }
        let new = lens.fold(0, u64::saturating_add);
        self.held = self.held.saturating_add(new);
        if self.held.saturating_add(self.slices) > limit {
            self.held = self.count_held().saturating_add(new);
        }
        match self.held.saturating_add(self.slices) > limit {
            true => Err(OpError::Limit { what: "bytes", limit }.into()),
            false => Ok(()),
        }
    }

    /// Bytes of the buffers that values hold, each once.
    fn count_held(&self) -> u64 {
        let buffers = self.values.iter().flatten().filter_map(|value| match &value.place {
            Place::Buffer(buffer) => Some((Arc::as_ptr(buffer), buffer.as_slice().len() as u64)),
            _ => None,
        });
        buffers.collect::<BTreeMap<_, _>>().values().sum()
    }

    fn define_view(&mut self, first: ValueId, viewed: Value, shape: &Shape) {
        let digest = viewed.digest.as_ref().filter(|_| self.traced()).map(|digest| {
            let bytes = operand(self.setup.program, &self.inputs, &viewed).bytes;
            digest.of_view(viewed.dtype, &viewed.shape, &shape.extents, bytes)
        });
        self.values[first.index()] = Some(Value { shape: shape.extents.clone(), digest, ..viewed });
    }

    fn define_owned(&mut self, first: ValueId, outputs: Vec<Tensor>) {
        for (at, output) in outputs.into_iter().enumerate() {
            let (dtype, shape) = (output.dtype(), output.shape().to_vec());
            let buffer = Arc::new(output.into_aligned());
            let root = self.traced().then(|| self.hashing.root(&buffer));
            let digest = root.map(|root| DigestSource::bind(dtype, &shape, root));
            let place = Place::Buffer(buffer);
            self.values[first.index() + at] = Some(Value { dtype, shape, place, digest });
        }
    }

    /// The step on the CPU.
    fn host<'s>(&'s self, block: BlockId, index: usize, step: &'s Step) -> HostStep<'s> {
        let operands = step.inputs.iter().map(|v| v.map(|v| self.operand(v))).collect();
        let prepared = &self.setup.prepared.steps[block.index()][index];
        HostStep { isa: self.setup.isa, prepared, step, operands }
    }

    fn owned_inputs(&self, step: &Step) -> Result<Vec<Option<Tensor>>, Stop> {
        step.inputs.iter().map(|v| v.map(|v| self.result(v)).transpose()).collect()
    }

    fn record(
        &mut self,
        block: BlockId,
        index: usize,
        step: &Step,
        first: ValueId,
        path: &[Frame],
        result: Result<Evaluation, Fault>,
    ) {
        let outputs: Vec<ValueId> = match result {
            Ok(_) => (0..step.outputs.len() as u32).map(|i| ValueId(first.0 + i)).collect(),
            Err(_) => Vec::new(),
        };
        let pending = self.traced().then(|| Pending {
            path: path.to_vec(),
            op: step.op,
            version: step.version,
            body: self.setup.prepared.steps[block.index()][index].body,
            inputs: step.inputs.iter().map(|v| v.map(|v| self.digest(v))).collect(),
            outputs: outputs.iter().map(|v| self.digest(*v)).collect(),
            fault: result.err(),
        });
        let view = |id: &ValueId| {
            let value = self.values[id.index()].as_ref().expect("just defined");
            let Operand { dtype, shape, bytes, .. } = operand(self.setup.program, &self.inputs, value);
            TensorView { dtype, shape, bytes }
        };
        let views: Vec<TensorView<'_>> = outputs.iter().map(view).collect();
        let event = StepEvent { step, evaluation: result.ok(), index: self.steps, path, outputs: &views };
        self.setup.observer.step(event);
        if let Some(pending) = pending {
            self.hashing.push(pending, self.setup.observer);
        }
        self.steps += 1;
    }
}

/// Where a value's bytes are, as a kernel's operand.
fn operand<'s>(
    program: &'s Program,
    inputs: &'s [std::borrow::Cow<'_, Tensor>],
    value: &'s Value,
) -> Operand<'s> {
    let (bytes, layout) = match &value.place {
        Place::Constant(constant) => {
            let layout = program.constants()[constant.index()].layout;
            (program.constant_bytes(*constant), layout)
        }
        Place::Input(index) => (inputs[*index].bytes(), Layout::RowMajor),
        Place::Buffer(buffer) => (buffer.as_slice(), Layout::RowMajor),
    };
    Operand { dtype: value.dtype, shape: &value.shape, bytes, layout }
}

/// The tensor with canonical NaNs; copied only when it has others.
pub(crate) fn canonical(tensor: &Tensor) -> std::borrow::Cow<'_, Tensor> {
    if tensor.is_canonical() {
        return std::borrow::Cow::Borrowed(tensor);
    }
    let mut copy = tensor.clone();
    copy.canonicalize();
    std::borrow::Cow::Owned(copy)
}

/// Runs the blocks of a control-flow step.
struct Blocks<'a, 'b> {
    run: &'a mut Run<'b>,
    path: &'a mut Vec<Frame>,
}

impl BlockRunner for Blocks<'_, '_> {
    type Error = Stop;

    fn run_block(&mut self, block: BlockId, iteration: u64, args: Vec<Tensor>) -> Result<Vec<Tensor>, Stop> {
        let limit = self.run.limits.iterations;
        if iteration >= limit {
            return Err(OpError::Limit { what: "iterations", limit }.into());
        }
        let first = self.run.setup.program.first_param(block);
        self.run.define_owned(first, args);
        self.run.block(block, self.path, iteration)
    }

    fn keep(&mut self, bytes: usize) -> Result<(), Stop> {
        self.run.slices += bytes as u64;
        self.run.room(std::iter::empty())
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let block = self.run.setup.program.block(block);
        (block.params.len(), block.results.len())
    }
}
