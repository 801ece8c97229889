//! Pad: lines of the inside copied whole, the ends element by element.

use bytemuck::Pod;
use repops::dtype::DType;
use repops::ops::OpError;
use repops::ops::infer::normalize_axis;
use repops::tensor::{TensorViewMut, strides};

use super::super::require_row_major;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(pad)
}

fn pad(
    ctx: &KernelCtx<'_>,
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
    let y = &mut outputs[0];
    if y.bytes.is_empty() {
        return Ok(());
    }
    let pads = ints(1)?.ok_or(OpError::MissingInput { index: 1 })?;
    let axes = ints(3)?.unwrap_or_else(|| (0..x.shape.len() as i64).collect());
    let mut begins = vec![0; x.shape.len()];
    for (&axis, &begin) in axes.iter().zip(&pads) {
        begins[normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?] = begin;
    }
    let mode = ctx.attrs.str("mode");
    // The element that each position takes, axis by axis.
    let mut sources: Vec<Vec<Option<usize>>> = Vec::with_capacity(x.shape.len());
    for ((&extent, &out), &begin) in x.shape.iter().zip(y.shape).zip(&begins) {
        let positions = (0..out).map(|at| source(mode, at as i128 - i128::from(begin), extent as i128));
        sources.push(positions.collect());
    }
    let value = match inputs.get(2).copied().flatten() {
        Some(_) => require_row_major(inputs, 2)?.bytes,
        None => &[0; 8],
    };
    match x.dtype.size() {
        1 => lines::<u8>(x.shape, &sources, x.bytes, value, y.bytes),
        2 => lines::<u16>(x.shape, &sources, x.bytes, value, y.bytes),
        4 => lines::<u32>(x.shape, &sources, x.bytes, value, y.bytes),
        _ => lines::<u64>(x.shape, &sources, x.bytes, value, y.bytes),
    }
    Ok(())
}

/// What position `q` relative to an axis of `extent` reads; nothing where the constant is.
fn source(mode: &str, q: i128, extent: i128) -> Option<usize> {
    let at = match mode {
        _ if (0..extent).contains(&q) => q,
        "edge" => q.clamp(0, (extent - 1).max(0)),
        "reflect" if q < 0 => -q,
        "reflect" => 2 * (extent - 1) - q,
        "wrap" => q.rem_euclid(extent.max(1)),
        _ => return None,
    };
    usize::try_from(at).ok().filter(|_| (0..extent).contains(&at))
}

fn lines<T: Pod + Send + Sync>(
    shape: &[usize],
    sources: &[Vec<Option<usize>>],
    x: &[u8],
    value: &[u8],
    y: &mut [u8],
) {
    let (x, y): (&[T], &mut [T]) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
    let value: T = bytemuck::pod_read_unaligned(&value[..size_of::<T>()]);
    let Some((columns, outer)) = sources.split_last() else {
        y.copy_from_slice(x);
        return;
    };
    let (own, width, extent) = (strides(shape), columns.len(), shape[shape.len() - 1]);
    // The longest stretch from the first column that X itself begins: there columns follow each other.
    let low = columns.iter().position(Option::is_some).unwrap_or(width);
    let (low, first) = match columns[low..].iter().position(|&column| column == Some(0)) {
        Some(at) => (low + at, 0),
        None => (low, columns.get(low).copied().flatten().unwrap_or(0)),
    };
    let follows = columns[low..].iter().enumerate().take_while(|(i, column)| **column == Some(first + i));
    let inside = low..low + follows.count();
    let rows: usize = outer.iter().map(Vec::len).product();
    let y = Shared::new(y);
    parallel_ranges(rows, 1, width * size_of::<T>() * 2, |range| {
        for row in range {
            // SAFETY: tasks write rows of their own.
            let y = unsafe { y.slice(row * width..(row + 1) * width) };
            let (mut rest, mut start) = (row, Some(0));
            for (axis, source) in outer.iter().enumerate().rev() {
                let here = source[rest % source.len()];
                start = start.zip(here).map(|(start, here)| start + here * own[axis]);
                rest /= source.len();
            }
            let Some(start) = start else {
                y.fill(value);
                continue;
            };
            let x = &x[start..start + extent];
            let element = |column: Option<usize>| column.map_or(value, |column| x[column]);
            for (y, &column) in y[..inside.start].iter_mut().zip(columns) {
                *y = element(column);
            }
            y[inside.clone()].copy_from_slice(&x[first..first + inside.len()]);
            for (y, &column) in y[inside.end..].iter_mut().zip(&columns[inside.end..]) {
                *y = element(column);
            }
        }
    });
}
