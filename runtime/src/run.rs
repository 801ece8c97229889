//! One run of a program: steps in program order, each by its kernel.

use std::sync::Arc;

use repops::control::{self, BlockRunner};
use repops::digest::Layout;
use repops::exec::{Evaluation, ExecError, Execution, FaultAt, HashLevel, Observer, StepEvent, node_name};
use repops::ops::infer::broadcast_extents;
use repops::ops::{self, EvalCtx, Fault, OpClass, OpError};
use repops::program::{BlockId, Step, ValueId};
use repops::reference::unpack_panel16;
use repops::region::{Region, RegionBackend, RegionKernel};
use repops::tensor::{AlignedBytes, byte_len};
use repops::trace::Frame;
use repops::{DType, Digest, Program, Tensor, TensorView, TensorViewMut};
use repops_kernels::isa::Isa;
use repops_kernels::{KernelCtx, Operand, TileRegions, evaluate_broadcast, lookup};

use crate::Regions;
use crate::bind::{Binding, Shape};
use crate::hashing::{DigestSource, Hashing, Pending};
use crate::memory::{Memory, Place, Value};

/// What is made ready once for a program.
pub(crate) struct Prepared {
    /// By block, then step.
    steps: Vec<Vec<PreparedStep>>,
    /// The first output of each step, by block.
    first_outputs: Vec<Vec<ValueId>>,
    /// By block, then step: the values that nothing reads after it.
    dead: Vec<Vec<Vec<ValueId>>>,
}

struct PreparedStep {
    body: Digest,
    /// `None`: no region, or evaluated instruction by instruction. With the name of who made it.
    region: Option<(Arc<dyn RegionKernel>, &'static str)>,
}

impl Prepared {
    pub fn new(program: &Program, regions: &Regions, tiles: &TileRegions) -> Prepared {
        let by =
            |backend: &dyn RegionBackend, region: &Region| Some((backend.prepare(region)?, backend.name()));
        let prepare = |region: &Region| match regions {
            Regions::Unfused => None,
            Regions::Tiles => by(tiles, region),
            Regions::Backend(backend) => by(backend.as_ref(), region).or_else(|| by(tiles, region)),
        };
        let step = |step: &Step| PreparedStep {
            body: step.body_digest(),
            region: step.region.as_ref().and_then(prepare),
        };
        let blocks = || 0..program.blocks().len() as u32;
        Prepared {
            steps: program.blocks().iter().map(|b| b.steps.iter().map(step).collect()).collect(),
            first_outputs: blocks().map(|b| program.first_outputs(BlockId(b))).collect(),
            dead: blocks().map(|b| program.dead_after(BlockId(b))).collect(),
        }
    }
}

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
        Run { setup, values, inputs: Vec::new(), hashing: Hashing::default(), steps: 0 }
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
            Layout::Panel16 => {
                unpack_panel16(value.dtype, &value.shape, operand.bytes).map_err(|e| Stop::Error(e.into()))
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
            let outputs = control::execute(step, &views, &mut Blocks { run: self, path })?;
            self.define_owned(first, outputs);
            return Ok(Evaluation::Control);
        }
        let shapes = match (block, &self.setup.binding.steps) {
            (BlockId(0), steps) if steps[index].is_some() => steps[index].clone(),
            _ => self.infer(step)?,
        };
        let Some(shapes) = shapes else {
            // The sizes depend on data: the operator's own evaluation finds them.
            let outputs = self.eval(step)?;
            self.define_owned(first, outputs);
            return Ok(Evaluation::Reference);
        };
        if let (OpClass::View, Some(Some(from))) = (def.class, step.inputs.first()) {
            let viewed = self.value(*from).clone();
            self.define_view(first, viewed, &shapes[0]);
            return Ok(Evaluation::View);
        }
        let mut targets = Vec::with_capacity(shapes.len());
        for (shape, output) in shapes.into_iter().zip(&step.outputs) {
            let len = byte_len(shape.dtype, &shape.extents).map_err(OpError::from)?;
            let buffer = self.setup.memory.take(block.index(), output.slot, len).map_err(OpError::from)?;
            targets.push(Target { shape, buffer });
        }
        let evaluation = self.write(block, index, step, &mut targets)?;
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

    /// Inference on the values at hand; `None` when sizes depend on data even so.
    fn infer(&self, step: &Step) -> Result<Option<Vec<Shape>>, Stop> {
        if let Some(region) = &step.region {
            let operands = self.region_views(step);
            let shapes: Vec<&[usize]> = operands.iter().map(|view| view.shape).collect();
            let extents = broadcast_extents(&shapes)?;
            for (index, (view, dtype)) in operands.iter().zip(&region.params).enumerate() {
                if view.dtype != *dtype {
                    let (found, expected) = (view.dtype, dtype.name());
                    return Err(OpError::DType { index, found, expected }.into());
                }
            }
            let shape = |&r: &u16| Shape { dtype: region.value_dtype(r), extents: extents.clone() };
            return Ok(Some(region.results.iter().map(shape).collect()));
        }
        let unpacked = self.views(step)?;
        let views: Vec<_> = unpacked.iter().map(|u| u.as_ref().map(Viewed::view)).collect();
        if views.iter().flatten().any(|view| view.dtype == DType::Packed) {
            // Kernels know tensors of numbers only.
            return Ok(None);
        }
        let inferred = ops::infer_known(step.def(), &step.attrs, &views, step.outputs.len())?;
        let shape = |i: &ops::Inferred| Some(Shape { dtype: i.ty.dtype, extents: i.ty.extents()? });
        Ok(inferred.iter().map(shape).collect())
    }

    /// The reference evaluation.
    fn eval(&self, step: &Step) -> Result<Vec<Tensor>, Stop> {
        let unpacked = self.views(step)?;
        let views: Vec<_> = unpacked.iter().map(|u| u.as_ref().map(Viewed::view)).collect();
        // Once more, since binding may have failed where this succeeds or says why not.
        ops::infer_known(step.def(), &step.attrs, &views, step.outputs.len())?;
        let ctx = EvalCtx { attrs: &step.attrs, inputs: &views, outputs: step.outputs.len() };
        Ok(step.def().evaluate(&ctx)?)
    }

    /// Fills the targets by a kernel, or by the reference where there is none.
    fn write(
        &self,
        block: BlockId,
        index: usize,
        step: &Step,
        targets: &mut [Target],
    ) -> Result<Evaluation, Stop> {
        let mut outputs: Vec<TensorViewMut<'_>> = targets
            .iter_mut()
            .map(|t| TensorViewMut {
                dtype: t.shape.dtype,
                shape: &t.shape.extents,
                bytes: Arc::get_mut(&mut t.buffer).expect("taken buffers have one holder").as_mut_slice(),
            })
            .collect();
        if let Some(region) = &step.region {
            let inputs = self.region_views(step);
            return match &self.setup.prepared.steps[block.index()][index].region {
                Some((kernel, backend)) => {
                    let full = outputs[0].shape;
                    evaluate_broadcast(kernel.as_ref(), full, &inputs, &mut outputs);
                    Ok(Evaluation::Region(backend))
                }
                None => self.write_unfused(region, &inputs, &mut outputs),
            };
        }
        let operands: Vec<Option<Operand<'_>>> =
            step.inputs.iter().map(|v| v.map(|v| self.operand(v))).collect();
        let dtypes: Vec<_> = operands.iter().map(|o| o.as_ref().map(|o| o.dtype)).collect();
        if let Some(kernel) = lookup(step.op, step.version, &dtypes) {
            let ctx = KernelCtx { isa: self.setup.isa, attrs: &step.attrs };
            kernel(&ctx, &operands, &mut outputs)?;
            return Ok(Evaluation::Kernel);
        }
        for (output, computed) in outputs.iter_mut().zip(self.eval(step)?) {
            if output.dtype != computed.dtype() || output.shape != computed.shape() {
                return Err(OpError::Fault(Fault::BadShape).into());
            }
            output.bytes.copy_from_slice(computed.bytes());
        }
        Ok(Evaluation::Reference)
    }

    /// A region, one operator after the other over whole tensors.
    fn write_unfused(
        &self,
        region: &Region,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<Evaluation, Stop> {
        let mut evaluation = Evaluation::Unfused;
        let mut computed: Vec<Tensor> = Vec::new();
        for instruction in &region.instructions {
            let args: Vec<TensorView<'_>> = instruction
                .args
                .iter()
                .map(|&a| match (a as usize).checked_sub(region.params.len()) {
                    None => inputs[a as usize],
                    Some(at) => computed[at].view(),
                })
                .collect();
            let shapes: Vec<&[usize]> = args.iter().map(|view| view.shape).collect();
            let shape = broadcast_extents(&shapes)?;
            let mut out = Tensor::zeros(instruction.dtype, &shape).map_err(OpError::from)?;
            let operands: Vec<Option<Operand<'_>>> = args.iter().map(|v| Some(Operand::from(*v))).collect();
            let dtypes: Vec<_> = args.iter().map(|v| Some(v.dtype)).collect();
            match lookup(instruction.op, instruction.version, &dtypes) {
                Some(kernel) => {
                    let ctx = KernelCtx { isa: self.setup.isa, attrs: &instruction.attrs };
                    kernel(&ctx, &operands, &mut [out.view_mut()])?;
                }
                None => {
                    let def = ops::by_id(instruction.op, instruction.version).expect("a checked region");
                    let args: Vec<_> = args.iter().map(|v| Some(*v)).collect();
                    let ctx = EvalCtx { attrs: &instruction.attrs, inputs: &args, outputs: 1 };
                    out = (def.eval)(&ctx)?.swap_remove(0);
                    evaluation = Evaluation::Reference;
                }
            }
            computed.push(out);
        }
        for (output, &r) in outputs.iter_mut().zip(&region.results) {
            let result = computed[r as usize - region.params.len()].view();
            let expanded = repops::reference::expand(result, output.shape)?;
            output.bytes.copy_from_slice(expanded.bytes());
        }
        Ok(evaluation)
    }

    /// The inputs of a region, which are row-major.
    fn region_views(&self, step: &Step) -> Vec<TensorView<'_>> {
        let view = |v: &ValueId| {
            let Operand { dtype, shape, bytes, .. } = self.operand(*v);
            TensorView { dtype, shape, bytes }
        };
        step.inputs.iter().flatten().map(view).collect()
    }

    fn views(&self, step: &Step) -> Result<Vec<Option<Viewed<'_>>>, Stop> {
        let viewed = |v: ValueId| {
            let operand = self.operand(v);
            match operand.layout {
                Layout::RowMajor => {
                    let Operand { dtype, shape, bytes, .. } = operand;
                    Ok(Viewed::There(TensorView { dtype, shape, bytes }))
                }
                Layout::Panel16 => unpack_panel16(operand.dtype, operand.shape, operand.bytes)
                    .map(Viewed::Unpacked)
                    .map_err(|e| Stop::Operator(e.into())),
            }
        };
        step.inputs.iter().map(|v| v.map(viewed).transpose()).collect()
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

/// A view, or a constant unpacked from its panels.
enum Viewed<'a> {
    There(TensorView<'a>),
    Unpacked(Tensor),
}

impl Viewed<'_> {
    fn view(&self) -> TensorView<'_> {
        match self {
            Viewed::There(view) => *view,
            Viewed::Unpacked(tensor) => tensor.view(),
        }
    }
}

/// The tensor with canonical NaNs; copied only when it has others.
fn canonical(tensor: &Tensor) -> std::borrow::Cow<'_, Tensor> {
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
        let first = self.run.setup.program.first_param(block);
        self.run.define_owned(first, args);
        self.run.block(block, self.path, iteration)
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let block = self.run.setup.program.block(block);
        (block.params.len(), block.results.len())
    }
}
