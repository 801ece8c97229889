//! One step on the CPU, from operands at hand: its inference, its kernel, its reference evaluation.
//!
//! Invariant: which of them is used changes no bit. Nothing here knows where values live.

use std::cell::Cell;
use std::sync::Arc;

use repops::digest::Layout;
use repops::exec::Evaluation;
use repops::ops::infer::broadcast_extents;
use repops::ops::{self, EvalCtx, Fault, InferInput, Inferred, OpError, SymType};
use repops::program::{BlockId, Program, Step, ValueId};
use repops::reference::unpack;
use repops::region::{Region, RegionBackend, RegionKernel};
use repops::{DType, Digest, Tensor, TensorView, TensorViewMut};
use repops_kernels::isa::Isa;
use repops_kernels::{KernelCtx, Operand, TileRegions, evaluate_broadcast, evaluate_products, lookup};

use crate::Regions;
use crate::bind::Shape;

/// What is made ready once for a program.
pub(crate) struct Prepared {
    /// By block, then step.
    pub steps: Vec<Vec<PreparedStep>>,
    /// The first output of each step, by block.
    pub first_outputs: Vec<Vec<ValueId>>,
    /// By block, then step: the values that nothing reads after it.
    pub dead: Vec<Vec<Vec<ValueId>>>,
}

pub(crate) struct PreparedStep {
    pub body: Digest,
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

/// A step and its inputs' bytes.
pub(crate) struct HostStep<'a> {
    pub isa: Isa,
    pub prepared: &'a PreparedStep,
    pub step: &'a Step,
    pub operands: Vec<Option<Operand<'a>>>,
}

impl<'a> HostStep<'a> {
    /// Inference on the values at hand; `None` when sizes depend on data even so.
    pub fn infer(&self) -> Result<Option<Vec<Shape>>, OpError> {
        if let Some(region) = &self.step.region {
            return infer_region(region, self.operands.iter().flatten().map(|o| (o.dtype, o.shape)))
                .map(Some);
        }
        let unpacked = self.views()?;
        let views: Vec<_> = unpacked.iter().map(|u| u.as_ref().map(Viewed::view)).collect();
        if views.iter().flatten().any(|view| view.dtype == DType::Packed) {
            // Kernels know tensors of numbers only.
            return Ok(None);
        }
        let inferred = ops::infer_known(self.step.def(), &self.step.attrs, &views, self.step.outputs.len())?;
        let shape = |i: &ops::Inferred| Some(Shape { dtype: i.ty.dtype, extents: i.ty.extents()? });
        Ok(inferred.iter().map(shape).collect())
    }

    /// The reference evaluation.
    pub fn eval(&self) -> Result<Vec<Tensor>, OpError> {
        let unpacked = self.views()?;
        let views: Vec<_> = unpacked.iter().map(|u| u.as_ref().map(Viewed::view)).collect();
        let outputs = self.step.outputs.len();
        // Once more, since binding may have failed where this succeeds or says why not.
        ops::infer_known(self.step.def(), &self.step.attrs, &views, outputs)?;
        let ctx = EvalCtx { attrs: &self.step.attrs, inputs: &views, outputs };
        let mut found = self.step.def().evaluate(&ctx)?;
        // An operator may give more than the step has names for.
        found.truncate(outputs);
        Ok(found)
    }

    /// Fills the outputs by a kernel, or by the reference where there is none.
    pub fn write(&self, outputs: &mut [TensorViewMut<'_>]) -> Result<Evaluation, OpError> {
        if let Some(region) = &self.step.region {
            return match &self.prepared.region {
                Some((kernel, backend)) if region.is_elementwise() => {
                    let full = outputs[0].shape;
                    evaluate_broadcast(kernel.as_ref(), full, &views(&self.operands), outputs);
                    Ok(Evaluation::Region(backend))
                }
                Some((kernel, backend)) => {
                    evaluate_products(self.isa, region, kernel.as_ref(), &self.operands, outputs)?;
                    Ok(Evaluation::Region(backend))
                }
                None => {
                    let products = self.products(region, outputs[0].shape)?;
                    let mut inputs: Vec<TensorView<'_>> = products.iter().map(Tensor::view).collect();
                    inputs.extend(views(&self.operands[region.first_elementwise()..]));
                    self.write_unfused(region, &inputs, outputs)
                }
            };
        }
        let dtypes: Vec<_> = self.operands.iter().map(|o| o.as_ref().map(|o| o.dtype)).collect();
        if let Some(kernel) = lookup(self.step.op, self.step.version, &dtypes) {
            let ctx = KernelCtx::new(self.isa, &self.step.attrs);
            kernel(&ctx, &self.operands, outputs)?;
            return Ok(Evaluation::Kernel);
        }
        for (output, computed) in outputs.iter_mut().zip(self.eval()?) {
            if output.dtype != computed.dtype() || output.shape != computed.shape() {
                return Err(OpError::Fault(Fault::BadShape));
            }
            output.bytes.copy_from_slice(computed.bytes());
        }
        Ok(Evaluation::Reference)
    }

    /// The products of a region, each by its kernel.
    fn products(&self, region: &Region, shape: &[usize]) -> Result<Vec<Tensor>, OpError> {
        let mut products = Vec::with_capacity(region.products.len());
        for (product, range) in region.products() {
            let operands = &self.operands[range];
            let dtypes: Vec<_> = operands.iter().map(|o| o.as_ref().map(|o| o.dtype)).collect();
            let kernel = lookup(product.op, product.version, &dtypes);
            let kernel =
                kernel.ok_or_else(|| OpError::Unsupported("a product without a kernel".to_string()))?;
            let mut out = Tensor::zeros(DType::F32, shape)?;
            kernel(&KernelCtx::new(self.isa, &product.attrs), operands, &mut [out.view_mut()])?;
            products.push(out);
        }
        Ok(products)
    }

    /// A region, one operator after the other over whole tensors.
    fn write_unfused(
        &self,
        region: &Region,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<Evaluation, OpError> {
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
            let mut out = Tensor::zeros(instruction.dtype, &shape)?;
            let operands: Vec<Option<Operand<'_>>> = args.iter().map(|v| Some(Operand::from(*v))).collect();
            let dtypes: Vec<_> = args.iter().map(|v| Some(v.dtype)).collect();
            match lookup(instruction.op, instruction.version, &dtypes) {
                Some(kernel) => {
                    let ctx = KernelCtx::new(self.isa, &instruction.attrs);
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

    fn views(&self) -> Result<Vec<Option<Viewed<'_>>>, OpError> {
        self.operands.iter().map(|o| o.map(viewed).transpose()).collect()
    }
}

/// The shapes of a region's results.
pub(crate) fn infer_region<'a>(
    region: &Region,
    inputs: impl Iterator<Item = (DType, &'a [usize])>,
) -> Result<Vec<Shape>, OpError> {
    let types: Vec<SymType> = inputs.map(|(dtype, shape)| SymType::of(dtype, shape)).collect();
    let inputs: Vec<_> = types.iter().map(|ty| Some(InferInput { ty, tensor: None, sym: None })).collect();
    let shape = |inferred: Inferred| {
        let extents = inferred.ty.extents().ok_or_else(|| OpError::shape("a region of unknown sizes"))?;
        Ok(Shape { dtype: inferred.ty.dtype, extents })
    };
    region.infer(&inputs, &Cell::new(0))?.into_iter().map(shape).collect()
}

/// The inputs of a region, which are row-major.
pub(crate) fn views<'a>(operands: &[Option<Operand<'a>>]) -> Vec<TensorView<'a>> {
    let view = |o: &Operand<'a>| TensorView { dtype: o.dtype, shape: o.shape, bytes: o.bytes };
    operands.iter().flatten().map(view).collect()
}

/// A view, or a constant unpacked from its panels.
enum Viewed<'a> {
    There(TensorView<'a>),
    Unpacked(Tensor),
}

fn viewed(operand: Operand<'_>) -> Result<Viewed<'_>, OpError> {
    let Operand { dtype, shape, bytes, layout } = operand;
    Ok(match layout {
        Layout::RowMajor => Viewed::There(TensorView { dtype, shape, bytes }),
        layout => Viewed::Unpacked(unpack(dtype, shape, layout, bytes)?),
    })
}

impl Viewed<'_> {
    fn view(&self) -> TensorView<'_> {
        match self {
            Viewed::There(view) => *view,
            Viewed::Unpacked(tensor) => tensor.view(),
        }
    }
}
