//! One plane of outputs: blocks of lines and registers.
//!
//! The kernels of nearly all models, of 3 x 3 and 5 x 5 taps whose lines are one apart, are written out tap by tap;
//! for all others a schedule says which line of the plane is under which outputs.

use super::super::lane::VectorLane;
use super::{Depthwise, ROWS, SLACK};

/// One plane of outputs.
pub(super) struct Plane<'a> {
    shape: &'a Depthwise,
    padded: &'a [f32],
    weights: &'a [f32],
    bias: Option<f32>,
    y: &'a mut [f32],
}

impl<'a> Plane<'a> {
    /// Of a padded plane with slack behind it, one channel's weights and bias, and its outputs.
    pub fn new(
        shape: &'a Depthwise,
        padded: &'a [f32],
        weights: &'a [f32],
        bias: Option<f32>,
        y: &'a mut [f32],
    ) -> Plane<'a> {
        Plane { shape, padded, weights, bias, y }
    }
}

impl Plane<'_> {
    /// Computes the outputs; tells whether all are finite.
    #[inline(always)]
    pub fn compute<V: VectorLane>(mut self) -> bool {
        let mut seen = V::splat(0.0);
        let d = self.shape;
        // One lane at a time leaves vectors to the compiler.
        match (d.kernel, d.stride.0, d.dilation) {
            ((3, 3), 1, 1) if V::LANES > 1 => self.written_out::<V, 1, 3>(&mut seen),
            ((3, 3), 2, 1) if V::LANES > 1 => self.written_out::<V, 2, 3>(&mut seen),
            ((5, 5), 1, 1) if V::LANES > 1 => self.written_out::<V, 1, 5>(&mut seen),
            ((5, 5), 2, 1) if V::LANES > 1 => self.written_out::<V, 2, 5>(&mut seen),
            _ => self.scheduled(&mut seen),
        }
        let mut lanes = [0.0f32; SLACK];
        // SAFETY: the array has at least `LANES` elements.
        unsafe { seen.store(lanes.as_mut_ptr()) };
        !lanes.iter().any(|seen| seen.is_nan())
    }

    /// A kernel of `K` x `K` taps, lines of outputs `S` lines of the plane apart.
    #[inline(always)]
    fn written_out<V: VectorLane, const S: usize, const K: usize>(&mut self, seen: &mut V) {
        let (out, lanes) = (self.shape.out, V::LANES);
        let taps = Taps::<V, K>::new(self.weights, &self.shape.taps);
        let mut column = 0;
        while column < out.1 {
            let whole = out.1 - column > lanes;
            let mut row = 0;
            while row < out.0 {
                let at = (row, column);
                // SAFETY: the last place that is read lies within the plane or its slack: lanes past a line's
                // end are fewer than `SLACK`.
                row += unsafe {
                    match (out.0 - row, whole) {
                        // Where what is loaded is the limit: as many uses of it as there are taps in a column.
                        (8.., true) if K == 5 => self.taps::<V, 8, 2, S, K>(at, &taps, seen),
                        (4.., true) => self.taps::<V, 4, 2, S, K>(at, &taps, seen),
                        (2.., true) => self.taps::<V, 2, 2, S, K>(at, &taps, seen),
                        (_, true) => self.taps::<V, 1, 2, S, K>(at, &taps, seen),
                        (4.., false) => self.taps::<V, 4, 1, S, K>(at, &taps, seen),
                        (2.., false) => self.taps::<V, 2, 1, S, K>(at, &taps, seen),
                        (_, false) => self.taps::<V, 1, 1, S, K>(at, &taps, seen),
                    }
                };
            }
            column += if whole { 2 * lanes } else { lanes };
        }
    }

    /// `R` lines by `C` registers of outputs from `at` on; gives `R`.
    ///
    /// # Safety
    /// As for `block`.
    #[inline(always)]
    unsafe fn taps<V: VectorLane, const R: usize, const C: usize, const S: usize, const K: usize>(
        &mut self,
        at: (usize, usize),
        taps: &Taps<V, K>,
        seen: &mut V,
    ) -> usize {
        let d = self.shape;
        let mut acc = [[V::splat(0.0); C]; R];
        // SAFETY: lines of the padded plane that the outputs' windows cover.
        unsafe {
            let start = self.padded.as_ptr().add(at.0 * S * d.columns + at.1);
            // Lines by name: each is a loop of its own that the compiler has no choice but to write out.
            taps.under::<R, C, S, 0>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 1>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 2>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 3>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 4>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 5>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 6>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 7>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 8>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 9>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 10>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 11>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 12>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 13>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 14>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 15>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 16>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 17>(start, d.columns, &mut acc);
            taps.under::<R, C, S, 18>(start, d.columns, &mut acc);
        }
        const { assert!((R - 1) * S + K <= 19) };
        self.finish(at, &acc, seen);
        R
    }

    /// Any kernel.
    #[inline(always)]
    fn scheduled<V: VectorLane>(&mut self, seen: &mut V) {
        let (out, lanes) = (self.shape.out, V::LANES);
        // One lane at a time leaves vectors to the compiler.
        let wide = if lanes == 1 { 8 } else { 2 };
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
                        (4, 1, _) => self.block::<V, 4, 8>(at, seen),
                        (3, 1, _) => self.block::<V, 3, 8>(at, seen),
                        (2, 1, _) => self.block::<V, 2, 8>(at, seen),
                        (_, 1, _) => self.block::<V, 1, 8>(at, seen),
                        (4, _, true) => self.block::<V, 4, 2>(at, seen),
                        (3, _, true) => self.block::<V, 3, 2>(at, seen),
                        (2, _, true) => self.block::<V, 2, 2>(at, seen),
                        (_, _, true) => self.block::<V, 1, 2>(at, seen),
                        (4, _, false) => self.block::<V, 4, 1>(at, seen),
                        (3, _, false) => self.block::<V, 3, 1>(at, seen),
                        (2, _, false) => self.block::<V, 2, 1>(at, seen),
                        (_, _, false) => self.block::<V, 1, 1>(at, seen),
                    }
                }
            }
            row += rows;
        }
    }

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
        self.finish((row, column), &acc, seen);
    }

    /// Stores sums with their bias.
    #[inline(always)]
    fn finish<V: VectorLane, const R: usize, const C: usize>(
        &mut self,
        (row, column): (usize, usize),
        acc: &[[V; C]; R],
        seen: &mut V,
    ) {
        let d = self.shape;
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

/// A kernel of `K` x `K` taps.
struct Taps<V, const K: usize> {
    /// Where each of a line begins.
    places: [usize; K],
    weights: [[f32; K]; K],
    /// The weights in registers, where there are registers enough.
    splat: [[V; K]; K],
}

impl<V: VectorLane, const K: usize> Taps<V, K> {
    #[inline(always)]
    fn new(weights: &[f32], places: &[usize]) -> Taps<V, K> {
        let mut taps = Taps { places: [0; K], weights: [[0.0; K]; K], splat: [[V::splat(0.0); K]; K] };
        // Loops, not `map`: its closures are functions that are inlined or not, and then registers go through memory.
        for line in 0..K {
            taps.places[line] = places[line];
            for k in 0..K {
                taps.weights[line][k] = weights[line * K + k];
                taps.splat[line][k] = V::splat(weights[line * K + k]);
            }
        }
        taps
    }

    /// Adds those of the `LINE`-th line under `R` lines of outputs that are `S` apart, if there is one.
    ///
    /// # Safety
    /// `start` and the places are those of a plane whose lines are `columns` apart, with slack behind them.
    #[inline(always)]
    unsafe fn under<const R: usize, const C: usize, const S: usize, const LINE: usize>(
        &self,
        start: *const f32,
        columns: usize,
        acc: &mut [[V; C]; R],
    ) {
        if LINE >= (R - 1) * S + K {
            return;
        }
        for k in 0..K {
            let mut x = [V::splat(0.0); C];
            for c in 0..C {
                // SAFETY: the caller's promise.
                x[c] = unsafe { V::load(start.add(LINE * columns + self.places[k]).add(c * V::LANES)) };
            }
            for r in 0..R {
                if r * S <= LINE && LINE - r * S < K {
                    let line = LINE - r * S;
                    let weight = if K == 3 { self.splat[line][k] } else { V::splat(self.weights[line][k]) };
                    for c in 0..C {
                        acc[r][c] = x[c].fma(weight, acc[r][c]);
                    }
                }
            }
        }
    }
}
