//! One run on a device: steps in program order, each on the device where it has a kernel.

use std::sync::Arc;

use repops::control::{self, BlockRunner};
use repops::digest::Layout;
use repops::exec::{Evaluation, ExecError, Execution, FaultAt, HashLevel, Observer, StepEvent, node_name};
use repops::ops::{InferCtx, InferInput, OpClass, OpError, SymType};
use repops::program::{BlockId, Step, ValueId};
use repops::reference::unpack;
use repops::tensor::{AlignedBytes, byte_len};
use repops::trace::Frame;
use repops::{DType, Program, Tensor, TensorView, TensorViewMut};
use repops_cuda::table::InputType;
use repops_cuda::{Call, Device, Error, View};
use repops_kernels::Operand;

use super::DeviceRuntime;
use super::memory::{Block, Held, Memory, Place, Value};
use super::roots::Roots;
use crate::bind::{Binding, Shape};
use crate::hashing::{DigestSource, Hashing, Pending, RootCell};
use crate::run::canonical;
use crate::step::{HostStep, Prepared, infer_region};

/// The layout that a constant in `layout` has on the device: blocks of filters and groups of bytes are for the CPU's registers
/// alone.
fn device_layout(layout: Layout) -> Layout {
    match layout {
        Layout::RowMajor | Layout::Filters16 | Layout::Groups4 => Layout::RowMajor,
        Layout::Panel16 => Layout::Panel16,
    }
}

/// Integers of at most so many bytes that follow from shapes are computed on the host, where they are needed.
const SIZE_BYTES_MAX: usize = 4096;

/// Everything a run needs.
pub(super) struct Setup<'a, D: Device> {
    pub runtime: &'a DeviceRuntime<D>,
    pub program: &'a Program,
    pub prepared: &'a Prepared,
    pub binding: &'a Binding,
    pub level: HashLevel,
    pub observer: &'a mut dyn Observer,
    pub memory: &'a mut Memory<D::Buffer>,
}

pub(super) struct Run<'a, D: Device> {
    setup: Setup<'a, D>,
    values: Vec<Option<Value<D::Buffer>>>,
    hashing: Hashing,
    roots: Roots<D::Buffer>,
    steps: usize,
    /// Whether the observer reads what steps give.
    looks: bool,
}

type DeviceOperand<'a, D> = repops_cuda::Operand<'a, <D as Device>::Buffer>;
type DeviceView<'a, D> = View<'a, <D as Device>::Buffer>;
/// Enqueues a step's work, from its inputs to its outputs.
type LaunchStep<'a, D> =
    dyn Fn(&D, &[Option<DeviceOperand<'_, D>>], &[Option<DeviceView<'_, D>>]) -> Result<(), Error> + 'a;

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

impl<'a, D: Device> Run<'a, D> {
    pub fn new(setup: Setup<'a, D>) -> Run<'a, D> {
        let mut values = Vec::new();
        values.resize_with(setup.program.value_count(), || None);
        let looks = setup.observer.looks();
        Run { setup, values, hashing: Hashing::default(), roots: Roots::default(), steps: 0, looks }
    }

    pub fn execute(mut self, inputs: &[Tensor]) -> Result<Execution, ExecError> {
        for (index, decl) in self.setup.program.constants().iter().enumerate() {
            self.values[index] = Some(Value {
                dtype: decl.dtype,
                shape: decl.shape.clone(),
                place: Place::Constant(repops::program::ConstantId(index as u32)),
                digest: Some(DigestSource::Known(decl.digest)),
            });
        }
        let first = self.setup.program.first_param(BlockId(0));
        let tensors = inputs.iter().map(|input| canonical(input).into_owned()).collect();
        self.define_owned(first, tensors, false);
        let result = match self.main_block() {
            Ok(outputs) => Ok(outputs),
            Err(Stop::Fault(at)) => Err(at),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Operator(error)) => {
                unreachable!("every step attributes its errors, this one is not: {error}")
            }
        };
        let traced = self.traced();
        let device = self.device();
        if let Err(error) = self.roots.fetch(device) {
            let (device, problem) = (self.setup.runtime.name.clone(), error.to_string());
            return Err(ExecError::Device { device, problem });
        }
        self.values.clear();
        let trace = self.hashing.finish(self.setup.observer);
        Ok(Execution { result, trace: traced.then_some(trace) })
    }

    fn traced(&self) -> bool {
        self.setup.level == HashLevel::Operators
    }

    fn device(&self) -> &'a D {
        &self.setup.runtime.device
    }

    /// An operator's own error stays one; everything else ends the run.
    fn stop(&self, error: Error) -> Stop {
        match error {
            Error::Operator(error) => Stop::Operator(error),
            error => {
                let (device, problem) = (self.setup.runtime.name.clone(), error.to_string());
                Stop::Error(ExecError::Device { device, problem })
            }
        }
    }

    fn value(&self, id: ValueId) -> &Value<D::Buffer> {
        self.values[id.index()].as_ref().expect("a checked program defines values before their use")
    }

    fn main_block(&mut self) -> Result<Vec<Tensor>, Stop> {
        // A run that ended early may have left work beside, in memory that is used again.
        self.device().join().map_err(|error| self.stop(error))?;
        self.block(BlockId(0), &mut Vec::new(), 0)
    }

    /// Runs a block whose parameters are defined; gives its results.
    fn block(&mut self, id: BlockId, path: &mut Vec<Frame>, iteration: u64) -> Result<Vec<Tensor>, Stop> {
        let program = self.setup.program;
        for (index, step) in program.block(id).steps.iter().enumerate() {
            if self.setup.observer.interrupted() {
                return Err(Stop::Error(ExecError::Interrupted));
            }
            path.push(Frame { block: id.0, step: index as u32, iteration });
            self.step(id, index, step, path)?;
            path.pop();
            for dead in &self.setup.prepared.dead[id.index()][index] {
                self.values[dead.index()] = None;
            }
        }
        program.block(id).results.iter().map(|r| self.result(*r)).collect()
    }

    /// A value as a row-major tensor on the host.
    fn result(&self, id: ValueId) -> Result<Tensor, Stop> {
        self.fetch(id)?;
        let Operand { dtype, shape, bytes, layout } = self.operand(id);
        let tensor = match layout {
            Layout::RowMajor => {
                AlignedBytes::copy_of(bytes).map(|data| Tensor::from_aligned(dtype, shape, data))
            }
            layout => unpack(dtype, shape, layout, bytes),
        };
        tensor.map_err(|error| Stop::Error(error.into()))
    }

    /// Brings a value's bytes to the host, where they are not there.
    fn fetch(&self, id: ValueId) -> Result<(), Stop> {
        let Place::Held(held) = &self.value(id).place else { return Ok(()) };
        self.fetch_held(held)
    }

    fn fetch_held(&self, held: &Held<D::Buffer>) -> Result<(), Stop> {
        if held.host.get().is_some() {
            return Ok(());
        }
        let block = held.device.get().expect("a value is somewhere");
        let mut bytes = AlignedBytes::zeros(held.bytes).map_err(|e| Stop::Error(e.into()))?;
        if held.bytes > 0 {
            self.device().read(&block.buffer, 0, bytes.as_mut_slice()).map_err(|e| self.stop(e))?;
        }
        held.host.get_or_init(|| Arc::new(bytes));
        Ok(())
    }

    /// A value's bytes on the host, as far as they are there; else none.
    fn operand(&self, id: ValueId) -> Operand<'_> {
        let value = self.value(id);
        let (bytes, layout) = match &value.place {
            Place::Constant(constant) => {
                let layout = self.setup.program.constants()[constant.index()].layout;
                (self.setup.program.constant_bytes(*constant), layout)
            }
            Place::Held(held) => (held.host.get().map_or(&[][..], |b| b.as_slice()), Layout::RowMajor),
        };
        Operand { dtype: value.dtype, shape: &value.shape, bytes, layout }
    }

    fn is_on_host(&self, id: ValueId) -> bool {
        match &self.value(id).place {
            Place::Constant(_) => true,
            Place::Held(held) => held.host.get().is_some(),
        }
    }

    /// A value's memory on the device; its bytes are brought there where they are not.
    fn upload(&mut self, id: ValueId) -> Result<Arc<Block<D::Buffer>>, Error> {
        let device = self.device();
        let value = self.values[id.index()].as_ref().expect("defined before its use");
        let held = match &value.place {
            Place::Constant(constant) => {
                let bytes = self.setup.program.constant_bytes(*constant);
                let layout = self.setup.program.constants()[constant.index()].layout;
                if layout != device_layout(layout) {
                    let there = unpack(value.dtype, &value.shape, layout, bytes)
                        .map_err(|e| Error::unsupported(e.to_string()))?;
                    return self.setup.memory.constant(device, *constant, there.bytes());
                }
                return self.setup.memory.constant(device, *constant, bytes);
            }
            Place::Held(held) => held.clone(),
        };
        if let Some(block) = held.device.get() {
            return Ok(block.clone());
        }
        let block = self.setup.memory.take(device, 0, None, held.bytes)?;
        if held.bytes > 0 {
            let bytes = held.host.get().expect("a value is somewhere");
            device.write(&block.buffer, 0, bytes.as_slice())?;
        }
        self.setup.memory.keep(0, None, &block);
        Ok(held.device.get_or_init(|| block).clone())
    }

    fn step(&mut self, block: BlockId, index: usize, step: &Step, path: &mut Vec<Frame>) -> Result<(), Stop> {
        let first = self.setup.prepared.first_outputs[block.index()][index];
        match self.compute(block, index, step, first, path) {
            Ok(evaluation) => self.record(block, index, step, first, path, Ok(evaluation)),
            Err(Stop::Operator(OpError::Fault(fault))) => {
                self.record(block, index, step, first, path, Err(fault))?;
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
            let inputs = step.inputs.iter().map(|v| v.map(|v| self.result(v)).transpose());
            let inputs = inputs.collect::<Result<Vec<Option<Tensor>>, Stop>>()?;
            let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
            let outputs = control::execute(step, &views, &mut Blocks { run: self, path })?;
            self.define_owned(first, outputs, false);
            return Ok(Evaluation::Control);
        }
        let bound = if block == BlockId(0) { self.setup.binding.steps[index].clone() } else { None };
        let shapes = match bound {
            Some(shapes) => Some(shapes),
            None => self.infer(block, index, step)?,
        };
        let Some(shapes) = shapes else {
            // The sizes depend on data: the operator's own evaluation finds them.
            self.setup.runtime.fell_back(def.name);
            self.fetch_inputs(step)?;
            let host = self.host(block, index, step);
            let outputs = self.setup.runtime.cpu.pool.install(|| host.eval())?;
            self.define_owned(first, outputs, false);
            return Ok(Evaluation::Reference);
        };
        if let (OpClass::View, Some(Some(from))) = (def.class, step.inputs.first()) {
            self.define_view(first, *from, &shapes[0])?;
            return Ok(Evaluation::View);
        }
        let lens: Vec<usize> = shapes
            .iter()
            .map(|s| byte_len(s.dtype, &s.extents))
            .collect::<Result<_, _>>()
            .map_err(OpError::from)?;
        if self.is_size(step, &shapes, &lens) {
            return self.on_host(block, index, step, first, &shapes, true);
        }
        let elements = lens.iter().any(|len| *len > 0);
        if elements && self.on_device(block, index, step, first, &shapes, &lens)? {
            return Ok(Evaluation::Device);
        }
        if elements {
            self.setup.runtime.fell_back(def.name);
        }
        self.on_host(block, index, step, first, &shapes, false)
    }

    /// Whether a step belongs to the computation of shapes: integers that no data decide.
    fn is_size(&self, step: &Step, shapes: &[Shape], lens: &[usize]) -> bool {
        if is_of_shape(step) {
            return true;
        }
        let small = |dtype: DType, len: usize| !dtype.is_float() && len <= SIZE_BYTES_MAX;
        let mut sizes = 0;
        for id in step.inputs.iter().flatten() {
            match &self.value(*id).place {
                Place::Constant(constant) => {
                    let bytes = self.setup.program.constant_bytes(*constant);
                    if !small(self.value(*id).dtype, bytes.len()) {
                        return false;
                    }
                }
                Place::Held(held) if held.is_size => sizes += 1,
                Place::Held(_) => return false,
            }
        }
        sizes > 0 && shapes.iter().zip(lens).all(|(shape, len)| small(shape.dtype, *len))
    }

    fn fetch_inputs(&self, step: &Step) -> Result<(), Stop> {
        if is_of_shape(step) {
            return Ok(());
        }
        step.inputs.iter().flatten().try_for_each(|id| self.fetch(*id))
    }

    /// The step on the CPU; its inputs have been fetched.
    fn host<'s>(&'s self, block: BlockId, index: usize, step: &'s Step) -> HostStep<'s> {
        let operands = step.inputs.iter().map(|v| v.map(|v| self.operand(v))).collect();
        let prepared = &self.setup.prepared.steps[block.index()][index];
        HostStep { isa: self.setup.runtime.cpu.isa, prepared, step, operands }
    }

    fn on_host(
        &mut self,
        block: BlockId,
        index: usize,
        step: &Step,
        first: ValueId,
        shapes: &[Shape],
        is_size: bool,
    ) -> Result<Evaluation, Stop> {
        self.fetch_inputs(step)?;
        let mut outputs = Vec::with_capacity(shapes.len());
        for shape in shapes {
            outputs.push(Tensor::zeros(shape.dtype, &shape.extents).map_err(OpError::from)?);
        }
        let host = self.host(block, index, step);
        let evaluation = self.setup.runtime.cpu.pool.install(|| {
            let mut views: Vec<TensorViewMut<'_>> = outputs.iter_mut().map(Tensor::view_mut).collect();
            host.write(&mut views)
        })?;
        self.define_owned(first, outputs, is_size);
        Ok(evaluation)
    }

    /// Has the device compute the step; `false` where it has no kernel for it.
    fn on_device(
        &mut self,
        block: BlockId,
        index: usize,
        step: &Step,
        first: ValueId,
        shapes: &[Shape],
        lens: &[usize],
    ) -> Result<bool, Stop> {
        if let Some(region) = &step.region {
            let place = (block.index(), index);
            let prepared = self.setup.memory.region(self.device(), place, region);
            let Some(prepared) = prepared.map_err(|e| self.stop(e))? else { return Ok(false) };
            let launch = |device: &D,
                          inputs: &[Option<DeviceOperand<'_, D>>],
                          outputs: &[Option<DeviceView<'_, D>>]| {
                let outputs: Vec<_> = outputs.iter().flatten().copied().collect();
                repops_cuda::launch::region::launch(device, region, &prepared, inputs, &outputs)
            };
            return self.launched(&launch, block, step, first, shapes, lens);
        }
        // Sizes that only the device has are fetched; they are few bytes.
        for id in step.inputs.iter().flatten() {
            let value = self.value(*id);
            let is_small = byte_len(value.dtype, &value.shape).is_ok_and(|len| len <= SIZE_BYTES_MAX);
            if value.dtype == DType::I64 && is_small && value.shape.len() <= 1 {
                self.fetch(*id)?;
            }
        }
        let types: Vec<Option<InputType<'_>>> = step
            .inputs
            .iter()
            .map(|id| {
                let Operand { dtype, shape, layout, .. } = self.operand((*id)?);
                let on_host = self.is_on_host((*id)?) && layout == device_layout(layout);
                Some(InputType { dtype, shape, layout: device_layout(layout), on_host })
            })
            .collect();
        let Some(launch) = repops_cuda::lookup::<D>(step.op, step.version, &step.attrs, &types) else {
            return Ok(false);
        };
        let launch =
            |device: &D, inputs: &[Option<DeviceOperand<'_, D>>], outputs: &[Option<DeviceView<'_, D>>]| {
                launch(device, &Call { op: step.def(), attrs: &step.attrs, inputs, outputs })
            };
        self.launched(&launch, block, step, first, shapes, lens)
    }

    /// Defines the outputs of a launch; `false` where the device finds that it cannot do it.
    fn launched(
        &mut self,
        launch: &LaunchStep<'_, D>,
        block: BlockId,
        step: &Step,
        first: ValueId,
        shapes: &[Shape],
        lens: &[usize],
    ) -> Result<bool, Stop> {
        match self.launch(launch, block, step, shapes, lens) {
            Ok(outputs) => {
                for (at, ((output, shape), len)) in outputs.into_iter().zip(shapes).zip(lens).enumerate() {
                    self.setup.memory.keep(block.index(), step.outputs[at].slot, &output);
                    self.define_held(ValueId(first.0 + at as u32), shape, Held::on_device(output, *len))?;
                }
                Ok(true)
            }
            Err(Error::Unsupported { .. }) => Ok(false),
            Err(error) => Err(self.stop(error)),
        }
    }

    fn launch(
        &mut self,
        launch: &LaunchStep<'_, D>,
        block: BlockId,
        step: &Step,
        shapes: &[Shape],
        lens: &[usize],
    ) -> Result<Vec<Arc<Block<D::Buffer>>>, Error> {
        let device = self.device();
        let mut there = Vec::with_capacity(step.inputs.len());
        for id in &step.inputs {
            there.push(id.map(|id| self.upload(id)).transpose()?);
        }
        let mut outputs = Vec::with_capacity(shapes.len());
        for (output, len) in step.outputs.iter().zip(lens) {
            outputs.push(self.setup.memory.take(device, block.index(), output.slot, *len)?);
        }
        let inputs: Vec<Option<DeviceOperand<'_, D>>> = step
            .inputs
            .iter()
            .zip(&there)
            .map(|(id, block)| {
                let (id, block) = ((*id)?, block.as_ref()?);
                let Operand { dtype, shape, bytes, layout } = self.operand(id);
                let view = View { buffer: &block.buffer, offset: 0, dtype, shape };
                let host = (self.is_on_host(id) && layout == device_layout(layout)).then_some(bytes);
                Some(repops_cuda::Operand { view, layout: device_layout(layout), host })
            })
            .collect();
        let targets: Vec<Option<DeviceView<'_, D>>> = outputs
            .iter()
            .zip(shapes)
            .map(|(block, shape)| {
                Some(View { buffer: &block.buffer, offset: 0, dtype: shape.dtype, shape: &shape.extents })
            })
            .collect();
        launch(device, &inputs, &targets)?;
        Ok(outputs)
    }

    /// Inference on what is known; `None` when sizes depend on data even so. Values that are on the device alone
    /// are fetched only if the shapes cannot be told without them.
    fn infer(&self, block: BlockId, index: usize, step: &Step) -> Result<Option<Vec<Shape>>, Stop> {
        if let Some(region) = &step.region {
            let inputs = step.inputs.iter().flatten().map(|id| {
                let value = self.value(*id);
                (value.dtype, value.shape.as_slice())
            });
            return Ok(Some(infer_region(region, inputs)?));
        }
        if let Some(shapes) = self.infer_by_types(step) {
            return Ok(Some(shapes));
        }
        self.fetch_inputs(step)?;
        Ok(self.host(block, index, step).infer()?)
    }

    fn infer_by_types(&self, step: &Step) -> Option<Vec<Shape>> {
        let known = |id: &Option<ValueId>| {
            let Operand { dtype, shape, bytes, layout } = self.operand((*id)?);
            let there = self.is_on_host((*id)?) && layout == Layout::RowMajor;
            let tensor = there.then_some(TensorView { dtype, shape, bytes });
            Some((SymType::of(dtype, shape), tensor))
        };
        let known: Vec<Option<(SymType, Option<TensorView<'_>>)>> = step.inputs.iter().map(known).collect();
        if known.iter().flatten().any(|(ty, _)| ty.dtype == DType::Packed) {
            return None;
        }
        let inputs: Vec<Option<InferInput<'_>>> = known
            .iter()
            .map(|k| k.as_ref().map(|(ty, tensor)| InferInput { ty, tensor: *tensor, sym: None }))
            .collect();
        let fresh = std::cell::Cell::new(0);
        let ctx =
            InferCtx { attrs: &step.attrs, inputs: &inputs, outputs: step.outputs.len(), fresh: &fresh };
        let inferred = step.def().infer(&ctx).ok()?;
        inferred.iter().map(|i| Some(Shape { dtype: i.ty.dtype, extents: i.ty.extents()? })).collect()
    }

    fn define_view(&mut self, first: ValueId, from: ValueId, shape: &Shape) -> Result<(), Stop> {
        let digest = match &self.value(from).digest {
            Some(digest) if self.traced() => {
                let Operand { dtype, shape: old, bytes, .. } = self.operand(from);
                // Only constants, whose bytes are at hand, are hashed here; others share their root.
                let pool = &self.setup.runtime.cpu.pool;
                Some(pool.install(|| digest.of_view(dtype, old, &shape.extents, bytes)))
            }
            _ => None,
        };
        let viewed = self.value(from).clone();
        self.values[first.index()] = Some(Value { shape: shape.extents.clone(), digest, ..viewed });
        Ok(())
    }

    fn define_owned(&mut self, first: ValueId, tensors: Vec<Tensor>, is_size: bool) {
        for (at, tensor) in tensors.into_iter().enumerate() {
            let shape = Shape { dtype: tensor.dtype(), extents: tensor.shape().to_vec() };
            let held = Held::on_host(tensor.into_aligned(), is_size);
            let defined = self.define_held(ValueId(first.0 + at as u32), &shape, held);
            debug_assert!(defined.is_ok(), "nothing has to be fetched");
        }
    }

    fn define_held(&mut self, id: ValueId, shape: &Shape, held: Held<D::Buffer>) -> Result<(), Stop> {
        let (dtype, extents) = (shape.dtype, &shape.extents);
        let root = if self.traced() { Some(self.root(&held)?) } else { None };
        let digest = root.map(|root| DigestSource::bind(dtype, extents, root));
        let place = Place::Held(Arc::new(held));
        self.values[id.index()] = Some(Value { dtype, shape: extents.clone(), place, digest });
        Ok(())
    }

    /// The Merkle root over a value's bytes: where it is alone on the device, it is hashed there.
    fn root(&mut self, held: &Held<D::Buffer>) -> Result<RootCell, Stop> {
        if let (None, Some(block)) = (held.host.get(), held.device.get()) {
            let device = self.device();
            return match self.roots.ask(device, block, held.bytes) {
                Err(error) => Err(self.stop(error)),
                Ok(cell) => Ok(cell),
            };
        }
        self.fetch_held(held)?;
        let bytes = held.host.get().expect("just fetched").as_slice();
        Ok(self.setup.runtime.cpu.pool.install(|| Hashing::root_now(bytes)))
    }

    fn record(
        &mut self,
        block: BlockId,
        index: usize,
        step: &Step,
        first: ValueId,
        path: &[Frame],
        result: Result<Evaluation, repops::ops::Fault>,
    ) -> Result<(), Stop> {
        let outputs: Vec<ValueId> = match result {
            Ok(_) => (0..step.outputs.len() as u32).map(|i| ValueId(first.0 + i)).collect(),
            Err(_) => Vec::new(),
        };
        if self.looks {
            outputs.iter().try_for_each(|id| self.fetch(*id))?;
        }
        let digest = |id: &ValueId| {
            let digest = self.value(*id).digest.clone();
            digest.expect("values have digests when a trace is asked for")
        };
        let pending = self.traced().then(|| Pending {
            path: path.to_vec(),
            op: step.op,
            version: step.version,
            body: self.setup.prepared.steps[block.index()][index].body,
            inputs: step.inputs.iter().map(|v| v.as_ref().map(digest)).collect(),
            outputs: outputs.iter().map(digest).collect(),
            fault: result.err(),
        });
        let view = |id: &ValueId| {
            let value = self.values[id.index()].as_ref().expect("just defined");
            let bytes = match &value.place {
                Place::Constant(constant) => self.setup.program.constant_bytes(*constant),
                Place::Held(held) => held.host.get().map_or(&[][..], |b| b.as_slice()),
            };
            TensorView { dtype: value.dtype, shape: &value.shape, bytes }
        };
        let views: Vec<TensorView<'_>> = outputs.iter().map(view).collect();
        let event = StepEvent { step, evaluation: result.ok(), index: self.steps, path, outputs: &views };
        self.setup.observer.step(event);
        if let Some(pending) = pending {
            self.hashing.push(pending, self.setup.observer);
        }
        self.steps += 1;
        Ok(())
    }
}

/// Whether a step reads nothing but its input's shape.
fn is_of_shape(step: &Step) -> bool {
    matches!(step.def().name, "Shape" | "Size")
}

/// Runs the blocks of a control-flow step.
struct Blocks<'a, 'b, D: Device> {
    run: &'a mut Run<'b, D>,
    path: &'a mut Vec<Frame>,
}

impl<D: Device> BlockRunner for Blocks<'_, '_, D> {
    type Error = Stop;

    fn run_block(&mut self, block: BlockId, iteration: u64, args: Vec<Tensor>) -> Result<Vec<Tensor>, Stop> {
        let limit = self.run.setup.observer.limits().iterations;
        if iteration >= limit {
            return Err(OpError::Limit { what: "iterations", limit }.into());
        }
        let first = self.run.setup.program.first_param(block);
        self.run.define_owned(first, args, false);
        self.run.block(block, self.path, iteration)
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let block = self.run.setup.program.block(block);
        (block.params.len(), block.results.len())
    }
}
