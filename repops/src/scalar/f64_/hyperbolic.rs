//! sinh, cosh and tanh of f64, from exp and expm1.

use super::exp::{exp_dw, exp_parts, expm1_dw};
use super::trig::small;
use crate::lane::Lane64;
use crate::scalar::double_word::Dw;
use crate::scalar::exp::clamp;

/// sinh x. sinh(+-0) = +-0, sinh(+-inf) = +-inf.
///
/// From 40 on e^(|x| - ln2), of which e^-|x|/2 is less than 2^-114; below 2^-30: x + x^3/6.
#[inline(always)]
pub fn sinh<W: Lane64>(x: W) -> W {
    let a = x.abs();
    let y = W::select(W::splat(40.0).less(a), half_exp(a), sinh_dw(clamp(a, 0.0, 40.0)).hi);
    small(x, 1.0 / 6.0, y.copysign(x)).canonical_nan()
}

/// cosh x. cosh(+-0) = 1, cosh(+-inf) = +inf. From 40 on as `sinh`.
#[inline(always)]
pub fn cosh<W: Lane64>(x: W) -> W {
    let a = x.abs();
    let y = cosh_dw(clamp(a, 0.0, 40.0)).hi;
    W::select(W::splat(40.0).less(a), half_exp(a), y).canonical_nan()
}

/// tanh x. tanh(+-0) = +-0, tanh(+-inf) = +-1. Below 2^-30: x - x^3/3.
#[inline(always)]
pub fn tanh<W: Lane64>(x: W) -> W {
    let y = tanh_dw(clamp(x.abs(), 0.0, 40.0)).hi;
    small(x, -1.0 / 3.0, y.copysign(x)).canonical_nan()
}

/// (E + E/(E + 1))/2 with E = e^a - 1, for 0 <= a <= 300; relative error below 2^-96.
#[inline(always)]
pub fn sinh_dw<W: Lane64>(a: W) -> Dw<W> {
    let e = expm1_dw(a);
    e.add(e.div(e.add_word(W::splat(1.0)))).scale(W::splat(0.5))
}

/// (e^a + 1/e^a)/2 for 0 <= a <= 300; relative error below 2^-100.
#[inline(always)]
pub fn cosh_dw<W: Lane64>(a: W) -> Dw<W> {
    let e = exp_dw(a);
    e.add(Dw::from_word(W::splat(1.0)).div(e)).scale(W::splat(0.5))
}

/// E/(E + 2) with E = e^(2a) - 1, for 0 <= a <= 300; relative error below 2^-96.
#[inline(always)]
pub fn tanh_dw<W: Lane64>(a: W) -> Dw<W> {
    let e = expm1_dw(a.add(a));
    e.div(e.add_word(W::splat(2.0)))
}

/// e^a / 2 without a premature overflow: e^a 2^-1, the halving inside of the exponent.
#[inline(always)]
fn half_exp<W: Lane64>(a: W) -> W {
    exp_parts(Dw::from_word(clamp(a, 0.0, 800.0))).halved().rounded()
}
