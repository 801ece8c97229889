//! The functions that element-wise operators are made of, for lanes of f32 and for f64, its symbol among them.
//!
//! Invariant: nothing here computes; each method is the scalar function of its type.

use crate::lane::{FloatLane, Lane};
use crate::scalar;
use crate::symbolic::SymF64;

/// Numbers with constants.
pub trait Real: FloatLane {
    /// From this magnitude on every number is an integer: 2^23 or 2^52.
    const INTEGERS: f64;

    /// The constant rounded to the lane's type, ties to even.
    fn constant(value: f64) -> Self;
}

/// Numbers with the correctly rounded functions of [`crate::scalar`].
pub trait Math: Real {
    fn exp(self) -> Self;
    fn log(self) -> Self;
    fn log1p(self) -> Self;
    fn erf(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn tanh(self) -> Self;
    /// `self` to the power of `exponent`.
    fn pow(self, exponent: Self) -> Self;
}

impl<L: Lane> Real for L {
    const INTEGERS: f64 = 8_388_608.0;

    #[inline(always)]
    fn constant(value: f64) -> L {
        L::splat(value as f32)
    }
}

impl Real for f64 {
    const INTEGERS: f64 = 4_503_599_627_370_496.0;

    #[inline(always)]
    fn constant(value: f64) -> f64 {
        value
    }
}

impl Real for SymF64 {
    const INTEGERS: f64 = <f64 as Real>::INTEGERS;

    fn constant(value: f64) -> SymF64 {
        SymF64::splat(value)
    }
}

macro_rules! functions {
    ($module:path; $($name:ident),*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            use $module as functions;
            functions::$name(self)
        }
    )* };
}

impl<L: Lane> Math for L {
    #[inline(always)]
    fn pow(self, exponent: L) -> L {
        scalar::pow(self, exponent)
    }

    #[inline(always)]
    fn exp(self) -> L {
        self.rounded_exp()
    }

    #[inline(always)]
    fn erf(self) -> L {
        self.rounded_erf()
    }

    functions!(scalar; log, log1p, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh);
}

impl Math for f64 {
    #[inline(always)]
    fn pow(self, exponent: f64) -> f64 {
        scalar::f64_::pow(self, exponent)
    }

    functions!(scalar::f64_; exp, log, log1p, erf, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh);
}

impl Math for SymF64 {
    fn pow(self, exponent: SymF64) -> SymF64 {
        scalar::f64_::pow(self, exponent)
    }

    functions!(scalar::f64_; exp, log, log1p, erf, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh);
}
