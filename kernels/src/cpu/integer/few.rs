//! Few rows times a row-major matrix: bytes that are read once, row by row, and interleaved in registers.
//!
//! Packing such a matrix would cost more than the product.

use std::arch::x86_64::*;

use super::pack::{Left, Right};
use crate::scratch::with_scratch;

/// The most rows.
pub(crate) const ROWS_MAX: usize = 4;
/// Columns of a strip whose sums are worked on at a time: four registers, interleaved.
const STRIP: usize = 64;
/// Terms at a time.
const TERMS: usize = 8;

/// Some columns of a product of few rows.
pub(crate) struct FewRows<'a> {
    pub m: usize,
    pub k: usize,
    pub left: Left<'a>,
    pub right: Right<'a>,
    /// Distance of terms in the right operand.
    pub term: usize,
    pub batch: usize,
    pub first: usize,
    /// Whether bytes on the right are made to have the other signedness.
    pub flip: bool,
    /// Whether the sums of the columns are wanted as one more row.
    pub column_sums: bool,
}

impl FewRows<'_> {
    /// Computes `width` columns from the first on: `m` rows of sums, and one of the columns' sums if they are
    /// wanted, each `width` rounded up to whole strips long.
    ///
    /// # Panics
    /// If this machine lacks AVX-512 VNNI.
    pub(crate) fn run(&self, width: usize, sums: &mut [i32]) {
        assert!(super::avx512::vnni_available());
        let FewRows { m, k, .. } = *self;
        let padded = width.next_multiple_of(STRIP);
        let rows = m + usize::from(self.column_sums);
        let k_padded = k.next_multiple_of(TERMS);
        assert!((1..=ROWS_MAX).contains(&m) && sums.len() == rows * padded);
        sums.fill(0);
        if k == 0 || width == 0 {
            return;
        }
        let last = self.right.starts[self.batch] + (k - 1) * self.term + self.first;
        assert!(self.right.data.len() >= last + width);
        with_scratch(rows * k_padded, |left: &mut [u8]| {
            left.fill(0);
            let first = self.left.starts[self.batch] * k;
            for (to, from) in
                left.chunks_exact_mut(k_padded).zip(self.left.data[first..].chunks_exact(k)).take(m)
            {
                to[..k].copy_from_slice(from);
            }
            if self.column_sums {
                left[m * k_padded..][..k].fill(1);
            }
            // SAFETY: the instructions are there; the matrix holds the columns of all terms, `left` rows of
            // whole groups, and `sums` rows of whole strips.
            unsafe {
                match (rows, self.left.signed) {
                    (1, false) => strips::<1, false>(self, left, width, sums),
                    (2, false) => strips::<2, false>(self, left, width, sums),
                    (3, false) => strips::<3, false>(self, left, width, sums),
                    (4, false) => strips::<4, false>(self, left, width, sums),
                    (_, false) => strips::<5, false>(self, left, width, sums),
                    (1, true) => strips::<1, true>(self, left, width, sums),
                    (2, true) => strips::<2, true>(self, left, width, sums),
                    (3, true) => strips::<3, true>(self, left, width, sums),
                    (4, true) => strips::<4, true>(self, left, width, sums),
                    (_, true) => strips::<5, true>(self, left, width, sums),
                }
            }
        });
        in_order(sums);
    }
}

/// # Safety
/// The machine has the instructions. The right operand has `width` columns of every term; `left` is `ROWS`
/// rows of `k` rounded up to whole terms at a time, `sums` as many of whole strips.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")]
unsafe fn strips<const ROWS: usize, const SIGNED_LEFT: bool>(
    few: &FewRows<'_>,
    left: &[u8],
    width: usize,
    sums: &mut [i32],
) {
    let row_bytes = left.len() / ROWS;
    let row_sums = sums.len() / ROWS;
    let flip = _mm512_set1_epi8(if few.flip { -128 } else { 0 });
    // SAFETY: the caller's promise.
    unsafe {
        let start = few.right.data.as_ptr().add(few.right.starts[few.batch] + few.first);
        for first in (0..few.k).step_by(TERMS) {
            // Past the last term, where the left operand is zero, any will do.
            let mut terms = [start; TERMS];
            for (t, term) in terms.iter_mut().enumerate() {
                *term = start.add((first + t).min(few.k - 1) * few.term);
            }
            let mut groups = [[_mm512_setzero_si512(); 2]; ROWS];
            for (row, groups) in groups.iter_mut().enumerate() {
                for (half, group) in groups.iter_mut().enumerate() {
                    let at = left.as_ptr().add(row * row_bytes + first + half * 4);
                    *group = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                }
            }
            for column in (0..width).step_by(STRIP) {
                let mask = u64::MAX >> (STRIP - (width - column).min(STRIP));
                let load = |t: usize| {
                    // The same columns of the terms that come next: often a page each, which no processor foresees.
                    let next = terms[t].wrapping_add(TERMS * few.term + column);
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                    let bytes = _mm512_maskz_loadu_epi8(mask, terms[t].add(column).cast());
                    _mm512_xor_si512(bytes, flip)
                };
                let low = interleave([load(0), load(1), load(2), load(3)]);
                let high = interleave([load(4), load(5), load(6), load(7)]);
                for (row, groups) in groups.iter().enumerate() {
                    let place = sums.as_mut_ptr().add(row * row_sums + column);
                    for v in 0..4 {
                        let place = place.add(v * 16).cast::<__m512i>();
                        let sum = place.read_unaligned();
                        let sum = dot::<SIGNED_LEFT>(sum, groups[0], low[v]);
                        place.write_unaligned(dot::<SIGNED_LEFT>(sum, groups[1], high[v]));
                    }
                }
            }
        }
    }
}

/// # Safety
/// The machine has the instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot<const SIGNED_LEFT: bool>(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
    if SIGNED_LEFT { _mm512_dpbusd_epi32(sum, right, left) } else { _mm512_dpbusd_epi32(sum, left, right) }
}

/// Groups of four terms: of columns 16 i + 4 j + e, register `j` has the one at `4 i + e`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: [__m512i; 4]) -> [__m512i; 4] {
    let (a, b) = (_mm512_unpacklo_epi8(rows[0], rows[1]), _mm512_unpacklo_epi8(rows[2], rows[3]));
    let (c, d) = (_mm512_unpackhi_epi8(rows[0], rows[1]), _mm512_unpackhi_epi8(rows[2], rows[3]));
    [
        _mm512_unpacklo_epi16(a, b),
        _mm512_unpackhi_epi16(a, b),
        _mm512_unpacklo_epi16(c, d),
        _mm512_unpackhi_epi16(c, d),
    ]
}

/// Brings the sums of interleaved columns into their order.
fn in_order(sums: &mut [i32]) {
    for strip in sums.as_chunks_mut::<STRIP>().0 {
        let mixed = *strip;
        for i in 0..4 {
            for j in 0..4 {
                strip[16 * i + 4 * j..][..4].copy_from_slice(&mixed[16 * j + 4 * i..][..4]);
            }
        }
    }
}
