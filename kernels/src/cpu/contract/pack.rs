//! Operands of a contraction: where elements lie, and copying them into the order that tiles read.

use std::ops::Range;

use half::{bf16, f16};
use repops::dtype::Element;
use repops::reduce::Accumulate;

use super::block::{Size, Target};
use super::tile::{HALF, PANEL, prefetch};
use crate::isa::Isa;

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

/// Rows or columns of a result that are the first places of lines: number `r` is read at place `r / width * pitch + r % width`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    pub pitch: usize,
    pub width: usize,
}

impl Lines {
    /// Lines that tiles of so many rows at the most are to follow. `None`: places between lines are better computed, too.
    pub(crate) fn new(pitch: usize, width: usize, rows_max: usize) -> Option<Lines> {
        let lines = Lines { pitch, width };
        // What a place takes grows with what a tile takes beside its rows: about as much as one row.
        let lined = match lines.together() {
            1 => width + width.div_ceil(rows_max),
            _ => width + 1,
        };
        let through = pitch + pitch.div_ceil(rows_max);
        (rows_max == 2 * HALF && width < pitch && width >= HALF && lined < through).then_some(lines)
    }

    /// Lines of columns of which each is whole panels: then no tile is on two of them, and each stores its results itself.
    pub(crate) fn of_panels(pitch: usize, width: usize) -> Option<Lines> {
        let panels = width / PANEL;
        // Tiles are of two panels, but for an odd one.
        let suits = panels > 0 && (panels.is_multiple_of(2) || panels >= 7);
        (width < pitch && width.is_multiple_of(PANEL) && suits).then_some(Lines { pitch, width })
    }

    /// Lines that one tile takes at once.
    pub(crate) fn together(self) -> usize {
        if self.width == HALF { 2 } else { 1 }
    }

    pub(crate) fn place(self, number: usize) -> usize {
        number / self.width * self.pitch + number % self.width
    }

    /// The rows from the first of a line on that one tile takes.
    pub(crate) fn tile(self, first: usize, rows_max: usize) -> usize {
        let (line, at) = (self.width * self.together(), first % self.width);
        let high = line.div_ceil(line.div_ceil(rows_max));
        high.min(line - at)
    }
}

/// The left operand: rows of the result by terms.
pub(crate) trait Left<E>: Sync {
    /// The elements of a batch and the distance of rows, when terms are contiguous and of type `E`.
    fn in_place(&self, batch: usize) -> Option<(&[E], usize)>;
    /// The operand with its rows for columns, where it has a place for each term at which rows are neighbours: what
    /// [`Right::gather`] writes is read as it is.
    fn gathered(&self) -> Option<&dyn Right<E>> {
        None
    }
    /// Where the places of gathered rows are those of lines, with others between them.
    fn lines(&self) -> Option<Lines> {
        None
    }
    /// Writes `[tile][term][row of the tile]`, tiles of `tile_rows` but for the last.
    fn pack(&self, batch: usize, rows: Range<usize>, terms: Range<usize>, tile_rows: usize, to: &mut [E]);
}

/// The right operand: terms by columns of the result.
pub(crate) trait Right<E>: Sync {
    /// The panels of a batch, each of `terms` by 16, when they lie that way and are of type `E`.
    fn in_place(&self, batch: usize) -> Option<&[E]>;
    /// Computes the whole contraction, where the operand has a faster way for one of this size; whether it did.
    fn contract(&self, _isa: Isa, _size: Size, _left: &dyn Left<E>, _target: &dyn Target<E>) -> bool {
        false
    }
    /// Writes `[panel][term][16]`, panels `stride` apart; columns past the last are zero.
    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]);
    /// Where the places of gathered columns are those of lines of whole panels, with others between them.
    fn lines(&self) -> Option<Lines> {
        None
    }
    /// How many elements [`Right::gather`] writes for so many terms and columns; `None`: it does not.
    fn gathered_len(&self, _terms: usize, _columns: usize) -> Option<usize> {
        None
    }
    /// What the columns read, where it lies as [`Right::gather`] would write it, from the first term and column on, to
    /// the last of them and to a whole panel at the least.
    fn gathered_in_place(
        &self,
        _batch: usize,
        _terms: Range<usize>,
        _columns: Range<usize>,
        _offsets: &mut [usize],
    ) -> Option<&[E]> {
        None
    }
    /// Writes what the columns read, so that column `c` of term `t` is at `offsets[t] + c`, both counted from
    /// the first. Columns past the last may hold anything finite.
    fn gather(
        &self,
        _batch: usize,
        _terms: Range<usize>,
        _columns: Range<usize>,
        _to: &mut [E],
        _offsets: &mut [usize],
    ) {
    }
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

/// Runs `body`, which moves elements, compiled for the widest registers at hand: moving changes no bits, so
/// the choice of an instruction set does not matter.
#[inline(always)]
pub(crate) fn with_wide_moves<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn avx512<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        if Isa::Avx512.is_available() {
            // SAFETY: the processor has the instructions.
            return unsafe { avx512(body) };
        }
        if Isa::Avx2.is_available() {
            // SAFETY: the processor has the instructions.
            return unsafe { avx2(body) };
        }
    }
    body()
}

/// A block of 4 x 4 elements of four bytes; rows are `outer` and `width` elements apart.
///
/// # Safety
/// The blocks can be read and written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_words(from: *const f32, outer: usize, to: *mut f32, width: usize) {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    // SAFETY: the caller's promise; every processor of this architecture has the instructions.
    unsafe {
        let (a, b) = (_mm_loadu_ps(from), _mm_loadu_ps(from.add(outer)));
        let (c, d) = (_mm_loadu_ps(from.add(2 * outer)), _mm_loadu_ps(from.add(3 * outer)));
        let (low, high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
        let (low_next, high_next) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
        _mm_storeu_ps(to, _mm_movelh_ps(low, low_next));
        _mm_storeu_ps(to.add(width), _mm_movehl_ps(low_next, low));
        _mm_storeu_ps(to.add(2 * width), _mm_movelh_ps(high, high_next));
        _mm_storeu_ps(to.add(3 * width), _mm_movehl_ps(high_next, high));
    }
}

/// Writes `to[term * width + i] = from[i * outer + term]` for `count` values of `i` and every term.
#[inline(always)]
pub(crate) fn transpose<S: Storage<E>, E: Accumulate + 'static>(
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
    // Blocks of 4 x 4, which compilers turn into shuffles of registers, or not.
    while i + 4 <= count {
        let mut term = 0;
        while term + 4 <= terms {
            // SAFETY: the largest offsets are those of the assertion.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                if size_of::<E>() == 4 && std::any::TypeId::of::<S>() == std::any::TypeId::of::<E>() {
                    let (from, to) =
                        (from.as_ptr().add(i * outer + term), to.as_mut_ptr().add(term * width + i));
                    transpose_words(from.cast(), outer, to.cast(), width);
                    term += 4;
                    continue;
                }
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
        for first in rows.clone().step_by(tile_rows) {
            let count = tile_rows.min(rows.end - first);
            let to = &mut to[at..at + count * terms.len()];
            at += count * terms.len();
            with_wide_moves(
                #[inline(always)]
                || self.gather(data, first..first + count, &terms, count, to),
            );
        }
    }
}

impl<S> Strided<'_, S> {
    /// Writes `to[term * width + i]` for the elements `i` of an outer range and a range of terms.
    #[inline(always)]
    fn gather<E: Accumulate + 'static>(
        &self,
        data: &[S],
        outer: Range<usize>,
        terms: &Range<usize>,
        width: usize,
        to: &mut [E],
    ) where
        S: Storage<E>,
    {
        let count = outer.len();
        if self.term == 1 && !terms.is_empty() {
            let from = &data[outer.start * self.outer + terms.start..];
            return transpose(from, self.outer, count, terms.len(), width, to);
        }
        for (term, to) in terms.clone().zip(to.chunks_exact_mut(width)) {
            for (i, to) in to[..count].iter_mut().enumerate() {
                *to = data[(outer.start + i) * self.outer + term * self.term].widen();
            }
        }
    }
}

impl<S: Storage<E>, E: Accumulate + Element> Right<E> for Strided<'_, S> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]) {
        let data = &self.data[self.start(batch)..];
        let size = terms.len() * PANEL;
        with_wide_moves(
            #[inline(always)]
            || {
                if self.outer == 1 {
                    // Term by term: the source is read once, in order.
                    let columns = panels.start * PANEL..self.extent.min(panels.end * PANEL);
                    for (row, term) in terms.clone().enumerate() {
                        // Rows are too far apart for the processor to guess the next ones.
                        let ahead = data.as_ptr().wrapping_add((term + AHEAD) * self.term);
                        for column in columns.clone().step_by(64 / size_of::<S>()) {
                            prefetch(ahead.wrapping_add(column));
                        }
                        let to = to[row * PANEL..].chunks_mut(stride);
                        copy_row(&data[term * self.term..][columns.clone()], to);
                    }
                    return;
                }
                for (panel, to) in panels.zip(to.chunks_mut(stride)) {
                    let columns = panel * PANEL..self.extent.min((panel + 1) * PANEL);
                    if columns.len() < PANEL {
                        to[..size].fill(E::ZERO);
                    }
                    self.gather(data, columns, &terms, PANEL, &mut to[..size]);
                }
            },
        );
    }
}

/// Rows that are asked for ahead of their copying.
const AHEAD: usize = 6;

/// Copies neighbouring elements of one term to the start of each panel, the last filled up with +0.
#[inline(always)]
pub(crate) fn copy_row<'a, S: Storage<E>, E: Accumulate + 'a>(
    from: &[S],
    panels: impl Iterator<Item = &'a mut [E]>,
) {
    let mut whole = from.chunks_exact(PANEL);
    let mut panels = panels;
    // The elements first: a panel that is asked for is one that is filled.
    for (from, to) in (&mut whole).zip(&mut panels) {
        for (to, from) in to[..PANEL].iter_mut().zip(from) {
            *to = from.widen();
        }
    }
    if let (rest @ [_, ..], Some(to)) = (whole.remainder(), panels.next()) {
        to[..PANEL].fill(E::ZERO);
        for (to, from) in to.iter_mut().zip(rest) {
            *to = from.widen();
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

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]) {
        let start = self.offsets.get(batch).copied().unwrap_or(0);
        let size = terms.len() * PANEL;
        if size == 0 {
            return;
        }
        for (panel, to) in panels.zip(to.chunks_mut(stride)) {
            let from = &self.data[start + (panel * self.terms + terms.start) * PANEL..][..size];
            for (to, from) in to[..size].iter_mut().zip(from) {
                *to = from.widen();
            }
        }
    }
}
