//! Copying a strided view of a tensor into a row-major one.
//!
//! Invariant: element `i` of the output, in row-major order of `shape`, is the input's element at
//! `base + sum of position * stride`.

use bytemuck::Pod;
use repops::tensor::element_count;

use crate::parallel::{Shared, parallel_ranges};

/// What to copy, in elements.
pub(crate) struct View<'a> {
    pub shape: &'a [usize],
    pub strides: &'a [isize],
    pub base: isize,
}

/// Copies elements of `size` bytes. Every offset that the view reaches is inside of `from`; checked.
pub(crate) fn copy_view(size: usize, view: &View<'_>, from: &[u8], to: &mut [u8]) {
    match size {
        1 => copy_elements::<u8>(view, from, to),
        2 => copy_elements::<u16>(view, bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to)),
        4 => copy_elements::<u32>(view, bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to)),
        _ => copy_elements::<u64>(view, bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to)),
    }
}

/// An axis of the copy: extent, and strides of input and output.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    from: isize,
    to: usize,
}

fn copy_elements<T: Pod + Send + Sync>(view: &View<'_>, from: &[T], to: &mut [T]) {
    let total = element_count(view.shape);
    assert!(to.len() == total && view.shape.len() == view.strides.len());
    if total == 0 {
        return;
    }
    let reach = |pick: fn(isize) -> bool| -> isize {
        let far = |(&extent, &stride): (&usize, &isize)| {
            if pick(stride) { (extent as isize - 1) * stride } else { 0 }
        };
        view.base + view.shape.iter().zip(view.strides).map(far).sum::<isize>()
    };
    assert!(reach(|s| s < 0) >= 0 && (reach(|s| s > 0) as usize) < from.len(), "a view inside of the tensor");
    let mut axes: Vec<Axis> = Vec::new();
    let mut own = total;
    for (&extent, &stride) in view.shape.iter().zip(view.strides) {
        own /= extent;
        if extent == 1 {
            continue;
        }
        match axes.last_mut() {
            // The axis continues the one before it, in the input as it does in the output.
            Some(last) if last.from == stride * extent as isize => {
                *last = Axis { extent: last.extent * extent, from: stride, to: own };
            }
            _ => axes.push(Axis { extent, from: stride, to: own }),
        }
    }
    let inner = axes.pop().unwrap_or(Axis { extent: 1, from: 1, to: 1 });
    let target = Shared::new(to);
    // A transposition: another axis is contiguous in the input.
    if inner.from != 1
        && inner.from != 0
        && let Some(at) = axes.iter().position(|axis| axis.from == 1)
    {
        let across = axes.remove(at);
        transpose(&axes, across, inner, view.base, from, target);
        return;
    }
    let rows = total / inner.extent;
    parallel_ranges(rows, 1, inner.extent * size_of::<T>(), |range| {
        each_row(&axes, range, |row_from, row_to| {
            // SAFETY: rows of the output do not overlap and are inside of it.
            let to = unsafe { target.slice(row_to..row_to + inner.extent) };
            let start = view.base + row_from;
            match inner.from {
                1 => to.copy_from_slice(&from[start as usize..][..inner.extent]),
                0 => to.fill(from[start as usize]),
                step => {
                    let mut at = start;
                    for to in to {
                        *to = from[at as usize];
                        at += step;
                    }
                }
            }
        });
    });
}

/// Visits the rows of a range: where each starts in the input (from the base) and in the output.
fn each_row(axes: &[Axis], range: std::ops::Range<usize>, mut visit: impl FnMut(isize, usize)) {
    let mut positions = vec![0usize; axes.len()];
    let (mut from, mut to, mut rest) = (0isize, 0usize, range.start);
    for (position, axis) in positions.iter_mut().zip(axes).rev() {
        *position = rest % axis.extent;
        rest /= axis.extent;
        from += *position as isize * axis.from;
        to += *position * axis.to;
    }
    for _ in range {
        visit(from, to);
        for (position, axis) in positions.iter_mut().zip(axes).rev() {
            *position += 1;
            from += axis.from;
            to += axis.to;
            if *position < axis.extent {
                break;
            }
            from -= axis.extent as isize * axis.from;
            to -= axis.extent * axis.to;
            *position = 0;
        }
    }
}

/// Edge of the squares that a transposition moves at a time.
const SQUARE: usize = 8;
/// Squares a strip, so that a strip's lines stay in the first-level cache.
const STRIP: usize = 64;

/// `to[a * across.to + b] = from[a + b * inner.from]` for every outer position.
fn transpose<T: Pod + Send + Sync>(
    outer: &[Axis],
    across: Axis,
    inner: Axis,
    base: isize,
    from: &[T],
    target: Shared<T>,
) {
    let rows: usize = outer.iter().map(|axis| axis.extent).product();
    let strips = across.extent.div_ceil(STRIP);
    parallel_ranges(rows * strips, 1, STRIP * inner.extent * size_of::<T>() * 2, |tasks| {
        for task in tasks {
            let (row, strip) = (task / strips, task % strips * STRIP);
            each_row(outer, row..row + 1, |row_from, row_to| {
                let a_end = across.extent.min(strip + STRIP);
                for b in (0..inner.extent).step_by(SQUARE) {
                    for a in (strip..a_end).step_by(SQUARE) {
                        let (high, wide) = (SQUARE.min(a_end - a), SQUARE.min(inner.extent - b));
                        let start = base + row_from + a as isize + b as isize * inner.from;
                        let end = row_to + a * across.to + b;
                        if high == SQUARE && wide == SQUARE {
                            let mut square = [[T::zeroed(); SQUARE]; SQUARE];
                            for (i, line) in square.iter_mut().enumerate() {
                                let at = (start + i as isize * inner.from) as usize;
                                line.copy_from_slice(&from[at..at + SQUARE]);
                            }
                            for i in 0..SQUARE {
                                let at = end + i * across.to;
                                // SAFETY: squares of the output do not overlap and are inside of it.
                                let to = unsafe { target.slice(at..at + SQUARE) };
                                for (to, line) in to.iter_mut().zip(&square) {
                                    *to = line[i];
                                }
                            }
                            continue;
                        }
                        for i in 0..high {
                            let at = end + i * across.to;
                            // SAFETY: as above.
                            let to = unsafe { target.slice(at..at + wide) };
                            for (j, to) in to.iter_mut().enumerate() {
                                *to = from[(start + i as isize + j as isize * inner.from) as usize];
                            }
                        }
                    }
                }
            });
        }
    });
}
