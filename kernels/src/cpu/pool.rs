//! MaxPool and AveragePool of f32: one task for a few planes, lanes along the last axis.

use repops::dtype::{DType, Element};
use repops::ops::window::{Window, WindowAxis};
use repops::ops::{self, OpError};
use repops::reduce::{LANES, row_sum};
use repops::tensor::{TensorViewMut, element_count};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use super::planes::each_strided;
use super::rows::sums::fold;
use super::{by_reference, require_row_major};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_max(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| pool("MaxPool", ctx, inputs, outputs))
}

pub(crate) fn choose_average(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| pool("AveragePool", ctx, inputs, outputs))
}

/// A pooling over two axes; one axis is two with an extent of 1.
struct Pooling {
    axes: [WindowAxis; 2],
    image: [usize; 2],
    out: [usize; 2],
    include_pad: bool,
}

fn pool(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let kernel = ctx.attrs.ints("kernel_shape");
    let (axes, out) = Window::new(ctx.attrs, kernel)?.placed(&x.shape[2..])?;
    // Rows of the output may be empty too; from here on they are not.
    if outputs[0].bytes.is_empty() {
        return Ok(());
    }
    let unit = WindowAxis { kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };
    let geometry = match (axes.as_slice(), out.as_slice()) {
        ([only], [out]) => Some(([unit, *only], [1, x.shape[2]], [1, *out])),
        ([first, second], [rows, columns]) => {
            Some(([*first, *second], [x.shape[2], x.shape[3]], [*rows, *columns]))
        }
        _ => None,
    };
    // Indices, further axes and windows of hostile size are the reference's.
    let Some((axes, image, out)) = geometry.filter(|(axes, ..)| {
        outputs.len() == 1
            && axes.iter().all(|a| a.kernel <= 1 << 12)
            && axes[0].kernel * axes[1].kernel <= 1 << 16
    }) else {
        let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    };
    let average = name == "AveragePool";
    let include_pad = average && ctx.attrs.int("count_include_pad") != 0;
    let pooling = Pooling { axes, image, out, include_pad };
    let planes = element_count(&x.shape[..2]);
    let (plane_in, plane_out) = (image[0] * image[1], out[0] * out[1]);
    let x = x.as_slice::<f32>();
    let y = Shared::new(outputs[0].as_mut_slice::<f32>());
    let taps = (axes[0].kernel * axes[1].kernel) as usize;
    parallel_ranges(planes, 1, plane_out.max(1) * taps, |planes| {
        for plane in planes {
            // SAFETY: tasks write planes of their own.
            let y = unsafe { y.slice(plane * plane_out..(plane + 1) * plane_out) };
            let x = &x[plane * plane_in..][..plane_in];
            if average {
                pooling.average(ctx.isa, x, y);
            } else {
                with_scratch(image[1], |line: &mut [i32]| {
                    dispatch(ctx.isa, MaxPlane { pooling: &pooling, x, y, line });
                });
            }
        }
    });
    Ok(())
}

/// The outputs whose tap `k` along an axis is inside of the image.
fn covered(axis: &WindowAxis, k: i64, extent: usize, out: usize) -> std::ops::Range<usize> {
    let offset = k * axis.dilation - axis.pad_begin;
    let low = if offset >= 0 { 0 } else { (-offset + axis.stride - 1) / axis.stride };
    let high = if extent as i64 > offset { (extent as i64 - offset - 1) / axis.stride + 1 } else { 0 };
    let high = high.clamp(0, out as i64) as usize;
    (low.min(high as i64) as usize)..high
}

/// The outputs for which every tap is inside of the image.
fn whole(axis: &WindowAxis, extent: usize, out: usize) -> std::ops::Range<usize> {
    let (first, last) = (covered(axis, 0, extent, out), covered(axis, axis.kernel - 1, extent, out));
    first.start.max(last.start)..first.end.min(last.end)
}

/// A number whose order is that of the values: -0 below +0, NaN above all.
#[inline(always)]
fn key(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    let magnitude = bits & i32::MAX;
    if magnitude > 0x7f80_0000 { i32::MAX } else { bits ^ (bits >> 31 & i32::MAX) }
}

/// The value of a key.
#[inline(always)]
fn value_of(key: i32) -> f32 {
    f32::from_bits((key ^ (key >> 31 & i32::MAX)) as u32).canonical()
}

/// The largest of a window is that of its columns' largest, since the order does not matter: lines are folded first, element by
/// element, and only one line is left to be read with a stride. All by their keys, whose maximum is one instruction.
struct MaxPlane<'a> {
    pooling: &'a Pooling,
    x: &'a [f32],
    y: &'a mut [f32],
    /// As long as a line of the image.
    line: &'a mut [i32],
}

impl Vectorized for MaxPlane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let p = self.pooling;
        let [rows, columns] = &p.axes;
        let inner = whole(columns, p.image[1], p.out[1]);
        for (row, y) in self.y.chunks_exact_mut(p.out[1]).enumerate() {
            let of = |line: i64| &self.x[line as usize * p.image[1]..][..p.image[1]];
            let mut lines = (0..rows.kernel)
                .map(|k| row as i64 * rows.stride + k * rows.dilation - rows.pad_begin)
                .filter(|line| (0..p.image[0] as i64).contains(line));
            let Some(first) = lines.next() else {
                y.fill(f32::NEG_INFINITY);
                continue;
            };
            match (lines.next(), lines.next()) {
                (Some(second), Some(third)) => {
                    let three = of(first).iter().zip(of(second)).zip(of(third));
                    for (to, ((&a, &b), &c)) in self.line.iter_mut().zip(three) {
                        *to = key(a).max(key(b)).max(key(c));
                    }
                }
                (Some(second), None) => {
                    for (to, (&a, &b)) in self.line.iter_mut().zip(of(first).iter().zip(of(second))) {
                        *to = key(a).max(key(b));
                    }
                }
                _ => self.line.iter_mut().zip(of(first)).for_each(|(to, &x)| *to = key(x)),
            }
            for line in lines {
                self.line.iter_mut().zip(of(line)).for_each(|(to, &x)| *to = key(x).max(*to));
            }
            let line = &*self.line;
            let edges = (0..inner.start).chain(inner.end.max(inner.start)..p.out[1]);
            for column in edges {
                let places = (0..columns.kernel)
                    .map(|k| column as i64 * columns.stride + k * columns.dilation - columns.pad_begin)
                    .filter(|place| (0..p.image[1] as i64).contains(place));
                let largest = places.map(|place| line[place as usize]).max();
                y[column] = largest.map_or(f32::NEG_INFINITY, value_of);
            }
            if !inner.is_empty() {
                let first = inner.start as i64 * columns.stride - columns.pad_begin;
                let (line, y) = (&line[first as usize..], &mut y[inner.clone()]);
                let step = columns.dilation as usize;
                let taps = columns.kernel as usize;
                match (columns.stride, y.len()) {
                    (1, 16..) => largest::<16, 1>(line, taps, step, y),
                    (2, 16..) => largest::<16, 2>(line, taps, step, y),
                    (1, 8..) => largest::<8, 1>(line, taps, step, y),
                    (2, 8..) => largest::<8, 2>(line, taps, step, y),
                    (stride, _) => {
                        for (column, y) in y.iter_mut().enumerate() {
                            let window = line[column * stride as usize..].iter().step_by(step).take(taps);
                            *y = window.max().map_or(f32::NEG_INFINITY, |key| value_of(*key));
                        }
                    }
                }
            }
        }
    }
}

/// The largest of `taps` keys, `step` apart, for windows that are `STRIDE` apart: `N` windows at a time, the last of which
/// end with the last.
#[inline(always)]
fn largest<const N: usize, const STRIDE: usize>(line: &[i32], taps: usize, step: usize, y: &mut [f32]) {
    let last = y.len() - N;
    let mut at = 0;
    loop {
        let mut keys = [i32::MIN; N];
        for k in 0..taps {
            let from = &line[at * STRIDE + k * step..][..(N - 1) * STRIDE + 1];
            for i in 0..N {
                keys[i] = keys[i].max(from[i * STRIDE]);
            }
        }
        let y = &mut y[at..][..N];
        for i in 0..N {
            y[i] = value_of(keys[i]);
        }
        if at == last {
            return;
        }
        at = last.min(at + N);
    }
}

impl Pooling {
    fn average(&self, isa: Isa, x: &[f32], y: &mut [f32]) {
        let [rows, columns] = &self.axes;
        let taps = (rows.kernel * columns.kernel) as usize;
        // There the order is the same for all outputs.
        let (inner_rows, inner_columns) =
            (whole(rows, self.image[0], self.out[0]), whole(columns, self.image[1], self.out[1]));
        for (row, y) in y.chunks_exact_mut(self.out[1]).enumerate() {
            let mut column = 0;
            while column < self.out[1] {
                if taps <= LANES && inner_rows.contains(&row) && inner_columns.contains(&column) {
                    let y = &mut y[column..inner_columns.end];
                    dispatch(isa, AverageRow { pooling: self, x, row, column, y });
                    column = inner_columns.end;
                    continue;
                }
                y[column] = self.one_average(x, row, column);
                column += 1;
            }
        }
    }

    /// One output by the definition.
    fn one_average(&self, x: &[f32], row: usize, column: usize) -> f32 {
        let [rows, columns] = &self.axes;
        let lines = rows.taps(row, self.image[0]);
        let places = columns.taps(column, self.image[1]);
        let covered = lines.len() * places.len();
        let count = if self.include_pad { self.padded(0, row) * self.padded(1, column) } else { covered };
        let element = |i: usize| x[lines[i / places.len()].1 * self.image[1] + places[i % places.len()].1];
        (row_sum(covered, element) / count as f32).canonical()
    }

    /// How many positions of the window lie inside of the image and its pads.
    fn padded(&self, axis: usize, at: usize) -> usize {
        let window = self.axes[axis];
        let start = at as i64 * window.stride - window.pad_begin;
        let end = self.image[axis] as i64 + window.pad_end;
        let inside = (end - start + window.dilation - 1).div_euclid(window.dilation);
        inside.clamp(0, window.kernel) as usize
    }
}

/// Outputs of one row whose window is inside of the image, from `column` on.
struct AverageRow<'a> {
    pooling: &'a Pooling,
    x: &'a [f32],
    row: usize,
    column: usize,
    y: &'a mut [f32],
}

impl Vectorized for AverageRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let [rows, columns] = &self.pooling.axes;
        // Clearing accumulators that no tap is added to would take longer than all the rest.
        match rows.kernel * columns.kernel {
            ..5 => self.with::<V, 4>(),
            5..10 => self.with::<V, 9>(),
            _ => self.with::<V, LANES>(),
        }
    }
}

impl AverageRow<'_> {
    /// At most `N` taps.
    #[inline(always)]
    fn with<V: VectorLane, const N: usize>(self) {
        let p = self.pooling;
        let [rows, columns] = &p.axes;
        let taps = (rows.kernel * columns.kernel) as usize;
        let count = V::splat(taps as f32);
        let stride = columns.stride as usize;
        for (part, y) in self.y.chunks_mut(V::LANES).enumerate() {
            let first = (self.column + part * V::LANES) as i64 * columns.stride - columns.pad_begin;
            // One accumulator for each tap: element i of a window is added to +0 in lane i.
            let mut lanes = [V::splat(0.0); N];
            let mut tap = 0;
            for kh in 0..rows.kernel {
                let line = (self.row as i64 * rows.stride + kh * rows.dilation - rows.pad_begin) as usize;
                let line = &self.x[line * p.image[1]..][..p.image[1]];
                for kw in 0..columns.kernel {
                    let from = &line[(first + kw * columns.dilation) as usize..];
                    let mut values = [0.0f32; 16];
                    each_strided(
                        stride,
                        from,
                        &mut values[..y.len()],
                        #[inline(always)]
                        |to, from| *to = from,
                    );
                    // SAFETY: the array has at least `LANES` elements.
                    lanes[tap] = lanes[tap].add(unsafe { V::load(values.as_ptr()) });
                    tap += 1;
                }
            }
            let mean = fold(&mut lanes, taps).div(count).canonical_nan();
            let mut values = [0.0f32; 16];
            // SAFETY: as above.
            unsafe { mean.store(values.as_mut_ptr()) };
            y.copy_from_slice(&values[..y.len()]);
        }
    }
}
