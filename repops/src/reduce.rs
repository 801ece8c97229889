//! The two orders of summation that every operator uses. SPEC.md, "Contractions" and "Row reductions".
//!
//! Invariant: the order is a function of the length alone. No kernel may use another.

use crate::digest::split_point;

/// Terms of a contraction that one chain of fused multiply-adds takes.
pub const CHUNK: usize = 256;
/// Elements of a row reduction that one block takes.
pub const BLOCK: usize = 4096;
/// Interleaved accumulators of a block.
pub const LANES: usize = 64;

/// The arithmetic that contractions and reductions need of an accumulator.
pub trait Accumulate: Copy {
    const ZERO: Self;
    fn add(self, other: Self) -> Self;
    /// `self * b + c`, rounded once (integers: wrapping).
    fn fma(self, b: Self, c: Self) -> Self;
}

macro_rules! float_accumulate {
    ($($t:ty),*) => { $(impl Accumulate for $t {
        const ZERO: $t = 0.0;
        #[inline(always)]
        fn add(self, other: $t) -> $t { self + other }
        #[inline(always)]
        fn fma(self, b: $t, c: $t) -> $t { self.mul_add(b, c) }
    })* };
}
macro_rules! int_accumulate {
    ($($t:ty),*) => { $(impl Accumulate for $t {
        const ZERO: $t = 0;
        #[inline(always)]
        fn add(self, other: $t) -> $t { self.wrapping_add(other) }
        #[inline(always)]
        fn fma(self, b: $t, c: $t) -> $t { self.wrapping_mul(b).wrapping_add(c) }
    })* };
}
float_accumulate!(f32, f64);
int_accumulate!(i32, i64, u32, u64);

/// Combines parts by the tree whose left side holds the largest power of two below the count. No
/// parts: zero.
pub fn tree<T: Accumulate>(parts: &[T]) -> T {
    match parts {
        [] => T::ZERO,
        [one] => *one,
        _ => {
            let (left, right) = parts.split_at(split_point(parts.len()));
            tree(left).add(tree(right))
        }
    }
}

/// `sum over p in 0 .. len of a(p) * b(p)` in the order of contractions: chunks of [`CHUNK`] terms, each
/// a chain of fused multiply-adds in ascending order from +0 that ends with `+ (+0)`, combined by
/// [`tree`]. A term for which `term` gives `None` is skipped but keeps its position.
pub fn contract<T: Accumulate>(len: usize, term: impl Fn(usize) -> Option<(T, T)>) -> T {
    let parts: Vec<T> = (0..len.div_ceil(CHUNK))
        .map(|chunk| {
            let positions = chunk * CHUNK..len.min((chunk + 1) * CHUNK);
            let chain = positions.filter_map(&term).fold(T::ZERO, |acc, (a, b)| a.fma(b, acc));
            // A chain can underflow to -0; adding +0 makes appended zero products invisible.
            chain.add(T::ZERO)
        })
        .collect();
    tree(&parts)
}

/// The sum of `len` elements in the order of row reductions: blocks of [`BLOCK`]; in each, element `i`
/// is added to accumulator `i mod` [`LANES`] in ascending order from +0; accumulators are folded by
/// halving strides (32, 16, ... 1: `acc[j] += acc[j + stride]`); blocks are combined by [`tree`].
pub fn row_sum<T: Accumulate>(len: usize, element: impl Fn(usize) -> T) -> T {
    let parts: Vec<T> = (0..len.div_ceil(BLOCK))
        .map(|block| {
            let mut lanes = [T::ZERO; LANES];
            for i in block * BLOCK..len.min((block + 1) * BLOCK) {
                lanes[i % LANES] = lanes[i % LANES].add(element(i));
            }
            fold_lanes(lanes)
        })
        .collect();
    tree(&parts)
}

/// The accumulators of a block folded by halving strides: `acc[j] += acc[j + stride]`.
pub fn fold_lanes<T: Accumulate>(mut lanes: [T; LANES]) -> T {
    let mut stride = LANES / 2;
    while stride > 0 {
        for j in 0..stride {
            lanes[j] = lanes[j].add(lanes[j + stride]);
        }
        stride /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_zero_products_change_nothing() {
        let a: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).fract() - 0.5).collect();
        for len in [1, 255, 256, 257, 700] {
            let short = contract(len, |p| Some((a[p], a[(p * 7) % 1000])));
            let long =
                contract(1000, |p| Some(if p < len { (a[p], a[(p * 7) % 1000]) } else { (0.0, a[p]) }));
            assert_eq!(short.to_bits(), long.to_bits(), "{len}");
        }
    }

    #[test]
    fn an_underflowing_chain_ends_at_plus_zero() {
        let tiny = f32::from_bits(1);
        assert_eq!(contract(1, |_| Some((tiny, -tiny))).to_bits(), 0);
        assert_eq!(row_sum(1, |_| -0.0f32).to_bits(), 0);
    }
}
