//! Dividing a contraction into blocks and running them.

use std::ops::Range;

use repops::reduce::CHUNK;

use super::TileElem;
use super::pack::{Left, Right};
use super::tile::{PANEL, Tile, TileSet};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;

/// The extents of a contraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Where results go.
pub(crate) trait Target<E>: Sync {
    /// The first element of a batch's matrix and the distance of rows, when columns are contiguous and
    /// results are stored as they are.
    fn direct(&self, batch: usize) -> Option<(*mut E, usize)>;
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

/// Rows and panels of a block that fit the second-level cache with a chunk of both operands.
const BLOCK_ROWS: usize = 192;
const BLOCK_PANELS: usize = 32;
/// Multiply-adds below which a block is not divided further among threads.
const TASK_MIN: usize = 1 << 17;
/// Elements of an operand that are packed ahead of all blocks at the most.
const AHEAD_MAX: usize = 1 << 26;

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
    let set = E::tiles(isa);
    let plan = Plan::new(size, set);
    let (row_blocks, panel_blocks) = (m.div_ceil(plan.rows), n.div_ceil(PANEL).div_ceil(plan.panels));
    let per_batch = row_blocks * panel_blocks;
    // What several blocks read is packed once, ahead of them.
    let ahead_a = panel_blocks > 1 && m * k <= AHEAD_MAX && m > 2;
    let ahead_b = row_blocks > 1 && n * k <= AHEAD_MAX && right.in_place(0).is_none();
    if (ahead_a || ahead_b) && batches == 1 {
        let panels = n.div_ceil(PANEL);
        let a_len = if ahead_a { m * k } else { 0 };
        let b_len = if ahead_b { panels * PANEL * k } else { 0 };
        with_scratch(a_len + b_len, |buffer: &mut [E]| {
            let (a, b) = buffer.split_at_mut(a_len);
            pack_ahead(set, size, left, right, a, b);
            let shared = Operands { left, right, a: ahead_a.then_some(&*a), b: ahead_b.then_some(&*b) };
            parallel(per_batch, |index| plan.run(set, size, 0, index, &shared, target));
        });
    } else {
        let shared = Operands { left, right, a: None, b: None };
        parallel(batches * per_batch, |index| {
            plan.run(set, size, index / per_batch, index % per_batch, &shared, target)
        });
    }
}

/// Packs whole operands: those whose buffer is not empty.
fn pack_ahead<E: TileElem>(
    set: &TileSet<E>,
    size: Size,
    left: &dyn Left<E>,
    right: &dyn Right<E>,
    a: &mut [E],
    b: &mut [E],
) {
    let Size { m, n, k, .. } = size;
    let panels = n.div_ceil(PANEL);
    let (a_tasks, b_tasks) = (
        if a.is_empty() { 0 } else { m.div_ceil(set.rows_max) },
        // Chunk by chunk within a group of panels, so that source rows are read in long runs.
        if b.is_empty() { 0 } else { panels.div_ceil(BLOCK_PANELS) },
    );
    let (a, b) = (Shared::new(a), Shared::new(b));
    parallel(a_tasks + b_tasks, |task| {
        if task < a_tasks {
            let rows = task * set.rows_max..m.min((task + 1) * set.rows_max);
            // SAFETY: tasks write rows of their own.
            let to = unsafe { a.slice(rows.start * k..rows.end * k) };
            left.pack(0, rows, 0..k, set.rows_max, to);
        } else {
            let first = (task - a_tasks) * BLOCK_PANELS;
            let own = first..panels.min(first + BLOCK_PANELS);
            // SAFETY: tasks write panels of their own.
            let to = unsafe { b.slice(own.start * PANEL * k..own.end * PANEL * k) };
            right.pack(0, 0..k, own, to);
        }
    });
}

/// The operands as blocks see them.
struct Operands<'a, E> {
    left: &'a dyn Left<E>,
    right: &'a dyn Right<E>,
    /// The whole left operand, packed.
    a: Option<&'a [E]>,
    /// The whole right operand, packed.
    b: Option<&'a [E]>,
}

/// How the result is divided.
struct Plan {
    /// Rows of a block: a multiple of the tile's.
    rows: usize,
    /// Panels of a block: a multiple of the tile's.
    panels: usize,
    tile_panels: usize,
}

impl Plan {
    fn new<E>(size: Size, set: &TileSet<E>) -> Plan {
        let Size { batches, m, n, k } = size;
        let all_panels = n.div_ceil(PANEL);
        let tile_panels = (set.panels)(m.min(set.rows_max));
        // Few rows: the right operand is read once, panel by panel from its start to its end.
        let panels_max = if m <= set.rows_max { tile_panels } else { BLOCK_PANELS };
        let (mut rows, mut panels) = (BLOCK_ROWS.min(m), panels_max.min(all_panels));
        let work = batches.saturating_mul(m).saturating_mul(n).saturating_mul(k.max(1));
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { (4 * threads).min(work / TASK_MIN) };
        let blocks = |rows: usize, panels: usize| batches * m.div_ceil(rows) * all_panels.div_ceil(panels);
        while blocks(rows, panels) < wanted {
            if panels > tile_panels && panels * PANEL >= rows {
                panels = (panels / 2).max(tile_panels);
            } else if rows > 2 * set.rows_max {
                rows /= 2;
            } else if panels > tile_panels {
                panels = (panels / 2).max(tile_panels);
            } else {
                break;
            }
        }
        // Even shares, in whole tiles.
        let even = |extent: usize, block: usize, unit: usize| {
            extent.div_ceil(extent.div_ceil(block)).next_multiple_of(unit)
        };
        Plan { rows: even(m, rows, set.rows_max), panels: even(all_panels, panels, tile_panels), tile_panels }
    }

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
        let chunks = k.div_ceil(CHUNK).max(1);
        let levels = (usize::BITS - (chunks - 1).leading_zeros()) as usize;
        let in_place_b = operands.b.or_else(|| operands.right.in_place(batch));
        // A left operand that is read for few columns only is not worth packing.
        let in_place_a = match operands.a {
            Some(_) => None,
            None if panels.len() <= 2 * self.tile_panels => operands.left.in_place(batch),
            None => None,
        };
        let width = panels.len() * PANEL;
        let a_len = if operands.a.is_some() || in_place_a.is_some() { 0 } else { rows.len() * k.min(CHUNK) };
        let b_len = if in_place_b.is_some() { 0 } else { width * k.min(CHUNK) };
        let tile_len = set.rows_max * PANEL * self.tile_panels;
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
                tile_panels: self.tile_panels,
                n,
                target,
                tile_buffer,
                level_buffer,
                level_len,
            };
            for chunk in 0..chunks {
                let terms = chunk * CHUNK..k.min((chunk + 1) * CHUNK);
                let a = match (operands.a, in_place_a) {
                    (Some(a), _) => {
                        A::Packed { data: &a[block.rows.start * k..], terms: k, first: terms.start }
                    }
                    (None, Some((data, stride))) => {
                        A::InPlace { data: &data[block.rows.start * stride + terms.start..], stride }
                    }
                    (None, None) => {
                        let rows = block.rows.clone();
                        operands.left.pack(batch, rows, terms.clone(), set.rows_max, a_buffer);
                        A::Packed { data: a_buffer, terms: terms.len(), first: 0 }
                    }
                };
                let (b, b_panel) = match in_place_b {
                    Some(b) => (&b[(block.panels.start * k + terms.start) * PANEL..], k * PANEL),
                    None => {
                        operands.right.pack(batch, terms.clone(), block.panels.clone(), b_buffer);
                        (&*b_buffer, terms.len() * PANEL)
                    }
                };
                block.chunk(a, b, b_panel, terms.len(), chunk, chunk + 1 == chunks);
            }
        });
    }
}

/// The rows of the left operand that a block reads for a chunk.
#[derive(Clone, Copy)]
enum A<'a, E> {
    /// `[tile][term][row]` from the block's first row on; `terms` of them, the chunk starts at `first`.
    Packed { data: &'a [E], terms: usize, first: usize },
    /// From the block's first row and the chunk's first term on.
    InPlace { data: &'a [E], stride: usize },
}

/// A block at work.
struct Block<'a, E: TileElem> {
    set: &'a TileSet<E>,
    batch: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    tile_panels: usize,
    n: usize,
    target: &'a dyn Target<E>,
    tile_buffer: &'a mut [E],
    level_buffer: &'a mut [E],
    level_len: usize,
}

impl<E: TileElem> Block<'_, E> {
    /// Adds one chunk to every tile. `b` starts at the block's first panel and the chunk's first term.
    fn chunk(&mut self, a: A<'_, E>, b: &[E], b_panel: usize, terms: usize, chunk: usize, last: bool) {
        // Binary counter: chunk i completes the subtrees of its trailing one bits; the last completes all.
        let free = chunk.trailing_ones() as usize;
        let merge = if last { chunk } else { (1 << free) - 1 };
        let (height, width) = (self.rows.len(), self.panels.len() * PANEL);
        let packed = matches!(a, A::Packed { .. });
        let direct = self.target.direct(self.batch);
        let mut panel = 0;
        while panel < self.panels.len() {
            let mut wide = self.tile_panels;
            let mut row = 0;
            while wide > self.panels.len() - panel {
                wide /= 2;
            }
            while row < height {
                let high = self.set.rows_max.min(height - row);
                let mut done = 0;
                // Where a tile of this height is not that wide, two narrower ones do.
                while done < wide {
                    let mut part = wide - done;
                    let run = loop {
                        match (self.set.pick)(high, part, packed) {
                            Some(run) => break run,
                            None => part /= 2,
                        }
                    };
                    let column = (panel + done) * PANEL;
                    let columns = part * PANEL;
                    // Within a level, tiles lie one after the other.
                    let own = row * width + high * column;
                    let base = self.level_buffer.as_mut_ptr();
                    let first_row = self.rows.start + row;
                    let first_column = self.panels.start * PANEL + column;
                    let fits = first_column + columns <= self.n;
                    let (out, out_row) = match (last, direct) {
                        // SAFETY: level `free` exists, since a later chunk has its bit set.
                        (false, _) => (unsafe { base.add(free * self.level_len + own) }, columns),
                        // SAFETY: the tile lies inside of the result.
                        (true, Some((out, stride))) if fits => {
                            (unsafe { out.add(first_row * stride + first_column) }, stride)
                        }
                        _ => (self.tile_buffer.as_mut_ptr(), columns),
                    };
                    let (a_start, a_row) = match a {
                        A::Packed { data, terms: all, first } => (&data[row * all + first * high..], 0),
                        A::InPlace { data, stride } => (&data[(row * stride).min(data.len())..], stride),
                    };
                    let b_start = &b[((panel + done) * b_panel).min(b.len())..];
                    let tile = Tile {
                        a: a_start.as_ptr(),
                        a_row,
                        b: b_start.as_ptr(),
                        b_panel,
                        k: terms,
                        // SAFETY: one past the end at the most, when there are no levels.
                        levels: unsafe { base.add(if self.level_buffer.is_empty() { 0 } else { own }) },
                        level_stride: self.level_len,
                        merge,
                        out,
                        out_row,
                        last,
                    };
                    // SAFETY: operands hold `terms` terms of these rows and panels, levels and output the
                    // tile; `TileElem::tiles` has checked the instruction set.
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
                    done += part;
                }
                row += high;
            }
            panel += wide;
        }
    }
}
