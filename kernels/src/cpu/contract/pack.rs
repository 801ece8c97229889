//! Operands of a contraction: where elements lie, and copying them into the order that tiles read.

use std::ops::Range;

use half::{bf16, f16};
use repops::dtype::Element;
use repops::reduce::Accumulate;

use super::tile::PANEL;

/// The type that elements of storage type `Self` are contracted in.
pub(crate) trait Storage<E>: Element {
    fn widen(self) -> E;
    /// Rounds once; a NaN becomes canonical.
    fn narrow(wide: E) -> Self;
}

macro_rules! own_storage {
    ($($t:ty),*) => { $(impl Storage<$t> for $t {
        #[inline(always)]
        fn widen(self) -> $t {
            self
        }
        #[inline(always)]
        fn narrow(wide: $t) -> $t {
            wide.canonical()
        }
    })* };
}
own_storage!(f32, f64, i32, i64, u32, u64);

macro_rules! half_storage {
    ($($t:ty),*) => { $(impl Storage<f32> for $t {
        #[inline(always)]
        fn widen(self) -> f32 {
            self.to_f32()
        }
        #[inline(always)]
        fn narrow(wide: f32) -> $t {
            <$t>::from_f32(wide).canonical()
        }
    })* };
}
half_storage!(f16, bf16);

macro_rules! byte_storage {
    ($($t:ty),*) => { $(impl Storage<i32> for $t {
        #[inline(always)]
        fn widen(self) -> i32 {
            self as i32
        }
        #[inline(always)]
        fn narrow(wide: i32) -> $t {
            wide as $t
        }
    })* };
}
byte_storage!(u8, i8);

/// The left operand: rows of the result by terms.
pub(crate) trait Left<E>: Sync {
    /// The elements of a batch and the distance of rows, when terms are contiguous and of type `E`.
    fn in_place(&self, batch: usize) -> Option<(&[E], usize)>;
    /// Writes `[tile][term][row of the tile]`, tiles of `tile_rows` but for the last.
    fn pack(&self, batch: usize, rows: Range<usize>, terms: Range<usize>, tile_rows: usize, to: &mut [E]);
}

/// The right operand: terms by columns of the result.
pub(crate) trait Right<E>: Sync {
    /// The panels of a batch, each of `terms` by 16, when they lie that way and are of type `E`.
    fn in_place(&self, batch: usize) -> Option<&[E]>;
    /// Writes `[panel][term][16]`; columns past the last are zero.
    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, to: &mut [E]);
}

/// A matrix with strides, one for each batch.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, S> {
    pub data: &'a [S],
    /// Start of each batch's matrix; none: all start at 0.
    pub offsets: &'a [usize],
    /// Distance of neighbours along the result's axis (rows of the left, columns of the right operand).
    pub outer: usize,
    /// Distance of neighbouring terms.
    pub term: usize,
    /// Rows of the left, or columns of the right operand.
    pub extent: usize,
}

impl<S> Strided<'_, S> {
    fn start(&self, batch: usize) -> usize {
        self.offsets.get(batch).copied().unwrap_or(0)
    }
}

/// Writes `to[term * width + i] = from[i * outer + term]` for `count` values of `i` and every term.
#[inline]
fn transpose<S: Storage<E>, E: Accumulate>(
    from: &[S],
    outer: usize,
    count: usize,
    terms: usize,
    width: usize,
    to: &mut [E],
) {
    if terms == 0 || count == 0 {
        return;
    }
    assert!(from.len() > (count - 1) * outer + terms - 1 && to.len() >= (terms - 1) * width + count);
    let mut i = 0;
    // Blocks of 4 x 4, which compilers turn into shuffles of registers.
    while i + 4 <= count {
        let mut term = 0;
        while term + 4 <= terms {
            // SAFETY: the largest offsets are those of the assertion.
            unsafe {
                let mut block = [[E::ZERO; 4]; 4];
                for (r, row) in block.iter_mut().enumerate() {
                    let start = from.as_ptr().add((i + r) * outer + term);
                    for (c, value) in row.iter_mut().enumerate() {
                        *value = (*start.add(c)).widen();
                    }
                }
                for c in 0..4 {
                    let start = to.as_mut_ptr().add((term + c) * width + i);
                    for (r, row) in block.iter().enumerate() {
                        *start.add(r) = row[c];
                    }
                }
            }
            term += 4;
        }
        for term in term..terms {
            for r in 0..4 {
                to[term * width + i + r] = from[(i + r) * outer + term].widen();
            }
        }
        i += 4;
    }
    for i in i..count {
        for term in 0..terms {
            to[term * width + i] = from[i * outer + term].widen();
        }
    }
}

impl<S: Storage<E>, E: Accumulate + Element> Left<E> for Strided<'_, S> {
    fn in_place(&self, batch: usize) -> Option<(&[E], usize)> {
        if self.term != 1 || S::DTYPE != E::DTYPE {
            return None;
        }
        Some((&bytemuck::cast_slice::<S, E>(self.data)[self.start(batch)..], self.outer))
    }

    fn pack(&self, batch: usize, rows: Range<usize>, terms: Range<usize>, tile_rows: usize, to: &mut [E]) {
        let data = &self.data[self.start(batch)..];
        let mut at = 0;
        let mut first = rows.start;
        while first < rows.end {
            let count = tile_rows.min(rows.end - first);
            let to = &mut to[at..at + count * terms.len()];
            if self.term == 1 {
                transpose(
                    &data[first * self.outer + terms.start..],
                    self.outer,
                    count,
                    terms.len(),
                    count,
                    to,
                );
            } else {
                for (term, to) in terms.clone().zip(to.chunks_exact_mut(count)) {
                    for (r, to) in to.iter_mut().enumerate() {
                        *to = data[(first + r) * self.outer + term * self.term].widen();
                    }
                }
            }
            at += count * terms.len();
            first += count;
        }
    }
}

impl<S: Storage<E>, E: Accumulate + Element> Right<E> for Strided<'_, S> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, to: &mut [E]) {
        let data = &self.data[self.start(batch)..];
        let size = terms.len() * PANEL;
        let first = panels.start;
        if self.outer == 1 {
            // Term by term: the source is read once, in order.
            for (row, term) in terms.clone().enumerate() {
                for panel in panels.clone() {
                    let column = panel * PANEL;
                    let count = PANEL.min(self.extent - column);
                    let from = &data[term * self.term + column..][..count];
                    let to = &mut to[(panel - first) * size + row * PANEL..][..PANEL];
                    if count == PANEL {
                        for (to, from) in to.iter_mut().zip(from) {
                            *to = from.widen();
                        }
                    } else {
                        to.fill(E::ZERO);
                        for (to, from) in to.iter_mut().zip(from) {
                            *to = from.widen();
                        }
                    }
                }
            }
            return;
        }
        for panel in panels {
            let column = panel * PANEL;
            let count = PANEL.min(self.extent - column);
            let to = &mut to[(panel - first) * size..][..size];
            if count < PANEL {
                to.fill(E::ZERO);
            }
            if terms.is_empty() {
                continue;
            }
            if self.term == 1 {
                transpose(
                    &data[column * self.outer + terms.start..],
                    self.outer,
                    count,
                    terms.len(),
                    PANEL,
                    to,
                );
            } else {
                for (term, to) in terms.clone().zip(to.chunks_exact_mut(PANEL)) {
                    for (c, to) in to[..count].iter_mut().enumerate() {
                        *to = data[(column + c) * self.outer + term * self.term].widen();
                    }
                }
            }
        }
    }
}

/// A right operand in layout `Panel16`.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, S> {
    pub data: &'a [S],
    /// Start of each batch's matrix; none: all start at 0.
    pub offsets: &'a [usize],
    pub terms: usize,
}

impl<S: Storage<E>, E: Accumulate + Element> Right<E> for Panels<'_, S> {
    fn in_place(&self, batch: usize) -> Option<&[E]> {
        let start = self.offsets.get(batch).copied().unwrap_or(0);
        (S::DTYPE == E::DTYPE).then(|| &bytemuck::cast_slice::<S, E>(self.data)[start..])
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, to: &mut [E]) {
        let start = self.offsets.get(batch).copied().unwrap_or(0);
        let size = terms.len() * PANEL;
        if size == 0 {
            return;
        }
        for (panel, to) in panels.zip(to.chunks_exact_mut(size)) {
            let from = &self.data[start + (panel * self.terms + terms.start) * PANEL..][..size];
            for (to, from) in to.iter_mut().zip(from) {
                *to = from.widen();
            }
        }
    }
}
