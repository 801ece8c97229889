//! Depthwise convolution of f32, over one or two axes: each output channel reads one plane.
//!
//! The plane is copied with its padding, its columns split by the phase of the stride, so that a tap of
//! neighbouring outputs is a contiguous run. A few lines of outputs are computed together: what is loaded of
//! a line serves all outputs that it is under. Lanes span outputs; the chain over taps is the reference's.

mod plane;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use repops::reduce::CHUNK;

use super::contract::pack::with_wide_moves;
use super::conv::Geometry;
use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use super::products::Epilogue;
use crate::KernelCtx;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;
use plane::Plane;

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
    /// Of the kernel's lines.
    dilation: usize,
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
            dilation: dilation.0,
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
        match self.stride.1 {
            1 if self.lines >= self.pad.0 && self.columns > self.pad.1 => self.spread_lines(plane, to),
            2 if self.lines >= self.pad.0 => self.spread_pairs(plane, to),
            _ => self.spread_phases(plane, to),
        }
    }

    /// The same for a stride of two: every other element of a line stands in the phase of its place.
    #[inline(always)]
    fn spread_pairs(&self, plane: &[f32], to: &mut [f32]) {
        let (width, pad) = (self.image.1, self.pad.1);
        let (even, odd) = to.split_at_mut(self.lines * self.columns);
        // Places `pad` and `pad + 1` of a line are those of the first two elements.
        let (first, second) = if pad.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        let inside = |place: usize, count: usize| count.min(self.columns.saturating_sub(place));
        let (a, b) = (pad / 2, pad.div_ceil(2));
        let (of_first, of_second) = (inside(a, width.div_ceil(2)), inside(b, width / 2));
        for row in 0..self.image.0.min(self.lines - self.pad.0) {
            let (from, line) = (&plane[row * width..][..width], (self.pad.0 + row) * self.columns);
            let first = &mut first[line + a.min(self.columns)..][..of_first];
            let second = &mut second[line + b.min(self.columns)..][..of_second];
            let mut at = 0;
            at = split::<32, 16>(from, first, second, at);
            at = split::<16, 8>(from, first, second, at);
            for at in at..of_first {
                first[at] = from[2 * at];
            }
            for at in at..of_second {
                second[at] = from[2 * at + 1];
            }
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
                let between = self.columns - inside;
                let to = &mut to[start + inside..];
                match to.first_chunk_mut::<PIECE>() {
                    Some(to) if between <= PIECE => *to = [0.0; PIECE],
                    _ => to[..between].fill(0.0),
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
                to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Computes the convolution. `not_finite` is set where a result is not finite.
    pub(crate) fn run(
        &self,
        ctx: &KernelCtx<'_>,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        not_finite: &AtomicBool,
    ) {
        let (taps, pixels) = (self.kernel.0 * self.kernel.1, self.out.0 * self.out.1);
        let size = self.lines * self.columns * self.stride.1;
        let shared = Shared::new(y);
        let epilogue = ctx.epilogue.map(Epilogue::claim);
        let body = |planes: Range<usize>| {
            with_scratch(size + SLACK, |padded: &mut [f32]| {
                let own = pixels * self.multiples;
                // SAFETY: each output plane belongs to one input plane.
                let y = unsafe { shared.slice(planes.start * own..planes.end * own) };
                let first = planes.start * own;
                if !dispatch(ctx.isa, Planes { shape: self, x, w, bias, y: &mut *y, planes, padded }) {
                    not_finite.store(true, Ordering::Relaxed);
                }
                if let Some(epilogue) = epilogue {
                    epilogue.apply(first, y);
                }
            });
        };
        let planes = self.images * self.channels;
        if planes * pixels * taps < 1 << 16 {
            body(0..planes);
        } else {
            // Neighbouring planes together, so that tasks are not too many.
            let least = (1usize << 15).div_ceil(pixels * taps * self.multiples).max(1);
            let group = least.max(planes / (16 * rayon::current_num_threads()));
            parallel(planes.div_ceil(group), |task| body(task * group..planes.min((task + 1) * group)));
        }
    }
}

/// Planes of the image, one after the other, and the outputs of each; tells whether all are finite.
struct Planes<'a> {
    shape: &'a Depthwise,
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    planes: Range<usize>,
    padded: &'a mut [f32],
}

impl Vectorized for Planes<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<V: VectorLane>(self) -> bool {
        let d = self.shape;
        let (image, pixels) = (d.image.0 * d.image.1, d.out.0 * d.out.1);
        let (taps, size) = (d.kernel.0 * d.kernel.1, d.lines * d.columns * d.stride.1);
        // The padding is the same for all planes.
        self.padded.fill(0.0);
        let mut outputs = self.y.chunks_exact_mut(pixels);
        let mut are_finite = true;
        for plane in self.planes {
            let (from, to) = (&self.x[plane * image..][..image], &mut self.padded[..size]);
            if V::LANES > 1 {
                d.spread(from, to);
            } else {
                with_wide_moves(
                    #[inline(always)]
                    || d.spread(from, to),
                );
            }
            let first = plane % d.channels * d.multiples;
            for (channel, y) in (first..first + d.multiples).zip(&mut outputs) {
                let weights = &self.w[channel * taps..][..taps];
                let bias = self.bias.map(|bias| bias[channel]);
                are_finite &= Plane::new(d, self.padded, weights, bias, y).compute::<V>();
            }
        }
        are_finite
    }
}

/// Splits pairs of elements from the `at`-th on, `HALF` of them at a time, which compilers turn into shuffles of registers;
/// gives how many are done.
#[inline(always)]
fn split<const BOTH: usize, const HALF: usize>(
    from: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    mut at: usize,
) -> usize {
    let most = first.len().min(second.len());
    while at + HALF <= most {
        let pairs: &[f32; BOTH] = from[2 * at..][..BOTH].try_into().unwrap_or_else(|_| unreachable!());
        let (mut even, mut odd) = ([0.0; HALF], [0.0; HALF]);
        for i in 0..HALF {
            (even[i], odd[i]) = (pairs[2 * i], pairs[2 * i + 1]);
        }
        first[at..at + HALF].copy_from_slice(&even);
        second[at..at + HALF].copy_from_slice(&odd);
        at += HALF;
    }
    at
}
