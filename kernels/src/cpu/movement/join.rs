//! Concat and Gather: runs of elements from several places.

use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::infer::normalize_axis;
use repops::ops::{Fault, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::super::{require_matrix, require_row_major};
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

/// Columns of a panel.
const PANEL: usize = 16;

pub(crate) fn choose_concat(_: &[Option<DType>]) -> Option<Kernel> {
    Some(concat)
}

pub(crate) fn choose_gather(_: &[Option<DType>]) -> Option<Kernel> {
    Some(gather)
}

fn concat(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let y = &mut outputs[0];
    let axis = normalize_axis(ctx.attrs.int("axis"), y.shape.len()).map_err(OpError::Shape)?;
    let outer = element_count(&y.shape[..axis]);
    let line = element_count(&y.shape[axis..]) * y.dtype.size();
    if outer * line == 0 {
        return Ok(());
    }
    let shared = Shared::new(y.bytes);
    let mut start = 0;
    for index in 0..inputs.len() {
        let x = require_row_major(inputs, index)?;
        // What one outer position contributes; a single one is cut, so that threads share it.
        let run = x.bytes.len() / outer;
        let piece = if outer == 1 { 1 << 16 } else { run.max(1) };
        parallel_ranges(x.bytes.len().div_ceil(piece), 1, piece, |pieces| {
            for at in pieces {
                let from = &x.bytes[at * piece..x.bytes.len().min((at + 1) * piece)];
                let to = if outer == 1 { start + at * piece } else { at * line + start };
                // SAFETY: every piece has its own place in the output.
                unsafe { shared.slice(to..to + from.len()) }.copy_from_slice(from);
            }
        });
        start += run;
    }
    Ok(())
}

fn gather(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let data = require_matrix(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), data.shape.len()).map_err(OpError::Shape)?;
    let (outer, extent) = (element_count(&data.shape[..axis]), data.shape[axis]);
    let size = data.dtype.size();
    let run = element_count(&data.shape[axis + 1..]) * size;
    let indices = require_row_major(inputs, 1)?.row_major().and_then(|t| t.to_i64s()).unwrap_or_default();
    let position = |index: i64| {
        let at = if index < 0 { index.checked_add(extent as i64) } else { Some(index) };
        at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < extent).ok_or(Fault::IndexOutOfRange)
    };
    let indices: Vec<usize> = indices.into_iter().map(position).collect::<Result<_, Fault>>()?;
    let y = Shared::new(outputs[0].bytes);
    if run == 0 || indices.is_empty() {
        return Ok(());
    }
    let panels = data.layout == Layout::Panel16;
    if panels && (data.shape.len() != 2 || axis != 0) {
        return Err(OpError::Unsupported("a gather along columns of panels".to_string()));
    }
    parallel_ranges(outer * indices.len(), 1, run, |range| {
        for at in range {
            let (a, row) = (at / indices.len(), indices[at % indices.len()]);
            // SAFETY: tasks write runs of their own.
            let to = unsafe { y.slice(at * run..(at + 1) * run) };
            if panels {
                // Element (row, column) is at (column / 16 * rows + row) * 16 + column % 16.
                for (panel, to) in to.chunks_mut(PANEL * size).enumerate() {
                    let start = (panel * extent + row) * PANEL * size;
                    to.copy_from_slice(&data.bytes[start..][..to.len()]);
                }
            } else {
                to.copy_from_slice(&data.bytes[(a * extent + row) * run..][..run]);
            }
        }
    });
    Ok(())
}
