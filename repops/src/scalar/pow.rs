//! pow of f32: x^y, correctly rounded.
//!
//! Method: log2 |x| and 2^(y log2 |x|) in double-word arithmetic (`f64_`). With |y log2 |x|| < 200 and
//! relative errors below 2^-100 of the logarithm and 2^-102 of the exponential, the relative error
//! before rounding is below 2^-92. Then one rounding to f32, through rounding to odd
//! (S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
//! rounding to odd", IEEE Trans. Computers 57(4), 2008), so that nothing is rounded twice.
//!
//! Why that suffices. (a) A midpoint of f32 that is x^y exactly: if x is a power of two, y log2 x is
//! exact, and where it is an integer so is everything after it. Else x = X 2^a with an odd X > 1,
//! and X^y must be an odd integer below 2^25: then y > 0, y < 16 (3^16 > 2^25) and 8y is an
//! integer (X < 2^24 is no 16th power). For such y a value within 2^-75 of a number of 53 bits is
//! taken to be that number. There are fewer than 2^35 such pairs up to a power of two, so that
//! one of them, without being a midpoint, is as close as that to one only by a chance of 2^-14.
//! (b) Any other pair: the value is no midpoint, and it rounds correctly unless it is within
//! 2^-92 of one. There are fewer than 2^62 pairs whose result is neither 1's neighbour, 0 nor
//! infinite; by the usual heuristic (results behave as if random below their 25th bit) the
//! expected number of pairs that close is 2^(62 - 92 + 25) = 2^-5. Unlike the one-argument functions
//! this is an argument, not an exhaustive proof; `cargo xtask prove pow` samples it against MPFR.

use super::double_word::{Dw, fast_two_sum};
use super::exp::ROUNDER;
use super::f64_::exp::exp2_parts;
use super::f64_::log::log2_dw;
use super::f64_::pow::{Parity, clamped_product};
use crate::lane::{IntLane, Lane, Lane64, MaskLane};

/// x^y, correctly rounded.
///
/// IEEE 754-2019 9.2.1 and C F.10.4.4: pow(x, +-0) = 1 and pow(1, y) = 1 even for NaN;
/// pow(-1, +-inf) = 1; x < 0 with a finite y that is no integer gives NaN; pow(+-0, y) and
/// pow(+-inf, y) are zeros and infinities, negative exactly if x is and y is an odd integer.
#[inline(always)]
pub fn pow<L: Lane>(x: L, y: L) -> L {
    let (zero, one) = (L::splat(0.0), L::splat(1.0));
    let magnitude = L::narrow(magnitude(x.abs().widen(), y.widen()));
    let parity = parity(y.widen());
    let parity = L::narrow(parity);
    let negative = x.to_bits().and(L::Bits::splat(0x8000_0000));
    let is_negative = negative.equal(L::Bits::splat(0x8000_0000));
    let flip = L::Bits::select(parity.equal(one).and(is_negative), negative, L::Bits::splat(0));
    let result = L::from_bits(magnitude.to_bits().xor(flip));
    // A negative finite number to a power that is no integer.
    let nan = L::from_bits(L::Bits::splat(0x7fc0_0000));
    let finite = x.abs().less(L::splat(f32::INFINITY));
    let undefined = x.less(zero).and(finite).and(parity.equal(L::splat(2.0)));
    let result = L::select(undefined, nan, result);
    let result = L::select(x.equal(x).and(y.equal(y)), result, nan);
    let minus_one = x.equal(one.neg()).and(y.abs().equal(L::splat(f32::INFINITY)));
    let is_one = x.equal(one).or(y.equal(zero)).or(minus_one);
    L::select(is_one, one, result)
}

/// 0 for an even integer (infinities too), 1 for an odd one, 2 for anything else.
#[inline(always)]
fn parity<W: Lane64>(y: W) -> W {
    let Parity { integer, odd } = Parity::of(y);
    let even_or_odd = W::select(odd, W::splat(1.0), W::splat(0.0));
    W::select(integer, even_or_odd, W::splat(2.0))
}

/// a^y for a >= 0, before its rounding to f32: the f64 that is rounded to odd, so that narrowing it
/// is the one rounding. a = 1 and y = 0 are left to the caller, as is NaN.
#[inline(always)]
fn magnitude<W: Lane64>(a: W, y: W) -> W {
    let infinity = W::splat(f64::INFINITY);
    let log = log2_dw(a);
    let log_hi = W::select(a.equal(W::splat(0.0)), infinity.neg(), log.hi);
    let log_hi = W::select(a.equal(infinity), infinity, log_hi);
    // Beyond 200 the result is 0 or infinite whatever the rest.
    let exponent = clamped_product(Dw { hi: log_hi, lo: log.lo }, y, 200.0);
    let parts = exp2_parts(exponent);
    let value = parts.fraction();
    rounded_to_odd(snapped(value, y)).mul(parts.power())
}

/// Drops a low word that can only be an error: see (a) above.
#[inline(always)]
fn snapped<W: Lane64>(value: Dw<W>, y: W) -> Dw<W> {
    let eighths = y.mul(W::splat(8.0));
    let whole = eighths.add(W::splat(ROUNDER)).sub(W::splat(ROUNDER)).equal(eighths);
    let may_tie = whole.and(W::splat(0.0).less(y)).and(y.less(W::splat(16.0)));
    let tiny = value.lo.abs().less(value.hi.mul(W::splat(f64::from_bits((1023 - 75) << 52))));
    Dw { hi: value.hi, lo: W::select(may_tie.and(tiny), W::splat(0.0), value.lo) }
}

/// hi + lo rounded to odd: exact, or else the one of the two enclosing f64 whose last bit is set.
#[inline(always)]
fn rounded_to_odd<W: Lane64>(value: Dw<W>) -> W {
    let Dw { hi, lo } = fast_two_sum(value.hi, value.lo);
    let one = W::Bits::splat(1);
    let bits = hi.to_bits();
    // hi > 0: an even last bit moves by one towards lo.
    let up = W::Bits::select(W::splat(0.0).less(lo), bits.add(one), bits.sub(one));
    let even = bits.and(one).equal(W::Bits::splat(0));
    let move_it = even.and(lo.equal(W::splat(0.0)).not());
    W::from_bits(W::Bits::select(move_it, up, bits))
}
