//! Few rows times stored weights, which are widened in registers as they arrive.
//!
//! Lanes span columns. Chains and tree are those of every contraction: chunks of fused multiply-adds from +0 in
//! ascending order, `+ (+0)`, then `earlier + later`.

use std::marker::PhantomData;
use std::ops::Range;

use repops::lane::{FloatLane, Lane};
use repops::reduce::CHUNK;

use super::super::contract::pack::Left;
use super::super::contract::tile::{PANEL, prefetch};
use super::super::contract::{Size, Target};
use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use super::Weights;
use super::stored::{STEP_MAX, Stored, with_form};
use crate::isa::Isa;
use crate::parallel::parallel;
use crate::scratch::with_scratch;

/// The most rows that are multiplied in this way.
pub(crate) const ROWS_MAX: usize = 8;
/// Panels of a group, which a tile takes at once, at the most.
const GROUP: usize = 4;
/// Bytes that are asked for ahead of the block at work, of each panel.
const AHEAD: usize = 2048;
/// Multiply-adds below which work is not divided among threads.
const TASK_MIN: usize = 1 << 17;

/// Computes the contraction if it is one of few rows; whether it was.
pub(crate) fn few_rows(
    isa: Isa,
    size: Size,
    left: &dyn Left<f32>,
    weights: &Weights<'_>,
    target: &dyn Target<f32>,
) -> bool {
    let Size { batches, m, n, k } = size;
    if m > ROWS_MAX || target.bias(0).is_some() || target.not_finite().is_some() {
        return false;
    }
    // Rows of a tile, filled up with rows of zeros.
    let rows = m.next_power_of_two();
    let groups = n.div_ceil(PANEL * GROUP);
    let threads = rayon::current_num_threads();
    let tasks = match threads {
        1 => 1,
        _ => (4 * threads).min(m.saturating_mul(n).saturating_mul(k) / TASK_MIN).clamp(1, groups),
    };
    let step = groups.div_ceil(tasks);
    let chunks = k.div_ceil(CHUNK).max(1);
    let levels = (usize::BITS - (chunks - 1).leading_zeros()) as usize;
    for batch in 0..batches {
        let bytes = weights.batch(batch);
        assert!(bytes.len() >= n.div_ceil(PANEL) * weights.panel_bytes() && weights.terms == k);
        with_scratch((rows + 1) * k, |x: &mut [f32]| {
            let (x, row) = x.split_at_mut(rows * k);
            x.fill(0.0);
            for r in 0..m {
                left.pack(batch, r..r + 1, 0..k, 1, row);
                for (x, &value) in x[r..].iter_mut().step_by(rows).zip(row.iter()) {
                    *x = value;
                }
            }
            let x = &*x;
            parallel(groups.div_ceil(step), |task| {
                let groups = task * step..groups.min((task + 1) * step);
                with_scratch((levels + 1) * TILE_MAX, |buffer: &mut [f32]| {
                    let (out, levels) = buffer.split_at_mut(TILE_MAX);
                    let panel_bytes = weights.panel_bytes();
                    with_form!(weights.format, F => {
                        let form = PhantomData::<F>;
                        dispatch(isa, Task { x, rows, m, n, k, bytes, panel_bytes, groups, levels, out, batch, target, form });
                    });
                });
            });
        });
    }
    true
}

/// Elements of a tile's result at the most.
const TILE_MAX: usize = ROWS_MAX * GROUP * PANEL;

/// Some groups of panels.
struct Task<'a, F> {
    /// `(term, row)` at `term * rows + row`.
    x: &'a [f32],
    /// Rows with those of zeros: a power of two.
    rows: usize,
    m: usize,
    n: usize,
    k: usize,
    bytes: &'a [u8],
    panel_bytes: usize,
    groups: Range<usize>,
    /// Room for the sums of chunks, `TILE_MAX` for each level of the tree.
    levels: &'a mut [f32],
    out: &'a mut [f32],
    batch: usize,
    target: &'a dyn Target<f32>,
    form: PhantomData<F>,
}

impl<F: Stored> Vectorized for Task<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        // As many sums as hide the latency of a multiply-add, and no more than there are registers for.
        match (V::LANES, self.rows) {
            (16, 1) => self.run_tiles::<V, 1, 4, 1>(),
            (16, 2) => self.run_tiles::<V, 2, 4, 1>(),
            (16, 4) => self.run_tiles::<V, 4, 2, 1>(),
            (16, _) => self.run_tiles::<V, 8, 2, 1>(),
            (8, 1) => self.run_tiles::<V, 1, 4, 2>(),
            (8, 2) => self.run_tiles::<V, 2, 2, 2>(),
            (8, _) => self.run_tiles::<V, 4, 2, 2>(),
            (4, 1) => self.run_tiles::<V, 1, 8, 4>(),
            (4, 2) => self.run_tiles::<V, 2, 4, 4>(),
            (4, _) => self.run_tiles::<V, 4, 4, 4>(),
            (_, 1) => self.run_tiles::<V, 1, 16, 16>(),
            _ => self.run_tiles::<V, 2, 16, 16>(),
        }
    }
}

impl<F: Stored> Task<'_, F> {
    /// Tiles of `ROWS` by `WIDE` registers of columns, and where so many are not left, `ONE`, which is one panel.
    #[inline(always)]
    fn run_tiles<V: VectorLane, const ROWS: usize, const WIDE: usize, const ONE: usize>(mut self) {
        let all = self.n.div_ceil(PANEL);
        let wide = WIDE * V::LANES / PANEL;
        let end = all.min(self.groups.end * GROUP);
        let mut panel = self.groups.start * GROUP;
        while panel < end {
            let is_wide = panel + wide <= end;
            let panels = if is_wide { wide } else { 1 };
            for row in (0..self.m).step_by(ROWS) {
                match is_wide {
                    true => self.tile::<V, ROWS, WIDE>(panel, row),
                    false => self.tile::<V, ROWS, ONE>(panel, row),
                }
                let columns = panel * PANEL..self.n.min((panel + panels) * PANEL);
                let rows = row..self.m.min(row + ROWS);
                let width = panels * PANEL;
                // SAFETY: tasks have columns of their own, in range.
                unsafe { self.target.store(self.batch, rows.clone(), columns, &self.out[..rows.len() * width], width) };
            }
            panel += panels;
        }
    }

    /// `ROWS` rows from `row` on by `VECTORS` registers of columns from `panel` on, into `out`.
    #[inline(always)]
    fn tile<V: VectorLane, const ROWS: usize, const VECTORS: usize>(&mut self, panel: usize, row: usize) {
        let per_panel = PANEL / V::LANES;
        let panels = VECTORS / per_panel;
        let panel_bytes = self.panel_bytes;
        let zero = || <V as FloatLane>::splat(0.0);
        let bytes = &self.bytes[panel * panel_bytes..(panel + panels) * panel_bytes];
        assert!(self.x.len() >= self.k * self.rows && row + ROWS <= self.rows && panel_bytes >= self.k / F::BLOCK * F::BYTES);
        assert!(self.levels.len().is_multiple_of(TILE_MAX) && ROWS * VECTORS * V::LANES <= TILE_MAX && self.out.len() >= TILE_MAX);
        let (mut block, mut x) = (bytes.as_ptr(), self.x.as_ptr().wrapping_add(row));
        let step_x = self.rows;
        let (mut rest, mut chunk) = (self.k, 0usize);
        let mut left_bytes = panel_bytes;
        let sums = loop {
            let mut sums = [[zero(); VECTORS]; ROWS];
            let terms = rest.min(CHUNK);
            for _ in 0..terms / F::BLOCK {
                // What comes after the last block is the group's next panel: the next group's blocks are wanted.
                let ahead = if left_bytes > AHEAD { AHEAD } else { AHEAD + (panels - 1) * panel_bytes };
                for band in 0..F::BLOCK / F::BAND {
                    let share = F::BYTES * F::BAND / F::BLOCK;
                    for panel in 0..panels {
                        for line in 0..share.div_ceil(64) {
                            let at = panel * panel_bytes + ahead + band * share + 64 * line;
                            prefetch(block.wrapping_add(at));
                        }
                    }
                    let mut scales = [(zero(), zero()); VECTORS];
                    for v in 0..VECTORS {
                        // SAFETY: the panels hold `k` positions, as asserted.
                        scales[v] = unsafe {
                            let block = block.add(v / per_panel * panel_bytes);
                            F::scales::<V>(block, band, v % per_panel * V::LANES)
                        };
                    }
                    for at in (band * F::BAND..(band + 1) * F::BAND).step_by(F::STEP) {
                        let mut weights = [[zero(); STEP_MAX]; VECTORS];
                        for v in 0..VECTORS {
                            // SAFETY: as above.
                            weights[v] = unsafe {
                                let block = block.add(v / per_panel * panel_bytes);
                                F::weights(scales[v], block, at, v % per_panel * V::LANES)
                            };
                        }
                        for i in 0..F::STEP {
                            for r in 0..ROWS {
                                // SAFETY: `x` holds `k` terms of `rows` rows, as asserted.
                                let left = <V as FloatLane>::splat(unsafe { *x.add(r) });
                                for v in 0..VECTORS {
                                    sums[r][v] = FloatLane::fma(left, weights[v][i], sums[r][v]);
                                }
                            }
                            x = x.wrapping_add(step_x);
                        }
                    }
                }
                block = block.wrapping_add(F::BYTES);
                left_bytes -= F::BYTES;
            }
            for sum in sums.as_flattened_mut() {
                *sum = FloatLane::add(*sum, zero());
            }
            rest -= terms;
            // Binary counter: chunk i completes the subtrees of its trailing one bits; the last completes all.
            let free = chunk.trailing_ones() as usize;
            let mut merge = if rest == 0 { chunk } else { (1 << free) - 1 };
            while merge != 0 {
                let level = &self.levels[merge.trailing_zeros() as usize * TILE_MAX..][..TILE_MAX];
                merge &= merge - 1;
                for (index, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    // SAFETY: a level holds the tile, as asserted.
                    *sum = FloatLane::add(unsafe { V::load(level.as_ptr().add(index * V::LANES)) }, *sum);
                }
            }
            if rest == 0 {
                break sums;
            }
            let level = &mut self.levels[free * TILE_MAX..][..TILE_MAX];
            for (index, sum) in sums.as_flattened().iter().enumerate() {
                // SAFETY: as above.
                unsafe { sum.store(level.as_mut_ptr().add(index * V::LANES)) };
            }
            chunk += 1;
        };
        for (index, sum) in sums.as_flattened().iter().enumerate() {
            // SAFETY: the output holds the tile, as asserted.
            unsafe { Lane::canonical_nan(*sum).store(self.out.as_mut_ptr().add(index * V::LANES)) };
        }
    }
}
