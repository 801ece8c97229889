//! Softmax and LogSoftmax of f32.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::ops::infer::normalize_axis;
use repops::scalar;
use repops::tensor::{TensorViewMut, element_count};

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use super::super::require_row_major;
use super::sums;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| along_axis(ctx, false, inputs, outputs))
}

pub(crate) fn choose_log(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| along_axis(ctx, true, inputs, outputs))
}

fn along_axis(
    ctx: &KernelCtx<'_>,
    log: bool,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let (outer, len) = (element_count(&x.shape[..axis]), x.shape[axis]);
    let inner = element_count(&x.shape[axis + 1..]);
    let (x, y) = (x.as_slice::<f32>(), outputs[0].as_mut_slice::<f32>());
    if y.is_empty() {
        return Ok(());
    }
    let shared = Shared::new(y);
    // An exponential costs about as much as 8 moves.
    if inner == 1 {
        parallel_ranges(outer, 1, 8 * len, |rows| {
            // SAFETY: tasks write rows of their own.
            let y = unsafe { shared.slice(rows.start * len..rows.end * len) };
            dispatch(ctx.isa, Softmax { log, x: &x[rows.start * len..rows.end * len], len, y });
        });
        return Ok(());
    }
    // Elements of a row are apart: a few neighbouring rows are copied together, and back.
    const TOGETHER: usize = 16;
    let groups = inner.div_ceil(TOGETHER);
    parallel_ranges(outer * groups, 1, 8 * len * TOGETHER, |tasks| {
        for task in tasks {
            let (base, first) = (task / groups * len * inner, task % groups * TOGETHER);
            let count = TOGETHER.min(inner - first);
            with_scratch(2 * count * len, |scratch: &mut [f32]| {
                let (from, to) = scratch.split_at_mut(count * len);
                for i in 0..len {
                    for c in 0..count {
                        from[c * len + i] = x[base + i * inner + first + c];
                    }
                }
                dispatch(ctx.isa, Softmax { log, x: from, len, y: to });
                for i in 0..len {
                    let start = base + i * inner + first;
                    // SAFETY: tasks write rows of their own.
                    let y = unsafe { shared.slice(start..start + count) };
                    for (c, y) in y.iter_mut().enumerate() {
                        *y = to[c * len + i];
                    }
                }
            });
        }
    });
    Ok(())
}

/// Contiguous rows.
struct Softmax<'a> {
    log: bool,
    x: &'a [f32],
    len: usize,
    y: &'a mut [f32],
}

impl Vectorized for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        for (x, y) in self.x.chunks_exact(self.len).zip(self.y.chunks_exact_mut(self.len)) {
            // A NaN in the row makes the sum NaN and thereby all results, whatever is subtracted.
            let max = V::splat(sums::greatest_number::<V>(x));
            // What is summed up is stored on the way: exponentials, or differences.
            let sum = sums::sum_terms::<V>(
                x.len(),
                #[inline(always)]
                |at, count| {
                    let d = sums::load::<V>(x, at, count).sub(max);
                    let e = scalar::softmax_exp(d);
                    sums::store(if self.log { d } else { e }, &mut y[at..at + count]);
                    e
                },
            );
            if self.log {
                let log = V::splat(scalar::log(sum));
                sums::in_place::<V>(
                    y,
                    #[inline(always)]
                    |d| d.sub(log).canonical_nan(),
                );
            } else {
                if sum.is_nan() {
                    y.fill(repops::dtype::NAN_F32);
                    continue;
                }
                let factor = V::splat(1.0 / sum);
                sums::in_place::<V>(
                    y,
                    #[inline(always)]
                    |e| e.mul(factor),
                );
            }
        }
    }
}
