//! Attention over sequences whose keys and values lie in pages.
//!
//! A page holds [`PAGE`] positions of every head: a chunk of a contraction, so that what a page adds to a result is one
//! part of its tree. Keys lie in panels, with SIMD lanes along positions; values lie in rows. Invariant: results
//! are those of `SequenceAttention` over the whole sequence, whatever rows are asked for and together with which.

mod attention;
mod heads;
mod rotary;
mod stateless;

use std::ops::Range;

use super::contract::pack::transpose;
use super::contract::tile::PANEL;
use crate::float_env::FloatEnv;
use crate::isa::Isa;
use crate::parallel::{Shared, parallel};
use heads::{Rows, Shape, Source, attend_rows, block_rows};

pub(crate) use attention::choose as choose_attention;
pub(crate) use rotary::choose as choose_rotary;
pub(crate) use stateless::choose as choose_sequence_attention;

/// Positions of a page.
pub const PAGE: usize = 256;

/// Multiply-adds below which work stays on one thread.
const TASK_MIN: usize = 1 << 17;

/// What `SequenceAttention` has for attributes, and the sizes of its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Heads of queries: a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a query and a key.
    pub d: usize,
    /// Elements of a value.
    pub e: usize,
    pub scale: f32,
    /// Positions that a row sees; 0: all.
    pub window: usize,
    /// 0: none.
    pub softcap: f32,
}

impl AttentionShape {
    /// Elements of a page of keys: `[kv_heads][PAGE / 16][d][16]`.
    pub fn key_page_len(&self) -> usize {
        self.kv_heads * PAGE * self.d
    }

    /// Elements of a page of values: `[kv_heads][PAGE][e]`.
    pub fn value_page_len(&self) -> usize {
        self.kv_heads * PAGE * self.e
    }

    /// The positions that the row at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        if self.window == 0 { 0..end } else { end.saturating_sub(self.window)..end }
    }

    fn shared(&self) -> Shape {
        let AttentionShape { d, e, scale, softcap, .. } = *self;
        Shape { d, e, scale, softcap, blocked_is_zero: false }
    }
}

/// One page. Positions that were not appended may hold any numbers.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    pub keys: &'a [f32],
    pub values: &'a [f32],
}

/// Rows that follow each other in one sequence.
#[derive(Clone)]
pub struct Span<'a> {
    /// Of queries and results.
    pub rows: Range<usize>,
    /// Of the first row.
    pub position: usize,
    /// The sequence up to its last row at least. Pages that lie before every row's window are not looked at.
    pub pages: &'a [Page<'a>],
}

/// Writes keys and values of neighbouring positions, which start at `at` and do not leave the page: `k` holds rows of
/// `kv_heads * d`, `v` as many of `kv_heads * e`.
///
/// # Panics
/// If a page is too short, rows are incomplete or do not fit.
pub fn append(shape: &AttentionShape, k: &[f32], v: &[f32], at: usize, keys: &mut [f32], values: &mut [f32]) {
    let AttentionShape { kv_heads, d, e, .. } = *shape;
    assert!(keys.len() >= shape.key_page_len() && values.len() >= shape.value_page_len());
    let rows = if d > 0 { k.len() / (kv_heads * d) } else { v.len() / (kv_heads * e).max(1) };
    assert!(k.len() == rows * kv_heads * d && v.len() == rows * kv_heads * e && at + rows <= PAGE);
    for head in 0..kv_heads {
        if d > 0 {
            let keys = &mut keys[head * PAGE * d..][..PAGE * d];
            panels(&k[(head * d).min(k.len())..], kv_heads * d, rows, d, at, keys);
        }
        let values = &mut values[(head * PAGE + at) * e..][..rows * e];
        for (row, values) in values.chunks_exact_mut(e.max(1)).enumerate() {
            values.copy_from_slice(&v[(row * kv_heads + head) * e..][..e]);
        }
    }
}

/// Writes rows, `stride` apart and of `d` elements, into panels at positions from `at` on.
#[inline(always)]
fn panels(from: &[f32], stride: usize, rows: usize, d: usize, at: usize, panels: &mut [f32]) {
    let mut row = 0;
    while row < rows {
        let (panel, lane) = ((at + row) / PANEL, (at + row) % PANEL);
        let count = (PANEL - lane).min(rows - row);
        let panel = &mut panels[panel * PANEL * d..][..PANEL * d];
        let fours = count / 4 * 4;
        transpose(&from[row * stride..], stride, fours, d, PANEL, &mut panel[lane..]);
        for i in fours..count {
            for (to, from) in panel.chunks_exact_mut(PANEL).zip(&from[(row + i) * stride..][..d]) {
                to[lane + i] = *from;
            }
        }
        row += count;
    }
}

/// The pages of a span.
struct Pages<'a> {
    shape: &'a AttentionShape,
    pages: &'a [Page<'a>],
}

impl Source for Pages<'_> {
    fn keys(&self, head: usize, page: usize) -> &[f32] {
        let len = PAGE * self.shape.d;
        &self.pages[page].keys[head * len..][..len]
    }

    fn values(&self, head: usize, page: usize) -> (&[f32], usize) {
        let len = PAGE * self.shape.e;
        (&self.pages[page].values[head * len..][..len], self.shape.e)
    }
}

/// Computes the rows of some spans, which do not overlap: `q` holds rows of `heads * d`, `out` as many of `heads * e`.
/// Rows of `out` that are in no span stay as they are.
///
/// # Panics
/// If this machine lacks `isa`, rows are out of range or overlap, or pages are missing or too short.
pub fn attend(isa: Isa, shape: &AttentionShape, q: &[f32], out: &mut [f32], spans: &[Span<'_>]) {
    let AttentionShape { heads, kv_heads, e, .. } = *shape;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads));
    assert!(spans.iter().all(|span| span.rows.start <= span.rows.end));
    let mut ranges: Vec<Range<usize>> = spans.iter().map(|span| span.rows.clone()).collect();
    ranges.retain(|rows| !rows.is_empty());
    ranges.sort_by_key(|rows| rows.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "spans overlap");
    assert!(ranges.last().is_none_or(|rows| rows.end * heads * e <= out.len()));
    let pages: Vec<Pages<'_>> = spans.iter().map(|span| Pages { shape, pages: span.pages }).collect();
    let sequences: Vec<Sequence<'_>> = spans
        .iter()
        .zip(&pages)
        .map(|(span, source)| Sequence { rows: span.rows.clone(), position: span.position, source })
        .collect();
    attend_sequences(isa, shape, q, Shared::new(out), &sequences);
}

/// Rows that follow each other in one sequence, with its keys and values wherever they are.
struct Sequence<'a> {
    rows: Range<usize>,
    position: usize,
    source: &'a dyn Source,
}

/// Computes the rows of some sequences, which lie in `q` and `out` and do not overlap.
fn attend_sequences(
    isa: Isa,
    shape: &AttentionShape,
    q: &[f32],
    out: Shared<f32>,
    sequences: &[Sequence<'_>],
) {
    let AttentionShape { heads, kv_heads, d, e, .. } = *shape;
    let group = heads / kv_heads;
    // Rows of queries of a sequence and a head of keys: one task each.
    let mut tasks = Vec::new();
    let mut work = 0usize;
    for sequence in sequences {
        let rows = &sequence.rows;
        let seen = shape.seen(sequence.position + rows.len()).len();
        work = work.saturating_add((rows.len() * heads).saturating_mul(seen * (d + e)));
        let block = (block_rows(seen) / group).max(1);
        for start in rows.clone().step_by(block) {
            let block = start..rows.end.min(start + block);
            tasks.extend((0..kv_heads).map(|head| (sequence, head, block.clone())));
        }
    }
    let run = |index: usize| {
        let (sequence, head, block) = &tasks[index];
        // Rows of the block are queries of the group's heads, position by position.
        let place = |row: usize| (block.start + row / group) * heads + head * group + row % group;
        let seen: Vec<Range<usize>> = (0..block.len() * group)
            .map(|row| shape.seen(sequence.position + block.start - sequence.rows.start + row / group))
            .collect();
        let rows = Rows {
            seen: &seen,
            query: &|row, to| to.copy_from_slice(&q[place(row) * d..][..d]),
            mask: None,
            store: &|row, result| {
                let at = place(row) * e;
                // SAFETY: the caller's rows are inside of `out`; each row and head is computed once.
                unsafe { out.slice(at..at + e) }.copy_from_slice(result);
            },
        };
        attend_rows(isa, &shape.shared(), sequence.source, *head, &rows);
    };
    if work < TASK_MIN {
        let _env = FloatEnv::enter();
        (0..tasks.len()).for_each(run);
    } else {
        parallel(tasks.len(), run);
    }
}
