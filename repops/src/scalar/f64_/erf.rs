//! erf of f64.
//!
//! erf x = 2/sqrt(pi) e^(-x^2) (x + 2x^3/3 + 4x^5/15 + ...), whose terms are all of one sign:
//! x (1 + q/3 (1 + q/5 (1 + q/7 (...)))) with q = 2 x^2, 150 factors, innermost first.

use super::exp::{exp_parts, square};
use crate::lane::Lane64;
use crate::scalar::double_word::Dw;
use crate::scalar::exp::clamp;
use crate::scalar::generated::double_tables::{ODD_RECIPROCALS, TWO_OVER_SQRT_PI};

/// erf x. erf(+-0) = +-0, erf(+-inf) = +-1. From 6 on 1; below 2^-30 in magnitude as `small_erf`.
#[inline(always)]
pub fn erf<W: Lane64>(x: W) -> W {
    let y = erf_dw::<W, 150>(clamp(x.abs(), 0.0, 6.0)).hi.copysign(x);
    let tiny = x.abs().less(W::splat(1.0 / 1_073_741_824.0));
    W::select(tiny, small_erf(x), y).canonical_nan()
}

/// x 2/sqrt(pi) (1 - x^2/3), for |x| < 2^-30: 2^512 times that in double-word arithmetic, then
/// scaled back.
#[inline(always)]
fn small_erf<W: Lane64>(x: W) -> W {
    let up = W::splat(f64::from_bits((1023 + 512) << 52));
    let down = W::splat(f64::from_bits((1023 - 512) << 52));
    let y = Dw::splat(TWO_OVER_SQRT_PI).mul_word(x.mul(up));
    let factor = x.mul(x).mul(W::splat(-1.0 / 3.0));
    y.add_word(y.hi.mul(factor)).hi.mul(down).copysign(x)
}

/// erf a for 0 <= a <= 6 with 150 terms, 0 <= a <= 4 with 100; relative error below 2^-94, short of
/// underflow.
///
/// Each of the factors costs at most 13u^2, weighted by what it contributes.
#[inline(always)]
pub fn erf_dw<W: Lane64, const TERMS: usize>(a: W) -> Dw<W> {
    let x2 = square(a);
    let q = x2.scale(W::splat(2.0));
    let mut sum = Dw::from_word(W::splat(1.0));
    for n in (1..TERMS).rev() {
        let factor = q.mul(Dw::splat(ODD_RECIPROCALS[n]));
        sum = factor.mul(sum).add_word(W::splat(1.0));
    }
    let e = exp_parts(x2.neg());
    let gauss = e.fraction().scale(e.power());
    sum.mul_word(a).mul(gauss).mul(Dw::splat(TWO_OVER_SQRT_PI))
}
