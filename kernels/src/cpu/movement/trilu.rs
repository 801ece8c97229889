//! Trilu: what lies on one side of a diagonal, zeros elsewhere.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::super::require_row_major;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(trilu)
}

fn trilu(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    if x.is_empty() {
        return Ok(());
    }
    let k = match inputs.get(1).copied().flatten() {
        Some(_) => require_row_major(inputs, 1)?.as_slice::<i64>().first().copied().unwrap_or(0),
        None => 0,
    };
    let upper = ctx.attrs.int("upper") != 0;
    let (rows, columns) = (x.shape[x.shape.len() - 2], x.shape[x.shape.len() - 1]);
    let size = x.dtype.size();
    let line = columns * size;
    let y = Shared::new(outputs[0].bytes);
    parallel_ranges(x.len() / columns, 1, line, |lines| {
        for at in lines {
            // The first column on the diagonal or, of the lower part, after it.
            let diagonal = (at % rows) as i128 + i128::from(k) + i128::from(!upper);
            let cut = diagonal.clamp(0, columns as i128) as usize * size;
            let from = &x.bytes[at * line..][..line];
            // SAFETY: tasks write lines of their own.
            let to = unsafe { y.slice(at * line..(at + 1) * line) };
            to.copy_from_slice(from);
            if upper { &mut to[..cut] } else { &mut to[cut..] }.fill(0);
        }
    });
    Ok(())
}
