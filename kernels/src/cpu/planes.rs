//! The planes that convolutions read: an image's plane with its padding, split by the phase of the stride.
//!
//! Output pixels are counted on the grid of such a plane, line after line, including those at a line's end
//! that are no outputs. On that grid every tap of neighbouring outputs is a contiguous run at an offset of
//! its own, so that nothing has to be copied tap by tap.

use std::ops::Range;

use repops::tensor::element_count;

use super::contract::tile::prefetch;
use super::conv::Geometry;

/// The planes of a convolution over one or two axes.
pub(crate) struct Planes {
    /// Columns of the plane of one phase, and how many of them, at a line's start, are outputs.
    pub columns: usize,
    pub width: usize,
    /// Strides: how many phases there are.
    pub phases: (usize, usize),
    pad: (usize, usize),
    image: (usize, usize),
    /// Of each tap: its phase, and the distance from an output's own place.
    pub taps: Vec<(usize, usize)>,
    /// The phases that taps read, ascending.
    pub used: Vec<usize>,
    /// Outputs on the grid, to the last.
    pub flat: usize,
}

impl Planes {
    /// `None`: more axes.
    pub(crate) fn new(g: &Geometry) -> Option<Planes> {
        let two = |values: &[usize], one: usize| match *values {
            [columns] => Some((one, columns)),
            [lines, columns] => Some((lines, columns)),
            _ => None,
        };
        let axis = |of: fn(&repops::ops::window::WindowAxis) -> i64, one: usize| {
            let values: Vec<usize> = g.axes.iter().map(|axis| of(axis) as usize).collect();
            two(&values, one)
        };
        let (mut out, mut image, mut kernel) = (two(&g.out, 1)?, two(&g.image, 1)?, two(&g.kernel, 1)?);
        let (mut phases, mut dilation, mut pad) =
            (axis(|a| a.stride, 1)?, axis(|a| a.dilation, 1)?, axis(|a| a.pad_begin, 0)?);
        if element_count(&g.out) == 0 || element_count(&g.kernel) == 0 {
            return None;
        }
        // A kernel of one column reads whole lines: the image is as good as one long line.
        if kernel.1 == 1 && phases == (1, 1) && pad.1 == 0 && out.1 == image.1 {
            let width = image.1;
            let long = |lines: usize| lines.checked_mul(width);
            (out, image) = ((1, long(out.0)?), (1, long(image.0)?));
            (kernel, dilation) = ((1, kernel.0), (1, long(dilation.0)?));
            (phases, pad) = ((1, 1), (0, long(pad.0)?));
        }
        // A plane holds the outputs' places and the farthest shift.
        let lines = out.0.checked_add((kernel.0 - 1).checked_mul(dilation.0)? / phases.0)?;
        let columns = out.1.checked_add((kernel.1 - 1).checked_mul(dilation.1)? / phases.1)?;
        // What is read past a line's end may be the padding at the start of the next.
        let inside = pad.1.checked_add(image.1)?;
        let columns = match phases.1 {
            1 if inside <= columns => inside.max(columns.saturating_sub(pad.1)).max(out.1),
            _ => columns,
        };
        lines.checked_mul(columns)?.checked_mul(phases.0.checked_mul(phases.1)?)?;
        let mut taps = Vec::new();
        for kh in 0..kernel.0 {
            for kw in 0..kernel.1 {
                let (line, column) = (kh * dilation.0, kw * dilation.1);
                let phase = line % phases.0 * phases.1 + column % phases.1;
                taps.push((phase, line / phases.0 * columns + column / phases.1));
            }
        }
        let mut used: Vec<usize> = taps.iter().map(|&(phase, _)| phase).collect();
        used.sort_unstable();
        used.dedup();
        let flat = (out.0 - 1) * columns + out.1;
        Some(Planes { columns, width: out.1, phases, pad, image, taps, used, flat })
    }

    /// The farthest shift.
    pub(crate) fn reach(&self) -> usize {
        self.taps.iter().map(|&(_, shift)| shift).max().unwrap_or(0)
    }

    /// Writes the places `start .. start + to.len()` of one phase's plane: elements passed through a function, and
    /// `outside` outside of the image.
    #[inline(always)]
    pub(crate) fn copy_or<S: Copy, E: Copy>(
        &self,
        image: &[S],
        phase: usize,
        start: usize,
        to: &mut [E],
        outside: E,
        widen: impl Fn(S) -> E + Copy,
    ) {
        self.runs(
            phase,
            start,
            to.len(),
            #[inline(always)]
            |run| run.copy(self.phases.1, image, to, outside, widen),
        );
    }

    /// What the places `start .. start + len` of one phase's plane hold, run by run: the same for every image.
    #[inline(always)]
    pub(crate) fn runs(&self, phase: usize, start: usize, len: usize, mut each: impl FnMut(Run)) {
        let (phase_line, phase_column) = (phase / self.phases.1, phase % self.phases.1);
        let (step_lines, step) = self.phases;
        let (height, width) = self.image;
        // Columns of the plane that are inside of the image: pad <= column * step + phase < pad + width.
        let before = |bound: usize| bound.saturating_sub(phase_column).div_ceil(step).min(self.columns);
        let (low, high) = (before(self.pad.1), before(self.pad.1 + width));
        // Places outside that no run has covered yet begin here.
        let mut outside = 0;
        let mut at = 0;
        while at < len {
            let (line, column) = ((start + at) / self.columns, (start + at) % self.columns);
            let count = (self.columns - column).min(len - at);
            let row = (line * step_lines + phase_line).checked_sub(self.pad.0).filter(|&row| row < height);
            let (from, until) = (low.clamp(column, column + count), high.clamp(column, column + count));
            if let Some(row) = row.filter(|_| from < until) {
                let inside = at + from - column..at + until - column;
                if outside < inside.start {
                    each(Run { to: outside..inside.start, from: None });
                }
                outside = inside.end;
                let first = row * width + from * step + phase_column - self.pad.1;
                each(Run { to: inside, from: Some(first) });
            }
            at += count;
        }
        if outside < len {
            each(Run { to: outside..len, from: None });
        }
    }
}

/// Neighbouring places of a plane.
#[derive(Clone)]
pub(crate) struct Run {
    to: Range<usize>,
    /// The image's element at the first place; none: all are outside of the image.
    from: Option<usize>,
}

impl Run {
    pub(crate) fn places(&self) -> Range<usize> {
        self.to.clone()
    }

    /// The image's element at the first place, if it is inside.
    pub(crate) fn first(&self) -> Option<usize> {
        self.from
    }

    /// Asks for the elements that [`Run::copy`] reads of an image.
    #[inline(always)]
    pub(crate) fn ahead<S>(&self, step: usize, image: *const S) {
        if let Some(first) = self.from {
            for at in (0..self.to.len() * step).step_by(64 / size_of::<S>()) {
                prefetch(image.wrapping_add(first + at));
            }
        }
    }

    /// Fills the places out of an image whose elements for neighbouring places are `step` apart.
    #[inline(always)]
    pub(crate) fn copy<S: Copy, E: Copy>(
        &self,
        step: usize,
        image: &[S],
        to: &mut [E],
        outside: E,
        widen: impl Fn(S) -> E + Copy,
    ) {
        let to = &mut to[self.to.clone()];
        let Some(first) = self.from else {
            match to {
                // No call for the one or two between lines.
                [one] => *one = outside,
                [one, other] => (*one, *other) = (outside, outside),
                _ => to.fill(outside),
            }
            return;
        };
        each_strided(
            step,
            &image[first..],
            to,
            #[inline(always)]
            |to, from| *to = widen(from),
        );
    }
}

/// Takes elements that are `step` apart to neighbours, the last ones maybe twice: in blocks of a fixed length, which
/// compilers turn into moves and shuffles of registers. The last block ends with the last element: lines are short, and
/// what would be left of them would take as long as the rest.
#[inline(always)]
pub(crate) fn each_strided<S: Copy, E>(
    step: usize,
    from: &[S],
    to: &mut [E],
    each: impl Fn(&mut E, S) + Copy,
) {
    match (step, to.len()) {
        (1, 16..) => blocks::<16, 1, S, E>(from, to, each),
        (1, 8..) => blocks::<8, 1, S, E>(from, to, each),
        (1, 4..) => blocks::<4, 1, S, E>(from, to, each),
        (2, 16..) => blocks::<16, 2, S, E>(from, to, each),
        (2, 8..) => blocks::<8, 2, S, E>(from, to, each),
        (2, 4..) => blocks::<4, 2, S, E>(from, to, each),
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| each(to, *from)),
    }
}

/// [`each_strided`] of a block's length at the least.
#[inline(always)]
fn blocks<const N: usize, const STEP: usize, S: Copy, E>(
    from: &[S],
    to: &mut [E],
    each: impl Fn(&mut E, S) + Copy,
) {
    let last = to.len() - N;
    let from = &from[..(to.len() - 1) * STEP + 1];
    let mut at = 0;
    loop {
        let (from, to) = (&from[at * STEP..][..(N - 1) * STEP + 1], &mut to[at..][..N]);
        for i in 0..N {
            each(&mut to[i], from[i * STEP]);
        }
        if at == last {
            return;
        }
        at = last.min(at + N);
    }
}
