//! Element-wise functions made of basic arithmetic alone.
//!
//! Invariant: every step rounds once to nearest, ties to even; the formulas state the steps.

use super::math::Real;
use crate::lane::{IntLane, MaskLane};

/// IEEE 754-2019 maximum: the larger, +0 above -0; NaN if either is NaN.
#[inline(always)]
pub fn maximum<R: Real>(a: R, b: R) -> R {
    // Of two equal numbers only the zeros differ in their bits; `and` leaves -0 for two of them alone.
    let equal = R::from_bits(a.to_bits().and(b.to_bits()));
    ordered(a, b, R::select(a.less(b), b, R::select(b.less(a), a, equal)))
}

/// IEEE 754-2019 minimum: the smaller, -0 below +0; NaN if either is NaN.
#[inline(always)]
pub fn minimum<R: Real>(a: R, b: R) -> R {
    let equal = R::from_bits(a.to_bits().or(b.to_bits()));
    ordered(a, b, R::select(a.less(b), a, R::select(b.less(a), b, equal)))
}

/// `y`, or NaN if either of `a` and `b` is NaN.
#[inline(always)]
fn ordered<R: Real>(a: R, b: R, y: R) -> R {
    R::select(a.equal(a).and(b.equal(b)), y, R::constant(f64::NAN))
}

/// 1 above 0, -1 below, +0 for both zeros; NaN for NaN.
#[inline(always)]
pub fn sign<R: Real>(x: R) -> R {
    let zero = R::constant(0.0);
    let one = R::constant(1.0);
    let y = R::select(x.less(zero), one.neg(), x);
    let y = R::select(zero.less(x), one, y);
    R::select(x.equal(zero), zero, y)
}

/// The nearest integer, ties to even; the sign of zero is kept.
#[inline(always)]
pub fn round<R: Real>(x: R) -> R {
    // Adding the power of two above which all numbers are integers rounds to an integer.
    let large = R::constant(R::INTEGERS);
    let rounded = x.abs().add(large).sub(large).copysign(x);
    R::select(x.abs().less(large), rounded, x)
}

/// The largest integer that is not above x; the sign of zero is kept.
#[inline(always)]
pub fn floor<R: Real>(x: R) -> R {
    let y = round(x);
    R::select(x.less(y), y.sub(R::constant(1.0)), y).copysign(x)
}

/// The smallest integer that is not below x; between -1 and 0 it is -0.
#[inline(always)]
pub fn ceil<R: Real>(x: R) -> R {
    let y = round(x);
    R::select(y.less(x), y.add(R::constant(1.0)), y).copysign(x)
}

/// x above 0, else +0; NaN for NaN.
#[inline(always)]
pub fn relu<R: Real>(x: R) -> R {
    let zero = R::constant(0.0);
    R::select(x.less_equal(zero), zero, x)
}

/// alpha * x below 0, else x.
#[inline(always)]
pub fn leaky_relu<R: Real>(x: R, alpha: f32) -> R {
    let scaled = R::constant(f64::from(alpha)).mul(x);
    R::select(x.less(R::constant(0.0)), scaled, x)
}

/// x above alpha, else +0; +0 for NaN.
#[inline(always)]
pub fn thresholded_relu<R: Real>(x: R, alpha: f32) -> R {
    let alpha = R::constant(f64::from(alpha));
    R::select(alpha.less(x), x, R::constant(0.0))
}

/// maximum(minimum(alpha * x + beta, 1), +0), product and sum rounded one after the other.
#[inline(always)]
pub fn hard_sigmoid<R: Real>(x: R, alpha: f64, beta: f64) -> R {
    let line = x.mul(R::constant(alpha)).add(R::constant(beta));
    maximum(minimum(line, R::constant(1.0)), R::constant(0.0))
}

/// x * hard_sigmoid(x) with alpha = 1/6 (rounded to the type) and beta = 1/2.
#[inline(always)]
pub fn hard_swish<R: Real>(x: R) -> R {
    x.mul(hard_sigmoid(x, 1.0 / 6.0, 0.5))
}

/// x + bias below -lambd, x - bias above lambd, else +0; +0 for NaN.
#[inline(always)]
pub fn shrink<R: Real>(x: R, lambd: f32, bias: f32) -> R {
    let (lambd, bias) = (R::constant(f64::from(lambd)), R::constant(f64::from(bias)));
    let upper = R::select(lambd.less(x), x.sub(bias), R::constant(0.0));
    R::select(x.less(lambd.neg()), x.add(bias), upper)
}

/// x / (1 + |x|).
#[inline(always)]
pub fn softsign<R: Real>(x: R) -> R {
    x.div(R::constant(1.0).add(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(f: fn(f32) -> f32, cases: &[(f32, f32)]) {
        for &(x, want) in cases {
            assert_eq!(f(x).to_bits(), want.to_bits(), "f({x:?}) = {:?}, not {want:?}", f(x));
        }
        assert!(f(f32::NAN).is_nan());
    }

    #[test]
    fn rounding_agrees_with_the_exact_functions() {
        let mut bits = 0u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            if x.is_nan() {
                continue;
            }
            assert_eq!(round(x).to_bits(), x.round_ties_even().to_bits(), "round {x:?}");
            assert_eq!(floor(x).to_bits(), x.floor().to_bits(), "floor {x:?}");
            assert_eq!(ceil(x).to_bits(), x.ceil().to_bits(), "ceil {x:?}");
            let wide = f64::from(x) * 1.000_000_1;
            assert_eq!(round(wide).to_bits(), wide.round_ties_even().to_bits(), "round {wide:?}");
            assert_eq!(floor(wide).to_bits(), wide.floor().to_bits(), "floor {wide:?}");
            assert_eq!(ceil(wide).to_bits(), wide.ceil().to_bits(), "ceil {wide:?}");
        }
    }

    #[test]
    fn ties_and_zeros() {
        check(
            round,
            &[(0.5, 0.0), (-0.5, -0.0), (1.5, 2.0), (2.5, 2.0), (-0.0, -0.0), (8_388_609.0, 8_388_609.0)],
        );
        check(floor, &[(-0.5, -1.0), (0.5, 0.0), (-0.0, -0.0), (f32::NEG_INFINITY, f32::NEG_INFINITY)]);
        check(
            ceil,
            &[(-0.5, -0.0), (-0.75, -0.0), (0.25, 1.0), (-0.0, -0.0), (f32::INFINITY, f32::INFINITY)],
        );
        check(relu, &[(-0.0, 0.0), (-1.0, 0.0), (1e-45, 1e-45), (f32::NEG_INFINITY, 0.0)]);
        check(sign, &[(-0.0, 0.0), (0.0, 0.0), (1e-45, 1.0), (-1e-45, -1.0), (f32::INFINITY, 1.0)]);
    }

    #[test]
    fn maximum_and_minimum_are_those_of_ieee() {
        for (a, b, max, min) in [
            (0.0f32, -0.0, 0.0f32, -0.0f32),
            (-0.0, 0.0, 0.0, -0.0),
            (-0.0, -0.0, -0.0, -0.0),
            (1.0, 1.0, 1.0, 1.0),
            (-1.0, 2.0, 2.0, -1.0),
            (f32::NEG_INFINITY, f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(maximum(a, b).to_bits(), max.to_bits(), "max({a:?}, {b:?})");
            assert_eq!(minimum(a, b).to_bits(), min.to_bits(), "min({a:?}, {b:?})");
        }
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::NAN), (f32::NAN, f32::INFINITY)] {
            assert!(maximum(a, b).is_nan() && minimum(a, b).is_nan());
        }
    }
}
