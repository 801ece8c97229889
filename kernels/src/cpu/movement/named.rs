//! GatherND and GatherElements: elements that index tensors name.

use std::sync::atomic::{AtomicBool, Ordering};

use bytemuck::Pod;
use repops::dtype::DType;
use repops::ops::infer::normalize_axis;
use repops::ops::{Fault, OpError};
use repops::tensor::{TensorViewMut, element_count, strides};

use super::super::require_row_major;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_gather_nd(_: &[Option<DType>]) -> Option<Kernel> {
    Some(gather_nd)
}

pub(crate) fn choose_gather_elements(_: &[Option<DType>]) -> Option<Kernel> {
    Some(gather_elements)
}

/// The position that an index names; negative ones count from the back.
#[inline(always)]
pub(super) fn position(index: i64, extent: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(extent as i64)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < extent)
}

fn gather_nd(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (data, indices) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let batch = ctx.attrs.int("batch_dims") as usize;
    let (&width, leading) = indices.shape.split_last().ok_or(Fault::BadShape)?;
    let named = &data.shape[batch..batch + width];
    let run = element_count(&data.shape[batch + width..]) * data.dtype.size();
    let per_batch = element_count(&leading[batch..]);
    let values = indices.row_major().and_then(|t| t.to_i64s()).unwrap_or_default();
    let bad = AtomicBool::new(false);
    let y = Shared::new(outputs[0].bytes);
    parallel_ranges(values.len() / width.max(1), 1, run + 8 * width, |tuples| {
        for at in tuples {
            let tuple = &values[at * width..][..width];
            let from = tuple.iter().zip(named).try_fold(at / per_batch, |from, (&index, &extent)| {
                Some(from * extent + position(index, extent)?)
            });
            let Some(from) = from else {
                bad.store(true, Ordering::Relaxed);
                return;
            };
            // SAFETY: tasks write runs of their own.
            let to = unsafe { y.slice(at * run..(at + 1) * run) };
            to.copy_from_slice(&data.bytes[from * run..][..run]);
        }
    });
    if bad.into_inner() { Err(Fault::IndexOutOfRange.into()) } else { Ok(()) }
}

fn gather_elements(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (data, indices) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let axis = normalize_axis(ctx.attrs.int("axis"), data.shape.len()).map_err(OpError::Shape)?;
    let values = indices.row_major().and_then(|t| t.to_i64s()).unwrap_or_default();
    let y = &mut outputs[0];
    let fits = match data.dtype.size() {
        1 => elements::<u8>(data.shape, indices.shape, axis, &values, data.bytes, y.bytes),
        2 => elements::<u16>(data.shape, indices.shape, axis, &values, data.bytes, y.bytes),
        4 => elements::<u32>(data.shape, indices.shape, axis, &values, data.bytes, y.bytes),
        _ => elements::<u64>(data.shape, indices.shape, axis, &values, data.bytes, y.bytes),
    };
    if fits { Ok(()) } else { Err(Fault::IndexOutOfRange.into()) }
}

/// Line by line of the indices; whether every index was in range.
fn elements<T: Pod + Send + Sync>(
    shape: &[usize],
    full: &[usize],
    axis: usize,
    indices: &[i64],
    data: &[u8],
    y: &mut [u8],
) -> bool {
    let (data, y): (&[T], &mut [T]) = (bytemuck::cast_slice(data), bytemuck::cast_slice_mut(y));
    if y.is_empty() {
        return true;
    }
    let (own, last) = (strides(shape), full.len() - 1);
    let (extent, step, width) = (shape[axis], own[axis], full[last]);
    let bad = AtomicBool::new(false);
    let y = Shared::new(y);
    parallel_ranges(indices.len() / width, 1, 8 * width, |lines| {
        for line in lines {
            let (mut rest, mut start) = (line, 0);
            for other in (0..last).rev() {
                // The position along the axis itself comes from the index.
                if other != axis {
                    start += rest % full[other] * own[other];
                }
                rest /= full[other];
            }
            // SAFETY: tasks write lines of their own.
            let y = unsafe { y.slice(line * width..(line + 1) * width) };
            for (column, (y, &index)) in y.iter_mut().zip(&indices[line * width..]).enumerate() {
                let Some(at) = position(index, extent) else {
                    bad.store(true, Ordering::Relaxed);
                    return;
                };
                *y = data[start + at * step + if axis == last { 0 } else { column }];
            }
        }
    });
    !bad.into_inner()
}
