//! log, log2 and log1p of f32.
//!
//! Method: x = 2^k m with m in [0.703125, 1.40625); sixteen intervals of m, each with a short c
//! near 1/m (c = 1 around m = 1); r = c m - 1, |r| <= 1/32; log x = k ln2 - ln c + ln(1+r), the
//! last by a polynomial, all in binary64. The relative error before the one rounding to f32 is
//! below 2^-51; what that leaves wrong is repaired by selects.
//! The reduction follows P. T. P. Tang, "Table-driven implementation of the logarithm function
//! in IEEE floating-point arithmetic", ACM TOMS 16(4), 1990.

use super::generated::tables::{LN2, LOG_C, LOG_LN, LOG_LOG2, LOG_TAIL, LOG2_TAIL};
use super::polynomial::{horner, repaired};
use super::repairs;
use crate::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

/// ln x, correctly rounded.
///
/// log(+-0) = -inf, log(1) = +0, log(+inf) = +inf, log(x < 0) = NaN, log(NaN) = NaN.
#[inline(always)]
pub fn log<L: Lane>(x: L) -> L {
    let Reduced { k, index, r, .. } = reduce(x.widen());
    let base = k.fma(L::F64::splat(LN2), L::F64::lookup(&LOG_LN, index));
    let y = base.add(r.mul(r).fma(horner(r, &LOG_TAIL), r));
    repaired(x, logarithm_specials(x, x, L::narrow(y)), &repairs::LOG)
}

/// log2 x, correctly rounded; exact for powers of two. Special cases as `log`.
#[inline(always)]
pub fn log2<L: Lane>(x: L) -> L {
    let Reduced { k, index, r, .. } = reduce(x.widen());
    let base = k.add(L::F64::lookup(&LOG_LOG2, index));
    let y = r.fma(horner(r, &LOG2_TAIL), base);
    repaired(x, logarithm_specials(x, x, L::narrow(y)), &repairs::LOG2)
}

/// ln(1 + x), correctly rounded.
///
/// log1p(+-0) = +-0, log1p(-1) = -inf, log1p(+inf) = +inf, log1p(x < -1) = NaN, log1p(NaN) = NaN.
#[inline(always)]
pub fn log1p<L: Lane>(x: L) -> L {
    let y = L::narrow(log1p_wide(x.widen()));
    let y = logarithm_specials(x.add(L::splat(1.0)), x, y);
    let y = L::select(x.equal(L::splat(0.0)), x, y);
    repaired(x, y, &repairs::LOG1P)
}

/// ln(1 + x) for finite x > -1 that are exact in f32; relative error below 2^-51.
#[inline(always)]
pub(super) fn log1p_wide<W: Lane64>(x: W) -> W {
    let one = W::splat(1.0);
    let u = one.add(x);
    // What the sum lost, exactly (2Sum: Moller 1965, Knuth 1969).
    let x_part = u.sub(one);
    let lost = one.sub(u.sub(x_part)).add(x.sub(x_part));
    let Reduced { k, index, r, factor } = reduce(u);
    let r = lost.fma(factor, r);
    let base = k.fma(W::splat(LN2), W::lookup(&LOG_LN, index));
    base.add(r.mul(r).fma(horner(r, &LOG_TAIL), r))
}

/// y where 0 < u < inf; -inf at u = 0, +inf at u = +inf, else NaN. `x` tells NaN and +inf.
#[inline(always)]
fn logarithm_specials<L: Lane>(u: L, x: L, y: L) -> L {
    let (zero, infinity) = (L::splat(0.0), L::splat(f32::INFINITY));
    let nan = L::from_bits(L::Bits::splat(0x7fc0_0000));
    let special = L::select(u.equal(zero), infinity.neg(), nan);
    let special = L::select(x.equal(infinity), infinity, special);
    L::select(zero.less(u).and(x.less(infinity)), y, special)
}

/// x = 2^k (1 + r) / c, c being entry `index` of LOG_C; `factor` = c / 2^k.
struct Reduced<W: Lane64> {
    k: W,
    index: W::Bits,
    r: W,
    factor: W,
}

/// For finite x > 0 of at least 2^-1000; anything else gives something finite or NaN.
#[inline(always)]
fn reduce<W: Lane64>(x: W) -> Reduced<W> {
    // The bits of 0.703125, less the bias of the exponent: k comes out biased, hence positive.
    const OFFSET: u64 = 0x3fe6_8000_0000_0000_u64.wrapping_sub(1023 << 52);
    const TWO_52: u64 = 0x4330_0000_0000_0000;
    let bits = x.to_bits();
    let z = bits.sub(W::Bits::splat(OFFSET));
    let biased = z.shr(52);
    let k = W::from_bits(biased.or(W::Bits::splat(TWO_52)));
    let k = k.sub(W::splat(4_503_599_627_370_496.0 + 1023.0));
    let bias = W::Bits::splat(1023 << 52);
    let shift = bias.sub(biased.shl(52));
    let m = W::from_bits(bits.add(shift));
    let index = z.shr(48);
    let c = W::lookup(&LOG_C, index);
    // 2^-k; below the normal range only for k > 1022, which no f32 has.
    let scale = W::from_bits(shift.add(bias));
    Reduced { k, index, r: m.fma(c, W::splat(-1.0)), factor: c.mul(scale) }
}
