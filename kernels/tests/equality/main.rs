//! Every kernel gives the bits of the reference evaluation: with every instruction set that this machine has, on
//! 1, 2 and 7 threads, for data laden with NaNs, infinities, zeros of both signs and subnormals.
//!
//! Cases are drawn by proptest, which shrinks one that fails and keeps its seed in `tests/proptest-regressions`;
//! corners that are known by name are written out beside.

mod blocks;
mod contraction;
mod convolution;
mod digest;
mod draw;
mod elementwise;
mod general;
mod integer;
mod movement;
mod pools;
mod products;
mod rows;
mod sequence;
mod typed;
mod weights;

use std::sync::LazyLock;

use proptest::test_runner::{TestCaseError, TestCaseResult};
use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::{self, EvalCtx, OpDef};
use repops::reference::pack;
use repops::tensor::{Tensor, TensorView};
use repops_kernels::{Isa, KernelCtx, Operand, lookup};

static POOLS: LazyLock<Vec<rayon::ThreadPool>> =
    LazyLock::new(|| [1, 2, 7].map(|n| repops_kernels::pool(n).unwrap()).into());

/// One application of an operator.
pub struct Case {
    pub op: &'static str,
    pub attrs: Attrs,
    pub inputs: Vec<Option<Tensor>>,
    pub outputs: usize,
}

impl Case {
    pub fn new(op: &'static str, attrs: Attrs, inputs: Vec<Tensor>) -> Case {
        Case { op, attrs, inputs: inputs.into_iter().map(Some).collect(), outputs: 1 }
    }

    /// Checks the kernel against the reference.
    pub fn check(&self) -> TestCaseResult {
        self.check_with_panels(&[])
    }

    /// Checks the kernel against the reference; the inputs named in `panels` are also given in panels.
    pub fn check_with_panels(&self, panels: &[usize]) -> TestCaseResult {
        self.check_in(Layout::Panel16, panels)
    }

    /// Checks the kernel against the reference; the inputs named in `places` are also given in a layout.
    pub fn check_in(&self, layout: Layout, places: &[usize]) -> TestCaseResult {
        let def = ops::by_name(self.op).unwrap_or_else(|| panic!("operator {}", self.op));
        let attrs = def.check_attrs(&self.attrs).unwrap();
        let views: Vec<Option<TensorView<'_>>> =
            self.inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let inferred = ops::infer_known(def, &attrs, &views, self.outputs);
        let inferred = inferred
            .map_err(|error| TestCaseError::fail(format!("the test drew what cannot be: {error}")))?;
        let empty = inferred.iter().map(|output| {
            let shape = output.ty.extents().unwrap_or_default();
            Tensor::zeros(output.ty.dtype, &shape).unwrap()
        });
        let empty: Vec<Tensor> = empty.collect();
        let wanted = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &views, outputs: self.outputs });
        let operands: Vec<Option<Operand<'_>>> = views.iter().map(|v| v.map(Operand::from)).collect();
        let wanted = (wanted, empty);
        self.run(def, &attrs, &operands, &wanted)?;
        if places.is_empty() {
            return Ok(());
        }
        let packed = |&index: &usize| {
            let view = views[index].unwrap();
            let bytes = pack(view, layout);
            Tensor::from_bytes(view.dtype, &[bytes.len() / view.dtype.size()], &bytes).unwrap()
        };
        let packed: Vec<Tensor> = places.iter().map(packed).collect();
        let mut operands = operands.clone();
        for (&index, packed) in places.iter().zip(&packed) {
            let shape = views[index].unwrap().shape;
            let (dtype, bytes) = (packed.dtype(), packed.bytes());
            operands[index] = Some(Operand { dtype, shape, bytes, layout });
        }
        self.run(def, &attrs, &operands, &wanted)
    }

    /// `wanted`: the reference's results, and tensors as inference describes them, which kernels are given also
    /// where the results are an error.
    fn run(
        &self,
        def: &OpDef,
        attrs: &Attrs,
        operands: &[Option<Operand<'_>>],
        (wanted, like): &(Result<Vec<Tensor>, ops::OpError>, Vec<Tensor>),
    ) -> TestCaseResult {
        let dtypes: Vec<Option<DType>> = operands.iter().map(|o| o.map(|o| o.dtype)).collect();
        let Some(kernel) = lookup(def.id, def.version, &dtypes) else {
            return fail(format!("there is no kernel of {} for {dtypes:?}", self.op));
        };
        let steps = match wanted {
            Ok(wanted) => products::Steps::new(def, attrs, operands, &wanted[0]),
            Err(_) => None,
        };
        let mut turn = 0;
        for isa in Isa::available() {
            for pool in POOLS.iter() {
                let place = || {
                    let shapes: Vec<_> =
                        operands.iter().map(|o| o.map(|o| (o.shape.to_vec(), o.layout))).collect();
                    let threads = pool.current_num_threads();
                    format!(
                        "{} {dtypes:?} {shapes:?} {attrs:?}, {} on {threads} threads",
                        self.op,
                        isa.name()
                    )
                };
                let mut outputs = garbage_like(like);
                let mut views: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
                let result = pool.install(|| kernel(&KernelCtx::new(isa, attrs), operands, &mut views));
                match (wanted, result) {
                    (Err(wanted), Err(found)) if *wanted == found => {}
                    (Ok(wanted), Ok(())) => {
                        for (index, (got, want)) in outputs.iter().zip(wanted).enumerate() {
                            compare(got, want, || format!("output {index} of {}", place()))?;
                        }
                    }
                    (wanted, found) => {
                        let wanted = wanted.as_ref().map(|_| ());
                        return fail(format!("{found:?}, expected {wanted:?}: {}", place()));
                    }
                }
                if let Some(steps) = &steps {
                    pool.install(|| steps.check(isa, turn, operands, &place))?;
                    turn += 1;
                }
            }
            // Each number of threads meets each way.
            turn += 1;
        }
        Ok(())
    }
}

pub fn fail(reason: String) -> TestCaseResult {
    Err(TestCaseError::fail(reason))
}

/// Tensors of the same types and shapes. Their garbage shows elements that are not written.
pub fn garbage_like(tensors: &[Tensor]) -> Vec<Tensor> {
    let garbage = |tensor: &Tensor| {
        let mut tensor = Tensor::zeros(tensor.dtype(), tensor.shape()).unwrap();
        tensor.bytes_mut().fill(0xa5);
        tensor
    };
    tensors.iter().map(garbage).collect()
}

pub fn compare(got: &Tensor, want: &Tensor, place: impl Fn() -> String) -> TestCaseResult {
    if got.bytes() == want.bytes() {
        return Ok(());
    }
    let size = want.dtype().size();
    let pairs = got.bytes().chunks(size).zip(want.bytes().chunks(size));
    let different: Vec<usize> = pairs.enumerate().filter(|(_, (g, w))| g != w).map(|(at, _)| at).collect();
    let at = different[0];
    fail(format!(
        "{} of {} elements differ, first {at}: {:02x?}, expected {:02x?} (little-endian); {}",
        different.len(),
        want.len(),
        &got.bytes()[at * size..][..size],
        &want.bytes()[at * size..][..size],
        place(),
    ))
}
