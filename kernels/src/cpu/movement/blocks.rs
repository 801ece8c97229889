//! DepthToSpace and SpaceToDepth: six axes in another order.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::{TensorViewMut, strides};

use super::super::require_row_major;
use super::copy::{View, copy_view};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_depth_to_space(_: &[Option<DType>]) -> Option<Kernel> {
    Some(depth_to_space)
}

pub(crate) fn choose_space_to_depth(_: &[Option<DType>]) -> Option<Kernel> {
    Some(space_to_depth)
}

fn depth_to_space(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let y = &mut outputs[0];
    let b = ctx.attrs.int("blocksize") as usize;
    let [n, c, h, w] = [x.shape[0], y.shape[1], x.shape[2], x.shape[3]];
    // Y's axes are [n, c, y, row in block, x, column in block].
    if ctx.attrs.str("mode") == "DCR" {
        reorder(&x, [n, b, b, c, h, w], [0, 3, 4, 1, 5, 2], y);
    } else {
        reorder(&x, [n, c, b, b, h, w], [0, 1, 4, 2, 5, 3], y);
    }
    Ok(())
}

fn space_to_depth(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let y = &mut outputs[0];
    let b = ctx.attrs.int("blocksize") as usize;
    // Y's channels are [row in block, column in block, c], or c first.
    let order = if ctx.attrs.str("mode") == "DCR" { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
    reorder(&x, [x.shape[0], x.shape[1], y.shape[2], b, y.shape[3], b], order, y);
    Ok(())
}

/// Y: the axes of X, whose extents are `six`, in another order.
fn reorder(x: &Operand<'_>, six: [usize; 6], order: [usize; 6], y: &mut TensorViewMut<'_>) {
    let own = strides(&six);
    let (shape, steps) = (order.map(|a| six[a]), order.map(|a| own[a] as isize));
    copy_view(x.dtype.size(), &View { shape: &shape, strides: &steps, base: 0 }, x.bytes, y.bytes);
}
