//! How operators compute on floats: each stored type has a wide type, in which everything is computed
//! and from which the result is rounded once.
//!
//! Invariant: f32 and f64 are their own wide types, so that for them every operation rounds as written;
//! f16 and bf16 widen to f32 exactly.

use std::ops::{Add, Div, Mul, Neg, Sub};

use half::{bf16, f16};

use crate::dtype::{DType, Element};
use crate::lane_op::{BinaryOp, UnaryOp};
use crate::reduce::Accumulate;
use crate::tensor::TensorView;

/// A type in which operators compute.
pub(crate) trait Real:
    Accumulate
    + Element
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    const ONE: Self;
    const INFINITY: Self;
    const NAN: Self;
    /// Rounds to nearest, ties to even (f32); unchanged (f64).
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// A number of elements, rounded to nearest, ties to even.
    fn count(n: usize) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn is_nan(self) -> bool;
    fn floor(self) -> Self;
    fn round_ties_even(self) -> Self;
    /// As `scalar` has it for the type.
    fn exp(self) -> Self;
    /// The exponential within a softmax, as `scalar` has it for f32; `exp` of f64.
    fn softmax_exp(self) -> Self;
    /// The natural logarithm, as `scalar` has it for the type.
    fn log(self) -> Self;
    fn pow(self, exponent: Self) -> Self;
    /// As the element-wise operator.
    fn unary(self, op: UnaryOp) -> Self;
    /// As the operator Tanh.
    fn tanh(self) -> Self;
    /// As the operator Sigmoid.
    fn sigmoid(self) -> Self;

    /// IEEE 754-2019 9.6: NaN if either is NaN; +0 is above -0.
    #[inline]
    fn larger(self, other: Self) -> Self {
        if self.is_nan() || other.is_nan() {
            Self::NAN
        } else if self > other || (self == other && !self.sign()) {
            self
        } else {
            other
        }
    }

    /// IEEE 754-2019 9.6: NaN if either is NaN; -0 is below +0.
    #[inline]
    fn smaller(self, other: Self) -> Self {
        if self.is_nan() || other.is_nan() {
            Self::NAN
        } else if self < other || (self == other && self.sign()) {
            self
        } else {
            other
        }
    }

    /// Whether the sign bit is set.
    fn sign(self) -> bool;
}

macro_rules! reals {
    ($($t:ident, $nan:expr, $functions:path, $softmax_exp:path);*) => { $(impl Real for $t {
        const ONE: $t = 1.0;
        const INFINITY: $t = $t::INFINITY;
        const NAN: $t = $nan;
        fn from_f64(value: f64) -> $t { value as $t }
        fn to_f64(self) -> f64 { f64::from(self) }
        fn count(n: usize) -> $t { n as $t }
        fn sqrt(self) -> $t { $t::sqrt(self) }
        fn abs(self) -> $t { $t::abs(self) }
        fn is_nan(self) -> bool { $t::is_nan(self) }
        fn floor(self) -> $t { $t::floor(self) }
        fn round_ties_even(self) -> $t { $t::round_ties_even(self) }
        fn exp(self) -> $t {
            use $functions as functions;
            functions::exp(self)
        }
        fn softmax_exp(self) -> $t { $softmax_exp(self) }
        fn log(self) -> $t {
            use $functions as functions;
            functions::log(self)
        }
        fn pow(self, exponent: $t) -> $t { BinaryOp::Pow.apply(self, exponent) }
        fn unary(self, op: UnaryOp) -> $t { op.apply(self) }
        fn tanh(self) -> $t { UnaryOp::Tanh.apply(self) }
        fn sigmoid(self) -> $t { UnaryOp::Sigmoid.apply(self) }
        fn sign(self) -> bool { self.is_sign_negative() }
    })* };
}
reals!(f32, crate::dtype::NAN_F32, crate::scalar, crate::scalar::softmax_exp; f64, crate::dtype::NAN_F64, crate::scalar::f64_, crate::scalar::f64_::exp);

/// A stored float type.
pub(crate) trait Float: Element {
    type Wide: Real;
    /// Exact.
    fn widen(self) -> Self::Wide;
    /// Rounds to nearest, ties to even; NaN becomes the canonical one.
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! floats {
    ($($t:ident, $wide:ident, $widen:expr, $narrow:expr);*) => { $(impl Float for $t {
        type Wide = $wide;
        #[inline]
        fn widen(self) -> $wide { $widen(self) }
        #[inline]
        fn narrow(wide: $wide) -> $t { $narrow(wide).canonical() }
    })* };
}
floats!(
    f32, f32, |v| v, |v: f32| v;
    f64, f64, |v| v, |v: f64| v;
    f16, f32, f16::to_f32, f16::from_f32;
    bf16, f32, bf16::to_f32, bf16::from_f32
);

/// Calls a generic function with the Rust type of a float dtype.
macro_rules! with_float {
    ($dtype:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            crate::dtype::DType::F32 => $f::<f32>($($arg),*),
            crate::dtype::DType::F64 => $f::<f64>($($arg),*),
            crate::dtype::DType::F16 => $f::<half::f16>($($arg),*),
            crate::dtype::DType::BF16 => $f::<half::bf16>($($arg),*),
            found => Err(crate::ops::OpError::DType { index: 0, found, expected: "a float" }),
        }
    };
}

/// Calls a generic function with the Rust type of an integer dtype of 32 or 64 bits.
macro_rules! with_integer {
    ($dtype:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            crate::dtype::DType::I32 => $f::<i32>($($arg),*),
            crate::dtype::DType::I64 => $f::<i64>($($arg),*),
            crate::dtype::DType::U32 => $f::<u32>($($arg),*),
            crate::dtype::DType::U64 => $f::<u64>($($arg),*),
            found => Err(crate::ops::OpError::DType { index: 0, found, expected: "i32, i64, u32 or u64" }),
        }
    };
}
pub(crate) use {with_float, with_integer};

/// An integer type that is summed and multiplied; everything wraps.
pub(crate) trait Integer: Accumulate + Element + Ord {
    const ONE: Self;
    fn magnitude(self) -> Self;
    /// The quotient by a number of elements that is not zero, truncated.
    fn over(self, n: usize) -> Self;
}

macro_rules! integers {
    ($($t:ident, $magnitude:expr);*) => { $(impl Integer for $t {
        const ONE: $t = 1;
        fn magnitude(self) -> $t { $magnitude(self) }
        fn over(self, n: usize) -> $t { (i128::from(self) / n as i128) as $t }
    })* };
}
integers!(i32, i32::wrapping_abs; i64, i64::wrapping_abs; u32, |v| v; u64, |v| v);

/// Whether the type is a float or an integer of 32 or 64 bits.
pub(crate) fn is_number(dtype: DType) -> bool {
    dtype.is_float() || matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64)
}

/// What [`is_number`] takes, for messages.
pub(crate) const NUMBER: &str = "a float, i32, i64, u32 or u64";

/// The elements of a float tensor of any type in the wide type `W`: exact unless `W` is f32 and the
/// tensor f64, which rounds each element.
pub(crate) fn wide_elements<W: Real>(tensor: TensorView<'_>) -> Vec<W> {
    let from = |v: f64| W::from_f64(v);
    match tensor.dtype {
        DType::F32 => tensor.as_slice::<f32>().iter().map(|&v| from(f64::from(v))).collect(),
        DType::F64 => tensor.as_slice::<f64>().iter().map(|&v| from(v)).collect(),
        DType::F16 => tensor.as_slice::<f16>().iter().map(|&v| from(f64::from(v.to_f32()))).collect(),
        DType::BF16 => tensor.as_slice::<bf16>().iter().map(|&v| from(f64::from(v.to_f32()))).collect(),
        other => unreachable!("inference lets only floats here, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maximum_and_minimum_order_zeros_and_pass_nan() {
        assert_eq!((-0.0f32).larger(0.0).to_bits(), 0);
        assert_eq!(0.0f32.larger(-0.0).to_bits(), 0);
        assert_eq!((-0.0f64).smaller(0.0).to_bits(), (-0.0f64).to_bits());
        assert_eq!(0.0f64.smaller(-0.0).to_bits(), (-0.0f64).to_bits());
        assert_eq!(f32::from_bits(0xffc0_0001).larger(1.0).to_bits(), 0x7fc0_0000);
        assert_eq!(1.0f32.smaller(f32::from_bits(0xffc0_0001)).to_bits(), 0x7fc0_0000);
        assert_eq!(Real::larger(2.0f32, 3.0), 3.0);
        assert_eq!(Real::smaller(2.0f32, 3.0), 2.0);
    }
}
