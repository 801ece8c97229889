//! Steps of products and a region over them.
//!
//! All products but the last go into memory of their own, the last one where the first output goes: the region is evaluated
//! in its place, by the product's kernel wherever a part of it is done and still in the cache (an [`Epilogue`]), or after the
//! kernel. Invariant: elements do not depend on one another, so it does not matter when each is evaluated.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use repops::dtype::DType;
use repops::ops::{self, OpError};
use repops::region::{PARAMS_MAX, Product, Region, RegionKernel};
use repops::tensor::{TensorView, TensorViewMut, element_count};

use super::elementwise::broadcast::{Elements, RUN_MIN};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{KernelCtx, Operand, lookup};

/// What an element of a region costs, as [`parallel_ranges`] counts it.
const COST: usize = 16;

/// What is done with the results of a kernel as soon as they are there: they are replaced.
pub struct Epilogue<'a> {
    elements: Elements<'a>,
    simple: Option<Simple<'a>>,
    claimed: AtomicBool,
}

/// An epilogue of so little that tiles do it while results are in registers: `relu(result + addend)`, or one of both.
#[derive(Clone, Copy)]
pub(crate) struct Simple<'a> {
    /// An element for each result.
    pub addend: Option<&'a [f32]>,
    /// An element for each channel, which is the second axis of four: instead of an addend.
    pub by_channel: Option<&'a [f32]>,
    /// An element for each place along the last axis: instead of an addend.
    pub by_column: Option<&'a [f32]>,
    pub relu: bool,
}

impl<'a> Simple<'a> {
    /// `None` where the region is none, `own` the value that is replaced.
    fn new(region: &Region, own: usize, full: &[usize], params: &[TensorView<'a>]) -> Option<Simple<'a>> {
        let ([result], last) = (&region.results[..], params.len() + region.instructions.len() - 1) else {
            return None;
        };
        let mut simple = Simple { addend: None, by_channel: None, by_column: None, relu: false };
        let mut value = own;
        for (at, instruction) in region.instructions.iter().enumerate() {
            let name = ops::by_id(instruction.op, instruction.version)?.name;
            let args: Vec<usize> = instruction.args.iter().map(|&arg| usize::from(arg)).collect();
            match (name, &args[..]) {
                ("Relu", &[arg]) if arg == value && !simple.relu => simple.relu = true,
                // Sums commute, and what they make of NaNs is canonical.
                ("Add", &[a, b]) if (a == value) != (b == value) && at == 0 => {
                    let addend = params.get(if a == value { b } else { a })?;
                    let values = (addend.dtype == DType::F32).then(|| bytemuck::cast_slice(addend.bytes))?;
                    match (addend.shape, full) {
                        (shape, full) if shape == full => simple.addend = Some(values),
                        ([1, channels, 1, 1] | [channels, 1, 1], [_, all, _, _]) if channels == all => {
                            simple.by_channel = Some(values);
                        }
                        ([ones @ .., columns], [.., all])
                            if columns == all && ones.iter().all(|one| *one == 1) =>
                        {
                            simple.by_column = Some(values);
                        }
                        _ => return None,
                    }
                }
                _ => return None,
            }
            value = params.len() + at;
        }
        (usize::from(*result) == last).then_some(simple)
    }
}

impl Epilogue<'_> {
    /// Says that the kernel applies it, once to every result.
    pub(crate) fn claim(&self) -> &Self {
        self.claimed.store(true, Ordering::Relaxed);
        self
    }

    /// Says that the kernel has computed its results again and did not apply it to them.
    pub(crate) fn disclaim(&self) {
        self.claimed.store(false, Ordering::Relaxed);
    }

    /// What tiles may do instead of [`Epilogue::apply`], all of it.
    pub(crate) fn simple(&self) -> Option<Simple<'_>> {
        self.simple.filter(|simple| simple.by_channel.is_none() && simple.by_column.is_none())
    }

    /// The same of rows of so many columns.
    pub(crate) fn simple_by_column(&self, columns: usize) -> Option<Simple<'_>> {
        let fits = |by_column: &[f32]| by_column.len() == columns;
        self.simple.filter(|simple| simple.by_channel.is_none() && simple.by_column.is_none_or(fits))
    }

    /// What a kernel of images may do instead, all of it, if it adds no element to each result.
    pub(crate) fn simple_by_channel(&self) -> Option<Simple<'_>> {
        self.simple.filter(|simple| simple.addend.is_none() && simple.by_column.is_none())
    }

    /// Replaces results, of which `run` holds those from number `first` on.
    pub(crate) fn apply(&self, first: usize, run: &mut [f32]) {
        self.elements.evaluate(first..first + run.len(), Some(bytemuck::cast_slice_mut(run)));
    }

    /// The same for rows `pitch` long from number `first` on, of which each has results in `within`.
    ///
    /// # Safety
    /// `results` is where result 0 is; the rows exist, and no other thread is at these results meanwhile.
    pub(crate) unsafe fn apply_rows(
        &self,
        results: Shared<f32>,
        first: usize,
        rows: usize,
        pitch: usize,
        within: Range<usize>,
    ) {
        // A block may lie between lines of which nothing is kept.
        if within.is_empty() {
            return;
        }
        // Whole rows follow each other.
        let (rows, pitch, within) =
            if within == (0..pitch) { (1, 0, 0..rows * pitch) } else { (rows, pitch, within) };
        if within.len() < RUN_MIN && rows > 1 {
            let first = first + within.start;
            // SAFETY: the caller's promise.
            return unsafe { self.elements.evaluate_rows(results, first, rows, pitch, within.len()) };
        }
        for row in 0..rows {
            let start = first + row * pitch + within.start;
            // SAFETY: the caller's promise.
            self.apply(start, unsafe { results.slice(start..start + within.len()) });
        }
    }
}

/// Computes a step with products: inputs in the step's order, outputs of the shape that all products have.
pub fn evaluate_products(
    isa: Isa,
    region: &Region,
    kernel: &dyn RegionKernel,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let full = outputs[0].shape;
    let (total, last) = (element_count(full), region.products.len() - 1);
    // The first output may be of another type than the product.
    let in_place = outputs[0].dtype == DType::F32;
    let stored = if in_place { last } else { last + 1 };
    with_scratch(stored * total, |scratch: &mut [f32]| {
        for ((product, range), to) in region.products().zip(scratch.chunks_exact_mut(total.max(1))) {
            let to = TensorViewMut { dtype: DType::F32, shape: full, bytes: bytemuck::cast_slice_mut(to) };
            compute(isa, product, &inputs[range], to, None)?;
        }
        let of_scratch = scratch.chunks_exact(total.max(1));
        let bytes = of_scratch.map(bytemuck::cast_slice::<f32, u8>);
        let products = bytes.chain(std::iter::repeat(&[][..])).take(last + 1);
        let mut params: Vec<TensorView<'_>> =
            products.map(|bytes| TensorView { dtype: DType::F32, shape: full, bytes }).collect();
        for (index, input) in inputs.iter().enumerate().skip(region.first_elementwise()) {
            let input = input.as_ref().and_then(Operand::row_major);
            params.push(input.ok_or(OpError::MissingInput { index })?);
        }
        assert!(params.len() <= PARAMS_MAX);
        if total == 0 {
            return Ok(());
        }
        let own = in_place.then_some(last);
        let simple = own.and_then(|own| Simple::new(region, own, full, &params));
        let elements = Elements::new(kernel, full, &params, outputs, own);
        if !in_place {
            parallel_ranges(total, 512, COST, |range| elements.evaluate(range, None));
            return Ok(());
        }
        let epilogue = Epilogue { elements, simple, claimed: AtomicBool::new(false) };
        let y = &mut outputs[0];
        let Some((product, range)) = region.products().last() else { return Ok(()) };
        let to = TensorViewMut { dtype: DType::F32, shape: full, bytes: &mut *y.bytes };
        compute(isa, product, &inputs[range], to, Some(&epilogue))?;
        if !epilogue.claimed.load(Ordering::Relaxed) {
            let results = Shared::new(y.as_mut_slice::<f32>());
            parallel_ranges(total, 512, COST, |range| {
                // SAFETY: ranges do not overlap.
                epilogue.apply(range.start, unsafe { results.slice(range) });
            });
        }
        Ok(())
    })
}

fn compute(
    isa: Isa,
    product: &Product,
    inputs: &[Option<Operand<'_>>],
    to: TensorViewMut<'_>,
    epilogue: Option<&Epilogue<'_>>,
) -> Result<(), OpError> {
    let dtypes: Vec<_> = inputs.iter().map(|o| o.as_ref().map(|o| o.dtype)).collect();
    let kernel = lookup(product.op, product.version, &dtypes);
    let kernel =
        kernel.ok_or_else(|| OpError::Unsupported(format!("{} has no kernel", product.def().name)))?;
    kernel(&KernelCtx { isa, attrs: &product.attrs, epilogue }, inputs, &mut [to])
}
