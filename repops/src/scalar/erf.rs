//! erf of f32.
//!
//! Method: sixteen expansions of degree 11 in binary64, at j * 33/128 for j = 0..15, the
//! nearest one being used; from |x| = 3.92 on the value rounds to 1. The expansion at 0 has no
//! even terms, so that small arguments keep their relative accuracy. The relative error before
//! the one rounding to f32 is below 2^-51.5; what that leaves wrong is repaired by selects.

use super::exp::ROUNDER;
use super::generated::tables::{
    ERF_0, ERF_1, ERF_2, ERF_3, ERF_4, ERF_5, ERF_6, ERF_7, ERF_8, ERF_9, ERF_10, ERF_11, ERF_INV_STEP,
    ERF_STEP,
};
use super::polynomial::repaired;
use super::repairs;
use crate::lane::{FloatLane, Lane, Lane64};

/// erf x = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x, correctly rounded.
///
/// erf(+-0) = +-0, erf(+-inf) = +-1, erf(NaN) = NaN.
#[inline(always)]
pub fn erf<L: Lane>(x: L) -> L {
    const COLUMNS: [&[f64; 16]; 12] =
        [&ERF_0, &ERF_1, &ERF_2, &ERF_3, &ERF_4, &ERF_5, &ERF_6, &ERF_7, &ERF_8, &ERF_9, &ERF_10, &ERF_11];
    let limit = L::F64::splat(3.99);
    let a = x.abs().widen();
    let a = L::F64::select(limit.less(a), limit, a);
    let t = a.fma(L::F64::splat(ERF_INV_STEP), L::F64::splat(ROUNDER));
    let j = t.sub(L::F64::splat(ROUNDER));
    let index = t.to_bits();
    // Exact: j has 4 bits, the step 6, and the difference is small.
    let t = j.fma(L::F64::splat(-ERF_STEP), a);
    let mut sum = L::F64::lookup(COLUMNS[11], index);
    for i in (0..11).rev() {
        sum = sum.fma(t, L::F64::lookup(COLUMNS[i], index));
    }
    let y = repaired(x.abs(), L::narrow(sum), &repairs::ERF).copysign(x);
    y.canonical_nan()
}
