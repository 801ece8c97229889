//! CumSum: element after element along an axis, columns beside each other.

use repops::dtype::{DType, Element};
use repops::ops::infer::normalize_axis;
use repops::ops::{Fault, OpError};
use repops::reduce::Accumulate;
use repops::tensor::{TensorViewMut, element_count};

use super::require_row_major;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    match (*dtypes.first()?)? {
        DType::F32 => Some(sum::<f32>),
        DType::F64 => Some(sum::<f64>),
        DType::I32 => Some(sum::<i32>),
        DType::I64 => Some(sum::<i64>),
        DType::U32 => Some(sum::<u32>),
        DType::U64 => Some(sum::<u64>),
        _ => None,
    }
}

/// Columns that a task sums at a time.
const COLUMNS: usize = 64;

fn sum<T: Element + Accumulate>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = require_row_major(inputs, 1)?.row_major().and_then(|t| t.to_i64s());
    let axis = axis.and_then(|axis| axis.first().copied()).unwrap_or(0);
    let axis = normalize_axis(axis, x.shape.len()).map_err(|_| Fault::IndexOutOfRange)?;
    let (exclusive, reverse) = (ctx.attrs.int("exclusive") != 0, ctx.attrs.int("reverse") != 0);
    if x.is_empty() {
        return Ok(());
    }
    let (len, inner) = (x.shape[axis], element_count(&x.shape[axis + 1..]));
    let outer = element_count(&x.shape[..axis]);
    let blocks = inner.div_ceil(COLUMNS);
    let (x, y) = (x.as_slice::<T>(), Shared::new(outputs[0].as_mut_slice::<T>()));
    parallel_ranges(outer * blocks, 1, 4 * len * COLUMNS.min(inner), |tasks| {
        for task in tasks {
            let (row, first) = (task / blocks, task % blocks * COLUMNS);
            let count = COLUMNS.min(inner - first);
            let mut sums = [T::ZERO; COLUMNS];
            for i in 0..len {
                let at = (row * len + if reverse { len - 1 - i } else { i }) * inner + first;
                // SAFETY: tasks write columns of their own.
                let y = unsafe { y.slice(at..at + count) };
                for ((y, sum), &x) in y.iter_mut().zip(&mut sums).zip(&x[at..at + count]) {
                    let before = *sum;
                    *sum = before.add(x);
                    *y = (if exclusive { before } else { *sum }).canonical();
                }
            }
        }
    });
    Ok(())
}
