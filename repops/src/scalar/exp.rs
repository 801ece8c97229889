//! exp, exp2 and expm1 of f32.
//!
//! Method: x = k ln2/16 + r with integer k and |r| <= ln2/32; 2^(k/16) from a table of sixteen
//! entries and the exponent field, e^r - 1 by a polynomial, all in binary64. The relative error
//! before the one rounding to f32 is below 2^-51.5. Which inputs that leaves wrong is decided by
//! evaluating all of them (`cargo xtask prove`); they are repaired by selects.
//! The reduction follows P. T. P. Tang, "Table-driven implementation of the exponential
//! function in IEEE floating-point arithmetic", ACM TOMS 15(2), 1989.

use super::generated::tables::{
    EXP_TAIL, EXP2_16_HI, EXP2_16_LO, EXP2_16_STEPPED, EXP2_TAIL, EXPM1_TAIL, INV_LN2_16, LN2_16_HI,
    LN2_16_LO,
};
use super::polynomial::{horner, repaired};
use super::repairs;
use crate::lane::{FloatLane, IntLane, Lane, Lane64};

/// 1.5 * 2^52: a small number added to it is rounded to an integer, found in the low bits.
pub(super) const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// e^x, correctly rounded.
///
/// exp(-inf) = +0, exp(+inf) = +inf, exp(+-0) = 1, exp(NaN) = NaN.
#[inline(always)]
pub fn exp<L: Lane>(x: L) -> L {
    let y = exp_wide(clamp(x.widen(), -110.0, 100.0));
    repaired(x, L::narrow(y), &repairs::EXP).canonical_nan()
}

/// 2^x, correctly rounded; exact for integers. Special cases as `exp`.
#[inline(always)]
pub fn exp2<L: Lane>(x: L) -> L {
    let x64 = clamp(x.widen(), -160.0, 140.0);
    let t = x64.fma(L::F64::splat(16.0), L::F64::splat(ROUNDER));
    let k = t.sub(L::F64::splat(ROUNDER));
    let r = k.fma(L::F64::splat(-0.0625), x64);
    let scale = exp2_sixteenths(t);
    let y = scale.fma(r.mul(horner(r, &EXP2_TAIL)), scale);
    repaired(x, L::narrow(y), &repairs::EXP2).canonical_nan()
}

/// e^x - 1, correctly rounded.
///
/// expm1(+-0) = +-0, expm1(-inf) = -1, expm1(+inf) = +inf, expm1(NaN) = NaN.
#[inline(always)]
pub fn expm1<L: Lane>(x: L) -> L {
    let y = L::narrow(expm1_wide(clamp(x.widen(), -30.0, 100.0)));
    // The polynomial loses the sign of zero.
    let y = L::select(x.equal(L::splat(0.0)), x, y);
    repaired(x, y, &repairs::EXPM1).canonical_nan()
}

/// min(max(x, low), high) that passes NaN.
#[inline(always)]
pub(super) fn clamp<W: Lane64>(x: W, low: f64, high: f64) -> W {
    let (low, high) = (W::splat(low), W::splat(high));
    let x = W::select(x.less(low), low, x);
    W::select(high.less(x), high, x)
}

/// e^x for |x| < 700, relative error below 2^-51.5.
#[inline(always)]
pub(super) fn exp_wide<W: Lane64>(x: W) -> W {
    let (t, r) = reduce(x);
    let scale = exp2_sixteenths(t);
    let p = r.mul(r).fma(horner(r, &EXP_TAIL), r);
    scale.fma(p, scale)
}

/// e^x - 1 for |x| < 700, relative error below 2^-51; loses the sign of zero.
#[inline(always)]
pub(super) fn expm1_wide<W: Lane64>(x: W) -> W {
    let (t, r) = reduce(x);
    let p = r.mul(r).fma(horner(r, &EXPM1_TAIL), r);
    let k = t.to_bits();
    let power = exponent_of_sixteenths(t);
    let high = W::lookup(&EXP2_16_HI, k);
    let low = W::lookup(&EXP2_16_LO, k);
    // 2^n (high + low) (1 + p) - 1; `power * high - 1` is exact or far above the lost bits.
    let rest = high.fma(p, low);
    power.fma(rest, power.fma(high, W::splat(-1.0)))
}

/// x = k ln2/16 + r: `ROUNDER + k` and r.
#[inline(always)]
fn reduce<W: Lane64>(x: W) -> (W, W) {
    let t = x.fma(W::splat(INV_LN2_16), W::splat(ROUNDER));
    let k = t.sub(W::splat(ROUNDER));
    // k has at most 14 bits, LN2_16_HI 38: the first product is exact.
    let r = k.fma(W::splat(-LN2_16_HI), x);
    (t, k.fma(W::splat(-LN2_16_LO), r))
}

/// 2^(k/16) from `t = ROUNDER + k`, correctly rounded.
#[inline(always)]
fn exp2_sixteenths<W: Lane64>(t: W) -> W {
    let k = t.to_bits();
    let entry = W::lookup(&EXP2_16_STEPPED, k);
    W::from_bits(entry.to_bits().add(k.shl(48)))
}

/// 2^floor(k/16) from `t = ROUNDER + k`.
#[inline(always)]
fn exponent_of_sixteenths<W: Lane64>(t: W) -> W {
    let n = t.to_bits().shl(48).shr(52);
    W::from_bits(n.add(W::Bits::splat(1023)).shl(52))
}
