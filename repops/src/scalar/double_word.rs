//! Double-word arithmetic: a number as the unevaluated sum of two binary64 numbers.
//!
//! Algorithms and their bounds, with u = 2^-53: M. Joldes, J.-M. Muller, V. Popescu, "Tight and
//! rigorous error bounds for basic building blocks of double-word arithmetic", ACM TOMS 44(2),
//! 2017; for the square root V. Lefevre, N. Louvet, J.-M. Muller, J. Picot, L. Rideau, "Accurate
//! calculation of Euclidean norms using double-word arithmetic", ACM TOMS 49(1), 2023. The
//! order of operations below is part of the specification of the f64 functions.

#![allow(clippy::should_implement_trait, reason = "named as in the paper and as in `FloatLane`")]

use crate::lane::{FloatLane, Lane64};

/// `hi + lo`, where `hi` is the sum rounded to nearest.
#[derive(Clone, Copy)]
pub struct Dw<W> {
    pub hi: W,
    pub lo: W,
}

/// a + b exactly (2Sum, six operations).
#[inline(always)]
pub fn two_sum<W: Lane64>(a: W, b: W) -> Dw<W> {
    let hi = a.add(b);
    let a_part = hi.sub(b);
    let b_part = hi.sub(a_part);
    let lo = a.sub(a_part).add(b.sub(b_part));
    Dw { hi, lo }
}

/// a + b exactly where |a| >= |b| or a = 0 (Fast2Sum).
#[inline(always)]
pub fn fast_two_sum<W: Lane64>(a: W, b: W) -> Dw<W> {
    let hi = a.add(b);
    Dw { hi, lo: b.sub(hi.sub(a)) }
}

/// a * b exactly, short of underflow (Fast2Mult).
#[inline(always)]
pub fn two_product<W: Lane64>(a: W, b: W) -> Dw<W> {
    let hi = a.mul(b);
    Dw { hi, lo: a.fma(b, hi.neg()) }
}

impl<W: Lane64> Dw<W> {
    #[inline(always)]
    pub fn splat((hi, lo): (f64, f64)) -> Self {
        Dw { hi: W::splat(hi), lo: W::splat(lo) }
    }

    #[inline(always)]
    pub fn from_word(hi: W) -> Self {
        Dw { hi, lo: W::splat(0.0) }
    }

    #[inline(always)]
    pub fn neg(self) -> Self {
        Dw { hi: self.hi.neg(), lo: self.lo.neg() }
    }

    /// Relative error at most 2u^2 (DWPlusFP).
    #[inline(always)]
    pub fn add_word(self, y: W) -> Self {
        let s = two_sum(self.hi, y);
        fast_two_sum(s.hi, self.lo.add(s.lo))
    }

    /// Relative error below 3u^2 + 13u^3 (AccurateDWPlusDW).
    #[inline(always)]
    pub fn add(self, y: Self) -> Self {
        let s = two_sum(self.hi, y.hi);
        let t = two_sum(self.lo, y.lo);
        let v = fast_two_sum(s.hi, s.lo.add(t.hi));
        fast_two_sum(v.hi, t.lo.add(v.lo))
    }

    /// Relative error at most 2u^2 (DWTimesFP3).
    #[inline(always)]
    pub fn mul_word(self, y: W) -> Self {
        let c = two_product(self.hi, y);
        fast_two_sum(c.hi, self.lo.fma(y, c.lo))
    }

    /// Relative error at most 4u^2 (DWTimesDW3).
    #[inline(always)]
    pub fn mul(self, y: Self) -> Self {
        let c = two_product(self.hi, y.hi);
        let low = self.lo.mul(y.lo);
        let low = self.hi.fma(y.lo, low);
        let low = self.lo.fma(y.hi, low);
        fast_two_sum(c.hi, c.lo.add(low))
    }

    /// Relative error below 15u^2 + 56u^3 (DWDivDW2).
    #[inline(always)]
    pub fn div(self, y: Self) -> Self {
        let quotient = self.hi.div(y.hi);
        let r = y.mul_word(quotient);
        let rest = self.hi.sub(r.hi).add(self.lo.sub(r.lo));
        fast_two_sum(quotient, rest.div(y.hi))
    }

    /// Relative error at most 25/8 u^2 (SQRTDWtoDW); 0 for 0.
    #[inline(always)]
    pub fn sqrt(self) -> Self {
        let root = self.hi.sqrt();
        let rest = root.neg().fma(root, self.hi).add(self.lo);
        let correction = rest.div(root.add(root));
        let positive = W::splat(0.0).less(root);
        fast_two_sum(root, W::select(positive, correction, W::splat(0.0)))
    }

    /// Exact for a power of two, short of underflow.
    #[inline(always)]
    pub fn scale(self, power: W) -> Self {
        Dw { hi: self.hi.mul(power), lo: self.lo.mul(power) }
    }

    #[inline(always)]
    pub fn select(mask: W::Mask, if_true: Self, if_false: Self) -> Self {
        Dw { hi: W::select(mask, if_true.hi, if_false.hi), lo: W::select(mask, if_true.lo, if_false.lo) }
    }

    /// The entry of a table that is split in high and low words.
    #[inline(always)]
    pub fn lookup<const N: usize>(
        high: &'static [f64; N],
        low: &'static [f64; N],
        index: <W as FloatLane>::Bits,
    ) -> Self {
        Dw { hi: W::lookup(high, index), lo: W::lookup(low, index) }
    }
}

/// `head[0] + x (head[1] + ... x (head[N-1] + x rest))`.
///
/// `rest` is one word; the innermost sum takes only the high word of x, every other step is one
/// double-word product and one double-word sum.
#[inline(always)]
pub fn horner<W: Lane64, const N: usize>(x: Dw<W>, head: &[(f64, f64); N], rest: W) -> Dw<W> {
    let (hi, lo) = head[N - 1];
    let mut sum = fast_two_sum(W::splat(hi), x.hi.fma(rest, W::splat(lo)));
    for i in (0..N - 1).rev() {
        sum = sum.mul(x).add(Dw::splat(head[i]));
    }
    sum
}
