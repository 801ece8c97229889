//! Resize: in mode nearest whole lines where the last axis stays, single elements where it does not; linear and
//! cubic on f32 by [`interpolate`].

use bytemuck::Pod;
use repops::dtype::DType;
use repops::ops::resize::{self, Stencil};
use repops::ops::{self, EvalCtx, OpError};
use repops::tensor::{TensorView, TensorViewMut, strides};

use super::contract::pack::with_wide_moves;
use super::interpolate::{interpolate, is_inside};
use super::{by_reference, require_row_major};
use crate::float_env::FloatEnv;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(resize)
}

fn resize(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let mut views: Vec<Option<TensorView<'_>>> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        views.push(match input {
            Some(_) => require_row_major(inputs, index)?.row_major(),
            None => None,
        });
    }
    let reference = |outputs: &mut [TensorViewMut<'_>]| {
        let def = ops::by_name("Resize").ok_or_else(|| OpError::Unsupported("Resize".to_string()))?;
        by_reference(def, ctx, inputs, outputs)
    };
    let x = require_row_major(inputs, 0)?;
    let is_nearest = ctx.attrs.str("mode") == "nearest";
    if outputs[0].bytes.is_empty() || (!is_nearest && x.dtype != DType::F32) {
        return reference(outputs);
    }
    let _env = FloatEnv::enter();
    let shape = outputs[0].shape;
    let plans = resize::plans(&EvalCtx { attrs: ctx.attrs, inputs: &views, outputs: 1 }, shape)?;
    if !is_nearest {
        if plans.is_empty() || !is_inside(&plans) {
            return reference(outputs);
        }
        interpolate(ctx.isa, x.as_slice(), x.shape, &plans, outputs[0].as_mut_slice());
        return Ok(());
    }
    // The element of X that each position takes, axis by axis.
    let mut sources: Vec<Vec<usize>> = Vec::new();
    for (axis, &extent) in shape.iter().enumerate() {
        let source: Option<Vec<usize>> = match plans.iter().find(|plan| plan.axis == axis) {
            None => Some((0..extent).collect()),
            Some(plan) => plan.stencils.iter().map(Stencil::nearest).collect(),
        };
        match source {
            Some(source) => sources.push(source),
            // Positions outside of a cropped image.
            None => return reference(outputs),
        }
    }
    let bytes = &mut *outputs[0].bytes;
    match x.dtype.size() {
        1 => nearest::<u8>(x.shape, &sources, x.bytes, bytes),
        2 => {
            nearest::<u16>(x.shape, &sources, bytemuck::cast_slice(x.bytes), bytemuck::cast_slice_mut(bytes))
        }
        4 => {
            nearest::<u32>(x.shape, &sources, bytemuck::cast_slice(x.bytes), bytemuck::cast_slice_mut(bytes))
        }
        _ => {
            nearest::<u64>(x.shape, &sources, bytemuck::cast_slice(x.bytes), bytemuck::cast_slice_mut(bytes))
        }
    }
    Ok(())
}

fn nearest<T: Pod + Send + Sync>(shape: &[usize], sources: &[Vec<usize>], x: &[T], y: &mut [T]) {
    let Some((columns, outer)) = sources.split_last() else {
        y.copy_from_slice(x);
        return;
    };
    let own = strides(shape);
    let width = columns.len();
    let whole = columns.iter().enumerate().all(|(at, from)| at == *from) && shape.last() == Some(&width);
    // Whole multiples: each element so many times.
    let times = columns.iter().take_while(|from| **from == columns[0]).count();
    let is_multiple = width.is_multiple_of(times.max(1))
        && columns.iter().enumerate().all(|(at, from)| at / times.max(1) == *from);
    let times = if is_multiple { times } else { 0 };
    let shared = Shared::new(y);
    let rows: usize = outer.iter().map(Vec::len).product();
    parallel_ranges(rows, 1, width * size_of::<T>() * 2, |range| {
        // Where the line before began: the same elements make the same line.
        let mut before = None;
        for row in range {
            let (mut rest, mut start) = (row, 0);
            for (axis, source) in outer.iter().enumerate().rev() {
                start += source[rest % source.len()] * own[axis];
                rest /= source.len();
            }
            // SAFETY: tasks write rows of their own.
            let y = unsafe { shared.slice(row * width..(row + 1) * width) };
            if before.replace(start) == Some(start) {
                // SAFETY: the line before is this task's, too, and done.
                y.copy_from_slice(unsafe { shared.slice((row - 1) * width..row * width) });
                continue;
            }
            let x = &x[start..start + shape[shape.len() - 1]];
            if whole {
                y.copy_from_slice(x);
            } else if times == 2 {
                repeat::<2, T>(x, y);
            } else if times == 4 {
                repeat::<4, T>(x, y);
            } else if times == 8 {
                repeat::<8, T>(x, y);
            } else {
                for (y, &from) in y.iter_mut().zip(columns) {
                    *y = x[from];
                }
            }
        }
    });
}

/// Each element `N` times: a length that compilers know lets them spread registers.
fn repeat<const N: usize, T: Pod>(x: &[T], y: &mut [T]) {
    with_wide_moves(
        #[inline(always)]
        || {
            for (y, &x) in y.as_chunks_mut::<N>().0.iter_mut().zip(x) {
                *y = [x; N];
            }
        },
    );
}
