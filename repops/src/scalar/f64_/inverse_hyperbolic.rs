//! asinh, acosh and atanh of f64, from the logarithm.

use super::log::natural_dw;
use crate::lane::Lane64;
use crate::scalar::double_word::{Dw, fast_two_sum, two_product, two_sum};
use crate::scalar::exp::clamp;
use crate::scalar::polynomial::horner;

/// Beyond, asinh and acosh are ln 2x: what that leaves out is below 2^-122.
const LARGE: f64 = 1_152_921_504_606_846_976.0; // 2^60
/// Below, asinh and atanh are their series.
const SMALL: f64 = 1.0 / 4096.0;
/// The terms of asinh x / x past the first, in x^2.
const ASINH: [f64; 4] = [-1.0 / 6.0, 3.0 / 40.0, -5.0 / 112.0, 35.0 / 1152.0];
/// Those of atanh x / x.
const ATANH: [f64; 4] = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0];

/// asinh x. asinh(+-0) = +-0, asinh(+-inf) = +-inf.
#[inline(always)]
pub fn asinh<W: Lane64>(x: W) -> W {
    let a = x.abs();
    let y = W::select(a.less(W::splat(f64::INFINITY)), asinh_dw(a).hi, a);
    y.copysign(x).canonical_nan()
}

/// acosh x. acosh(1) = +0, acosh(+inf) = +inf, x < 1 gives NaN.
#[inline(always)]
pub fn acosh<W: Lane64>(x: W) -> W {
    let y = W::select(x.less(W::splat(f64::INFINITY)), acosh_dw(x).hi, x);
    W::select(x.less(W::splat(1.0)), W::splat(f64::NAN), y).canonical_nan()
}

/// atanh x. atanh(+-0) = +-0, atanh(+-1) = +-inf, |x| > 1 gives NaN.
#[inline(always)]
pub fn atanh<W: Lane64>(x: W) -> W {
    let a = x.abs();
    let y = W::select(a.equal(W::splat(1.0)), W::splat(f64::INFINITY), atanh_dw(a).hi);
    let y = W::select(W::splat(1.0).less(a), W::splat(f64::NAN), y);
    y.copysign(x).canonical_nan()
}

/// asinh a for finite a >= 0; relative error below 2^-76, from 2^-12 on below 2^-85.
#[inline(always)]
pub fn asinh_dw<W: Lane64>(a: W) -> Dw<W> {
    let b = clamp(a, 0.0, LARGE);
    let root = two_product(b, b).add_word(W::splat(1.0)).sqrt();
    let middle = natural_dw(root.add_word(b), W::splat(0.0));
    let y = Dw::select(W::splat(LARGE).less(a), doubled(a), middle);
    Dw::select(a.less(W::splat(SMALL)), series(a, &ASINH), y)
}

/// acosh x for finite x >= 1; relative error below 2^-76, where x - 1 is at least 2^-23 below 2^-90.
#[inline(always)]
pub fn acosh_dw<W: Lane64>(x: W) -> Dw<W> {
    let b = clamp(x, 1.0, LARGE);
    let above = two_sum(b, W::splat(-1.0));
    let root = above.mul(above.add_word(W::splat(2.0))).sqrt();
    let middle = natural_dw(above.add(root).add_word(W::splat(1.0)), W::splat(0.0));
    Dw::select(W::splat(LARGE).less(x), doubled(x), middle)
}

/// atanh a for 0 <= a < 1; relative error below 2^-76, from 2^-12 on below 2^-85.
#[inline(always)]
pub fn atanh_dw<W: Lane64>(a: W) -> Dw<W> {
    let one = W::splat(1.0);
    let b = clamp(a, 0.0, 1.0 - f64::EPSILON / 2.0);
    let quotient = two_sum(one, b).div(two_sum(one, b.neg()));
    let y = natural_dw(quotient, W::splat(0.0)).scale(W::splat(0.5));
    Dw::select(a.less(W::splat(SMALL)), series(a, &ATANH), y)
}

/// ln 2a.
#[inline(always)]
fn doubled<W: Lane64>(a: W) -> Dw<W> {
    natural_dw(Dw::from_word(clamp(a, 1.0, f64::MAX)), W::splat(-1.0))
}

/// a (1 + q (c0 + q (c1 + ...))), q = a^2, the factor of the correction in binary64.
#[inline(always)]
fn series<W: Lane64>(a: W, c: &[f64; 4]) -> Dw<W> {
    let q = a.mul(a);
    fast_two_sum(a, a.mul(q.mul(horner(q, c))))
}
