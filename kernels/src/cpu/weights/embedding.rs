//! Embedding: columns of a matrix of weights.

use half::{bf16, f16};
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::{Fault, OpError};
use repops::tensor::TensorViewMut;

use super::super::contract::pack::Storage;
use super::super::{require_matrix, require_row_major};
use super::{Weights, format};
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (dtypes.first()? == &Some(DType::I64)).then_some(embedding)
}

fn embedding(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (tokens, w) = (require_row_major(inputs, 0)?, require_matrix(inputs, 1)?);
    let transposed = ctx.attrs.int("transposed") != 0;
    if w.layout == Layout::Panel16 && transposed {
        return Err(OpError::Unsupported("a transposed operand in panels".to_string()));
    }
    let n = ctx.attrs.int("columns");
    let tokens = tokens.as_slice::<i64>();
    let k = outputs[0].shape[1];
    let y = outputs[0].as_mut_slice::<f32>();
    if k == 0 {
        return Ok(());
    }
    if tokens.iter().any(|token| !(0..n).contains(token)) {
        return Err(Fault::IndexOutOfRange.into());
    }
    let weights = match (w.dtype, w.layout) {
        (DType::U8, _) => {
            let format = format(ctx.attrs)?.into();
            Some(Weights { format, bytes: w.bytes, offsets: &[], terms: k })
        }
        (_, Layout::Panel16) => Weights::panels(&w, &[], k),
        _ => None,
    };
    let strides = if transposed { (k, 1) } else { (1, n as usize) };
    let y = Shared::new(y);
    parallel_ranges(tokens.len(), 1, 16 * k, |range| {
        for at in range {
            // SAFETY: tasks write rows of their own.
            let row = unsafe { y.slice(at * k..(at + 1) * k) };
            let token = tokens[at] as usize;
            match (weights, w.dtype) {
                (Some(weights), _) => weights.column(token, row),
                (None, DType::F32) => column::<f32>(&w, token, strides, row),
                (None, DType::F16) => column::<f16>(&w, token, strides, row),
                (None, _) => column::<bf16>(&w, token, strides, row),
            }
        }
    });
    Ok(())
}

/// A column of a matrix with strides: of columns, and of positions.
fn column<S: Storage<f32>>(w: &Operand<'_>, column: usize, (outer, term): (usize, usize), to: &mut [f32]) {
    let from = &w.as_slice::<S>()[column * outer..];
    for (to, from) in to.iter_mut().zip(from.iter().step_by(term)) {
        *to = f32::narrow(from.widen());
    }
}
