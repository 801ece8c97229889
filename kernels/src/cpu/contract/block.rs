//! Dividing a contraction into blocks and running them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::TileElem;
use super::pack::{Left, Lines, Right};
use super::plan::Plan;
use super::tile::{AHEAD, Finish, Form, PANEL, SPAN, Tile, TileSet};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel, parallel_ranges};
use crate::scratch::with_scratch;

/// The extents of a contraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// A place of a target where tiles store results themselves.
pub(crate) struct Direct<E> {
    /// The first result, and the distance of rows.
    pub out: *mut E,
    pub row: usize,
    /// As for [`Finish`].
    pub addend: *const E,
    pub addend_row: usize,
    pub relu: bool,
}

/// Where results go.
pub(crate) trait Target<E>: Sync {
    /// Where a row's columns begin, when these columns are contiguous and results are stored as they are, but for what the place
    /// says.
    fn direct(&self, batch: usize, row: usize, columns: Range<usize>) -> Option<Direct<E>>;
    /// What is added to a batch's sums: one element for each row of its matrix.
    fn bias(&self, _batch: usize) -> Option<&[E]> {
        None
    }
    /// Set where a result is not finite.
    fn not_finite(&self) -> Option<&AtomicBool> {
        None
    }
    /// Asks for the memory of results that [`Target::store`] will store before long.
    fn ahead(&self, _batch: usize, _rows: Range<usize>, _columns: Range<usize>) {}
    /// All results of these rows and columns of a batch have been stored.
    ///
    /// # Safety
    /// As for [`Target::store`].
    unsafe fn finish(&self, _batch: usize, _rows: Range<usize>, _columns: Range<usize>) {}
    /// Stores `rows.len()` by `columns.len()` results, `(row, column)` of the tile at `row * stride + column`.
    ///
    /// # Safety
    /// Rows and columns are inside of the matrix, and no other thread stores there meanwhile.
    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    );
}

/// Elements of a left operand that are packed ahead of all blocks at the most.
const AHEAD_MAX: usize = 1 << 24;
/// Elements of a gathered left operand that are gathered ahead of all blocks at the most.
const GATHERED_MAX: usize = 1 << 21;
/// Tiles of the first rows that ask for the next panels: what memory does not take at once of the first is asked for again.
const ASKING: usize = 2;
/// What it may cost to finish a result, as [`parallel_ranges`] counts it.
const FINISH_COST: usize = 16;

/// Computes the contraction and stores it into `target`.
pub(crate) fn contract<E: TileElem>(
    isa: Isa,
    size: Size,
    left: &dyn Left<E>,
    right: &dyn Right<E>,
    target: &dyn Target<E>,
) {
    let Size { batches, m, n, k } = size;
    if batches == 0 || m == 0 || n == 0 {
        return;
    }
    if right.contract(isa, size, left, target) {
        for batch in 0..batches {
            parallel_ranges(m, 1, n.saturating_mul(FINISH_COST), |rows| {
                // SAFETY: the product is done, and each row is one range's.
                unsafe { target.finish(batch, rows, 0..n) }
            });
        }
        return;
    }
    let set = E::tiles(isa);
    let gathered = |panels: usize| match left.in_place(0) {
        Some(_) => right.gathered_len(k.min(SPAN), places(right.lines(), 0..panels * PANEL).len()),
        None => None,
    };
    let rows_len =
        |rows: usize| left.gathered()?.gathered_len(k.min(SPAN), places(left.lines(), 0..rows).len());
    let plan = Plan::new(size, set, right.in_place(0).is_some(), left.lines(), &rows_len, &gathered);
    let (row_blocks, panel_blocks) = (m.div_ceil(plan.rows), n.div_ceil(PANEL).div_ceil(plan.panels));
    let per_batch = row_blocks * panel_blocks;
    // A left operand that has to be packed, and that several blocks read, is packed once.
    if panel_blocks > 1
        && batches == 1
        && left.gathered().is_none()
        && m * k <= AHEAD_MAX
        && left.in_place(0).is_none()
    {
        with_scratch(m * k, |packed: &mut [E]| {
            let to = Shared::new(packed);
            parallel(m.div_ceil(plan.tile_rows), |task| {
                let rows = task * plan.tile_rows..m.min((task + 1) * plan.tile_rows);
                // SAFETY: tasks write rows of their own.
                let to = unsafe { to.slice(rows.start * k..rows.end * k) };
                left.pack(0, rows, 0..k, plan.tile_rows, to);
            });
            let shared = Operands { left, right, a: Some(&*packed), ahead: None };
            parallel(per_batch, |index| plan.run(set, size, 0, index, &shared, target));
        });
    } else if let Some(pieces) = Pieces::new(&plan, size, panel_blocks, left) {
        let mut offsets = vec![0; pieces.count() * OFFSETS];
        with_scratch(pieces.count() * pieces.len, |buffer: &mut [E]| {
            pieces.gather(size, &mut *buffer, &mut offsets);
            let ahead = Some((&pieces, &*buffer, offsets.as_slice()));
            let shared = Operands { left, right, a: None, ahead };
            parallel(per_batch, |index| plan.run(set, size, 0, index, &shared, target));
        });
    } else {
        let shared = Operands { left, right, a: None, ahead: None };
        parallel(batches * per_batch, |index| {
            plan.run(set, size, index / per_batch, index % per_batch, &shared, target)
        });
    }
}

/// The operands as blocks see them.
struct Operands<'a, E> {
    left: &'a dyn Left<E>,
    right: &'a dyn Right<E>,
    /// The whole left operand, packed.
    a: Option<&'a [E]>,
    /// Or gathered, and the terms' offsets.
    ahead: Option<(&'a Pieces<'a, E>, &'a [E], &'a [usize])>,
}

/// Offsets of the terms of a span, and those past them that tiles read ahead.
const OFFSETS: usize = SPAN + AHEAD;

/// A gathered left operand that several blocks read: gathered once, a piece for each block of rows and each span.
struct Pieces<'a, E> {
    left: &'a dyn Right<E>,
    /// Rows of a block.
    rows: usize,
    lines: Option<Lines>,
    row_blocks: usize,
    spans: usize,
    /// Elements of a piece.
    len: usize,
}

impl<'a, E: TileElem> Pieces<'a, E> {
    /// `None` where blocks do better by themselves.
    fn new(plan: &Plan, size: Size, panel_blocks: usize, left: &'a dyn Left<E>) -> Option<Pieces<'a, E>> {
        let Size { batches, m, k, .. } = size;
        let left = left.gathered().filter(|_| panel_blocks > 1 && batches == 1 && k > 0)?;
        let (rows, span) = (plan.rows.min(m), k.min(SPAN));
        if left.gathered_in_place(0, 0..span, 0..rows, &mut vec![0; span]).is_some() {
            return None;
        }
        let len = (left.gathered_len(span, places(plan.lines, 0..rows).len())? + PANEL).next_multiple_of(64);
        let (row_blocks, spans, lines) = (m.div_ceil(rows), k.div_ceil(SPAN), plan.lines);
        let pieces = Pieces { left, rows, lines, row_blocks, spans, len };
        (pieces.count().saturating_mul(len) <= GATHERED_MAX).then_some(pieces)
    }

    fn count(&self) -> usize {
        self.row_blocks * self.spans
    }

    fn gather(&self, Size { m, k, .. }: Size, to: &mut [E], offsets: &mut [usize]) {
        let (to, offsets) = (Shared::new(to), Shared::new(offsets));
        parallel(self.count(), |piece| {
            let (block, span) = (piece / self.spans, piece % self.spans);
            let rows = block * self.rows..m.min((block + 1) * self.rows);
            let terms = span * SPAN..k.min((span + 1) * SPAN);
            // SAFETY: each piece has elements and offsets of its own.
            let (to, offsets) = unsafe {
                let first = piece * OFFSETS;
                (
                    to.slice(piece * self.len..(piece + 1) * self.len),
                    offsets.slice(first..first + terms.len()),
                )
            };
            self.left.gather(0, terms, places(self.lines, rows), to, offsets);
        });
    }

    /// A block's piece of a span, and its terms' offsets.
    fn piece<'b>(
        &self,
        first_row: usize,
        span: usize,
        data: &'b [E],
        offsets: &'b [usize],
    ) -> (&'b [E], &'b [usize]) {
        let piece = first_row / self.rows * self.spans + span;
        (&data[piece * self.len..][..self.len], &offsets[piece * OFFSETS..][..OFFSETS])
    }
}

/// The places at which rows are read.
fn places(lines: Option<Lines>, rows: Range<usize>) -> Range<usize> {
    match lines {
        Some(lines) if !rows.is_empty() => lines.place(rows.start)..lines.place(rows.end - 1) + 1,
        _ => rows,
    }
}

impl Plan {
    /// Computes block `index` of a batch.
    fn run<E: TileElem>(
        &self,
        set: &TileSet<E>,
        size: Size,
        batch: usize,
        index: usize,
        operands: &Operands<'_, E>,
        target: &dyn Target<E>,
    ) {
        let Size { m, n, k, .. } = size;
        let all_panels = n.div_ceil(PANEL);
        let row_blocks = m.div_ceil(self.rows);
        let (row_block, panel_block) = (index % row_blocks, index / row_blocks);
        let rows = row_block * self.rows..m.min((row_block + 1) * self.rows);
        let panels = panel_block * self.panels..all_panels.min((panel_block + 1) * self.panels);
        let spans = k.div_ceil(SPAN).max(1);
        let levels = (usize::BITS - (spans - 1).leading_zeros()) as usize;
        let in_place_b = operands.right.in_place(batch);
        let in_place_a = if operands.a.is_some() { None } else { operands.left.in_place(batch) };
        let width = panels.len() * PANEL;
        let rows_gathered = operands.left.gathered();
        let a_len = match rows_gathered {
            Some(_) if operands.ahead.is_some() => 0,
            Some(left) => {
                let places = places(self.lines, rows.clone()).len();
                left.gathered_len(k.min(SPAN), places).unwrap_or(0) + PANEL
            }
            None if operands.a.is_some() || in_place_a.is_some() => 0,
            None => rows.len() * k.min(SPAN),
        };
        // What the last tile reads past the last column is there, too.
        let columns = panels.start * PANEL..n.min(panels.end * PANEL);
        let column_lines = operands.right.lines();
        let column_places = places(column_lines, columns.clone());
        let gathered = match in_place_a {
            Some(_) => {
                let len = operands.right.gathered_len(k.min(SPAN), column_places.len().max(width));
                len.map(|len| len + PANEL * self.tile_panels)
            }
            None => None,
        };
        let has_offsets = gathered.is_some() || rows_gathered.is_some();
        let mut offsets = vec![0; if has_offsets { k.min(SPAN) + AHEAD } else { 0 }];
        // A line between panels keeps them out of each other's cache sets.
        let b_len = match in_place_b {
            Some(_) => 0,
            None => gathered.unwrap_or(width * (k.min(SPAN) + 1)),
        };
        let tile_len = set.gathered_max * PANEL * self.tile_panels;
        let level_len = rows.len() * width;
        let total = [a_len, b_len, tile_len, level_len * levels].map(|len| len.next_multiple_of(64));
        with_scratch(total.iter().sum(), |buffer: &mut [E]| {
            let (a_buffer, buffer) = buffer.split_at_mut(total[0]);
            let (b_buffer, buffer) = buffer.split_at_mut(total[1]);
            let (tile_buffer, level_buffer) = buffer.split_at_mut(total[2]);
            let mut block = Block {
                set,
                batch,
                rows,
                panels,
                tile_rows: self.tile_rows,
                tile_panels: self.tile_panels,
                lines: self.lines,
                column_lines,
                rows_outside: self.rows_outside,
                n,
                target,
                tile_buffer,
                level_buffer,
                level_len,
            };
            for span in 0..spans {
                let terms = span * SPAN..k.min((span + 1) * SPAN);
                let ahead = operands
                    .ahead
                    .map(|(pieces, data, offsets)| pieces.piece(block.rows.start, span, data, offsets));
                let a = match (operands.a, in_place_a) {
                    _ if ahead.is_some() => A::Gathered { data: ahead.map_or(&[], |ahead| ahead.0) },
                    (Some(a), _) => {
                        A::Packed { data: &a[block.rows.start * k..], terms: k, first: terms.start }
                    }
                    (None, Some((data, stride))) => {
                        A::InPlace { data: &data[block.rows.start * stride + terms.start..], stride }
                    }
                    (None, None) if rows_gathered.is_some() => {
                        let left = rows_gathered.expect("as the guard says");
                        let rows = places(self.lines, block.rows.clone());
                        let own = &mut offsets[..terms.len()];
                        match left.gathered_in_place(batch, terms.clone(), rows.clone(), own) {
                            Some(data) => A::Gathered { data },
                            None => {
                                left.gather(batch, terms.clone(), rows, a_buffer, own);
                                A::Gathered { data: &*a_buffer }
                            }
                        }
                    }
                    (None, None) => {
                        let rows = block.rows.clone();
                        operands.left.pack(batch, rows, terms.clone(), self.tile_rows, a_buffer);
                        A::Packed { data: a_buffer, terms: terms.len(), first: 0 }
                    }
                };
                let b = match in_place_b {
                    _ if gathered.is_some() => {
                        let columns = column_places.clone();
                        let own = &mut offsets[..terms.len()];
                        let right = operands.right;
                        match right.gathered_in_place(batch, terms.clone(), columns.clone(), own) {
                            Some(data) => B { data, panel: PANEL, offsets: &offsets },
                            None => {
                                right.gather(batch, terms.clone(), columns, b_buffer, own);
                                B { data: &*b_buffer, panel: PANEL, offsets: &offsets }
                            }
                        }
                    }
                    Some(b) => {
                        let first = (block.panels.start * k + terms.start) * PANEL;
                        let own = if rows_gathered.is_some() { &offsets[..] } else { &[] };
                        let offsets = ahead.map_or(own, |ahead| ahead.1);
                        B { data: &b[first..], panel: k * PANEL, offsets }
                    }
                    None => {
                        let panel = (terms.len() + 1) * PANEL;
                        operands.right.pack(batch, terms.clone(), block.panels.clone(), panel, b_buffer);
                        B { data: &*b_buffer, panel, offsets: &[] }
                    }
                };
                block.span(a, b, terms.len(), span, span + 1 == spans);
            }
            // SAFETY: blocks do not overlap, and this one's results are stored.
            unsafe { target.finish(batch, block.rows, columns) };
        });
    }
}

/// The rows of the left operand that a block reads for a span.
#[derive(Clone, Copy)]
enum A<'a, E> {
    /// `[tile][term][row]` from the block's first row on; `terms` of them, the span starts at `first`.
    Packed { data: &'a [E], terms: usize, first: usize },
    /// From the block's first row and the span's first term on.
    InPlace { data: &'a [E], stride: usize },
    /// From the block's first row on, each term at its offset.
    Gathered { data: &'a [E] },
}

/// The panels that a block reads for a span.
struct B<'a, E> {
    /// From the block's first panel and the span's first term on.
    data: &'a [E],
    /// Distance of panels.
    panel: usize,
    /// Of the terms, if they or the left operand's are gathered.
    offsets: &'a [usize],
}

/// One span's operands, and what to do with its sums.
#[derive(Clone, Copy)]
struct Step<'a, E> {
    a: A<'a, E>,
    b: &'a [E],
    b_panel: usize,
    /// Of the terms, gathered.
    offsets: &'a [usize],
    terms: usize,
    form: Form,
    /// The level that takes the sums, unless this is the last span.
    free: usize,
    /// The levels that are added.
    merge: usize,
    last: bool,
    bias: Option<&'a [E]>,
    not_finite: *mut bool,
}

/// A block at work.
struct Block<'a, E: TileElem> {
    set: &'a TileSet<E>,
    batch: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    tile_rows: usize,
    tile_panels: usize,
    lines: Option<Lines>,
    column_lines: Option<Lines>,
    rows_outside: bool,
    n: usize,
    target: &'a dyn Target<E>,
    tile_buffer: &'a mut [E],
    level_buffer: &'a mut [E],
    level_len: usize,
}

impl<E: TileElem> Block<'_, E> {
    /// Adds one span to every tile. `b` starts at the block's first panel and the span's first term.
    fn span(&mut self, a: A<'_, E>, b: B<'_, E>, terms: usize, span: usize, last: bool) {
        let B { data: b, panel: b_panel, offsets } = b;
        let form = match a {
            A::Packed { .. } => Form::Packed,
            A::Gathered { .. } => Form::GatheredRows,
            A::InPlace { .. } if offsets.is_empty() => Form::InPlace,
            A::InPlace { .. } => Form::Gathered,
        };
        // Binary counter: span i completes the subtrees of its trailing one bits; the last completes all.
        let free = span.trailing_ones() as usize;
        let merge = if last { span } else { (1 << free) - 1 };
        let mut not_finite = false;
        let target = self.target;
        let step = Step {
            a,
            b,
            b_panel,
            offsets,
            terms,
            form,
            free,
            merge,
            last,
            bias: target.bias(self.batch),
            not_finite: &raw mut not_finite,
        };
        let (height, all) = (self.rows.len(), self.panels.len());
        let (tile_rows, lines) = (self.tile_rows, self.lines);
        let high = |row: usize| lines.map_or(tile_rows, |lines| lines.tile(row, tile_rows)).min(height - row);
        let rows = || {
            let first = (height > 0).then(|| 0..high(0));
            std::iter::successors(first, move |last| {
                (last.end < height).then(|| last.end..last.end + high(last.end))
            })
        };
        let mut panels = Vec::new();
        let mut panel = 0;
        while panel < all {
            let mut wide = self.tile_panels;
            let rest = match self.column_lines.map(|lines| lines.width / PANEL) {
                Some(line) => (line - (self.panels.start + panel) % line).min(all - panel),
                None => all - panel,
            };
            while wide > rest {
                wide /= 2;
            }
            panels.push(panel..panel + wide);
            panel += wide;
        }
        if self.rows_outside {
            rows().for_each(|rows| panels.iter().for_each(|panels| self.tile(&step, &rows, panels)));
        } else {
            panels.iter().for_each(|panels| rows().for_each(|rows| self.tile(&step, &rows, panels)));
        }
        if let Some(flag) = target.not_finite().filter(|_| not_finite) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Adds a span to the rows and panels of one tile: where a tile of this height is not that wide, by
    /// several narrower ones.
    #[inline]
    fn tile(&mut self, step: &Step<'_, E>, rows: &Range<usize>, panels: &Range<usize>) {
        let Step { a, b, b_panel, offsets, terms, free, merge, last, bias, not_finite, form } = *step;
        let (row, high) = (rows.start, rows.len());
        let mut panel = panels.start;
        while panel < panels.end {
            let mut part = panels.end - panel;
            // Gathered terms have a place for every column: the last tile starts where it ends with the last column, and
            // what it has in common with the one before is computed twice. Its reads stay inside of the operand.
            let past = |part: usize| match form {
                Form::Gathered => ((self.panels.start + panel + part) * PANEL).saturating_sub(self.n),
                Form::Packed | Form::InPlace | Form::GatheredRows => 0,
            };
            let run = loop {
                match (self.set.pick)(high, part, form) {
                    Some(run) if part == 1 || past(part) <= panel * PANEL => break run,
                    _ => part /= 2,
                }
            };
            let column = panel * PANEL - past(part).min(panel * PANEL);
            let columns = part * PANEL;
            // Within a level, tiles lie one after the other.
            let own = (row * self.panels.len() + high * panel) * PANEL;
            let base = self.level_buffer.as_mut_ptr();
            let first_row = self.rows.start + row;
            let first_column = self.panels.start * PANEL + column;
            let fits = first_column + columns <= self.n;
            let direct = |block: &Self| {
                block.target.direct(block.batch, first_row, first_column..first_column + columns)
            };
            let finish = Finish {
                bias: bias.map_or(std::ptr::null(), |bias| bias[first_row..first_row + high].as_ptr()),
                not_finite,
                ..Finish::none()
            };
            let (out, out_row, finish) = if !last {
                // SAFETY: level `free` exists, since a later span has its bit set.
                (unsafe { base.add(free * self.level_len + own) }, columns, None)
            } else if let Some(direct) = fits.then(|| direct(self)).flatten() {
                let Direct { out, row, addend, addend_row, relu } = direct;
                (out, row, Some(Finish { addend, addend_row, relu, ..finish }))
            } else {
                let columns_end = self.n.min(first_column + columns);
                self.target.ahead(self.batch, first_row..first_row + high, first_column..columns_end);
                (self.tile_buffer.as_mut_ptr(), columns, Some(finish))
            };
            let (a_start, a_row) = match a {
                A::Packed { data, terms: all, first } => (&data[row * all + first * high..], 0),
                A::InPlace { data, stride } => (&data[(row * stride).min(data.len())..], stride),
                A::Gathered { data } => match self.lines {
                    Some(lines) => {
                        // Only a tile of two halves is on two lines.
                        let more = (lines.together() - 1) * (lines.pitch - lines.width);
                        (&data[lines.place(row)..], more)
                    }
                    None => (&data[row..], 0),
                },
            };
            let b_start = match form {
                Form::Gathered => match self.column_lines {
                    Some(lines) => &b[lines.place(first_column) - lines.place(self.panels.start * PANEL)..],
                    None => &b[column..],
                },
                Form::Packed | Form::InPlace | Form::GatheredRows => &b[(panel * b_panel).min(b.len())..],
            };
            let tile = Tile {
                a: a_start.as_ptr(),
                a_row,
                b: b_start.as_ptr(),
                b_panel,
                offsets: offsets.as_ptr(),
                b_ahead: if !self.rows_outside && row < ASKING * high {
                    (panels.end - panels.start) * b_panel
                } else {
                    0
                },
                k: terms,
                // SAFETY: one past the end at the most, when there are no levels.
                levels: unsafe { base.add(if self.level_buffer.is_empty() { 0 } else { own }) },
                level_stride: self.level_len,
                merge,
                out,
                out_row,
                last: finish,
            };
            // SAFETY: operands hold `terms` terms of these rows and panels, levels and output the tile;
            // `TileElem::tiles` has checked the instruction set.
            unsafe { run(&tile) };
            if last && out == self.tile_buffer.as_mut_ptr() {
                let columns_end = self.n.min(first_column + columns);
                // SAFETY: blocks do not overlap, and this one's rows and columns are in range.
                unsafe {
                    self.target.store(
                        self.batch,
                        first_row..first_row + high,
                        first_column..columns_end,
                        self.tile_buffer,
                        columns,
                    )
                };
            }
            panel += part;
        }
    }
}
