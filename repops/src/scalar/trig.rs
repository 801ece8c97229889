//! sin, cos and tan of f32.
//!
//! Method: |x| * 2/pi modulo 4 in three exact or compensated products with a piece of 2/pi that
//! the exponent selects (M. H. Payne, R. N. Hanek, "Radian reduction for trigonometric
//! functions", SIGNUM Newsletter 18, 1983), for every x alike; then polynomials for sin and cos on
//! [-pi/4, pi/4], all in binary64. The relative error before the one rounding to f32 is below
//! 2^-51; what that leaves wrong is repaired by selects.

use super::exp::ROUNDER;
use super::generated::tables::{
    COS_TAIL, PI_2_HI, PI_2_LO, SIN_TAIL, TWO_OVER_PI_0, TWO_OVER_PI_1, TWO_OVER_PI_2,
};
use super::polynomial::{horner, repaired};
use super::repairs;
use crate::lane::{FloatLane, IntLane, Lane, Lane64};

/// sin x, correctly rounded. sin(+-0) = +-0, sin(+-inf) = NaN, sin(NaN) = NaN.
#[inline(always)]
pub fn sin<L: Lane>(x: L) -> L {
    let (quadrant, r) = reduce(x.abs().widen());
    let y = select_odd(quadrant, cos_of(r), sin_of(r));
    let y = repaired(x.abs(), L::narrow(negate_upper(quadrant, y)), &repairs::SIN);
    with_sign_of(y, x).canonical_nan()
}

/// cos x, correctly rounded. cos(+-0) = 1, cos(+-inf) = NaN, cos(NaN) = NaN.
#[inline(always)]
pub fn cos<L: Lane>(x: L) -> L {
    let (quadrant, r) = reduce(x.abs().widen());
    let y = select_odd(quadrant, sin_of(r), cos_of(r));
    let next = quadrant.add(<L::F64 as FloatLane>::Bits::splat(1));
    repaired(x.abs(), L::narrow(negate_upper(next, y)), &repairs::COS).canonical_nan()
}

/// tan x, correctly rounded. tan(+-0) = +-0, tan(+-inf) = NaN, tan(NaN) = NaN.
#[inline(always)]
pub fn tan<L: Lane>(x: L) -> L {
    let (quadrant, r) = reduce(x.abs().widen());
    let (s, c) = (sin_of(r), cos_of(r));
    // An odd quadrant has -cos/sin; both of an even one keep their signs or both change.
    let y = select_odd(quadrant, c.neg(), s).div(select_odd(quadrant, s, c));
    let y = repaired(x.abs(), L::narrow(y), &repairs::TAN);
    with_sign_of(y, x).canonical_nan()
}

/// y with its sign flipped where x is negative.
#[inline(always)]
fn with_sign_of<L: Lane>(y: L, x: L) -> L {
    let sign = x.to_bits().and(L::Bits::splat(0x8000_0000));
    L::from_bits(y.to_bits().xor(sign))
}

/// `odd` where the lowest bit of the quadrant is set, else `even`.
#[inline(always)]
fn select_odd<W: Lane64>(quadrant: W::Bits, odd: W, even: W) -> W {
    let bit = quadrant.and(W::Bits::splat(1));
    W::select(bit.equal(W::Bits::splat(1)), odd, even)
}

/// -y in quadrants 2 and 3.
#[inline(always)]
fn negate_upper<W: Lane64>(quadrant: W::Bits, y: W) -> W {
    let sign = quadrant.and(W::Bits::splat(2)).shl(62);
    W::from_bits(y.to_bits().xor(sign))
}

/// sin r for |r| <= pi/4.
#[inline(always)]
fn sin_of<W: Lane64>(r: W) -> W {
    let z = r.mul(r);
    z.mul(horner(z, &SIN_TAIL)).fma(r, r)
}

/// cos r for |r| <= pi/4.
#[inline(always)]
fn cos_of<W: Lane64>(r: W) -> W {
    let z = r.mul(r);
    let tail = z.fma(horner(z, &COS_TAIL), W::splat(-0.5));
    z.fma(tail, W::splat(1.0))
}

/// a = q pi/2 + r, |r| <= pi/4 (and a rounding), for a >= 0 that is exact in f32: q modulo 4 in
/// the two lowest bits (others are undefined), and r.
#[inline(always)]
fn reduce<W: Lane64>(a: W) -> (W::Bits, W) {
    let one = W::splat(1.0);
    let at_least_one = W::select(a.less(one), one, a);
    // Exponent / 16.
    let group = at_least_one.to_bits().sub(one.to_bits()).shr(56);
    let first = a.mul(W::lookup(&TWO_OVER_PI_0, group)); // exact: 24 and 28 bits
    let t1 = W::lookup(&TWO_OVER_PI_1, group);
    let second = a.mul(t1);
    let second_low = a.fma(t1, second.neg()); // exact
    let rest = a.fma(W::lookup(&TWO_OVER_PI_2, group), second_low);
    // first < 2^41 is a multiple of 2^-26 (of more, the larger a is), second < 2^13.
    let t = first.add(second).add(W::splat(ROUNDER));
    let q = t.sub(W::splat(ROUNDER));
    let first = first.sub(q); // exact
    // 2Sum of first and second.
    let high = first.add(second);
    let part = high.sub(first);
    let low = first.sub(high.sub(part)).add(second.sub(part)).add(rest);
    let r = high.fma(W::splat(PI_2_LO), low.mul(W::splat(PI_2_HI)));
    (t.to_bits(), high.fma(W::splat(PI_2_HI), r))
}
