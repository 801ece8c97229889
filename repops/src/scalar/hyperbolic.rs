//! sinh, cosh and tanh of f32.
//!
//! Method: from E = e^|x| - 1 in binary64 (`exp::expm1_wide`), by formulas without
//! cancellation. The relative error before the one rounding to f32 is below 2^-50; what that
//! leaves wrong is repaired by selects.

use super::exp::{clamp, exp_wide, expm1_wide};
use super::polynomial::repaired;
use super::repairs;
use crate::lane::{FloatLane, Lane};

/// tanh x = E / (E + 2) with E = e^(2x) - 1, correctly rounded.
///
/// tanh(+-0) = +-0, tanh(+-inf) = +-1, tanh(NaN) = NaN.
#[inline(always)]
pub fn tanh<L: Lane>(x: L) -> L {
    let a = clamp(x.abs().widen(), 0.0, 10.0);
    let e = expm1_wide(a.add(a));
    let y = L::narrow(e.div(e.add(L::F64::splat(2.0))));
    repaired(x.abs(), y, &repairs::TANH).copysign(x).canonical_nan()
}

/// sinh x = (E + E / (E + 1)) / 2 with E = e^x - 1, correctly rounded.
///
/// sinh(+-0) = +-0, sinh(+-inf) = +-inf, sinh(NaN) = NaN.
#[inline(always)]
pub fn sinh<L: Lane>(x: L) -> L {
    let e = expm1_wide(clamp(x.abs().widen(), 0.0, 100.0));
    let sum = e.add(e.div(e.add(L::F64::splat(1.0))));
    let y = L::narrow(sum.mul(L::F64::splat(0.5)));
    repaired(x.abs(), y, &repairs::SINH).copysign(x).canonical_nan()
}

/// cosh x = (e^|x| + 1 / e^|x|) / 2, correctly rounded.
///
/// cosh(+-0) = 1, cosh(+-inf) = +inf, cosh(NaN) = NaN.
#[inline(always)]
pub fn cosh<L: Lane>(x: L) -> L {
    let e = exp_wide(clamp(x.abs().widen(), 0.0, 100.0));
    let sum = e.add(L::F64::splat(1.0).div(e));
    let y = L::narrow(sum.mul(L::F64::splat(0.5)));
    repaired(x.abs(), y, &repairs::COSH).canonical_nan()
}
