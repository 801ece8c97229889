//! asinh, acosh and atanh of f32.
//!
//! Method: the double words of the f64 functions, whose relative error is below 2^-76, rounded once. Between f32
//! numbers a midpoint would have to be as near as that to be missed; of 2^32 arguments the nearest is expected
//! some 2^-58 away. Not fast: they are rare.

use super::double_word::Dw;
use super::f64_::inverse_hyperbolic::{acosh_dw, asinh_dw, atanh_dw};
use crate::lane::{FloatLane, IntLane, Lane};

/// asinh x, correctly rounded.
///
/// asinh(+-0) = +-0, asinh(+-inf) = +-inf, asinh(NaN) = NaN.
#[inline(always)]
pub fn asinh<L: Lane>(x: L) -> L {
    let a = x.abs();
    let y = rounded::<L>(asinh_dw(a.widen()));
    L::select(a.less(L::splat(f32::INFINITY)), y, a).copysign(x).canonical_nan()
}

/// acosh x, correctly rounded.
///
/// acosh(1) = +0, acosh(+inf) = +inf, acosh(x < 1) = NaN, acosh(NaN) = NaN.
#[inline(always)]
pub fn acosh<L: Lane>(x: L) -> L {
    let y = L::select(x.less(L::splat(f32::INFINITY)), rounded::<L>(acosh_dw(x.widen())), x);
    L::select(x.less(L::splat(1.0)), L::splat(f32::NAN), y).canonical_nan()
}

/// atanh x, correctly rounded.
///
/// atanh(+-0) = +-0, atanh(+-1) = +-inf, atanh(|x| > 1) = NaN, atanh(NaN) = NaN.
#[inline(always)]
pub fn atanh<L: Lane>(x: L) -> L {
    let a = x.abs();
    let y = rounded::<L>(atanh_dw(a.widen()));
    let y = L::select(a.equal(L::splat(1.0)), L::splat(f32::INFINITY), y);
    let y = L::select(L::splat(1.0).less(a), L::splat(f32::NAN), y);
    y.copysign(x).canonical_nan()
}

/// A double word of no negative value rounded once to f32: first to binary64 "to odd", toward zero with the last bit set
/// where anything was lost (Boldo and Melquiond, 2008), which leaves the second rounding right.
#[inline(always)]
fn rounded<L: Lane>(y: Dw<L::F64>) -> L {
    let zero = L::F64::splat(0.0);
    let one = || <L::F64 as FloatLane>::Bits::splat(1);
    let below = L::F64::from_bits(y.hi.to_bits().sub(one()));
    let cut = L::F64::select(y.lo.less(zero), below, y.hi);
    let odd = L::F64::from_bits(cut.to_bits().or(one()));
    L::narrow(L::F64::select(y.lo.equal(zero), y.hi, odd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::f64_;

    #[test]
    fn special_values() {
        let bits = |f: fn(f32) -> f32, x: f32| f(x).to_bits();
        let (inf, nan) = (f32::INFINITY, 0x7fc0_0000);
        for f in [asinh::<f32>, atanh::<f32>] {
            assert_eq!((bits(f, 0.0), bits(f, -0.0), bits(f, f32::NAN)), (0, 0x8000_0000, nan));
            assert_eq!(bits(f, f32::from_bits(1)), 1);
            assert_eq!(bits(f, -1e-20), (-1e-20f32).to_bits());
        }
        assert_eq!((asinh(inf), asinh(-inf), acosh(inf)), (inf, -inf, inf));
        assert_eq!(
            (bits(acosh, 1.0), bits(acosh, 0.999), bits(acosh, -inf), bits(acosh, f32::NAN)),
            (0, nan, nan, nan)
        );
        assert_eq!((atanh(1.0f32), atanh(-1.0f32)), (inf, -inf));
        assert_eq!((bits(atanh, 1.5), bits(atanh, -inf)), (nan, nan));
    }

    /// Values from tables of mathematical functions, rounded.
    #[test]
    fn known_values() {
        // asinh 1 = 0.881373587019543..., acosh 2 = 1.316957896924816..., atanh 1/2 = 0.549306144334054...
        assert_eq!(asinh(1.0f32), 0.881_373_6);
        assert_eq!(acosh(2.0f32), 1.316_958);
        assert_eq!(atanh(0.5f32), 0.549_306_15);
        assert_eq!(f64_::asinh(1.0f64), 0.881_373_587_019_543);
        assert_eq!(f64_::acosh(2.0f64), 1.316_957_896_924_816_8);
        assert_eq!(f64_::atanh(0.5f64), 0.549_306_144_334_054_9);
        // ln(2 * 1e30) and ln(2 * 1e300).
        assert_eq!(asinh(1e30f32), 69.770_7);
        assert_eq!(f64_::acosh(1e300f64), 691.468_675_078_773_7);
    }

    /// Around the seams between methods, and elsewhere, they undo sinh, cosh and tanh of f64.
    #[test]
    fn they_are_inverses() {
        let mut x = 1e-6f64;
        while x < 600.0 {
            for near in [x, x.next_up(), 1.0 / 4096.0, (1.0f64 / 4096.0).next_down()] {
                let close = |found: f64, scale: f64| (found - near).abs() <= near * scale;
                assert!(close(f64_::asinh(f64_::sinh(near)), 4e-16), "asinh {near:e}");
                assert!(near < 0.1 || close(f64_::acosh(f64_::cosh(near)), 1e-13), "acosh {near:e}");
                assert!(near > 5.0 || close(f64_::atanh(f64_::tanh(near)), 1e-11), "atanh {near:e}");
            }
            x *= 1.37;
        }
    }
}
