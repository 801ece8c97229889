//! ScatterND and ScatterElements that replace elements; those that combine them are the reference's.

use repops::dtype::DType;
use repops::ops::infer::normalize_axis;
use repops::ops::{self, Fault, OpError};
use repops::tensor::{TensorViewMut, element_count, strides};

use super::super::{by_reference, require_row_major};
use super::named::position;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_nd(_: &[Option<DType>]) -> Option<Kernel> {
    Some(scatter_nd)
}

pub(crate) fn choose_elements(_: &[Option<DType>]) -> Option<Kernel> {
    Some(scatter_elements)
}

fn combines(ctx: &KernelCtx<'_>) -> bool {
    ctx.attrs.str("reduction") != "none"
}

/// Updates are applied in ascending order, so that of several of one element the last stays.
fn scatter_nd(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    if combines(ctx) {
        let def = ops::by_name("ScatterND").ok_or_else(|| OpError::Unsupported("ScatterND".to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    let (data, indices) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let updates = require_row_major(inputs, 2)?;
    let y = &mut *outputs[0].bytes;
    y.copy_from_slice(data.bytes);
    let &width = indices.shape.last().ok_or(Fault::BadShape)?;
    let named = &data.shape[..width];
    let run = element_count(&data.shape[width..]) * data.dtype.size();
    let values = indices.row_major().and_then(|t| t.to_i64s()).unwrap_or_default();
    for (at, tuple) in values.chunks_exact(width.max(1)).enumerate() {
        let to = tuple
            .iter()
            .zip(named)
            .try_fold(0, |to, (&index, &extent)| Some(to * extent + position(index, extent)?));
        let to = to.ok_or(Fault::IndexOutOfRange)?;
        y[to * run..][..run].copy_from_slice(&updates.bytes[at * run..][..run]);
    }
    Ok(())
}

fn scatter_elements(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    if combines(ctx) {
        let name = "ScatterElements";
        let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    let (data, indices) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let updates = require_row_major(inputs, 2)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), data.shape.len()).map_err(OpError::Shape)?;
    let y = &mut *outputs[0].bytes;
    y.copy_from_slice(data.bytes);
    let (size, full) = (data.dtype.size(), indices.shape);
    let (own, last) = (strides(data.shape), full.len() - 1);
    let values = indices.row_major().and_then(|t| t.to_i64s()).unwrap_or_default();
    if values.is_empty() {
        return Ok(());
    }
    let lines = values.chunks_exact(full[last]).zip(updates.bytes.chunks_exact(full[last] * size));
    for (line, (indices, updates)) in lines.enumerate() {
        let (mut rest, mut start) = (line, 0);
        for other in (0..last).rev() {
            // The position along the axis itself comes from the index.
            if other != axis {
                start += rest % full[other] * own[other];
            }
            rest /= full[other];
        }
        for (column, (&index, update)) in indices.iter().zip(updates.chunks_exact(size)).enumerate() {
            let at = position(index, data.shape[axis]).ok_or(Fault::IndexOutOfRange)?;
            let to = start + at * own[axis] + if axis == last { 0 } else { column };
            y[to * size..][..size].copy_from_slice(update);
        }
    }
    Ok(())
}
