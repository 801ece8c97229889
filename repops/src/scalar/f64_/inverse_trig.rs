//! asin, acos and atan of f64.
//!
//! All are the angle of a point: atan x of (1, x), asin x of (sqrt(1 - x^2), x), acos x of
//! (x, sqrt(1 - x^2)). The smaller coordinate over the larger is t <= 1; c = j/64 next to t (63/64
//! at most); atan t = atan c + atan((t - c)/(1 + t c)), the last by its series up to z^17.

use super::exp::square;
use super::trig::small;
use crate::lane::{Lane64, MaskLane};
use crate::scalar::double_word::{Dw, horner};
use crate::scalar::exp::{ROUNDER, clamp};
use crate::scalar::generated::double_tables::{ATAN_64_HI, ATAN_64_LO, ATAN_HEAD, ATAN_REST, PI, PI_2};
use crate::scalar::polynomial;

/// asin x. asin(+-0) = +-0, |x| > 1 gives NaN. Below 2^-30 in magnitude: x + x^3/6.
#[inline(always)]
pub fn asin<W: Lane64>(x: W) -> W {
    small(x, 1.0 / 6.0, asin_dw(x.abs()).hi.copysign(x)).canonical_nan()
}

/// acos x. acos(1) = +0, |x| > 1 gives NaN.
#[inline(always)]
pub fn acos<W: Lane64>(x: W) -> W {
    acos_dw(x).hi.canonical_nan()
}

/// atan x. atan(+-0) = +-0, atan(+-inf) = +-pi/2. Below 2^-30 in magnitude: x - x^3/3.
#[inline(always)]
pub fn atan<W: Lane64>(x: W) -> W {
    // From 2^60 on the result is pi/2 rounded.
    let a = clamp(x.abs(), 0.0, 1_152_921_504_606_846_976.0);
    small(x, -1.0 / 3.0, atan_dw(a).hi.copysign(x)).canonical_nan()
}

/// asin a for 0 <= a <= 1; relative error below 2^-98. NaN for a > 1.
#[inline(always)]
pub fn asin_dw<W: Lane64>(a: W) -> Dw<W> {
    angle(Dw::from_word(a), cofactor(a))
}

/// acos x for |x| <= 1; relative error below 2^-98. NaN for |x| > 1.
#[inline(always)]
pub fn acos_dw<W: Lane64>(x: W) -> Dw<W> {
    let y = angle(cofactor(x), Dw::from_word(x.abs()));
    Dw::select(x.less(W::splat(0.0)), Dw::splat(PI).add(y.neg()), y)
}

/// atan a for 0 <= a <= 2^500; relative error below 2^-98, short of underflow.
#[inline(always)]
pub fn atan_dw<W: Lane64>(a: W) -> Dw<W> {
    angle(Dw::from_word(a), Dw::from_word(W::splat(1.0)))
}

/// sqrt(1 - x^2).
#[inline(always)]
fn cofactor<W: Lane64>(x: W) -> Dw<W> {
    square(x).neg().add_word(W::splat(1.0)).sqrt()
}

/// The angle in [0, pi/2] of the point (x, y), both at least 0 and not both 0.
#[inline(always)]
fn angle<W: Lane64>(y: Dw<W>, x: Dw<W>) -> Dw<W> {
    let steep = x.hi.less(y.hi);
    let t = Dw::select(steep, x, y).div(Dw::select(steep, y, x));
    let limit = W::splat(63.0 / 64.0);
    let near = W::select(limit.less(t.hi), limit, t.hi);
    let j = near.fma(W::splat(64.0), W::splat(ROUNDER));
    let c = j.sub(W::splat(ROUNDER)).mul(W::splat(1.0 / 64.0));
    let z = t.add_word(c.neg()).div(t.mul_word(c).add_word(W::splat(1.0)));
    let square = z.mul(z);
    let rest = polynomial::horner(square.hi, &ATAN_REST);
    let tail = horner(square, &ATAN_HEAD, rest).mul(z);
    let small = Dw::lookup(&ATAN_64_HI, &ATAN_64_LO, j.to_bits()).add(tail);
    let complement = Dw::splat(PI_2).add(small.neg());
    let nan = y.hi.equal(y.hi).and(x.hi.equal(x.hi)).not();
    let result = Dw::select(steep, complement, small);
    Dw { hi: W::select(nan, W::splat(f64::NAN), result.hi), lo: result.lo }
}
