//! The reference executor: every step by its operator's `eval`, in program order, on one thread.
//!
//! Invariant: it is as plain as it can be. Regions are evaluated instruction by instruction as whole
//! tensors, so that it also is the proof that fusing changes nothing.

use std::collections::BTreeMap;

use crate::control::{self, BlockRunner};
use crate::digest::{Digest, Layout, tensor_digest};
use crate::exec::{
    Evaluation, ExecError, Execution, Executor, FaultAt, HashLevel, Limits, Observer, StepEvent, bind_sizes,
    node_name,
};
use crate::fma;
use crate::ops::{self, EvalCtx, InferInput, OpClass, OpError, SymType};
use crate::program::{BlockId, Program, Step, ValueId};
use crate::region::Region;
use crate::tensor::{Tensor, TensorView};
use crate::trace::{Frame, StepRecord, Trace};

/// Executes by the reference evaluation.
#[derive(Clone, Copy, Default, Debug)]
pub struct Reference;

impl Executor for Reference {
    fn execute(
        &self,
        program: &Program,
        inputs: &[Tensor],
        level: HashLevel,
        observer: &mut dyn Observer,
    ) -> Result<Execution, ExecError> {
        fma::check()?;
        bind_sizes(program, inputs)?;
        let limits = observer.limits();
        let mut run = Run {
            program,
            level,
            observer,
            values: BTreeMap::new(),
            trace: Trace::default(),
            steps: 0,
            limits,
            held: 0,
            slices: 0,
        };
        for (index, input) in inputs.iter().enumerate() {
            let mut input = input.clone();
            input.canonicalize();
            let value = ValueId(program.first_param(BlockId(0)).0 + index as u32);
            run.define(value, input);
        }
        run.held = 0;
        let result = run.block(BlockId(0), &mut Vec::new(), 0);
        let result = match result {
            Ok(outputs) => Ok(outputs),
            Err(Stop::Fault(at)) => Err(at),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Operator(_)) => unreachable!("every step attributes its errors"),
        };
        let trace = (level == HashLevel::Operators).then_some(run.trace);
        Ok(Execution { result, trace })
    }
}

/// Why a run ends early.
enum Stop {
    Fault(FaultAt),
    Error(ExecError),
    /// Not yet attributed to a step.
    Operator(OpError),
}

/// An operator's error in a block of a control-flow step.
impl From<OpError> for Stop {
    fn from(error: OpError) -> Stop {
        Stop::Operator(error)
    }
}

impl From<ExecError> for Stop {
    fn from(error: ExecError) -> Stop {
        Stop::Error(error)
    }
}

struct Run<'a> {
    program: &'a Program,
    level: HashLevel,
    observer: &'a mut dyn Observer,
    values: BTreeMap<ValueId, (Tensor, Digest)>,
    trace: Trace,
    steps: usize,
    limits: Limits,
    /// Bytes of computed values, and of slices of loops that are not over.
    held: u64,
    slices: u64,
}

impl Run<'_> {
    fn define(&mut self, value: ValueId, tensor: Tensor) {
        let traced = self.level == HashLevel::Operators;
        let digest = if traced { tensor_digest(tensor.view()) } else { Digest::default() };
        self.held += tensor.bytes().len() as u64;
        if let Some((old, _)) = self.values.insert(value, (tensor, digest)) {
            self.held = self.held.saturating_sub(old.bytes().len() as u64);
        }
    }

    /// Whether so many bytes more may be held.
    fn room(&self, bytes: u64) -> Result<(), OpError> {
        match self.held.saturating_add(self.slices).saturating_add(bytes) > self.limits.bytes {
            true => Err(OpError::Limit { what: "bytes", limit: self.limits.bytes }),
            false => Ok(()),
        }
    }

    /// Makes room for the outputs of a step, if inference can say how large they are.
    fn room_for(&self, inferred: &[ops::Inferred]) -> Result<(), OpError> {
        let mut bytes = 0u64;
        for output in inferred {
            if let Some(extents) = output.ty.extents() {
                bytes += crate::tensor::byte_len(output.ty.dtype, &extents)? as u64;
            }
        }
        self.room(bytes)
    }

    fn digest(&self, value: ValueId) -> Digest {
        match self.program.as_constant(value) {
            Some(constant) => self.program.constants()[constant.index()].digest,
            None => self.values[&value].1,
        }
    }

    fn tensor(&self, value: ValueId) -> Result<Tensor, ExecError> {
        match self.program.as_constant(value) {
            Some(constant) => match self.program.constant(constant) {
                Some(view) => Ok(view.to_tensor()?),
                None => {
                    let decl = &self.program.constants()[constant.index()];
                    let bytes = self.program.constant_bytes(constant);
                    Ok(unpack(decl.dtype, &decl.shape, decl.layout, bytes)?)
                }
            },
            None => Ok(self.values[&value].0.clone()),
        }
    }

    /// Runs a block whose parameters are defined; gives its results.
    fn block(&mut self, id: BlockId, path: &mut Vec<Frame>, iteration: u64) -> Result<Vec<Tensor>, Stop> {
        let program = self.program;
        let firsts = program.first_outputs(id);
        for (index, (step, first)) in program.block(id).steps.iter().zip(firsts).enumerate() {
            if self.observer.interrupted() {
                return Err(ExecError::Interrupted.into());
            }
            path.push(Frame { block: id.0, step: index as u32, iteration });
            self.step(step, first, path)?;
            path.pop();
        }
        Ok(program.block(id).results.iter().map(|r| self.tensor(*r)).collect::<Result<_, _>>()?)
    }

    fn step(&mut self, step: &Step, first: ValueId, path: &mut Vec<Frame>) -> Result<(), Stop> {
        let inputs = step.inputs.iter().map(|v| v.map(|v| self.tensor(v)).transpose());
        let inputs: Vec<Option<Tensor>> = inputs.collect::<Result<_, _>>()?;
        let views: Vec<Option<TensorView<'_>>> =
            inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let def = step.def();
        let outputs = match (&step.region, def.class) {
            (Some(region), _) => evaluate_region(region, &views).map_err(Stop::Operator),
            (None, OpClass::Control) => {
                let slices = self.slices;
                let outputs = control::execute(step, &views, &mut Blocks { run: self, path });
                self.slices = slices;
                outputs
            }
            (None, _) => {
                let ctx = EvalCtx { attrs: &step.attrs, inputs: &views, outputs: step.outputs.len() };
                ops::infer_known(def, &step.attrs, &views, step.outputs.len())
                    .and_then(|inferred| self.room_for(&inferred))
                    .and_then(|()| def.evaluate(&ctx))
                    .map_err(Stop::Operator)
            }
        };
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(Stop::Operator(OpError::Fault(fault))) => {
                self.record(step, path, &[], Some(fault));
                let at = FaultAt { fault, node: node_name(step), op: def.name.to_string() };
                return Err(Stop::Fault(at));
            }
            Err(Stop::Operator(error)) => return Err(ExecError::at(step, error).into()),
            Err(stop) => return Err(stop),
        };
        let ids: Vec<ValueId> = (0..step.outputs.len() as u32).map(|i| ValueId(first.0 + i)).collect();
        for (id, output) in ids.iter().zip(outputs) {
            self.define(*id, output);
        }
        self.record(step, path, &ids, None);
        Ok(())
    }

    fn record(&mut self, step: &Step, path: &[Frame], outputs: &[ValueId], fault: Option<ops::Fault>) {
        if self.level == HashLevel::Operators {
            self.trace.records.push(StepRecord {
                path: path.to_vec(),
                op: step.op,
                version: step.version,
                body: step.body_digest(),
                inputs: step.inputs.iter().map(|v| v.map(|v| self.digest(v))).collect(),
                outputs: outputs.iter().map(|v| self.digest(*v)).collect(),
                fault,
            });
        }
        let views: Vec<TensorView<'_>> = outputs.iter().map(|v| self.values[v].0.view()).collect();
        let evaluation = fault.is_none().then_some(match step.def().class {
            OpClass::Control => Evaluation::Control,
            _ => Evaluation::Reference,
        });
        self.observer.step(StepEvent { step, evaluation, index: self.steps, path, outputs: &views });
        if self.level == HashLevel::Operators {
            self.observer.record(&self.trace.records[self.steps]);
        }
        self.steps += 1;
    }
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
        let first = self.run.program.first_param(block);
        for (index, arg) in args.into_iter().enumerate() {
            self.run.define(ValueId(first.0 + index as u32), arg);
        }
        self.run.block(block, self.path, iteration)
    }

    fn keep(&mut self, bytes: usize) -> Result<(), Stop> {
        self.run.slices += bytes as u64;
        Ok(self.run.room(0)?)
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let block = self.run.program.block(block);
        (block.params.len(), block.results.len())
    }
}

/// A step's region, its products first.
pub fn evaluate_region(region: &Region, inputs: &[Option<TensorView<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (products, rest) = region_products(region, inputs)?;
    let params: Vec<_> = products.iter().map(|p| Some(p.view())).chain(rest.iter().copied()).collect();
    evaluate_elementwise(region, &params)
}

/// The products of a step's region, each by its operator's own `eval`, and the other inputs.
pub fn region_products<'i, 'a>(
    region: &Region,
    inputs: &'i [Option<TensorView<'a>>],
) -> Result<(Vec<Tensor>, &'i [Option<TensorView<'a>>]), OpError> {
    let types: Vec<_> = inputs.iter().map(|t| t.map(|t| SymType::of(t.dtype, t.shape))).collect();
    let known = inputs.iter().zip(&types);
    let known = known.map(|(t, ty)| ty.as_ref().map(|ty| InferInput { ty, tensor: *t, sym: None }));
    // What inference refuses no evaluation is prepared for.
    region.infer(&known.collect::<Vec<_>>(), &std::cell::Cell::new(0))?;
    let mut products = Vec::with_capacity(region.products.len());
    for (product, range) in region.products() {
        let ctx = EvalCtx { attrs: &product.attrs, inputs: &inputs[range], outputs: 1 };
        products.extend(product.def().evaluate(&ctx)?.into_iter().take(1));
    }
    Ok((products, &inputs[region.first_elementwise()..]))
}

/// A region from its parameters, instruction by instruction, each by its operator's own `eval` over whole tensors.
pub fn evaluate_elementwise(
    region: &Region,
    inputs: &[Option<TensorView<'_>>],
) -> Result<Vec<Tensor>, OpError> {
    let computed = region_values(region, inputs)?;
    let shapes: Vec<&[usize]> = inputs.iter().flatten().map(|t| t.shape).collect();
    let full = ops::infer::broadcast_extents(&shapes)?;
    let result = |&r: &u16| expand(computed[r as usize - region.params.len()].view(), &full);
    region.results.iter().map(result).collect()
}

/// What each instruction of a region gives from its parameters, before results are expanded to the region's full shape.
pub fn region_values(region: &Region, inputs: &[Option<TensorView<'_>>]) -> Result<Vec<Tensor>, OpError> {
    for (index, (input, dtype)) in inputs.iter().zip(&region.params).enumerate() {
        let found = input.ok_or(OpError::MissingInput { index })?.dtype;
        if found != *dtype {
            return Err(OpError::DType { index, found, expected: dtype.name() });
        }
    }
    let mut computed: Vec<Tensor> = Vec::new();
    for instruction in &region.instructions {
        let args: Vec<Option<TensorView<'_>>> = instruction
            .args
            .iter()
            .map(|&a| match (a as usize).checked_sub(region.params.len()) {
                None => inputs[a as usize],
                Some(at) => Some(computed[at].view()),
            })
            .collect();
        let def = ops::by_id(instruction.op, instruction.version).expect("a checked region");
        let ctx = EvalCtx { attrs: &instruction.attrs, inputs: &args, outputs: 1 };
        computed.extend((def.eval)(&ctx)?.into_iter().take(1));
    }
    Ok(computed)
}

/// A tensor repeated along axes of extent 1 to a shape that it broadcasts to.
pub fn expand(tensor: TensorView<'_>, shape: &[usize]) -> Result<Tensor, OpError> {
    if tensor.shape == shape {
        return Ok(tensor.to_tensor()?);
    }
    let mut out = Tensor::zeros(tensor.dtype, shape)?;
    let size = tensor.dtype.size();
    let own = crate::tensor::strides(tensor.shape);
    let full = crate::tensor::strides(shape);
    let skip = shape.len() - tensor.shape.len();
    for (at, element) in out.bytes_mut().chunks_exact_mut(size).enumerate() {
        let from = (0..own.len()).fold(0, |from, axis| {
            let position = at / full[axis + skip] % shape[axis + skip];
            from + if tensor.shape[axis] == 1 { 0 } else { position * own[axis] }
        });
        element.copy_from_slice(&tensor.bytes[from * size..][..size]);
    }
    Ok(out)
}

/// The stored bytes of a constant in `layout` as a row-major tensor.
pub fn unpack(
    dtype: crate::DType,
    shape: &[usize],
    layout: Layout,
    bytes: &[u8],
) -> Result<Tensor, crate::tensor::TensorError> {
    let mut out = Tensor::zeros(dtype, shape)?;
    let size = dtype.size();
    for (at, element) in out.bytes_mut().chunks_exact_mut(size).enumerate() {
        element.copy_from_slice(&bytes[layout.place(shape, at) * size..][..size]);
    }
    Ok(out)
}

/// The stored bytes of a row-major tensor in `layout`, which must apply to it.
pub fn pack(tensor: TensorView<'_>, layout: Layout) -> Vec<u8> {
    let size = tensor.dtype.size();
    let len = crate::program::stored_byte_len(tensor.dtype, tensor.shape, layout);
    let mut out = vec![0; len.expect("the layout applies to the tensor")];
    for (at, element) in tensor.bytes.chunks_exact(size).enumerate() {
        out[layout.place(tensor.shape, at) * size..][..size].copy_from_slice(element);
    }
    out
}
