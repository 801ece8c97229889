//! How a contraction's result is divided into blocks, and which operand stays in the second-level cache.

use super::block::Size;
use super::pack::Lines;
use super::tile::{PANEL, SPAN, TileSet};

/// Rows that fit the second-level cache with a span of terms, while panels stream past.
const STREAM_ROWS: usize = 192;
/// The same of rows that are gathered, which take less than their terms.
const GATHERED_ROWS: usize = 256;
/// Elements that more rows than that may take: with few terms a block of few lines would gather each line several times.
const GATHERED_ROWS_LEN: usize = 1 << 16;
/// Elements of a span of the right operand that fit the second-level cache, while rows stream past.
const PACKED_LEN: usize = 1 << 18;
/// The same where it is gathered: rows, results and the image pass through that cache, too.
const GATHERED_LEN: usize = 1 << 17;
/// Panels of a block at the least, where they are gathered.
const GATHERED_MIN: usize = 16;
/// Rows of a block past which rows stream: bounds the memory of levels.
const PACKED_ROWS: usize = 2048;
/// Multiply-adds below which a block is not divided further among threads.
const TASK_MIN: usize = 1 << 17;

/// How the result is divided.
pub(super) struct Plan {
    /// Rows of a block: a multiple of the tile's.
    pub rows: usize,
    /// Panels of a block: a multiple of the tile's.
    pub panels: usize,
    /// Rows of a tile, about the same for all.
    pub tile_rows: usize,
    pub tile_panels: usize,
    /// The lines that tiles follow, if they do: then blocks begin with lines.
    pub lines: Option<Lines>,
    /// Whether a block takes the tiles of one row after those of another, rather than by columns: what the
    /// inner loop runs over stays in the second-level cache.
    pub rows_outside: bool,
}

impl Plan {
    /// `in_place`: the right operand lies in panels and needs no packing. `gathered`: how many elements it takes for so many
    /// panels, where it is gathered; `rows_len`: how many the left one takes for so many rows, where that is.
    pub fn new<E>(
        size: Size,
        set: &TileSet<E>,
        in_place: bool,
        lines: Option<Lines>,
        rows_len: &dyn Fn(usize) -> Option<usize>,
        gathered: &dyn Fn(usize) -> Option<usize>,
    ) -> Plan {
        let Size { batches, m, n, k } = size;
        let all_panels = n.div_ceil(PANEL);
        let rows_gathered = rows_len(1).is_some();
        let rows_most = if rows_gathered { set.gathered_max } else { set.rows_max };
        let tile_rows = match lines {
            Some(lines) => lines.tile(0, rows_most),
            None => m.div_ceil(m.div_ceil(rows_most)),
        };
        let tile_panels = (set.panels)(tile_rows);
        let span = k.clamp(1, SPAN);
        let mut packed_panels = (PACKED_LEN / PANEL / span).next_multiple_of(tile_panels);
        if gathered(1).is_some() {
            packed_panels = GATHERED_LEN / PANEL / tile_panels * tile_panels;
            while packed_panels > GATHERED_MIN && gathered(packed_panels) > Some(GATHERED_LEN) {
                packed_panels = (packed_panels / 2).next_multiple_of(tile_panels);
            }
        }
        // What is read again: the right operand for each block of rows, or the left for each of columns.
        let (again_b, again_a) =
            (m.div_ceil(STREAM_ROWS).saturating_mul(n), all_panels.div_ceil(packed_panels).saturating_mul(m));
        // Panels that lie in the program may come from memory: they are read once, and the next are asked for meanwhile.
        let rows_outside = !in_place || (m > STREAM_ROWS && again_a < again_b && !rows_gathered);
        let (rows_max, panels_max) = if rows_gathered {
            let mut rows = GATHERED_ROWS;
            while rows < m && rows_len(2 * rows).is_some_and(|len| len <= GATHERED_ROWS_LEN) {
                rows *= 2;
            }
            (rows, all_panels)
        } else if rows_outside {
            (PACKED_ROWS, packed_panels)
        } else if m <= set.rows_max {
            // Few rows: the right operand is read once, panel by panel from its start to its end.
            (m, tile_panels)
        } else {
            (STREAM_ROWS, all_panels)
        };
        let (mut rows, mut panels) = (rows_max.min(m), panels_max.min(all_panels));
        let work = batches.saturating_mul(m).saturating_mul(n).saturating_mul(k.max(1));
        let threads = rayon::current_num_threads();
        let blocks = |rows: usize, panels: usize| batches * m.div_ceil(rows) * all_panels.div_ceil(panels);
        let wanted = if threads == 1 { 1 } else { (4 * threads).min(work / TASK_MIN) };
        while blocks(rows, panels) < wanted {
            if panels > tile_panels && panels * PANEL >= rows {
                panels = (panels / 2).max(tile_panels);
            } else if rows > 2 * tile_rows {
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
        let whole = lines.map_or(tile_rows, |lines| lines.width * lines.together());
        Plan {
            rows: even(m, rows, whole),
            panels: even(all_panels, panels, tile_panels),
            tile_rows,
            tile_panels,
            lines,
            rows_outside,
        }
    }
}
