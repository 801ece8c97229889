//! ArgMax and ArgMin: where the largest or smallest element along an axis is.

use repops::dtype::{DType, Element};
use repops::ops::OpError;
use repops::ops::infer::normalize_axis;
use repops::tensor::{TensorViewMut, element_count};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use super::require_row_major;
use super::rows::sums;
use super::typed::halves::{widen_bf16, widen_f16};
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_max(dtypes: &[Option<DType>]) -> Option<Kernel> {
    is_wide(dtypes).then_some(|ctx, inputs, outputs| arg(ctx, true, inputs, outputs))
}

pub(crate) fn choose_min(dtypes: &[Option<DType>]) -> Option<Kernel> {
    is_wide(dtypes).then_some(|ctx, inputs, outputs| arg(ctx, false, inputs, outputs))
}

fn is_wide(dtypes: &[Option<DType>]) -> bool {
    matches!(dtypes.first(), Some(Some(dtype)) if !dtype.is_narrow())
}

fn arg(
    ctx: &KernelCtx<'_>,
    largest: bool,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let inner = element_count(&x.shape[axis + 1..]);
    let last = ctx.attrs.int("select_last_index") != 0;
    let plan = Plan { len: x.shape[axis], inner, largest, last };
    let y = outputs[0].as_mut_slice::<i64>();
    if let (DType::F32, 1) = (x.dtype, inner) {
        plan.rows(ctx, x.as_slice::<f32>(), y);
        return Ok(());
    }
    match x.dtype {
        DType::F32 => plan.columns(x.as_slice::<f32>(), y, |v| v),
        DType::F64 => plan.columns(x.as_slice::<f64>(), y, |v| v),
        DType::F16 => plan.columns(x.as_slice::<half::f16>(), y, widen_f16),
        DType::BF16 => plan.columns(x.as_slice::<half::bf16>(), y, widen_bf16),
        DType::U8 | DType::Bool => plan.columns::<u8, _>(x.bytes, y, |v| v),
        DType::I8 => plan.columns(x.as_slice::<i8>(), y, |v| v),
        DType::U16 => plan.columns(x.as_slice::<u16>(), y, |v| v),
        DType::I16 => plan.columns(x.as_slice::<i16>(), y, |v| v),
        DType::U32 => plan.columns(x.as_slice::<u32>(), y, |v| v),
        DType::I32 => plan.columns(x.as_slice::<i32>(), y, |v| v),
        DType::U64 => plan.columns(x.as_slice::<u64>(), y, |v| v),
        DType::I64 => plan.columns(x.as_slice::<i64>(), y, |v| v),
        other => return Err(OpError::Unsupported(format!("an extreme of {other}"))),
    }
    Ok(())
}

struct Plan {
    /// Elements along the axis: at least one.
    len: usize,
    /// Columns that lie beside each other.
    inner: usize,
    largest: bool,
    /// Of equal elements the last, not the first.
    last: bool,
}

/// Columns whose best elements are kept at a time.
const COLUMNS: usize = 64;

impl Plan {
    fn rows(&self, ctx: &KernelCtx<'_>, x: &[f32], y: &mut [i64]) {
        let count = y.len();
        let y = Shared::new(y);
        parallel_ranges(count, 1, 2 * self.len, |rows| {
            for row in rows {
                let task =
                    Row { x: &x[row * self.len..][..self.len], largest: self.largest, last: self.last };
                // SAFETY: tasks write elements of their own.
                let y = unsafe { y.slice(row..row + 1) };
                y[0] = dispatch(ctx.isa, task) as i64;
            }
        });
    }

    /// The best of each column, `key` being what is compared.
    fn columns<T: Element, K: PartialOrd + Copy>(
        &self,
        x: &[T],
        y: &mut [i64],
        key: impl Fn(T) -> K + Copy + Sync,
    ) {
        let &Plan { len, inner, largest, last } = self;
        if y.is_empty() {
            return;
        }
        let blocks = inner.div_ceil(COLUMNS);
        let outer = y.len() / inner;
        let y = Shared::new(y);
        // NaN, which equals no number, goes before any.
        let precedes = move |a: K, b: K| {
            let nan = |v: K| v.partial_cmp(&v).is_none();
            if nan(a) {
                !nan(b)
            } else if largest {
                a > b
            } else {
                a < b
            }
        };
        parallel_ranges(outer * blocks, 1, 4 * len * COLUMNS.min(inner), |tasks| {
            for task in tasks {
                let (row, first) = (task / blocks, task % blocks * COLUMNS);
                let count = COLUMNS.min(inner - first);
                let x = &x[row * len * inner + first..];
                // SAFETY: tasks write columns of their own.
                let y = unsafe { y.slice(row * inner + first..row * inner + first + count) };
                y.fill(0);
                let mut best = [key(x[0]); COLUMNS];
                for (best, &x) in best.iter_mut().zip(&x[..count]) {
                    *best = key(x);
                }
                for i in 1..len {
                    let line = &x[i * inner..][..count];
                    for ((y, best), &x) in y.iter_mut().zip(&mut best).zip(line) {
                        let x = key(x);
                        if if last { !precedes(*best, x) } else { precedes(x, *best) } {
                            (*y, *best) = (i as i64, x);
                        }
                    }
                }
            }
        });
    }
}

/// A row of f32: its extreme first, then where it is.
struct Row<'a> {
    x: &'a [f32],
    largest: bool,
    last: bool,
}

impl Vectorized for Row<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<V: VectorLane>(self) -> usize {
        let best = sums::extreme::<V>(self.x, self.largest);
        // Zeros of both signs are equal; the extreme of a row with NaN is NaN.
        let is_best = |&x: &f32| x == best || (best.is_nan() && x.is_nan());
        let found =
            if self.last { self.x.iter().rposition(is_best) } else { self.x.iter().position(is_best) };
        found.unwrap_or(0)
    }
}
