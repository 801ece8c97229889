//! Attention of some rows of queries that share a head of keys and values.
//!
//! Scores of all rows over all keys, with the keys as panels of a contraction; the exact softmax of each row;
//! the product with the values, of which a page is one chunk. Memory is linear in the number of positions.
//! Invariant: each score, sum and result has the order of operations that `SequenceAttention` states.

use std::ops::Range;

use repops::lane::FloatLane;
use repops::reduce::CHUNK;
use repops::scalar;

use super::super::contract::TileElem;
use super::super::contract::tile::{Finish, Form, PANEL, SPAN, Tile, TileFn, TileSet, prefetch};
use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use super::super::rows::sums;
use super::PAGE;
use crate::isa::Isa;
use crate::scratch::with_scratch;

const _: () = assert!(PAGE == CHUNK && PAGE.is_multiple_of(PANEL));

/// Rows that a block should have at the most, and elements of its scores.
const BLOCK_ROWS: usize = 48;
const BLOCK_SCORES: usize = 1 << 17;

/// Rows up to which keys and values are asked for ahead: so few are through with them before the next ones arrive.
const FEW_ROWS: usize = 8;
/// Elements of values up to which all are asked for while scores are computed: they wait in the second-level cache.
const VALUES_AHEAD: usize = 1 << 16;

/// Keys and values, page by page.
pub(super) trait Source: Sync {
    /// Keys of a head's page: `(position, t)` at `(position / 16 * d + t) * 16 + position % 16`, whole panels as far as
    /// there are positions.
    fn keys(&self, head: usize, page: usize) -> &[f32];
    /// Values of a head's page: the rows, and their distance.
    fn values(&self, head: usize, page: usize) -> (&[f32], usize);
}

/// What all rows share.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Elements of a query and a key.
    pub d: usize,
    /// Elements of a value.
    pub e: usize,
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
    /// Whether a row all of whose scores are -infinity has results +0.
    pub blocked_is_zero: bool,
}

/// Rows of queries.
pub(super) struct Rows<'a> {
    /// The positions that each row sees: at least one.
    pub seen: &'a [Range<usize>],
    /// Writes a row's query.
    pub query: &'a dyn Fn(usize, &mut [f32]),
    /// Changes a row's scores, of the positions that it sees.
    pub mask: Option<&'a dyn Fn(usize, &mut [f32])>,
    /// Takes a row's result.
    pub store: &'a dyn Fn(usize, &[f32]),
}

/// How many rows a block should have where each sees at most so many positions.
pub(super) fn block_rows(positions: usize) -> usize {
    (BLOCK_SCORES / positions.max(1)).clamp(12, BLOCK_ROWS) / 12 * 12
}

/// Parts of `count` panels, as wide as tiles get but at most `most`, each a power of two.
fn parts(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let mut wide = most;
        while wide > count - at && wide > 0 {
            wide /= 2;
        }
        at += wide;
        (wide > 0).then_some((at - wide, wide))
    })
}

/// The widest tile of so many rows for at most `panels`, and how many it takes.
fn pick(set: &TileSet<f32>, rows: usize, panels: usize, form: Form) -> (TileFn<f32>, usize) {
    let mut panels = panels;
    loop {
        match (set.pick)(rows, panels, form) {
            Some(run) => return (run, panels),
            // There is a tile of every height for one panel.
            None => panels /= 2,
        }
    }
}

/// Computes the rows.
pub(super) fn attend_rows(isa: Isa, shape: &Shape, source: &dyn Source, head: usize, rows: &Rows<'_>) {
    let Shape { d, e, .. } = *shape;
    let count = rows.seen.len();
    let (Some(low), Some(high)) =
        (rows.seen.iter().map(|r| r.start).min(), rows.seen.iter().map(|r| r.end).max())
    else {
        return;
    };
    assert!(rows.seen.iter().all(|seen| seen.start < seen.end));
    let set = f32::tiles(isa);
    let first = low / PAGE * PAGE;
    // An odd number of cache lines: rows an even number apart would share few sets of the cache.
    let width = ((high - first).div_ceil(PANEL) | 1) * PANEL;
    let e_padded = e.next_multiple_of(PANEL);
    let pages = high.div_ceil(PAGE);
    let levels = depth(pages).max(depth(d.div_ceil(SPAN))).max(1);
    let tile_len = 256.max(set.rows_max * PANEL * 2);
    let tile_rows = count.div_ceil(count.div_ceil(set.rows_max));
    // At least one, for scores have levels, too.
    let parts = parts(e_padded / PANEL, (set.panels)(tile_rows)).count().max(1);
    let sizes = [count * d, count * width, count * e_padded, parts * levels * tile_len, PAGE * e_padded];
    let lens = sizes.map(|len| len.next_multiple_of(64));
    let total: usize = lens.iter().sum();
    with_scratch(total, |buffer: &mut [f32]| {
        let (queries, buffer) = buffer.split_at_mut(lens[0]);
        let (scores, buffer) = buffer.split_at_mut(lens[1]);
        let (results, buffer) = buffer.split_at_mut(lens[2]);
        let (sums, padded) = buffer.split_at_mut(lens[3]);
        for row in 0..count {
            (rows.query)(row, &mut queries[row * d..(row + 1) * d]);
        }
        let work = Work { set, shape, source, head, rows, first, width, e_padded, tile_len, levels };
        work.scores(queries, scores, high, sums);
        let mut blocked = Vec::new();
        let mut terms = Terms { offsets: [0; PAGE], distance: 0 };
        // The weights of a tile's rows are multiplied while they are in the nearest cache.
        for row in (0..count).step_by(tile_rows) {
            let tile = row..count.min(row + tile_rows);
            dispatch(
                isa,
                Weights { shape, rows, tile: tile.clone(), scores, width, first, blocked: &mut blocked },
            );
            if work.is_uniform(tile.clone()) {
                work.values(tile, scores, results, sums, padded, &mut terms);
            } else {
                // An infinite or NaN value times a weight of +0 is not 0.
                tile.for_each(|row| work.values(row..row + 1, scores, results, sums, padded, &mut terms));
            }
        }
        for row in blocked {
            results[row * e_padded..][..e].fill(0.0);
        }
        for row in 0..count {
            (rows.store)(row, &results[row * e_padded..][..e]);
        }
    });
}

/// Elements of a cache line.
const LINE: usize = 64 / size_of::<f32>();

/// Asks for what will be read.
pub(super) fn ask_for(elements: &[f32]) {
    elements.chunks(LINE).for_each(|line| prefetch(line.as_ptr()));
}

/// Levels of a binary counter up to `count`.
fn depth(count: usize) -> usize {
    (usize::BITS - count.saturating_sub(1).leading_zeros()) as usize
}

/// A block of rows at work.
struct Work<'a> {
    set: &'a TileSet<f32>,
    shape: &'a Shape,
    source: &'a dyn Source,
    head: usize,
    rows: &'a Rows<'a>,
    /// The position of the first column of scores: a page's start.
    first: usize,
    /// Columns of scores.
    width: usize,
    e_padded: usize,
    /// Elements of a tile at the most.
    tile_len: usize,
    /// Levels of the sums of a tile.
    levels: usize,
}

/// Where the terms of a page of values are, at the distance of rows for which that was found.
struct Terms {
    offsets: [usize; PAGE],
    distance: usize,
}

impl Terms {
    fn at(&mut self, distance: usize) -> *const usize {
        if self.distance != distance {
            self.distance = distance;
            for (term, offset) in self.offsets.iter_mut().enumerate() {
                *offset = term * distance;
            }
        }
        self.offsets.as_ptr()
    }
}

impl Work<'_> {
    /// Contracts queries and keys.
    fn scores(&self, queries: &[f32], scores: &mut [f32], high: usize, levels: &mut [f32]) {
        let d = self.shape.d;
        let count = self.rows.seen.len();
        let tile_rows = count.div_ceil(count.div_ceil(self.set.rows_max));
        for page in self.first / PAGE..high.div_ceil(PAGE) {
            let positions = (high - page * PAGE).min(PAGE);
            let panels = positions.div_ceil(PANEL);
            let keys = &self.source.keys(self.head, page)[..panels * PANEL * d];
            for (panel, wide) in parts(panels, (self.set.panels)(tile_rows)) {
                for row in (0..count).step_by(tile_rows) {
                    let high = tile_rows.min(count - row);
                    let mut at = panel;
                    while at < panel + wide {
                        let (run, taken) = pick(self.set, high, panel + wide - at, Form::InPlace);
                        let column = page * PAGE - self.first + at * PANEL;
                        if count <= FEW_ROWS && row == 0 {
                            let next = (at + taken) * PANEL;
                            ask_for(&keys[next * d..keys.len().min((next + taken * PANEL) * d)]);
                            self.ask_for_values(page, at * PANEL..next.min(positions));
                        }
                        let out = &mut scores[row * self.width + column..];
                        assert!(out.len() >= (high - 1) * self.width + taken * PANEL);
                        self.keys_tile(
                            run,
                            &queries[row * d..][..high * d],
                            &keys[at * PANEL * d..],
                            out,
                            (high, taken),
                            levels,
                        );
                        at += taken;
                    }
                }
            }
        }
    }

    /// Asks for the values of some positions of a page.
    fn ask_for_values(&self, page: usize, positions: Range<usize>) {
        let e = self.shape.e;
        if self.width * e <= VALUES_AHEAD {
            let (values, stride) = self.source.values(self.head, page);
            positions.for_each(|position| ask_for(&values[position * stride..][..e]));
        }
    }

    /// One tile of scores.
    fn keys_tile(
        &self,
        run: TileFn<f32>,
        queries: &[f32],
        keys: &[f32],
        out: &mut [f32],
        (high, panels): (usize, usize),
        levels: &mut [f32],
    ) {
        let d = self.shape.d;
        assert!(keys.len() >= panels * PANEL * d && high * panels * PANEL <= self.tile_len);
        let spans = d.div_ceil(SPAN).max(1);
        for span in 0..spans {
            let start = span * SPAN;
            let free = span.trailing_ones() as usize;
            let last = span + 1 == spans;
            let (out, out_row) = if last {
                (out.as_mut_ptr(), self.width)
            } else {
                (levels[free * self.tile_len..][..self.tile_len].as_mut_ptr(), panels * PANEL)
            };
            let tile = Tile {
                a: queries[start..].as_ptr(),
                a_row: d,
                b: keys[start * PANEL..].as_ptr(),
                b_panel: d * PANEL,
                offsets: std::ptr::null(),
                b_ahead: 0,
                k: SPAN.min(d - start),
                levels: levels.as_ptr(),
                level_stride: self.tile_len,
                merge: if last { span } else { (1 << free) - 1 },
                out,
                out_row,
                last: None,
            };
            // SAFETY: queries, keys and scores hold the tile, as asserted here and by the caller; of the levels
            // those are read that earlier spans have written; `tiles` has checked the instruction set.
            unsafe { run(&tile) };
        }
    }

    /// Whether rows may be multiplied together: where only some of them see a position, its values are finite.
    fn is_uniform(&self, rows: Range<usize>) -> bool {
        let seen = &self.rows.seen[rows];
        let (mut low, mut high, mut all_low, mut all_high) = (usize::MAX, 0, 0, usize::MAX);
        for seen in seen {
            (low, high) = (low.min(seen.start), high.max(seen.end));
            (all_low, all_high) = (all_low.max(seen.start), all_high.min(seen.end));
        }
        let finite = |position: usize| {
            let (values, stride) = self.source.values(self.head, position / PAGE);
            values[position % PAGE * stride..][..self.shape.e].iter().all(|value| value.is_finite())
        };
        (low..all_low.min(high)).chain(all_high.max(low)..high).all(finite)
    }

    /// Contracts the weights of some rows with the values.
    fn values(
        &self,
        rows: Range<usize>,
        scores: &[f32],
        results: &mut [f32],
        sums: &mut [f32],
        padded: &mut [f32],
        offsets: &mut Terms,
    ) {
        let seen = &self.rows.seen[rows.clone()];
        let (Some(low), Some(high)) = (seen.iter().map(|r| r.start).min(), seen.iter().map(|r| r.end).max())
        else {
            return;
        };
        let e = self.shape.e;
        let (first_page, pages) = (low / PAGE, high.div_ceil(PAGE));
        let panels = self.e_padded / PANEL;
        // Pages outside, so that the weights of one stay in the nearest cache for all columns.
        for page in first_page..pages {
            let start = low.max(page * PAGE);
            let terms = high.min((page + 1) * PAGE) - start;
            let (values, stride) = self.source.values(self.head, page);
            let values = &values[start % PAGE * stride..];
            let (values, stride) = if e == self.e_padded {
                assert!(values.len() >= (terms - 1) * stride + e);
                (values, stride)
            } else {
                // Whole registers are read.
                let rows = values.chunks(stride.max(1)).take(terms);
                for (to, from) in padded.chunks_exact_mut(self.e_padded).zip(rows) {
                    to[..e].copy_from_slice(&from[..e]);
                    to[e..].fill(0.0);
                }
                (&*padded, self.e_padded)
            };
            let weights = &scores[rows.start * self.width + start - self.first..];
            assert!(weights.len() >= (rows.len() - 1) * self.width + terms);
            let free = page.trailing_ones() as usize;
            let last = page + 1 == pages;
            let merge = written(if last { page } else { (1 << free) - 1 }, page, first_page);
            let all = sums.chunks_exact_mut(self.levels * self.tile_len);
            assert!(all.len() >= parts(panels, (self.set.panels)(rows.len())).count());
            for ((panel, wide), sums) in parts(panels, (self.set.panels)(rows.len())).zip(all) {
                let (levels, mut at) = (sums.as_ptr(), panel);
                while at < panel + wide {
                    let (run, taken) = pick(self.set, rows.len(), panel + wide - at, Form::Gathered);
                    assert!(rows.len() * taken * PANEL <= self.tile_len);
                    let (out, out_row) = if last {
                        let out = &mut results[rows.start * self.e_padded + at * PANEL..];
                        assert!(out.len() >= (rows.len() - 1) * self.e_padded + taken * PANEL);
                        (out.as_mut_ptr(), self.e_padded)
                    } else {
                        (sums[free * self.tile_len..][..self.tile_len].as_mut_ptr(), taken * PANEL)
                    };
                    let tile = Tile {
                        a: weights.as_ptr(),
                        a_row: self.width,
                        b: values[at * PANEL..].as_ptr(),
                        b_panel: PANEL,
                        offsets: offsets.at(stride),
                        b_ahead: 0,
                        k: terms,
                        levels,
                        level_stride: self.tile_len,
                        merge,
                        out,
                        out_row,
                        last: last.then(Finish::none),
                    };
                    // SAFETY: weights, values and results hold the tile, as asserted; of the levels those are
                    // read that earlier pages have written; `tiles` has checked the instruction set.
                    unsafe { run(&tile) };
                    at += taken;
                }
            }
        }
    }
}

/// Of the levels that a page's sum is added to, those that hold a page that is seen: subtrees before the first are +0, and
/// were never written.
fn written(levels: usize, page: usize, first: usize) -> usize {
    let mut rest = levels;
    let mut bits = 0;
    while rest != 0 {
        let level = rest.trailing_zeros();
        rest &= rest - 1;
        if (page >> (level + 1) << (level + 1)) + (1 << level) > first {
            bits |= 1 << level;
        }
    }
    bits
}

/// The scores of a tile's rows become weights.
struct Weights<'a> {
    shape: &'a Shape,
    rows: &'a Rows<'a>,
    tile: Range<usize>,
    scores: &'a mut [f32],
    /// Columns of scores, of which the first is position `first`.
    width: usize,
    first: usize,
    /// Takes the rows that have no results.
    blocked: &'a mut Vec<usize>,
}

impl Vectorized for Weights<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let Weights { shape, rows, tile, scores, width, first, blocked } = self;
        // What is rare comes first: next to it the loops of the softmax would not keep their constants in registers.
        for row in tile.clone() {
            let seen = &rows.seen[row];
            let scores = &mut scores[row * width..(row + 1) * width];
            let (start, end) = (seen.start - first, seen.end - first);
            // Outside of what a row sees its weights are +0.
            scores[..start].fill(0.0);
            scores[end..].fill(0.0);
            if shape.scale != 1.0 || shape.softcap > 0.0 {
                scale::<V>(shape, &mut scores[start..end]);
            }
            if let Some(mask) = rows.mask {
                mask(row, &mut scores[start..end]);
            }
        }
        for row in tile {
            let seen = &rows.seen[row];
            let scores = &mut scores[row * width..(row + 1) * width];
            if softmax::<V>(shape, scores, first, seen) {
                blocked.push(row);
            }
        }
    }
}

/// Scales and limits scores.
#[inline(always)]
fn scale<V: VectorLane>(shape: &Shape, scores: &mut [f32]) {
    let scale = <V as FloatLane>::splat(shape.scale);
    let cap = <V as FloatLane>::splat(shape.softcap);
    let capped = shape.softcap > 0.0;
    let len = scores.len();
    for at in (0..len).step_by(V::LANES) {
        let count = V::LANES.min(len - at);
        let mut s = FloatLane::mul(sums::load::<V>(scores, at, count), scale);
        if capped {
            s = FloatLane::mul(scalar::tanh(FloatLane::div(s, cap)), cap);
        }
        sums::store(s, &mut scores[at..at + count]);
    }
}

/// `softmax_exp(s - max)`, of as many scores as there are, in their place.
#[inline(always)]
fn exponential<V: VectorLane>(scores: &mut [f32], max: V) -> V {
    let e = scalar::softmax_exp(FloatLane::sub(sums::load::<V>(scores, 0, scores.len()), max));
    sums::store(e, scores);
    e
}

/// Scores, from position `first` on and +0 outside of `seen`, become weights. Whether the row is blocked and has no results.
#[inline(always)]
fn softmax<V: VectorLane>(shape: &Shape, scores: &mut [f32], first: usize, seen: &Range<usize>) -> bool {
    let own = seen.start - first..seen.end - first;
    // A NaN among the scores makes their sum NaN and thereby all weights, whatever is subtracted.
    let max = sums::greatest_number::<V>(&scores[own.clone()]);
    if max == f32::NEG_INFINITY && shape.blocked_is_zero && !scores[own.clone()].iter().any(|s| s.is_nan()) {
        scores[own].fill(0.0);
        return true;
    }
    let max = <V as FloatLane>::splat(max);
    let aligned = seen.start / repops::reduce::LANES * repops::reduce::LANES;
    let sum = if aligned == seen.start {
        sums::sum_terms_from::<V>(
            aligned,
            seen.end,
            #[inline(always)]
            |at, count| exponential(&mut scores[at - first..][..count], max),
        )
    } else {
        // The lanes of the sum start with positions that are not seen, and are +0.
        for at in own.clone().step_by(V::LANES) {
            let count = V::LANES.min(own.end - at);
            exponential(&mut scores[at..at + count], max);
        }
        sums::sum_terms_from::<V>(
            aligned,
            seen.end,
            #[inline(always)]
            |at, count| sums::load::<V>(scores, at - first, count),
        )
    };
    let factor = <V as FloatLane>::splat(1.0 / sum);
    sums::in_place::<V>(
        &mut scores[own],
        #[inline(always)]
        |e| FloatLane::mul(e, factor),
    );
    false
}
