//! Work to be measured: operators and regions with drawn inputs, called as the runtime calls them.
//!
//! Invariant: a [`Case`] evaluates by a kernel; what has none is no case, so that nobody measures the
//! reference by mistake.
#![forbid(unsafe_code)]

pub mod cases;

use std::sync::Arc;

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops;
use repops::reference::pack;
use repops::region::{Instruction, Region, RegionBackend, RegionKernel};
use repops::tensor::Tensor;
use repops_kernels::{Isa, Kernel, KernelCtx, Operand, TileRegions, evaluate_broadcast, lookup};

/// An input in the layout that the kernel is given.
struct Input {
    shape: Vec<usize>,
    layout: Layout,
    stored: Tensor,
}

enum Work {
    Operator { kernel: Kernel, attrs: Attrs },
    Region(Arc<dyn RegionKernel>),
}

/// Something that can be evaluated again and again.
pub struct Case {
    pub name: String,
    /// Of one call: floating-point operations, or bytes read and written where moving them is the work.
    pub amount: u64,
    isa: Isa,
    work: Work,
    inputs: Vec<Input>,
    output: Tensor,
}

impl Case {
    /// An operator on inputs; those at `panels` are given in layout `Panel16`, as constants may be.
    ///
    /// # Panics
    /// When there is no kernel for them, or they do not fit.
    pub fn operator(isa: Isa, op: &str, attrs: &Attrs, inputs: Vec<Tensor>, panels: &[usize]) -> Case {
        let def = ops::by_name(op).expect("an operator");
        let attrs = def.check_attrs(attrs).expect("its attributes");
        let dtypes: Vec<Option<DType>> = inputs.iter().map(|t| Some(t.dtype())).collect();
        let kernel = lookup(def.id, def.version, &dtypes).expect("a kernel");
        let views: Vec<_> = inputs.iter().map(|t| Some(t.view())).collect();
        let inferred = ops::infer_known(def, &attrs, &views, 1).expect("inputs that fit");
        let shape = inferred[0].ty.extents().expect("known sizes");
        let output = Tensor::zeros(inferred[0].ty.dtype, &shape).expect("memory");
        let amount = 0;
        let packed = |(at, tensor): (usize, Tensor)| {
            let shape = tensor.shape().to_vec();
            if !panels.contains(&at) {
                return Input { shape, layout: Layout::RowMajor, stored: tensor };
            }
            let bytes = pack(tensor.view(), Layout::Panel16);
            let count = bytes.len() / tensor.dtype().size();
            let stored = Tensor::from_bytes(tensor.dtype(), &[count], &bytes).expect("whole elements");
            Input { shape, layout: Layout::Panel16, stored }
        };
        let inputs = inputs.into_iter().enumerate().map(packed).collect();
        Case { name: op.to_string(), amount, isa, work: Work::Operator { kernel, attrs }, inputs, output }
    }

    /// A fused region of f32 operators over one tensor and scalars: `steps` name an operator and its
    /// arguments, counted from the parameters on; the last one is the result.
    pub fn region(isa: Isa, steps: &[(&str, &[u16])], x: Tensor, scalars: &[f32]) -> Case {
        let instruction = |&(op, args): &(&str, &[u16])| {
            let def = ops::by_name(op).expect("an operator");
            let attrs = def.check_attrs(&Attrs::new()).expect("no attributes");
            Instruction { op: def.id, version: def.version, attrs, args: args.to_vec(), dtype: DType::F32 }
        };
        let params = 1 + scalars.len();
        let region = Region {
            products: Vec::new(),
            params: vec![DType::F32; params],
            instructions: steps.iter().map(instruction).collect(),
            results: vec![(params + steps.len() - 1) as u16],
        };
        let kernel = TileRegions { isa }.prepare(&region).expect("a region of operators with lanes");
        let output = Tensor::zeros(DType::F32, x.shape()).expect("memory");
        let amount = 2 * x.bytes().len() as u64;
        let scalars = scalars.iter().map(|&s| Tensor::from_slice(&[1], &[s]));
        let input =
            |stored: Tensor| Input { shape: stored.shape().to_vec(), layout: Layout::RowMajor, stored };
        let inputs = std::iter::once(x).chain(scalars).map(input).collect();
        Case { name: "Region".to_string(), amount, isa, work: Work::Region(kernel), inputs, output }
    }

    /// Names the case, and says how much work a call is.
    pub fn named(self, name: impl Into<String>, amount: u64) -> Case {
        Case { name: name.into(), amount, ..self }
    }

    /// Evaluates once, on the threads of the current pool.
    pub fn call(&mut self) {
        match &self.work {
            Work::Operator { kernel, attrs } => {
                let operands: Vec<Option<Operand<'_>>> =
                    self.inputs.iter().map(|i| Some(i.operand())).collect();
                let ctx = KernelCtx::new(self.isa, attrs);
                kernel(&ctx, &operands, &mut [self.output.view_mut()]).expect("inputs without faults");
            }
            Work::Region(kernel) => {
                let views: Vec<_> = self.inputs.iter().map(|input| input.stored.view()).collect();
                let full = self.output.shape().to_vec();
                evaluate_broadcast(kernel.as_ref(), &full, &views, &mut [self.output.view_mut()]);
            }
        }
    }

    pub fn output(&self) -> &Tensor {
        &self.output
    }
}

impl Input {
    fn operand(&self) -> Operand<'_> {
        let dtype = self.stored.dtype();
        Operand { dtype, shape: &self.shape, bytes: self.stored.bytes(), layout: self.layout }
    }
}

/// Values between -1 and 1, the same in every run.
pub fn drawn(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let values: Vec<f32> = (0..count as u32).map(value).collect();
    Tensor::from_slice(shape, &values)
}
