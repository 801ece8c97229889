//! sin, cos and tan of f64.
//!
//! |x| = k pi/32 + r by five words of 32/pi that the exponent selects (Payne and Hanek), k modulo
//! 64; sin(j pi/32) and cos(j pi/32) from a table, sin r and cos r by Taylor series up to r^17 and
//! r^16; then the addition theorems.

use crate::lane::{IntLane, Lane64};
use crate::scalar::double_word::{Dw, horner, two_product, two_sum};
use crate::scalar::exp::ROUNDER;
use crate::scalar::generated::double_tables::{
    COS_HEAD, COS_REST, PI_32, PI_32_INVERSE_0, PI_32_INVERSE_1, PI_32_INVERSE_2, PI_32_INVERSE_3,
    PI_32_INVERSE_4, SIN_32_HI, SIN_32_LO, SIN_HEAD, SIN_REST,
};
use crate::scalar::polynomial;

/// sin x. sin(+-0) = +-0, sin(+-inf) = NaN. Below 2^-30 in magnitude: x - x^3/6.
#[inline(always)]
pub fn sin<W: Lane64>(x: W) -> W {
    let y = sin_dw(x.abs()).hi;
    let sign = x.to_bits().and(W::Bits::splat(1 << 63));
    let y = W::from_bits(y.to_bits().xor(sign));
    small(x, -1.0 / 6.0, y).canonical_nan()
}

/// cos x. cos(+-0) = 1, cos(+-inf) = NaN.
#[inline(always)]
pub fn cos<W: Lane64>(x: W) -> W {
    cos_dw(x.abs()).hi.canonical_nan()
}

/// tan x. tan(+-0) = +-0, tan(+-inf) = NaN. Below 2^-30 in magnitude: x + x^3/3.
#[inline(always)]
pub fn tan<W: Lane64>(x: W) -> W {
    let y = tan_dw(x.abs()).hi;
    let sign = x.to_bits().and(W::Bits::splat(1 << 63));
    let y = W::from_bits(y.to_bits().xor(sign));
    small(x, 1.0 / 3.0, y).canonical_nan()
}

/// sin a for finite a >= 0; relative error below 2^-98, short of underflow.
#[inline(always)]
pub fn sin_dw<W: Lane64>(a: W) -> Dw<W> {
    let (k, r) = reduce(a);
    Angle::new(k, r).sin()
}

/// cos a for finite a >= 0; relative error below 2^-98.
#[inline(always)]
pub fn cos_dw<W: Lane64>(a: W) -> Dw<W> {
    let (k, r) = reduce(a);
    Angle::new(k.add(W::Bits::splat(16)), r).sin()
}

/// tan a for finite a >= 0; relative error below 2^-96, short of underflow.
#[inline(always)]
pub fn tan_dw<W: Lane64>(a: W) -> Dw<W> {
    let (k, r) = reduce(a);
    Angle::new(k, r).sin().div(Angle::new(k.add(W::Bits::splat(16)), r).sin())
}

/// x + factor x^3 for |x| < 2^-30, else y; keeps signed zeros and subnormals.
#[inline(always)]
pub(super) fn small<W: Lane64>(x: W, factor: f64, y: W) -> W {
    let tiny = x.abs().less(W::splat(1.0 / 1_073_741_824.0));
    let cube = x.mul(x).mul(x);
    let near = cube.fma(W::splat(factor), x);
    // The addition would lose the sign of zero.
    let near = W::select(x.equal(W::splat(0.0)), x, near);
    W::select(tiny, near, y)
}

/// k pi/32 + r.
struct Angle<W: Lane64> {
    k: W::Bits,
    r: Dw<W>,
    square: Dw<W>,
}

impl<W: Lane64> Angle<W> {
    #[inline(always)]
    fn new(k: W::Bits, r: Dw<W>) -> Self {
        Angle { k, r, square: r.mul(r) }
    }

    /// sin(k pi/32) cos r + cos(k pi/32) sin r; where the sine of the table is 0, the rest alone.
    #[inline(always)]
    fn sin(self) -> Dw<W> {
        let rest = polynomial::horner(self.square.hi, &SIN_REST);
        let sin = horner(self.square, &SIN_HEAD, rest).mul(self.r);
        let rest = polynomial::horner(self.square.hi, &COS_REST);
        let cos = horner(self.square, &COS_HEAD, rest);
        let quarter = self.k.add(W::Bits::splat(16));
        let table_sin = Dw::lookup(&SIN_32_HI, &SIN_32_LO, self.k);
        let table_cos = Dw::lookup(&SIN_32_HI, &SIN_32_LO, quarter);
        table_sin.mul(cos).add(table_cos.mul(sin))
    }
}

/// a = k pi/32 + r, k modulo 64 in the low bits; relative error of r below 2^-101.
#[inline(always)]
fn reduce<W: Lane64>(a: W) -> (W::Bits, Dw<W>) {
    let one = W::splat(1.0);
    let at_least_one = W::select(a.less(one), one, a);
    // Exponent / 16, and a / 2^(16 group) < 2^16.
    let group = at_least_one.to_bits().sub(one.to_bits()).shr(56);
    let a = a.mul(W::from_bits(one.to_bits().sub(group.shl(56))));
    let p0 = two_product(a, W::lookup(&PI_32_INVERSE_0, group));
    let p1 = two_product(a, W::lookup(&PI_32_INVERSE_1, group));
    let p2 = two_product(a, W::lookup(&PI_32_INVERSE_2, group));
    let p3 = two_product(a, W::lookup(&PI_32_INVERSE_3, group));
    let p4 = a.mul(W::lookup(&PI_32_INVERSE_4, group));
    // p0.hi < 2^74: multiples of 2^23, then of 64, are taken off, all exactly.
    let rounded = |x: W, at: f64| x.add(W::splat(at)).sub(W::splat(at));
    let h = p0.hi.sub(rounded(p0.hi, 1.5 * 37_778_931_862_957_161_709_568.0)); // 2^75
    let h = h.sub(rounded(h, 1.5 * 288_230_376_151_711_744.0)); // 2^58
    let s = two_sum(h, p0.lo);
    let u = two_sum(s.hi, p1.hi);
    let t = u.hi.add(W::splat(ROUNDER));
    let k = t.sub(W::splat(ROUNDER));
    // Exact as far as p2.hi: multiples of 2^-100 below 1.
    let f = two_sum(u.hi.sub(k), s.lo);
    let f = f.add_word(u.lo).add_word(p1.lo).add_word(p2.hi);
    let f = f.add_word(p2.lo).add_word(p3.hi).add_word(p3.lo).add_word(p4);
    (t.to_bits(), f.mul(Dw::splat(PI_32)))
}
