//! pow of f64: 2^(y log2 |x|), with the special cases of IEEE 754-2019 9.2.1.

use super::exp::exp2_parts;
use super::log::log2_normalized_dw;
use crate::lane::{IntLane, Lane64, MaskLane};
use crate::scalar::double_word::Dw;

/// x^y; relative error before the last rounding below 2^-89. Special cases as `scalar::pow`.
#[inline(always)]
pub fn pow<W: Lane64>(x: W, y: W) -> W {
    let (zero, one, infinity) = (W::splat(0.0), W::splat(1.0), W::splat(f64::INFINITY));
    let nan = W::from_bits(W::Bits::splat(0x7ff8_0000_0000_0000));
    let magnitude = magnitude(x.abs(), y);
    let sign = x.to_bits().and(W::Bits::splat(1 << 63));
    let is_negative = sign.equal(W::Bits::splat(1 << 63));
    let parity = Parity::of(y);
    let flip = W::Bits::select(parity.odd.and(is_negative), sign, W::Bits::splat(0));
    let result = W::from_bits(magnitude.to_bits().xor(flip));
    // A negative finite number to a power that is no integer.
    let undefined = x.less(zero).and(x.abs().less(infinity)).and(parity.integer.not());
    let result = W::select(undefined, nan, result);
    let result = W::select(x.equal(x).and(y.equal(y)), result, nan);
    let minus_one = x.equal(one.neg()).and(y.abs().equal(infinity));
    let is_one = x.equal(one).or(y.equal(zero)).or(minus_one);
    W::select(is_one, one, result)
}

/// Whether y is an integer (infinities count as even ones), and an odd one.
pub(crate) struct Parity<W: Lane64> {
    pub integer: W::Mask,
    pub odd: W::Mask,
}

impl<W: Lane64> Parity<W> {
    #[inline(always)]
    pub(crate) fn of(y: W) -> Self {
        let two_52 = W::splat(4_503_599_627_370_496.0);
        let is_integer = |v: W| v.add(two_52).sub(two_52).equal(v).or(two_52.less_equal(v));
        let a = y.abs();
        let integer = is_integer(a);
        let even = is_integer(a.mul(W::splat(0.5)));
        Parity { integer, odd: integer.and(even.not()) }
    }
}

/// a^y for a >= 0; a = 1 and y = 0 are left to the caller, as is NaN.
#[inline(always)]
fn magnitude<W: Lane64>(a: W, y: W) -> W {
    let infinity = W::splat(f64::INFINITY);
    let log = log2_normalized_dw(a);
    let log_hi = W::select(a.equal(W::splat(0.0)), infinity.neg(), log.hi);
    let log_hi = W::select(a.equal(infinity), infinity, log_hi);
    exp2_parts(clamped_product(Dw { hi: log_hi, lo: log.lo }, y, 1200.0)).rounded()
}

/// log * y, or -+limit where it is beyond that.
#[inline(always)]
pub(crate) fn clamped_product<W: Lane64>(log: Dw<W>, y: W, limit: f64) -> Dw<W> {
    let limit = W::splat(limit);
    let product = log.mul_word(y);
    // Also right for infinities, of which the double-word product makes NaN.
    let hi = log.hi.mul(y);
    let clamped = W::select(limit.less(hi), limit, W::select(hi.less(limit.neg()), limit.neg(), hi));
    let inside = hi.abs().less_equal(limit);
    Dw { hi: W::select(inside, product.hi, clamped), lo: W::select(inside, product.lo, W::splat(0.0)) }
}
