//! Transpose, Slice and Expand: views of one tensor.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::ops::infer::normalize_axis;
use repops::tensor::{TensorViewMut, strides};

use super::super::require_row_major;
use super::copy::{View, copy_view};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_transpose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(transpose)
}

pub(crate) fn choose_slice(_: &[Option<DType>]) -> Option<Kernel> {
    Some(slice)
}

pub(crate) fn choose_expand(_: &[Option<DType>]) -> Option<Kernel> {
    Some(expand)
}

fn signed(strides: Vec<usize>) -> Vec<isize> {
    strides.into_iter().map(|s| s as isize).collect()
}

fn transpose(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let own = signed(strides(x.shape));
    let by_perm: Vec<isize> = match ctx.attrs.opt_ints("perm") {
        Some(perm) => perm.iter().map(|&axis| own[axis as usize]).collect(),
        None => own.into_iter().rev().collect(),
    };
    let y = &mut outputs[0];
    copy_view(x.dtype.size(), &View { shape: y.shape, strides: &by_perm, base: 0 }, x.bytes, y.bytes);
    Ok(())
}

fn slice(
    _: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let ints = |index: usize| -> Result<Option<Vec<i64>>, OpError> {
        match inputs.get(index).copied().flatten() {
            Some(_) => Ok(require_row_major(inputs, index)?.row_major().and_then(|t| t.to_i64s())),
            None => Ok(None),
        }
    };
    let starts = ints(1)?.ok_or(OpError::MissingInput { index: 1 })?;
    let axes = ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let y = &mut outputs[0];
    if y.bytes.is_empty() {
        return Ok(());
    }
    let (mut own, mut base) = (signed(strides(x.shape)), 0);
    for ((&axis, start), step) in axes.iter().zip(starts).zip(steps) {
        let axis = normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?;
        let extent = x.shape[axis] as i64;
        let start = if start < 0 { start.saturating_add(extent) } else { start };
        // An axis with elements left starts inside of the tensor.
        let start = if step > 0 { start.clamp(0, extent) } else { start.clamp(-1, extent - 1) };
        base += start as isize * own[axis];
        own[axis] = if y.shape[axis] == 1 { 0 } else { own[axis] * step as isize };
    }
    copy_view(x.dtype.size(), &View { shape: y.shape, strides: &own, base }, x.bytes, y.bytes);
    Ok(())
}

fn expand(
    _: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let y = &mut outputs[0];
    let own = strides(x.shape);
    let skip = y.shape.len() - x.shape.len();
    let repeated: Vec<isize> = (0..y.shape.len())
        .map(|axis| if axis < skip || x.shape[axis - skip] == 1 { 0 } else { own[axis - skip] as isize })
        .collect();
    copy_view(x.dtype.size(), &View { shape: y.shape, strides: &repeated, base: 0 }, x.bytes, y.bytes);
    Ok(())
}

pub(crate) fn choose_split(_: &[Option<DType>]) -> Option<Kernel> {
    Some(split)
}

pub(crate) fn choose_tile(_: &[Option<DType>]) -> Option<Kernel> {
    Some(tile)
}

fn split(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::Shape)?;
    let own = signed(strides(x.shape));
    let mut first = 0;
    for y in outputs {
        let view = View { shape: y.shape, strides: &own, base: first as isize * own[axis] };
        copy_view(x.dtype.size(), &view, x.bytes, y.bytes);
        first += y.shape[axis];
    }
    Ok(())
}

fn tile(
    _: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let y = &mut outputs[0];
    if y.bytes.is_empty() {
        return Ok(());
    }
    // Each axis becomes two: the repetition, which moves nothing, and the axis itself.
    let (mut shape, mut steps) = (Vec::new(), Vec::new());
    for ((&extent, &out), stride) in x.shape.iter().zip(y.shape).zip(strides(x.shape)) {
        shape.extend([out / extent, extent]);
        steps.extend([0, stride as isize]);
    }
    copy_view(x.dtype.size(), &View { shape: &shape, strides: &steps, base: 0 }, x.bytes, y.bytes);
    Ok(())
}
