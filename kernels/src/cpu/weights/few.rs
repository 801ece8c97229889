//! Few rows times stored weights, which are widened in registers as they arrive.
//!
//! Lanes span columns. Chains and tree are those of every contraction: chunks of fused multiply-adds from +0 in
//! ascending order, `+ (+0)`, then `earlier + later`.

use std::marker::PhantomData;
use std::ops::Range;

use repops::lane::{FloatLane, Lane};
use repops::reduce::CHUNK;

use super::super::contract::pack::Left;
use super::super::contract::tile::{PANEL, prefetch, prefetch_later};
use super::super::contract::{Size, Target};
use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use super::Weights;
use super::stored::{Format, STEP_MAX, Stored, with_form};
use crate::isa::Isa;
use crate::parallel::parallel;
use crate::scratch::with_scratch;

/// The most rows that are multiplied in this way.
pub(crate) const ROWS_MAX: usize = 32;
/// Rows of a tile at the most.
const TILE_ROWS: usize = 8;
/// Panels of a group, which a tile takes at once, at the most.
const GROUP: usize = 4;
/// Bytes that are asked for ahead of the block at work, of each panel: as many blocks as hold so many.
const AHEAD: usize = 2048;
/// Elements of a matrix of f32 at the least.
const F32_MIN: usize = 1 << 19;
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
    // Small matrices of f32 stay in the cache: there tiles of just as many rows are faster.
    if weights.format == Format::F32 && (batches > 1 || k * n < F32_MIN) {
        return false;
    }
    // Rows of a tile; the last one is filled up with rows of zeros.
    let rows = m.next_power_of_two().min(match isa {
        Isa::Avx512 => TILE_ROWS,
        Isa::Avx2 | Isa::Neon => 4,
        Isa::Portable => 1,
    });
    let tiles = m.div_ceil(rows);
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
        with_scratch((tiles * rows + 1) * k, |x: &mut [f32]| {
            let (x, row) = x.split_at_mut(tiles * rows * k);
            let whole = m / rows * rows;
            let (tiles, last) = x.split_at_mut(whole * k);
            if !tiles.is_empty() {
                left.pack(batch, 0..whole, 0..k, rows, tiles);
            }
            last.fill(0.0);
            for r in (whole..m).filter(|_| k > 0) {
                left.pack(batch, r..r + 1, 0..k, 1, row);
                for (x, &value) in last[r - whole..].iter_mut().step_by(rows).zip(row.iter()) {
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
const TILE_MAX: usize = TILE_ROWS * GROUP * PANEL;

/// Some groups of panels.
struct Task<'a, F> {
    /// `[tile][term][row]`.
    x: &'a [f32],
    /// Rows of a tile: a power of two.
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
        if const { V::LANES == 16 } {
            match self.rows {
                1 => self.run_tiles::<V, 1, 4, false>(),
                2 => self.run_tiles::<V, 2, 4, false>(),
                4 => self.run_tiles::<V, 4, 2, false>(),
                _ if self.m <= 8 => self.run_tiles::<V, 8, 2, false>(),
                _ => self.run_tiles::<V, 8, 2, true>(),
            }
        } else if const { V::LANES == 8 } {
            match self.rows {
                1 => self.run_tiles::<V, 1, 4, false>(),
                2 => self.run_tiles::<V, 2, 2, false>(),
                _ if self.m <= 4 => self.run_tiles::<V, 4, 2, false>(),
                _ => self.run_tiles::<V, 4, 2, true>(),
            }
        } else if const { V::LANES == 4 } {
            match self.rows {
                1 => self.run_tiles::<V, 1, 8, false>(),
                2 => self.run_tiles::<V, 2, 4, false>(),
                _ if self.m <= 4 => self.run_tiles::<V, 4, 4, false>(),
                _ => self.run_tiles::<V, 4, 4, true>(),
            }
        } else {
            self.run_tiles::<V, 1, 16, false>();
        }
    }
}

impl<F: Stored> Task<'_, F> {
    /// Tiles of `ROWS` by `VECTORS` registers of columns; `MANY`: of more rows than one tile has.
    #[inline(always)]
    fn run_tiles<V: VectorLane, const ROWS: usize, const VECTORS: usize, const MANY: bool>(mut self) {
        let all = self.n.div_ceil(PANEL);
        let wide = VECTORS * V::LANES / PANEL;
        let width = wide * PANEL;
        for panel in (self.groups.start * GROUP..all.min(self.groups.end * GROUP)).step_by(wide) {
            for row in (0..self.m).step_by(ROWS) {
                self.tile::<V, ROWS, VECTORS, MANY>(panel, row);
                let columns = panel * PANEL..self.n.min((panel + wide) * PANEL);
                let rows = row..self.m.min(row + ROWS);
                let sums = &self.out[..rows.len() * width];
                // SAFETY: tasks have columns of their own, in range.
                unsafe { self.target.store(self.batch, rows, columns, sums, width) };
            }
        }
    }

    /// `ROWS` rows from `row` on by `VECTORS` registers of columns from `panel` on, into `out`. Panels past the last
    /// are computed as the last one is.
    #[inline(always)]
    fn tile<V: VectorLane, const ROWS: usize, const VECTORS: usize, const MANY: bool>(
        &mut self,
        panel: usize,
        row: usize,
    ) {
        let per_panel = PANEL / V::LANES;
        let panel_bytes = self.panel_bytes;
        let all = self.n.div_ceil(PANEL);
        let starts: [usize; VECTORS] =
            std::array::from_fn(|v| (v / per_panel).min(all - 1 - panel) * panel_bytes);
        let bytes = &self.bytes[panel * panel_bytes..all * panel_bytes];
        assert!(
            ROWS == self.rows
                && row.is_multiple_of(ROWS)
                && self.x.len() >= (row + ROWS) * self.k
                && panel_bytes >= self.k / F::BLOCK * F::BYTES
        );
        assert!(
            self.levels.len().is_multiple_of(TILE_MAX)
                && ROWS * VECTORS * V::LANES <= TILE_MAX
                && self.out.len() >= TILE_MAX
        );
        // Each tile of rows asks for its share of the group that comes after this one.
        let (tile, tiles) = (row / ROWS, self.m.div_ceil(ROWS));
        let mut at = At {
            block: bytes.as_ptr(),
            x: self.x.as_ptr().wrapping_add(row * self.k),
            left_bytes: panel_bytes,
            next: bytes.as_ptr().wrapping_add(VECTORS / per_panel * panel_bytes + panel_bytes / tiles * tile),
            share: F::BYTES / tiles,
        };
        let (mut rest, mut chunk) = (self.k, 0usize);
        let sums = loop {
            let terms = rest.min(CHUNK);
            // SAFETY: the panels hold `k` positions, and `x` as many terms of `ROWS` rows, as asserted.
            let mut sums =
                unsafe { chunk_sums::<F, V, ROWS, VECTORS, MANY>(&mut at, &starts, terms, panel_bytes) };
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

/// Where the next term is.
struct At {
    block: *const u8,
    x: *const f32,
    /// Of the panel, from `block` on.
    left_bytes: usize,
    /// What is asked for of the next group, and how many bytes with each block: where tiles are many, memory rests while
    /// all but the first read a group, unless they ask.
    next: *const u8,
    share: usize,
}

/// The sums of a chunk of `terms`. A function of its own, so that the sums stay in registers: see that of `contract::tile`.
///
/// # Safety
/// Panels that start at `starts` from the block on hold these terms, and so does `x` of `ROWS` rows.
#[inline(always)]
unsafe fn chunk_sums<F: Stored, V: VectorLane, const ROWS: usize, const VECTORS: usize, const MANY: bool>(
    place: &mut At,
    starts: &[usize; VECTORS],
    terms: usize,
    panel_bytes: usize,
) -> [[V; VECTORS]; ROWS] {
    let per_panel = PANEL / V::LANES;
    let panels = VECTORS / per_panel;
    let zero = || <V as FloatLane>::splat(0.0);
    let At { mut block, mut x, mut left_bytes, mut next, share: next_bytes } = *place;
    let mut sums = [[zero(); VECTORS]; ROWS];
    for _ in 0..terms / F::BLOCK {
        // What comes after the last block is the group's next panel: the next group's blocks are wanted.
        let ahead = const { AHEAD.next_multiple_of(F::BYTES) };
        let ahead = if left_bytes > ahead { ahead } else { ahead + (panels - 1) * panel_bytes };
        if MANY {
            for v in (0..VECTORS).step_by(per_panel) {
                for at in (0..next_bytes).step_by(64) {
                    prefetch_later(next.wrapping_add(starts[v] + at));
                }
            }
            next = next.wrapping_add(next_bytes);
        }
        for band in 0..F::BLOCK / F::BAND {
            let share = F::BYTES * F::BAND / F::BLOCK;
            for v in (0..VECTORS).step_by(per_panel).filter(|_| !MANY) {
                for line in 0..share.div_ceil(64) {
                    let at = starts[v] + ahead + band * share + 64 * line;
                    prefetch(block.wrapping_add(at));
                }
            }
            let mut scales = [(zero(), zero()); VECTORS];
            for v in 0..VECTORS {
                // SAFETY: the panels hold `k` positions, as asserted.
                scales[v] = unsafe {
                    let block = block.add(starts[v]);
                    F::scales::<V>(block, band, v % per_panel * V::LANES)
                };
            }
            for at in (band * F::BAND..(band + 1) * F::BAND).step_by(F::STEP) {
                let mut weights = [[zero(); STEP_MAX]; VECTORS];
                for v in 0..VECTORS {
                    // SAFETY: as above.
                    weights[v] = unsafe {
                        let block = block.add(starts[v]);
                        F::weights(scales[v], block, at, v % per_panel * V::LANES)
                    };
                }
                for i in 0..F::STEP {
                    for r in 0..ROWS {
                        // SAFETY: `x` holds the terms of `ROWS` rows; the caller's promise.
                        let left = <V as FloatLane>::splat(unsafe { *x.add(r) });
                        for v in 0..VECTORS {
                            sums[r][v] = FloatLane::fma(left, weights[v][i], sums[r][v]);
                        }
                    }
                    x = x.wrapping_add(ROWS);
                }
            }
        }
        block = block.wrapping_add(F::BYTES);
        left_bytes -= F::BYTES;
    }
    *place = At { block, x, left_bytes, next, share: next_bytes };
    for r in 0..ROWS {
        for v in 0..VECTORS {
            sums[r][v] = FloatLane::add(sums[r][v], zero());
        }
    }
    sums
}
