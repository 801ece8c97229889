//! Reductions of axes of f32 tensors.

use repops::dtype::{DType, Element};
use repops::lane::FloatLane;
use repops::lane_op::arithmetic::{maximum, minimum};
use repops::ops::OpError;
use repops::ops::infer::normalize_axis;
use repops::tensor::{TensorViewMut, strides};

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use super::super::require_row_major;
use super::sums;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

/// What a row becomes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reduce {
    Sum,
    Mean,
    SumSquare,
    L1,
    L2,
    Max,
    Min,
}

impl Reduce {
    #[inline(always)]
    fn is_extreme(self) -> bool {
        matches!(self, Reduce::Max | Reduce::Min)
    }

    #[inline(always)]
    fn term<V: FloatLane>(self, x: V) -> V {
        match self {
            Reduce::SumSquare | Reduce::L2 => x.mul(x),
            Reduce::L1 => x.abs(),
            _ => x,
        }
    }

    #[inline(always)]
    fn finish(self, sum: f32, len: usize) -> f32 {
        let value = match self {
            Reduce::Mean => sum / len as f32,
            Reduce::L2 => sum.sqrt(),
            _ => sum,
        };
        value.canonical()
    }
}

macro_rules! reductions {
    ($($name:ident $choose:ident $kind:ident;)*) => { $(
        pub(crate) fn $choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
            fn kernel(
                ctx: &KernelCtx<'_>,
                inputs: &[Option<Operand<'_>>],
                outputs: &mut [TensorViewMut<'_>],
            ) -> Result<(), OpError> {
                reduce(ctx, Reduce::$kind, inputs, outputs)
            }
            (*dtypes.first()? == Some(DType::F32)).then_some(kernel)
        }
    )* };
}
reductions! {
    ReduceSum choose_sum Sum;
    ReduceMean choose_mean Mean;
    ReduceSumSquare choose_sum_square SumSquare;
    ReduceL1 choose_l1 L1;
    ReduceL2 choose_l2 L2;
    ReduceMax choose_max Max;
    ReduceMin choose_min Min;
}

fn reduce(
    ctx: &KernelCtx<'_>,
    kind: Reduce,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axes = match inputs.get(1).copied().flatten() {
        Some(_) => require_row_major(inputs, 1)?.row_major().and_then(|t| t.to_i64s()).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut reduced = vec![false; x.shape.len()];
    if axes.is_empty() {
        reduced.fill(ctx.attrs.int("noop_with_empty_axes") == 0);
    }
    for axis in axes {
        reduced[normalize_axis(axis, x.shape.len()).map_err(OpError::shape)?] = true;
    }
    reduce_axes(ctx, kind, x.as_slice::<f32>(), x.shape, &reduced, outputs[0].as_mut_slice::<f32>());
    Ok(())
}

/// GlobalAveragePool and GlobalMaxPool: rows of all axes after the second.
pub(crate) fn choose_global_average(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| planes(ctx, Reduce::Mean, inputs, outputs))
}

pub(crate) fn choose_global_max(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| planes(ctx, Reduce::Max, inputs, outputs))
}

fn planes(
    ctx: &KernelCtx<'_>,
    kind: Reduce,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let reduced: Vec<bool> = (0..x.shape.len()).map(|axis| axis >= 2).collect();
    reduce_axes(ctx, kind, x.as_slice::<f32>(), x.shape, &reduced, outputs[0].as_mut_slice::<f32>());
    Ok(())
}

/// Reduces the flagged axes.
fn reduce_axes(
    ctx: &KernelCtx<'_>,
    kind: Reduce,
    x: &[f32],
    shape: &[usize],
    reduced: &[bool],
    y: &mut [f32],
) {
    if y.is_empty() {
        return;
    }
    // Neighbouring axes of one kind act as one; those of extent 1 do not matter.
    let mut merged: Vec<(bool, usize)> = Vec::new();
    for (&extent, &flag) in shape.iter().zip(reduced).filter(|(extent, _)| **extent != 1) {
        match merged.last_mut() {
            Some((last, all)) if *last == flag => *all *= extent,
            _ => merged.push((flag, extent)),
        }
    }
    let (outer, len, inner) = match merged.as_slice() {
        [] => (1, 1, 1),
        [(true, len)] => (1, *len, 1),
        [(false, outer)] => (*outer, 1, 1),
        [(true, len), (false, inner)] => (1, *len, *inner),
        [(false, outer), (true, len)] => (*outer, *len, 1),
        [(false, outer), (true, len), (false, inner)] => (*outer, *len, *inner),
        _ => return gathered(ctx, kind, x, &merged, y),
    };
    let shared = Shared::new(y);
    if inner == 1 {
        parallel_ranges(outer, 1, len.max(1), |rows| {
            // SAFETY: tasks write rows of their own.
            let y = unsafe { shared.slice(rows.clone()) };
            dispatch(ctx.isa, Rows { kind, x: &x[rows.start * len..rows.end * len], len, y });
        });
        return;
    }
    // Blocks of columns, so that a single outer position is shared out too.
    let block = 64usize.min(inner);
    let blocks = inner.div_ceil(block);
    parallel_ranges(outer * blocks, 1, len.max(1) * block, |tasks| {
        for task in tasks {
            let (row, first) = (task / blocks, task % blocks * block);
            let count = block.min(inner - first);
            // SAFETY: tasks write columns of their own.
            let y = unsafe { shared.slice(row * inner + first..row * inner + first + count) };
            let x = &x[row * len * inner..(row + 1) * len * inner];
            dispatch(ctx.isa, Columns { kind, x, first, len, stride: inner, y });
        }
    });
}

/// Rows whose elements are apart in several axes: each is copied together first.
fn gathered(ctx: &KernelCtx<'_>, kind: Reduce, x: &[f32], merged: &[(bool, usize)], y: &mut [f32]) {
    let extents: Vec<usize> = merged.iter().map(|m| m.1).collect();
    let own = strides(&extents);
    let offsets = |flag: bool| -> Vec<usize> {
        let mut all = vec![0];
        for (axis, (reduced, extent)) in merged.iter().enumerate() {
            if *reduced == flag {
                all = all
                    .iter()
                    .flat_map(|base| (0..*extent).map(|i| base + i * own[axis]).collect::<Vec<_>>())
                    .collect();
            }
        }
        all
    };
    let (bases, elements) = (offsets(false), offsets(true));
    let shared = Shared::new(y);
    parallel_ranges(bases.len(), 1, elements.len().max(1), |rows| {
        with_scratch(elements.len(), |row: &mut [f32]| {
            for at in rows {
                for (to, offset) in row.iter_mut().zip(&elements) {
                    *to = x[bases[at] + offset];
                }
                // SAFETY: tasks write rows of their own.
                let y = unsafe { shared.slice(at..at + 1) };
                dispatch(ctx.isa, Rows { kind, x: row, len: elements.len(), y });
            }
        });
    });
}

/// Contiguous rows.
struct Rows<'a> {
    kind: Reduce,
    x: &'a [f32],
    len: usize,
    y: &'a mut [f32],
}

impl Vectorized for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        for (row, y) in self.y.iter_mut().enumerate() {
            let x = &self.x[row * self.len..][..self.len];
            let value = match self.kind {
                Reduce::Max => sums::extreme::<V>(x, true),
                Reduce::Min => sums::extreme::<V>(x, false),
                // The choice of the term is outside of the loop.
                Reduce::SumSquare | Reduce::L2 => sums::sum::<V>(
                    x,
                    #[inline(always)]
                    |x| x.mul(x),
                ),
                Reduce::L1 => sums::sum::<V>(
                    x,
                    #[inline(always)]
                    |x| x.abs(),
                ),
                Reduce::Sum | Reduce::Mean => sums::sum::<V>(
                    x,
                    #[inline(always)]
                    |x| x,
                ),
            };
            *y = self.kind.finish(value, self.len);
        }
    }
}

/// Columns: element `i` of column `c` is at `i * stride + c`.
struct Columns<'a> {
    kind: Reduce,
    x: &'a [f32],
    first: usize,
    len: usize,
    stride: usize,
    y: &'a mut [f32],
}

impl Vectorized for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(mut self) {
        let mut at = 0;
        while at + V::LANES <= self.y.len() {
            self.columns::<V>(at);
            at += V::LANES;
        }
        while at < self.y.len() {
            self.columns::<f32>(at);
            at += 1;
        }
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn columns<V: VectorLane>(&mut self, at: usize) {
        let kind = self.kind;
        assert!(self.len == 0 || (self.len - 1) * self.stride + self.first + at + V::LANES <= self.x.len());
        // SAFETY: in range, by the assertion; without elements nothing is read.
        let value: V = unsafe {
            let start = self.x.as_ptr().wrapping_add(self.first + at);
            if kind.is_extreme() {
                let largest = kind == Reduce::Max;
                let mut best = V::splat(if largest { f32::NEG_INFINITY } else { f32::INFINITY });
                for i in 0..self.len {
                    let x = V::load(start.add(i * self.stride));
                    best = if largest { maximum(best, x) } else { minimum(best, x) };
                }
                best
            } else {
                sums::sum_columns::<V>(
                    start,
                    self.len,
                    self.stride,
                    #[inline(always)]
                    |x| kind.term(x),
                )
            }
        };
        let mut lanes = [0.0f32; 64];
        // SAFETY: the array has at least `V::LANES` elements.
        unsafe { value.store(lanes.as_mut_ptr()) };
        for (y, lane) in self.y[at..at + V::LANES].iter_mut().zip(lanes) {
            *y = kind.finish(lane, self.len);
        }
    }
}
