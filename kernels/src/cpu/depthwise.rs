//! Depthwise convolution of f32, over one or two axes: each output channel reads one plane.
//!
//! The plane is copied with its padding, its columns split by the phase of the stride, so that a tap of
//! neighbouring outputs is a contiguous run. A few lines of outputs are computed together: what is loaded of
//! a line serves all outputs that it is under. Lanes span outputs; the chain over taps is the reference's.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use repops::reduce::CHUNK;

use super::contract::pack::with_wide_moves;
use super::conv::Geometry;
use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;

/// Lines of outputs that are computed together.
const ROWS: usize = 4;
/// Elements past a plane that the last registers may read.
const SLACK: usize = 64;
/// Elements of a padded plane at the most.
const PLANE_MAX: usize = 1 << 24;

/// A depthwise convolution's planes. Extents are (lines, columns).
pub(crate) struct Depthwise {
    images: usize,
    channels: usize,
    /// Output channels of each channel.
    multiples: usize,
    image: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    pad: (usize, usize),
    out: (usize, usize),
    /// Lines of the padded plane, and columns of each of its phases.
    lines: usize,
    columns: usize,
    /// Where each tap of a line begins.
    taps: Vec<usize>,
    /// For so many lines of outputs at once, less one: what each line under their windows is to them.
    schedules: [Vec<Under>; ROWS],
}

/// A line of the padded plane, as lines of outputs that are computed together see it.
#[derive(Clone, Copy)]
struct Under {
    /// Where the weights of the kernel's line begin, of each line of outputs; `usize::MAX`: not under its window.
    weights: [usize; ROWS],
    /// The lines of outputs that it is under, if they are neighbours.
    low: usize,
    high: usize,
    are_neighbours: bool,
}

impl Under {
    /// As lines of the plane ascend, so do each output's taps.
    fn schedule(rows: usize, kernel: (usize, usize), stride: usize, dilation: usize) -> Vec<Under> {
        let lines = (rows - 1) * stride + (kernel.0 - 1) * dilation + 1;
        let under = |line: usize| {
            let mut weights = [usize::MAX; ROWS];
            for (r, weights) in weights.iter_mut().enumerate().take(rows) {
                let below = line.checked_sub(r * stride).filter(|below| below.is_multiple_of(dilation));
                if let Some(k) = below.map(|below| below / dilation).filter(|&k| k < kernel.0) {
                    *weights = k * kernel.1;
                }
            }
            let used = || (0..ROWS).filter(|&r| weights[r] != usize::MAX);
            let (low, high) = (used().min().unwrap_or(0), used().max().map_or(0, |last| last + 1));
            Under { weights, low, high, are_neighbours: used().count() == high - low }
        };
        (0..lines).map(under).collect()
    }
}

impl Depthwise {
    /// `None`: another kernel has to do it.
    pub(crate) fn new(g: &Geometry) -> Option<Depthwise> {
        if g.group_channels != 1 || g.groups != g.channels || !(1..=2).contains(&g.out.len()) {
            return None;
        }
        let line = g.out.len() - 1;
        let pair = |values: &[usize], one: usize| (if line == 1 { values[0] } else { one }, values[line]);
        let of = |f: fn(&repops::ops::window::WindowAxis) -> i64, one: usize| {
            pair(&g.axes.iter().map(|axis| f(axis) as usize).collect::<Vec<_>>(), one)
        };
        let (image, kernel, out) = (pair(&g.image, 1), pair(&g.kernel, 1), pair(&g.out, 1));
        let (stride, dilation, pad) = (of(|a| a.stride, 1), of(|a| a.dilation, 1), of(|a| a.pad_begin, 0));
        if out.0 * out.1 == 0 || kernel.0 * kernel.1 == 0 || kernel.0.saturating_mul(kernel.1) > CHUNK {
            return None;
        }
        let reach = |count: usize, step: usize| (count - 1).checked_mul(step);
        let lines = reach(out.0, stride.0)?.checked_add(reach(kernel.0, dilation.0)?)?.checked_add(1)?;
        let columns = out.1.checked_add(reach(kernel.1, dilation.1)? / stride.1)?;
        let size = lines.checked_mul(columns)?.checked_mul(stride.1)?;
        if size > PLANE_MAX {
            return None;
        }
        let taps = (0..kernel.1)
            .map(|k| k * dilation.1 % stride.1 * lines * columns + k * dilation.1 / stride.1)
            .collect();
        let (images, channels, multiples) = (g.images, g.channels, g.group_out);
        let schedules =
            [1, 2, 3, 4].map(|rows| Under::schedule(rows.min(out.0), kernel, stride.0, dilation.0));
        Some(Depthwise {
            images,
            channels,
            multiples,
            image,
            kernel,
            stride,
            pad,
            out,
            lines,
            columns,
            taps,
            schedules,
        })
    }

    /// Copies a plane of the image into the places that are inside of the image; outside of them, `to` is zero already.
    #[inline(always)]
    fn spread(&self, plane: &[f32], to: &mut [f32]) {
        if self.stride.1 == 1 && self.lines >= self.pad.0 && self.columns > self.pad.1 {
            self.spread_lines(plane, to);
        } else {
            self.spread_phases(plane, to);
        }
    }

    /// The same for lines of one phase: in pieces of whole registers, whose ends run into the next line and are made
    /// good after it.
    #[inline(always)]
    fn spread_lines(&self, plane: &[f32], to: &mut [f32]) {
        const PIECE: usize = 16;
        let width = self.image.1;
        let inside = width.min(self.columns - self.pad.1);
        let rows = self.image.0.min(self.lines - self.pad.0);
        // No piece may run past the last line: what is below stays zero.
        let start = |row: usize| (self.pad.0 + row) * self.columns + self.pad.1;
        let end = start(rows.saturating_sub(1)) + inside;
        let long = inside.next_multiple_of(PIECE);
        for row in 0..rows {
            let (from, start) = (&plane[row * width..], start(row));
            if from.len() >= long && start + long <= end {
                let (from, to) = (&from[..long], &mut to[start..start + long]);
                for (to, from) in to.chunks_exact_mut(PIECE).zip(from.chunks_exact(PIECE)) {
                    to.copy_from_slice(from);
                }
            } else {
                to[start..start + inside].copy_from_slice(&from[..inside]);
            }
            // The next line's own places are written next; what is between is padding.
            if row + 1 < rows {
                for to in &mut to[start + inside..start + self.columns] {
                    *to = 0.0;
                }
            }
        }
    }

    /// The same for any stride.
    #[inline(always)]
    fn spread_phases(&self, plane: &[f32], to: &mut [f32]) {
        let (width, step) = (self.image.1, self.stride.1);
        for (phase, to) in to.chunks_exact_mut(self.lines * self.columns).enumerate() {
            // Columns of this phase that are inside of the image: pad <= column * step + phase < pad + width.
            let before = |bound: usize| bound.saturating_sub(phase).div_ceil(step).min(self.columns);
            let (low, high) = (before(self.pad.1), before(self.pad.1 + width));
            for (line, to) in to.chunks_exact_mut(self.columns).enumerate() {
                let row = line.checked_sub(self.pad.0).filter(|&row| row < self.image.0 && low < high);
                let Some(row) = row else {
                    to.fill(0.0);
                    continue;
                };
                to[..low].fill(0.0);
                to[high..].fill(0.0);
                let from = &plane[row * width + low * step + phase - self.pad.1..];
                let to = &mut to[low..high];
                match step {
                    1 => to.copy_from_slice(&from[..to.len()]),
                    // A constant step lets compilers shuffle vectors.
                    2 => to.iter_mut().zip(from.iter().step_by(2)).for_each(|(to, from)| *to = *from),
                    _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }

    /// Computes the convolution. `not_finite` is set where a result is not finite.
    pub(crate) fn run(
        &self,
        isa: Isa,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        not_finite: &AtomicBool,
    ) {
        let taps = self.kernel.0 * self.kernel.1;
        let (image, pixels) = (self.image.0 * self.image.1, self.out.0 * self.out.1);
        let size = self.lines * self.columns * self.stride.1;
        let shared = Shared::new(y);
        let one = |plane: usize, padded: &mut [f32]| {
            with_wide_moves(
                #[inline(always)]
                || self.spread(&x[plane * image..][..image], &mut padded[..size]),
            );
            for multiple in 0..self.multiples {
                let channel = plane % self.channels * self.multiples + multiple;
                let at = (plane / self.channels * self.channels * self.multiples + channel) * pixels;
                // SAFETY: each output plane belongs to one input plane.
                let y = unsafe { shared.slice(at..at + pixels) };
                let weights = &w[channel * taps..][..taps];
                let bias = bias.map(|bias| bias[channel]);
                let plane = Plane { shape: self, padded, weights, bias, y };
                if !dispatch(isa, plane) {
                    not_finite.store(true, Ordering::Relaxed);
                }
            }
        };
        // The padding is the same for all planes.
        let body = |planes: Range<usize>| {
            with_scratch(size + SLACK, |padded: &mut [f32]| {
                padded.fill(0.0);
                planes.for_each(|plane| one(plane, padded));
            });
        };
        let planes = self.images * self.channels;
        if planes * pixels * taps < 1 << 16 {
            body(0..planes);
        } else {
            // Neighbouring planes together, so that tasks are not too many.
            let group = (1usize << 15).div_ceil(pixels * taps * self.multiples).max(1);
            parallel(planes.div_ceil(group), |task| body(task * group..planes.min((task + 1) * group)));
        }
    }
}

/// One plane of outputs; tells whether all are finite.
struct Plane<'a> {
    shape: &'a Depthwise,
    padded: &'a [f32],
    weights: &'a [f32],
    bias: Option<f32>,
    y: &'a mut [f32],
}

impl Vectorized for Plane<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<V: VectorLane>(mut self) -> bool {
        let (out, lanes) = (self.shape.out, V::LANES);
        // One lane at a time leaves vectors to the compiler.
        let wide = if lanes == 1 { 8 } else { 2 };
        let mut seen = V::splat(0.0);
        let mut row = 0;
        while row < out.0 {
            let rows = ROWS.min(out.0 - row);
            let mut column = 0;
            while column < out.1 {
                let at = (row, column);
                let whole = out.1 - column > lanes || lanes == 1;
                column += if whole { wide * lanes } else { lanes };
                // SAFETY: the last place that is read lies within the plane or its slack: lanes past a line's
                // end are fewer than `SLACK`.
                unsafe {
                    match (rows, lanes, whole) {
                        (4, 1, _) => self.block::<V, 4, 8>(at, &mut seen),
                        (3, 1, _) => self.block::<V, 3, 8>(at, &mut seen),
                        (2, 1, _) => self.block::<V, 2, 8>(at, &mut seen),
                        (_, 1, _) => self.block::<V, 1, 8>(at, &mut seen),
                        (4, _, true) => self.block::<V, 4, 2>(at, &mut seen),
                        (3, _, true) => self.block::<V, 3, 2>(at, &mut seen),
                        (2, _, true) => self.block::<V, 2, 2>(at, &mut seen),
                        (_, _, true) => self.block::<V, 1, 2>(at, &mut seen),
                        (4, _, false) => self.block::<V, 4, 1>(at, &mut seen),
                        (3, _, false) => self.block::<V, 3, 1>(at, &mut seen),
                        (2, _, false) => self.block::<V, 2, 1>(at, &mut seen),
                        (_, _, false) => self.block::<V, 1, 1>(at, &mut seen),
                    }
                }
            }
            row += rows;
        }
        let mut lanes = [0.0f32; SLACK];
        // SAFETY: the array has at least `LANES` elements.
        unsafe { seen.store(lanes.as_mut_ptr()) };
        !lanes.iter().any(|seen| seen.is_nan())
    }
}

impl Plane<'_> {
    /// `R` lines by `C` registers of outputs from line `row` and column `column` on; `seen` becomes NaN where
    /// one is not finite.
    ///
    /// # Safety
    /// The lines exist, the column is one of theirs, and `padded` has slack for `C` registers.
    #[inline(always)]
    unsafe fn block<V: VectorLane, const R: usize, const C: usize>(
        &mut self,
        (row, column): (usize, usize),
        seen: &mut V,
    ) {
        let d = self.shape;
        debug_assert!(R <= ROWS && d.kernel.1 == d.taps.len());
        let mut acc = [[V::splat(0.0); C]; R];
        // SAFETY: lines of the padded plane that the outputs' windows cover.
        let start = unsafe { self.padded.as_ptr().add(row * d.stride.0 * d.columns + column) };
        for (line, under) in d.schedules[R - 1].iter().enumerate() {
            // SAFETY: as above; weights are the kernel's lines times taps.
            unsafe {
                let start = start.add(line * d.columns);
                // The common cases have loops without branches.
                match (under.low, under.high, under.are_neighbours) {
                    (0, 4, true) => self.line::<V, R, C, 0, 4>(start, &under.weights, &mut acc),
                    (0, 3, true) => self.line::<V, R, C, 0, 3>(start, &under.weights, &mut acc),
                    (0, 2, true) => self.line::<V, R, C, 0, 2>(start, &under.weights, &mut acc),
                    (0, 1, true) => self.line::<V, R, C, 0, 1>(start, &under.weights, &mut acc),
                    (1, 4, true) => self.line::<V, R, C, 1, 4>(start, &under.weights, &mut acc),
                    (1, 3, true) => self.line::<V, R, C, 1, 3>(start, &under.weights, &mut acc),
                    (2, 4, true) => self.line::<V, R, C, 2, 4>(start, &under.weights, &mut acc),
                    (2, 3, true) => self.line::<V, R, C, 2, 3>(start, &under.weights, &mut acc),
                    (3, 4, true) => self.line::<V, R, C, 3, 4>(start, &under.weights, &mut acc),
                    _ => {
                        for r in (0..R).filter(|&r| under.weights[r] != usize::MAX) {
                            let own = std::slice::from_mut(&mut acc[r]);
                            let own: &mut [[V; C]; 1] = own.try_into().unwrap_or_else(|_| unreachable!());
                            self.line::<V, 1, C, 0, 1>(start, &[under.weights[r]; ROWS], own);
                        }
                    }
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            let y = &mut self.y[(row + r) * d.out.1 + column..(row + r + 1) * d.out.1];
            for (c, &sum) in acc.iter().enumerate() {
                let mut sum = sum.add(V::splat(0.0));
                if let Some(bias) = self.bias {
                    sum = sum.add(V::splat(bias));
                }
                // Lanes past the line's end may hold anything: then weights are looked at in vain.
                *seen = sum.fma(V::splat(0.0), *seen);
                let sum = sum.canonical_nan();
                let Some(rest) = y.len().checked_sub(c * V::LANES) else { break };
                if rest >= V::LANES {
                    // SAFETY: as many elements as lanes.
                    unsafe { sum.store(y.as_mut_ptr().add(c * V::LANES)) };
                } else {
                    // SAFETY: `rest` elements are left.
                    unsafe { sum.store_first(y.as_mut_ptr().add(c * V::LANES), rest) };
                }
            }
        }
    }

    /// Adds the taps of one line to the outputs of lines `LOW .. HIGH`, of which line `r` has the weights from
    /// `kernel_line[r]` on.
    ///
    /// # Safety
    /// As for `block`; `start` is the line's first place.
    #[inline(always)]
    unsafe fn line<V: VectorLane, const R: usize, const C: usize, const LOW: usize, const HIGH: usize>(
        &self,
        start: *const f32,
        kernel_line: &[usize; ROWS],
        acc: &mut [[V; C]; R],
    ) {
        for (k, &tap) in self.shape.taps.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let from = start.add(tap);
                let mut x = [V::splat(0.0); C];
                for (c, x) in x.iter_mut().enumerate() {
                    *x = V::load(from.add(c * V::LANES));
                }
                for r in LOW..HIGH.min(R) {
                    let weight = V::splat(*self.weights.get_unchecked(kernel_line[r] + k));
                    for c in 0..C {
                        acc[r][c] = x[c].fma(weight, acc[r][c]);
                    }
                }
            }
        }
    }
}
