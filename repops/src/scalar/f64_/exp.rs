//! exp, exp2 and expm1 of f64.
//!
//! x = k ln2/64 + r with |r| <= ln2/128; e^x = 2^(k/64) + 2^(k/64) P, P = e^r - 1 by its Taylor
//! series up to r^11.

use crate::lane::{IntLane, Lane64};
use crate::scalar::double_word::{Dw, horner, two_product, two_sum};
use crate::scalar::exp::{ROUNDER, clamp};
use crate::scalar::generated::double_tables::{
    EXP_HEAD, EXP_REST, EXP2_64_HI, EXP2_64_LO, INV_LN2_64, LN2, LN2_64,
};
use crate::scalar::polynomial;

/// e^x. exp(-inf) = +0, exp(+inf) = +inf, exp(+-0) = 1.
#[inline(always)]
pub fn exp<W: Lane64>(x: W) -> W {
    let x = clamp(x, -800.0, 800.0);
    exp_parts(Dw::from_word(x)).rounded().canonical_nan()
}

/// 2^x. Special cases as `exp`.
#[inline(always)]
pub fn exp2<W: Lane64>(x: W) -> W {
    let x = clamp(x, -1200.0, 1200.0);
    exp2_parts(Dw::from_word(x)).rounded().canonical_nan()
}

/// e^x - 1. expm1(+-0) = +-0, expm1(-inf) = -1, expm1(+inf) = +inf.
///
/// Above 60 it is `exp`, of which 1 is less than 2^-86; below 2^-54 in magnitude it is x.
#[inline(always)]
pub fn expm1<W: Lane64>(x: W) -> W {
    let large = W::splat(60.0).less(x);
    let tiny = x.abs().less(W::splat(f64::EPSILON / 4.0));
    let y = expm1_dw(clamp(x, -60.0, 60.0)).hi;
    W::select(tiny, x, W::select(large, exp(x), y)).canonical_nan()
}

/// e^x for |x| <= 600; relative error below 2^-102.
#[inline(always)]
pub fn exp_dw<W: Lane64>(x: W) -> Dw<W> {
    exp_parts(Dw::from_word(x)).assembled()
}

/// 2^x for |x| <= 1000; relative error below 2^-102.
#[inline(always)]
pub fn exp2_dw<W: Lane64>(x: W) -> Dw<W> {
    exp2_parts(Dw::from_word(x)).assembled()
}

/// e^x - 1 for |x| <= 600; relative error below 2^-98, short of underflow.
///
/// 2^n (T - 2^-n) loses up to 7 bits of the table's 2^-107.
#[inline(always)]
pub fn expm1_dw<W: Lane64>(x: W) -> Dw<W> {
    let parts = exp_parts(Dw::from_word(x));
    let power = parts.power();
    let head = parts.table.scale(power).add_word(W::splat(-1.0));
    head.add(parts.table.mul(parts.tail).scale(power))
}

/// e^x = 2^n table (1 + tail).
#[derive(Clone, Copy)]
pub struct ExpParts<W: Lane64> {
    /// `ROUNDER + k`, k = 64 n + j.
    t: W,
    /// 2^(j/64).
    table: Dw<W>,
    /// e^r - 1.
    tail: Dw<W>,
}

/// The parts of e^x for |x.hi| <= 1100; the relative error of the whole is below 2^-102, plus
/// what x itself lacks.
#[inline(always)]
pub fn exp_parts<W: Lane64>(x: Dw<W>) -> ExpParts<W> {
    let t = x.hi.fma(W::splat(INV_LN2_64), W::splat(ROUNDER));
    let k = t.sub(W::splat(ROUNDER)).neg();
    // k has 17 bits, the first two words of ln2/64 have 35: both products are exact, and so is
    // the first difference.
    let first = k.fma(W::splat(LN2_64[0]), x.hi);
    let r = two_sum(first, k.mul(W::splat(LN2_64[1])));
    let r = r.add_word(x.lo).add_word(k.mul(W::splat(LN2_64[2])));
    exp_parts_reduced(t, r)
}

/// The parts of 2^x for |x.hi| <= 1300.
#[inline(always)]
pub fn exp2_parts<W: Lane64>(x: Dw<W>) -> ExpParts<W> {
    let t = x.hi.fma(W::splat(64.0), W::splat(ROUNDER));
    let k = t.sub(W::splat(ROUNDER));
    let r = two_sum(k.fma(W::splat(-1.0 / 64.0), x.hi), x.lo);
    exp_parts_reduced(t, r.mul(Dw::splat(LN2)))
}

#[inline(always)]
fn exp_parts_reduced<W: Lane64>(t: W, r: Dw<W>) -> ExpParts<W> {
    let rest = polynomial::horner(r.hi, &EXP_REST);
    let tail = horner(r, &EXP_HEAD, rest).mul(r);
    let table = Dw::lookup(&EXP2_64_HI, &EXP2_64_LO, t.to_bits());
    ExpParts { t, table, tail }
}

impl<W: Lane64> ExpParts<W> {
    /// table (1 + tail), between 0.99 and 2.01.
    #[inline(always)]
    pub fn fraction(self) -> Dw<W> {
        self.table.add(self.table.mul(self.tail))
    }

    /// 2^n for -1022 <= n <= 1023.
    #[inline(always)]
    pub fn power(self) -> W {
        let n = self.t.to_bits().shl(46).shr(52);
        W::from_bits(n.add(W::Bits::splat(1023)).shl(52))
    }

    #[inline(always)]
    fn assembled(self) -> Dw<W> {
        self.fraction().scale(self.power())
    }

    /// Half the value: k less 64.
    #[inline(always)]
    pub fn halved(self) -> Self {
        ExpParts { t: self.t.sub(W::splat(64.0)), ..self }
    }

    /// The nearest binary64 number; 2^n in two factors, for results near the ends of the range.
    #[inline(always)]
    pub fn rounded(self) -> W {
        // n + 2048 is positive; half of it, less 1024.
        let n = self.t.to_bits().shr(6).add(W::Bits::splat(2048)).shl(52).shr(52);
        let half = n.shr(1);
        let other = n.sub(half);
        let power = |m: W::Bits| W::from_bits(m.sub(W::Bits::splat(1)).shl(52));
        self.fraction().hi.mul(power(half)).mul(power(other))
    }
}

/// x^2 exactly, short of underflow.
#[inline(always)]
pub fn square<W: Lane64>(x: W) -> Dw<W> {
    two_product(x, x)
}
