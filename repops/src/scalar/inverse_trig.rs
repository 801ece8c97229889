//! asin, acos and atan of f32.
//!
//! Method, in binary64: asin by one polynomial in s^2 for |s| <= 1/2, and by
//! asin a = pi/2 - 2 asin(sqrt((1 - a)/2)) above; acos from the same; atan by sixteen
//! intervals, atan a = atan c + atan((a - c) / (1 + a c)), and pi/2 + atan(-1/a) from 16 on. The
//! relative error before the one rounding to f32 is below 2^-51; what that leaves wrong is
//! repaired by selects.

use super::exp::clamp;
use super::generated::tables::{ASIN_TAIL, ATAN_BASE, ATAN_C, ATAN_TAIL, PI_2_HI, PI_2_LO, PI_HI, PI_LO};
use super::polynomial::{horner, repaired};
use super::repairs;
use crate::lane::{FloatLane, IntLane, Lane, Lane64};

/// asin x, correctly rounded. asin(+-0) = +-0, |x| > 1 and NaN give NaN.
#[inline(always)]
pub fn asin<L: Lane>(x: L) -> L {
    let HalfAngle { s, tail, large } = half_angle(x.abs().widen());
    // pi/2 - 2 (s + tail), the large parts first.
    let upper = s.fma(L::F64::splat(-2.0), L::F64::splat(PI_2_HI));
    let lower = tail.fma(L::F64::splat(-2.0), L::F64::splat(PI_2_LO));
    let y = L::F64::select(large, upper.add(lower), s.add(tail));
    repaired(x.abs(), L::narrow(y), &repairs::ASIN).copysign(x).canonical_nan()
}

/// acos x, correctly rounded. acos(1) = +0, |x| > 1 and NaN give NaN.
#[inline(always)]
pub fn acos<L: Lane>(x: L) -> L {
    let zero = L::F64::splat(0.0);
    let x64 = x.widen();
    let HalfAngle { s, tail, large } = half_angle(x64.abs());
    let negative = x64.less(zero);
    // |x| <= 1/2: pi/2 - asin x. Above: 2 asin s, and pi less that for negative x.
    let factor = L::F64::select(negative, L::F64::splat(1.0), L::F64::splat(-1.0));
    let factor = L::F64::select(large, factor.mul(L::F64::splat(-2.0)), factor);
    let base = |half: f64, full: f64| {
        let full = L::F64::select(negative, L::F64::splat(full), zero);
        L::F64::select(large, full, L::F64::splat(half))
    };
    let upper = s.fma(factor, base(PI_2_HI, PI_HI));
    let lower = tail.fma(factor, base(PI_2_LO, PI_LO));
    repaired(x, L::narrow(upper.add(lower)), &repairs::ACOS).canonical_nan()
}

/// asin s = s + tail, where s is a (up to 1/2) or sqrt((1 - a)/2) (`large`).
struct HalfAngle<W: Lane64> {
    s: W,
    tail: W,
    large: W::Mask,
}

#[inline(always)]
fn half_angle<W: Lane64>(a: W) -> HalfAngle<W> {
    let half = W::splat(0.5);
    let large = half.less(a);
    let z_large = a.fma(W::splat(-0.5), half); // exact
    let z = W::select(large, z_large, a.mul(a));
    let s = W::select(large, z_large.sqrt(), a);
    HalfAngle { s, tail: s.mul(z.mul(horner(z, &ASIN_TAIL))), large }
}

/// atan x, correctly rounded. atan(+-0) = +-0, atan(+-inf) = +-pi/2 rounded, atan(NaN) = NaN.
#[inline(always)]
pub fn atan<L: Lane>(x: L) -> L {
    // From 2^60 on the result is pi/2 rounded; NaN passes.
    let a = clamp(x.abs().widen(), 0.0, 1_152_921_504_606_846_976.0);
    repaired(x.abs(), L::narrow(atan_wide(a)), &repairs::ATAN).copysign(x).canonical_nan()
}

/// atan a for a >= 0 that is exact in f32.
#[inline(always)]
fn atan_wide<W: Lane64>(a: W) -> W {
    // Two intervals per octave from 1/8 to 16, one below, one above.
    let lowest = W::splat(0.09375);
    let index = clamp(a, 0.09375, 16.0).to_bits().sub(lowest.to_bits()).shr(51);
    let c = W::lookup(&ATAN_C, index);
    let large = W::splat(16.0).less_equal(a);
    let above = W::select(large, W::splat(-1.0), a.sub(c));
    let below = W::select(large, a, a.fma(c, W::splat(1.0)));
    let t = above.div(below);
    let z = t.mul(t);
    let tail = t.fma(z.mul(horner(z, &ATAN_TAIL)), t);
    tail.add(W::lookup(&ATAN_BASE, index))
}
