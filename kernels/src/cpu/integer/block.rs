//! Dividing an integer product into blocks and running them.
//!
//! Each block packs its own part of the right operand, so that blocks need not wait for each other.

use std::ops::Range;

use super::engine::{Engine, Form};
#[cfg(target_arch = "x86_64")]
use super::few;
use super::finish::{ColumnsPart, Finish, Finisher, Tally, WIDTH_MAX};
use super::pack::{
    Left, Part, Right, Terms, group_panel_bytes, left_in_place, left_row_bytes, pack_left, pack_ones,
    row_sums,
};
use super::taps::Taps;
use super::tile::{GROUP, PANEL, Tile, TileFn};
use crate::isa::Isa;
use crate::parallel::parallel;
use crate::scratch::with_scratch;

/// `batches` products of `m` by `k` and `k` by `n`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Rows up to which the right operand is read only once anyway: it goes through the first-level cache.
const FEW_ROWS: usize = 8;
const FEW_TERMS: usize = 32;
const FEW_COLUMNS: usize = 1024;
/// Rows of a block.
const ROWS: usize = 512;
/// Bytes of a block of the right operand: a part of the second-level cache.
const PACKED_BYTES: usize = 1 << 19;
const TERMS: usize = 2048;
/// Bytes of a block of an image in groups: a part of the first-level cache.
const TAPS_BYTES: usize = 1 << 14;
/// Rows, columns of a block at the least, where work is divided among threads.
const ROWS_MIN: usize = 96;
const COLUMNS_MIN: usize = 64;
/// Multiply-adds below which a block is not divided further among threads.
const TASK_MIN: usize = 1 << 20;

/// Rows of which a right operand in groups is read once, straight from where it is.
const GROUPED_ROWS_MAX: usize = 4;

/// How a product is divided.
#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    columns: usize,
    terms: usize,
}

impl Plan {
    /// `taps`: the groups of right operands that need no packing.
    fn new(engine: &Engine, size: Size, taps: Option<&Taps<'_>>) -> Plan {
        let Size { batches, m, n, k } = size;
        let group = engine.form.terms();
        let (mut rows, mut columns, terms);
        if let Some(taps) = taps {
            terms = k.div_ceil(k.div_ceil(TERMS).max(1)).next_multiple_of(GROUP).max(GROUP);
            rows = ROWS;
            columns = (TAPS_BYTES / (terms / taps.taps).max(1)).clamp(WIDTH_MAX, 1024);
        } else if m <= FEW_ROWS {
            (rows, columns, terms) = (m, FEW_COLUMNS, FEW_TERMS * group / GROUP);
        } else {
            terms = k.div_ceil(k.div_ceil(TERMS).max(1)).next_multiple_of(GROUP).max(GROUP);
            (rows, columns) = (ROWS, (PACKED_BYTES / (terms * GROUP / group)).min(1024));
        }
        rows = rows.min(m);
        columns = columns.min(n.next_multiple_of(PANEL));
        let threads = rayon::current_num_threads();
        let work = batches.saturating_mul(m).saturating_mul(n).saturating_mul(k.max(1));
        let wanted = if threads == 1 { 1 } else { (4 * threads).min(work / TASK_MIN) };
        let blocks = |rows: usize, columns: usize| batches * m.div_ceil(rows) * n.div_ceil(columns);
        while blocks(rows, columns) < wanted {
            if columns > COLUMNS_MIN {
                columns /= 2;
            } else if rows > ROWS_MIN {
                rows /= 2;
            } else {
                break;
            }
        }
        // Even shares.
        let even = |extent: usize, block: usize, unit: usize| {
            extent.div_ceil(extent.div_ceil(block)).next_multiple_of(unit)
        };
        let wide = (engine.panels)(rows) * PANEL;
        let unit = if n > wide { wide.min(COLUMNS_MIN) } else { PANEL };
        Plan { rows: even(m, rows, 1), columns: even(n, columns.max(PANEL), unit), terms }
    }
}

/// A product at work.
struct Product<'a> {
    isa: Isa,
    engine: &'a Engine,
    pick: fn(usize, usize) -> Option<TileFn>,
    size: Size,
    plan: Plan,
    taps: Option<Taps<'a>>,
    rows: &'a [u8],
    row_bytes: usize,
    left: Left<'a>,
    right: Right<'a>,
    /// Whether the right operand is in groups that tiles read where they are.
    in_place: bool,
    offsets: (i32, i32),
    needs_column_sums: bool,
    finisher: Finisher<'a>,
}

/// Computes the products and hands their sums to `finish`.
pub(crate) fn product(
    isa: Isa,
    engine: &Engine,
    size: Size,
    left: Left<'_>,
    right: Right<'_>,
    finish: Finish<'_>,
) {
    let Size { batches, m, n, k } = size;
    if batches == 0 || m == 0 || n == 0 {
        return;
    }
    assert!((engine.available)(), "this machine lacks {}", engine.name);
    let form = engine.form;
    let taps = if let Terms::Taps(taps) = right.terms { Some(taps) } else { None };
    // Groups of bytes are multiplied where they are, if they need not become numbers of the other signedness.
    let in_place = taps.is_some() || matches!(right.terms, Terms::Groups) && form == Form::Opposite;
    let offsets = form.offsets(left.signed, right.signed, in_place);
    let needs_column_sums = !finish.left_zero.plus(offsets.0).is_zero();
    let needs_row_sums = !finish.right_zero.plus(offsets.1).is_zero();
    let sums = if needs_row_sums { row_sums(isa, &left, k) } else { Vec::new() };
    let finisher = Finisher::new(isa, finish, (m, k), (sums, left.starts), offsets);
    #[cfg(target_arch = "x86_64")]
    if engine.few_rows
        && m <= few::ROWS_MAX
        && n >= 64
        && let Terms::Stride(term) = right.terms
    {
        few_rows(size, left, right, term, offsets.1 != 0, needs_column_sums, &finisher);
        return;
    }
    let flips_left = offsets.0 != 0;
    let pick = match taps {
        Some(_) => engine.pick_by_offsets.expect("tiles for groups at offsets of their own"),
        None => engine.pick,
    };
    let pick = pick(left.signed != (flips_left && form == Form::Opposite));
    if in_place && taps.is_none() && m <= GROUPED_ROWS_MAX {
        let few = FewGrouped { engine, pick, size, left, right, flips_left, column_sums: needs_column_sums };
        return few.run(&finisher);
    }
    // Terms that fill groups are multiplied, too.
    let size = Size { k: taps.map_or(k, |taps| taps.terms()), ..size };
    let plan = Plan::new(engine, size, taps.as_ref());
    let go = |rows: &[u8], row_bytes: usize| {
        let product = Product {
            isa,
            engine,
            pick,
            size,
            plan,
            taps,
            rows,
            row_bytes,
            left,
            right,
            in_place,
            offsets,
            needs_column_sums,
            finisher,
        };
        let (row_blocks, column_blocks) = (m.div_ceil(plan.rows), n.div_ceil(plan.columns));
        parallel(batches * row_blocks * column_blocks, |index| {
            let (batch, index) = (index / (row_blocks * column_blocks), index % (row_blocks * column_blocks));
            let (row, column) = (index % row_blocks * plan.rows, index / row_blocks * plan.columns);
            product.block(batch, row..m.min(row + plan.rows), column..n.min(column + plan.columns));
        });
    };
    let rows = left.data.len().checked_div(k).unwrap_or(0);
    if let Some(taps) = taps {
        let row_bytes = taps.left_row_bytes();
        return with_scratch(rows * row_bytes, |packed: &mut [u8]| {
            taps.pack_left(isa, left.data, flips_left, packed);
            go(packed, row_bytes);
        });
    }
    if left_in_place(form, k, m) && !flips_left {
        return go(left.data, k);
    }
    let row_bytes = left_row_bytes(form, k);
    with_scratch(rows * row_bytes, |packed: &mut [u8]| {
        pack_left(isa, form, (left.data, left.signed, flips_left), k.max(1), packed);
        go(packed, row_bytes);
    });
}

/// The product of few rows, strip by strip of columns.
#[cfg(target_arch = "x86_64")]
fn few_rows(
    size: Size,
    left: Left<'_>,
    right: Right<'_>,
    term: usize,
    flip: bool,
    column_sums: bool,
    finisher: &Finisher<'_>,
) {
    /// Columns of a strip: their sums stay in the first-level cache.
    const COLUMNS: usize = 2048;
    /// Multiply-adds below which a strip is not made narrower.
    const TASK_MIN: usize = 1 << 16;
    let Size { batches, m, n, k } = size;
    let threads = rayon::current_num_threads();
    let tasks = if threads == 1 { 1 } else { (2 * threads).min(m * n * k / TASK_MIN).max(1) };
    let strip = COLUMNS.min(n.div_ceil(tasks)).next_multiple_of(WIDTH_MAX);
    let strips = n.div_ceil(strip);
    parallel(batches * strips, |index| {
        let (batch, first) = (index / strips, index % strips * strip);
        let width = strip.min(n - first);
        let padded = width.next_multiple_of(64);
        let rows = m + usize::from(column_sums);
        with_scratch(rows * padded, |sums: &mut [i32]| {
            few::FewRows { m, k, left, right, term, batch, first, flip, column_sums }.run(width, sums);
            // SAFETY: strips do not overlap, and rows and columns are in range.
            unsafe { store_strip(finisher, (batch, m), first..first + width, sums, column_sums) };
        });
    });
}

/// Stores a strip of all rows: `sums` are `m` rows of them and, if they count, one of the columns' sums, equally long.
///
/// # Safety
/// Rows and columns are inside of the matrix, and no other thread stores there meanwhile.
unsafe fn store_strip(
    finisher: &Finisher<'_>,
    (batch, m): (usize, usize),
    strip: Range<usize>,
    sums: &mut [i32],
    column_sums: bool,
) {
    let padded = sums.len() / (m + usize::from(column_sums));
    let (sums, columns) = sums.split_at_mut(m * padded);
    let same = finisher.same_columns();
    if let Some(factor) = same {
        columns.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(factor));
    }
    for at in (0..strip.len()).step_by(WIDTH_MAX) {
        let end = strip.len().min(at + WIDTH_MAX);
        let tally = Tally {
            rows: 0..m,
            columns: strip.start + at..strip.start + end,
            batch,
            columns_part: match same {
                _ if !column_sums => ColumnsPart::None,
                Some(_) => ColumnsPart::Same(&columns[at..]),
                None => ColumnsPart::Scaled(&columns[at..]),
            },
        };
        // SAFETY: the caller's promise.
        unsafe { finisher.store(&tally, &mut sums[at..], padded) };
    }
}

/// Few rows by a matrix in groups, which is read once: what gives the sums of its columns is one more row.
struct FewGrouped<'a> {
    engine: &'a Engine,
    pick: fn(usize, usize) -> Option<TileFn>,
    size: Size,
    left: Left<'a>,
    right: Right<'a>,
    flips_left: bool,
    column_sums: bool,
}

impl FewGrouped<'_> {
    fn run(&self, finisher: &Finisher<'_>) {
        /// Multiply-adds below which a strip is not made narrower.
        const TASK_MIN: usize = 1 << 16;
        let Size { batches, m, n, k } = self.size;
        let rows = m + usize::from(self.column_sums);
        let row_bytes = k.next_multiple_of(GROUP);
        let threads = rayon::current_num_threads();
        let tasks = if threads == 1 { 1 } else { (2 * threads).min(m * n * k / TASK_MIN).max(1) };
        let strip = n.div_ceil(tasks).min(1024).next_multiple_of(WIDTH_MAX);
        let strips = n.div_ceil(strip);
        let panel_bytes = group_panel_bytes(k);
        let flip = if self.flips_left { 0x80 } else { 0 };
        with_scratch(batches * rows * row_bytes, |left: &mut [u8]| {
            left.fill(0);
            for (batch, to) in left.chunks_exact_mut((rows * row_bytes).max(1)).enumerate() {
                let from = &self.left.data[self.left.starts[batch] * k..][..m * k];
                for (to, from) in to.chunks_exact_mut(row_bytes).zip(from.chunks_exact(k)) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from ^ flip);
                }
                if self.column_sums {
                    to[m * row_bytes..][..k].fill(1);
                }
            }
            let left = &*left;
            parallel(batches * strips, |index| {
                let (batch, first) = (index / strips, index % strips * strip);
                let width = strip.min(n - first);
                let padded = width.next_multiple_of(PANEL);
                let a = &left[batch * rows * row_bytes..][..rows * row_bytes];
                let b = &self.right.data[self.right.starts[batch]..];
                assert!(b.len() >= (first + padded) / PANEL * panel_bytes);
                with_scratch(rows * padded, |sums: &mut [i32]| {
                    let (engine, pick) = (self.engine, self.pick);
                    divide_panels(engine, pick, rows, 0..padded / PANEL, |panels, run| {
                        let tile = Tile {
                            a: a.as_ptr(),
                            a_row: row_bytes,
                            b: b[(first / PANEL + panels.start) * panel_bytes..].as_ptr(),
                            b_panel: panel_bytes,
                            offsets: std::ptr::null(),
                            groups: row_bytes / GROUP,
                            out: sums[panels.start * PANEL..].as_mut_ptr(),
                            out_row: padded,
                            init: std::ptr::null(),
                            init_row: 0,
                        };
                        // SAFETY: the left operand has these rows, the right one and the sums the panels; the engine is
                        // available.
                        unsafe { run(&tile) };
                    });
                    // SAFETY: strips do not overlap, and rows and columns are in range.
                    unsafe {
                        store_strip(finisher, (batch, m), first..first + width, sums, self.column_sums)
                    };
                });
            });
        });
    }
}

impl Product<'_> {
    fn block(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let form = self.engine.form;
        let k = self.size.k;
        let chunks = k.div_ceil(self.plan.terms).max(1);
        let panels = columns.len().div_ceil(PANEL);
        let width = panels * PANEL;
        // A line between panels keeps them out of each other's cache sets.
        let (panel_bytes, packed_panels) = if self.taps.is_some() {
            (GROUP * PANEL, 0)
        } else if self.in_place {
            (group_panel_bytes(k), 0)
        } else {
            (k.min(self.plan.terms).div_ceil(form.terms()) * GROUP * PANEL + 64, panels)
        };
        let ones_bytes = (self.plan.terms.div_ceil(form.terms()) * GROUP).next_multiple_of(64);
        let high_max = rows.len().div_ceil(rows.len().div_ceil(self.engine.rows_max));
        let tile_len = high_max * WIDTH_MAX;
        let sums_len = if chunks > 1 { rows.len() * width } else { 0 };
        let total = packed_panels * panel_bytes + ones_bytes + 4 * (tile_len + sums_len + width);
        with_scratch(total, |buffer: &mut [u8]| {
            let (packed, buffer) = buffer.split_at_mut(packed_panels * panel_bytes);
            let (ones, buffer) = buffer.split_at_mut(ones_bytes);
            let buffer: &mut [i32] = bytemuck::cast_slice_mut(buffer);
            let (tile_sums, buffer) = buffer.split_at_mut(tile_len);
            let (sums, column_sums) = buffer.split_at_mut(sums_len);
            let column_sums = &mut column_sums[..width];
            let same_columns = self.finisher.same_columns();
            for chunk in 0..chunks {
                let terms = chunk * self.plan.terms..k.min((chunk + 1) * self.plan.terms);
                let groups = terms.len().div_ceil(form.terms());
                let (first, last) = (chunk == 0, chunk + 1 == chunks);
                if !self.in_place {
                    let part = Part {
                        right: &self.right,
                        batch,
                        terms: terms.clone(),
                        columns: columns.clone(),
                        offset: self.offsets.1,
                    };
                    part.pack(self.isa, form, k, panel_bytes, packed);
                }
                let (mut offsets, group) = (std::ptr::null(), terms.start / GROUP);
                let right = if let Some(taps) = &self.taps {
                    let offsets_of = &taps.offsets[group..][..groups];
                    offsets = offsets_of.as_ptr();
                    let right = &self.right.data[self.right.starts[batch] + columns.start * GROUP..];
                    assert!(right.len() >= taps.reach() + width * GROUP);
                    right
                } else if self.in_place {
                    let start = self.right.starts[batch] + columns.start / PANEL * panel_bytes;
                    &self.right.data[start..][..panels * panel_bytes][terms.start / GROUP * GROUP * PANEL..]
                } else {
                    &*packed
                };
                let b = |panel: usize| right[panel * panel_bytes..].as_ptr();
                if self.needs_column_sums {
                    if first || last || self.taps.is_some() {
                        match &self.taps {
                            Some(taps) => taps.pack_ones(group, &mut ones[..groups * GROUP]),
                            None => pack_ones(form, terms.len(), ones),
                        }
                    }
                    self.panels(1, 0..panels, |panels, run| {
                        let out = column_sums[panels.start * PANEL..panels.end * PANEL].as_mut_ptr();
                        let tile = Tile {
                            a: ones.as_ptr(),
                            a_row: 0,
                            b: b(panels.start),
                            b_panel: panel_bytes,
                            offsets,
                            groups,
                            out,
                            out_row: 0,
                            init: if first { std::ptr::null() } else { out },
                            init_row: 0,
                        };
                        // SAFETY: operands hold the groups, and the sums the panels.
                        unsafe { run(&tile) };
                    });
                    if last && let Some(factor) = same_columns {
                        column_sums.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(factor));
                    }
                }
                // Of a single chunk, what is the same in every row is what sums begin with.
                let begin = chunks == 1 && self.needs_column_sums && same_columns.is_some();
                for row in rows.clone().step_by(high_max) {
                    let high = high_max.min(rows.end - row);
                    let start =
                        (self.left.starts[batch] + row) * self.row_bytes + terms.start / form.terms() * GROUP;
                    // No row has bytes where there are no terms.
                    let a = &self.rows[start.min(self.rows.len())..];
                    assert!(groups == 0 || a.len() >= (high - 1) * self.row_bytes + groups * GROUP);
                    let tile_rows = row..row + high;
                    let direct = |panels: &Range<usize>| {
                        let column = columns.start + panels.start * PANEL;
                        let wide = column..column + panels.len() * PANEL;
                        self.finisher.direct(batch, &tile_rows, &wide).filter(|_| chunks == 1)
                    };
                    for strip in (0..panels).step_by(WIDTH_MAX / PANEL) {
                        let strip = strip..panels.min(strip + WIDTH_MAX / PANEL);
                        let wide = strip.len() * PANEL;
                        let (out, out_row) = if chunks == 1 {
                            (&mut tile_sums[..], wide)
                        } else {
                            (&mut sums[(row - rows.start) * width + strip.start * PANEL..], width)
                        };
                        assert!(out.len() >= (high - 1) * out_row + wide);
                        let stored = direct(&strip);
                        let (to, to_row) = stored.unwrap_or((out.as_mut_ptr(), out_row));
                        let sums_of = |panel: usize| if self.needs_column_sums { panel * PANEL } else { 0 };
                        self.panels(high, strip.clone(), |panels, run| {
                            // SAFETY: the sums hold the strip, as asserted, or the output does.
                            let to = unsafe { to.add((panels.start - strip.start) * PANEL) };
                            let (init, init_row): (*const i32, usize) = match (first, begin) {
                                (false, _) => (to, to_row),
                                (_, true) => (column_sums[sums_of(panels.start)..].as_ptr(), 0),
                                _ => (std::ptr::null(), 0),
                            };
                            let tile = Tile {
                                a: a.as_ptr(),
                                a_row: self.row_bytes,
                                b: b(panels.start),
                                b_panel: panel_bytes,
                                offsets,
                                groups,
                                out: to,
                                out_row: to_row,
                                init,
                                init_row,
                            };
                            // SAFETY: operands hold the groups of these rows and panels, as asserted, and what
                            // is written the tile, which no other block writes; the engine is available.
                            unsafe { run(&tile) };
                        });
                        if last && stored.is_none() {
                            let column = columns.start + strip.start * PANEL;
                            let part = &column_sums[sums_of(strip.start)..];
                            let tally = Tally {
                                rows: tile_rows.clone(),
                                columns: column..columns.end.min(column + wide),
                                batch,
                                columns_part: match same_columns {
                                    _ if begin || !self.needs_column_sums => ColumnsPart::None,
                                    Some(_) => ColumnsPart::Same(part),
                                    None => ColumnsPart::Scaled(part),
                                },
                            };
                            // SAFETY: blocks do not overlap, and this one's rows and columns are in range.
                            unsafe { self.finisher.store(&tally, out, out_row) };
                        }
                    }
                }
            }
        });
    }

    #[inline(always)]
    fn panels(&self, high: usize, panels: Range<usize>, visit: impl FnMut(Range<usize>, TileFn)) {
        divide_panels(self.engine, self.pick, high, panels, visit);
    }
}

/// Divides panels among the widest tiles of a height.
#[inline(always)]
fn divide_panels(
    engine: &Engine,
    pick: fn(usize, usize) -> Option<TileFn>,
    high: usize,
    panels: Range<usize>,
    mut visit: impl FnMut(Range<usize>, TileFn),
) {
    let mut panel = panels.start;
    while panel < panels.end {
        let mut wide = (engine.panels)(high);
        while wide > panels.end - panel {
            wide /= 2;
        }
        let run = loop {
            match pick(high, wide) {
                Some(run) => break run,
                // One panel has a tile of every height.
                None => wide /= 2,
            }
        };
        visit(panel..panel + wide, run);
        panel += wide;
    }
}
