//! The filter: is a candidate f32 the rounding of a double-word value, beyond doubt?
//!
//! The double-word value v = hi + lo of f(x) has a relative error below 2^-92 (each `*_dw` function
//! states its own, smaller bound). The candidate c is certainly right if v is farther than
//! 2^-90 |v| inside of the interval between the midpoints of c and its neighbours. Midpoints of f32 are
//! exact in f64, the differences near them too (Sterbenz), so nothing else rounds that matters.
//! Whatever is not certain goes to MPFR.

use std::marker::PhantomData;

use repops::lane::{FloatLane, IntLane, Lane, MaskLane};
use repops::scalar::double_word::Dw;
use repops_kernels::cpu::map::Map1;

/// One function: the candidate and the independent evaluation.
pub trait Judged: Sync {
    /// How f(-x) follows from f(x).
    const SYMMETRY: Symmetry;
    /// From this magnitude on (per sign) `value` is constant.
    const CONSTANT_FROM: f32;
    fn candidate<L: Lane>(x: L) -> L;
    /// f(x), for |x| where there is a symmetry; relative error below 2^-92. Where the argument is
    /// outside of the evaluation's domain, the value at its edge, if every value beyond has the same
    /// rounding.
    fn value<L: Lane>(x: L::F64) -> Dw<L::F64>;
    /// The same for |x| <= 1/2, where fewer terms may do.
    #[inline(always)]
    fn value_near_zero<L: Lane>(x: L::F64) -> Dw<L::F64> {
        Self::value::<L>(x)
    }
    /// Where f is not defined and the result must be NaN (NaN arguments need not be included).
    fn undefined<L: Lane>(x: L) -> L::Mask;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Symmetry {
    None,
    Even,
    Odd,
}

/// Gives the candidate itself.
pub struct Candidate<F>(pub F);

impl<F: Judged> Map1 for Candidate<F> {
    #[inline(always)]
    fn apply<L: Lane>(&self, x: L) -> L {
        F::candidate(x)
    }
}

/// Gives 0 where the result needs no evaluation, else 1: it must be NaN and is; or, for negative
/// arguments of an even or odd function, it is the mirror of the positive argument's result, which
/// is judged by itself.
pub struct Quick<F>(PhantomData<F>);

impl<F> Default for Quick<F> {
    fn default() -> Self {
        Quick(PhantomData)
    }
}

impl<F: Judged> Map1 for Quick<F> {
    #[inline(always)]
    fn apply<L: Lane>(&self, x: L) -> L {
        let candidate = F::candidate(x).to_bits();
        let is_canonical_nan = candidate.equal(L::Bits::splat(0x7fc0_0000));
        let undefined = F::undefined(x).or(x.equal(x).not());
        let certain = is_canonical_nan.and(undefined);
        let positive = F::candidate(x.abs()).to_bits();
        let mirror = match F::SYMMETRY {
            Symmetry::None => return L::select(certain, L::splat(0.0), L::splat(1.0)),
            Symmetry::Even => positive,
            Symmetry::Odd => positive.xor(x.to_bits().and(L::Bits::splat(0x8000_0000))),
        };
        let certain = certain.or(candidate.equal(mirror).and(x.less(L::splat(0.0))));
        L::select(certain, L::splat(0.0), L::splat(1.0))
    }
}

/// Gives 0 where the candidate is certainly right, else 1. `NEAR_ZERO`: all |x| <= 1/2.
pub struct Doubt<F, const NEAR_ZERO: bool>(PhantomData<F>);

impl<F, const NEAR_ZERO: bool> Default for Doubt<F, NEAR_ZERO> {
    fn default() -> Self {
        Doubt(PhantomData)
    }
}

impl<F: Judged, const NEAR_ZERO: bool> Map1 for Doubt<F, NEAR_ZERO> {
    #[inline(always)]
    fn apply<L: Lane>(&self, x: L) -> L {
        let candidate = F::candidate(x);
        let sign = |v: L| v.to_bits().and(L::Bits::splat(0x8000_0000));
        let (argument, expected_sign) = match F::SYMMETRY {
            Symmetry::None => (x, None),
            Symmetry::Even => (x.abs(), None),
            Symmetry::Odd => (x.abs(), Some(sign(x))),
        };
        let argument = argument.widen();
        let value = if NEAR_ZERO { F::value_near_zero::<L>(argument) } else { F::value::<L>(argument) };
        // Flip the candidate's sign where an odd function's argument was negative.
        let c = match expected_sign {
            Some(sign) => L::from_bits(candidate.to_bits().xor(sign)),
            None => candidate,
        };
        let certain = certainly_rounds_to(value, c);
        let is_canonical_nan = candidate.to_bits().equal(L::Bits::splat(0x7fc0_0000));
        let undefined = F::undefined(x).or(x.equal(x).not());
        // Zeros and infinities always go to MPFR; there are four of them.
        let edge = x.equal(L::splat(0.0)).or(x.abs().equal(L::splat(f32::INFINITY)));
        let sure = certain.and(edge.not()).and(undefined.not()).or(is_canonical_nan.and(undefined));
        L::select(sure, L::splat(0.0), L::splat(1.0))
    }
}

/// See the module's documentation; false where anything is NaN.
#[inline(always)]
fn certainly_rounds_to<L: Lane>(value: Dw<L::F64>, c: L) -> L::Mask {
    let margin = L::F64::splat(f64::from_bits((1023 - 90) << 52));
    let zero = L::F64::splat(0.0);
    // Make the candidate's magnitude the thing to compare with; a wrong sign makes v negative.
    let negative = c.less(L::splat(0.0));
    let flip = L::select(negative, L::splat(-1.0), L::splat(1.0)).widen();
    let (hi, lo) = (value.hi.mul(flip), value.lo.mul(flip));
    let (below, above) = midpoints(c.abs());
    let is_infinite = c.abs().equal(L::splat(f32::INFINITY));
    let is_zero = c.equal(L::splat(0.0));
    let error = hi.mul(margin);
    let to_above = above.sub(hi).sub(lo);
    let to_below = hi.sub(below).add(lo);
    let number =
        |mask: <L::F64 as FloatLane>::Mask| L::narrow(L::F64::select(mask, L::F64::splat(1.0), zero));
    let yes = |mask| number(mask).equal(L::splat(1.0));
    // A negative zero candidate needs a negative value, which `flip` does not see.
    let zero_sign = L::select(is_zero, L::splat(1.0).copysign(c), L::splat(1.0)).widen();
    let positive = yes(zero.less(hi.mul(zero_sign)));
    let hi_of_zero = hi.abs();
    let near_zero = yes(hi_of_zero.less(L::F64::splat(f64::from_bits((1023 - 151) << 52))))
        .or(yes(error.abs().less(above.sub(hi_of_zero).sub(lo.abs()))));
    let inside_above = yes(error.less(to_above)).or(is_infinite);
    let inside_below = yes(error.less(to_below));
    let regular = inside_above.and(inside_below).and(is_zero.not());
    positive.and(regular.or(is_zero.and(near_zero)))
}

/// The ends of the interval that rounds to c >= 0, exactly. (Below 0 it is not used, above infinity
/// neither.)
#[inline(always)]
fn midpoints<L: Lane>(c: L) -> (L::F64, L::F64) {
    let bits = c.to_bits();
    let one = L::Bits::splat(1);
    let finite = |bits: L::Bits| {
        // The neighbour of the largest f32 is 2^128 for rounding.
        let v = L::from_bits(bits).widen();
        let beyond = L::F64::splat(f64::from_bits((1023 + 128) << 52));
        L::F64::select(v.equal(L::F64::splat(f64::INFINITY)), beyond, v)
    };
    let half = L::F64::splat(0.5);
    let here = finite(bits);
    let above = here.add(finite(bits.add(one))).mul(half);
    let below = here.add(finite(bits.sub(one))).mul(half);
    (below, above)
}

/// How near f(x) is to a midpoint of f32: 0 is on it, 1/2 as far as can be; large where that says
/// nothing.
pub struct Hardness<F>(pub F);

impl<F: Judged> Map1 for Hardness<F> {
    #[inline(always)]
    fn apply<L: Lane>(&self, x: L) -> L {
        let argument = if F::SYMMETRY == Symmetry::None { x } else { x.abs() };
        let hi = F::value::<L>(argument.widen()).hi.abs();
        let c = L::narrow(hi);
        let (below, above) = midpoints(c);
        let width = L::narrow(above.sub(below));
        let (to_below, to_above) = (L::narrow(hi.sub(below)).div(width), L::narrow(above.sub(hi)).div(width));
        let nearer = L::select(to_below.less(to_above), to_below, to_above);
        let telling = L::splat(0.0).less(nearer).and(c.less(L::splat(f32::INFINITY)));
        let trivial = c.equal(L::splat(0.0)).or(c.equal(L::splat(1.0))).or(c.equal(x.abs()));
        L::select(telling.and(trivial.not()), nearer, L::splat(1.0))
    }
}
