//! Few rows times a row-major matrix: f32, read once, row by row.
//!
//! Packing such a matrix would cost more than the product. Instead a strip of columns runs through the
//! terms four at a time, with its sums in the first-level cache. The chain of each element is the
//! specification's.

use repops::lane::Lane;
use repops::reduce::CHUNK;

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;

/// The most rows that are worth it.
pub(crate) const ROWS_MAX: usize = 4;
/// Columns of a strip.
const STRIP: usize = 1024;
/// Multiply-adds below which a strip is not made narrower.
const TASK_MIN: usize = 1 << 16;

/// A row-major matrix product with few rows.
#[derive(Clone, Copy)]
pub(crate) struct FewRows<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// `m` rows of `k`.
    pub a: &'a [f32],
    /// `k` rows of `n`.
    pub b: &'a [f32],
}

impl FewRows<'_> {
    /// Computes `m` rows of `n` into `y`.
    pub(crate) fn product(&self, isa: Isa, y: &mut [f32]) {
        let FewRows { m, n, k, .. } = *self;
        assert!(
            (1..=ROWS_MAX).contains(&m) && self.a.len() >= m * k && self.b.len() >= k * n && y.len() == m * n
        );
        let threads = rayon::current_num_threads();
        let tasks = if threads == 1 { 1 } else { (4 * threads).min(m * n * k / TASK_MIN).max(1) };
        let strip = STRIP.min(n.div_ceil(tasks).next_multiple_of(64)).min(n).max(1);
        let chunks = k.div_ceil(CHUNK).max(1);
        let levels = (usize::BITS - (chunks - 1).leading_zeros()) as usize;
        let out = Shared::new(y);
        parallel(n.div_ceil(strip), |task| {
            let first = task * strip;
            let width = strip.min(n - first);
            with_scratch((1 + levels) * m * width, |buffer: &mut [f32]| {
                let (sums, levels) = buffer.split_at_mut(m * width);
                for chunk in 0..chunks {
                    let terms = chunk * CHUNK..k.min((chunk + 1) * CHUNK);
                    let last = chunk + 1 == chunks;
                    sums.fill(0.0);
                    dispatch(isa, Chunk { problem: self, terms, first, width, sums });
                    // Binary counter, as for tiles.
                    let free = chunk.trailing_ones() as usize;
                    let mut merge = if last { chunk } else { (1 << free) - 1 };
                    while merge != 0 {
                        let level = &levels[merge.trailing_zeros() as usize * m * width..][..m * width];
                        for (sum, earlier) in sums.iter_mut().zip(level) {
                            *sum += earlier;
                        }
                        merge &= merge - 1;
                    }
                    if !last {
                        levels[free * m * width..][..m * width].copy_from_slice(sums);
                    }
                }
                for (row, sums) in sums.chunks_exact(width).enumerate() {
                    // SAFETY: strips do not overlap.
                    let y = unsafe { out.slice(row * n + first..row * n + first + width) };
                    for (y, sum) in y.iter_mut().zip(sums) {
                        *y = sum.canonical_nan();
                    }
                }
            });
        });
    }
}

/// One chunk of a strip; `sums` are +0 before and end with `+ (+0)`.
struct Chunk<'a> {
    problem: &'a FewRows<'a>,
    terms: std::ops::Range<usize>,
    first: usize,
    width: usize,
    sums: &'a mut [f32],
}

impl Vectorized for Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        match self.problem.m {
            1 => self.rows::<V, 1>(),
            2 => self.rows::<V, 2>(),
            3 => self.rows::<V, 3>(),
            _ => self.rows::<V, 4>(),
        }
    }
}

impl Chunk<'_> {
    #[inline(always)]
    fn rows<V: VectorLane, const M: usize>(self) {
        let Chunk { problem, terms, first, width, sums } = self;
        let FewRows { n, k, a, b, .. } = *problem;
        assert!(sums.len() == M * width && first + width <= n && terms.end <= k);
        let whole = width - width % V::LANES;
        let mut term = terms.start;
        while term < terms.end {
            let count = 4.min(terms.end - term);
            // SAFETY: rows `term .. term + count` of `b` and columns `first .. first + width` exist, as do
            // as many elements of `a` and `sums`.
            unsafe {
                let factor = |row: usize, t: usize| *a.as_ptr().add(row * k + term + t);
                let start = b.as_ptr().add(term * n + first);
                if count == 4 {
                    strip::<V, M, 4>(factor, start, n, 0..whole, width, sums.as_mut_ptr());
                    strip::<f32, M, 4>(factor, start, n, whole..width, width, sums.as_mut_ptr());
                } else {
                    for t in 0..count {
                        let factor = |row: usize, _: usize| factor(row, t);
                        let start = start.add(t * n);
                        strip::<V, M, 1>(factor, start, n, 0..whole, width, sums.as_mut_ptr());
                        strip::<f32, M, 1>(factor, start, n, whole..width, width, sums.as_mut_ptr());
                    }
                }
            }
            term += count;
        }
        for sum in sums {
            *sum += 0.0;
        }
    }
}

/// Adds `T` terms to the sums of a range of columns.
///
/// # Safety
/// `T` rows of `b`, `n` apart, and `M` rows of `sums`, `width` apart, hold the columns, in whole vectors.
#[inline(always)]
unsafe fn strip<V: VectorLane, const M: usize, const T: usize>(
    factor: impl Fn(usize, usize) -> f32,
    b: *const f32,
    n: usize,
    columns: std::ops::Range<usize>,
    width: usize,
    sums: *mut f32,
) {
    let mut factors = [[V::splat(0.0); T]; M];
    for (row, factors) in factors.iter_mut().enumerate() {
        for (t, slot) in factors.iter_mut().enumerate() {
            *slot = V::splat(factor(row, t));
        }
    }
    let mut column = columns.start;
    while column < columns.end {
        // SAFETY: the caller's promise.
        unsafe {
            let mut right = [V::splat(0.0); T];
            for (t, right) in right.iter_mut().enumerate() {
                *right = V::load(b.add(t * n + column));
            }
            for (row, factors) in factors.iter().enumerate() {
                let place = sums.add(row * width + column);
                let mut sum = V::load(place);
                for t in 0..T {
                    sum = factors[t].fma(right[t], sum);
                }
                sum.store(place);
            }
        }
        column += V::LANES;
    }
}
