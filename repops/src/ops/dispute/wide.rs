//! Scalars in the type in which an operator computes, to and from the bits that claims hold.
//!
//! Invariant: bits of floats are canonical: a NaN has one spelling.

use half::{bf16, f16};

use super::super::float::Real;
use crate::dtype::{DType, Element};
use crate::reduce::Accumulate;

/// A type in which series are accumulated.
pub(super) trait Wide: Accumulate + PartialOrd {
    fn from_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
    /// An element of type `dtype`; exact, but f64 rounds to f32.
    fn widen(dtype: DType, bits: u64) -> Self;
    /// Rounds to `dtype` (integers: keeps the low bits); the bits as stored.
    fn narrow(self, dtype: DType) -> u64;
    /// Maximum and minimum as the operators have them.
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
}

/// A float element in f64, exact.
fn float(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::F16 => f64::from(f16::from_bits(bits as u16).to_f32()),
        DType::BF16 => f64::from(bf16::from_bits(bits as u16).to_f32()),
        _ => f64::from(f32::from_bits(bits as u32)),
    }
}

/// An integer or bool element.
pub(super) fn integer(dtype: DType, bits: u64) -> i128 {
    match dtype {
        DType::I8 => i128::from(bits as i8),
        DType::I16 => i128::from(bits as i16),
        DType::I32 => i128::from(bits as i32),
        DType::I64 => i128::from(bits as i64),
        _ => i128::from(bits),
    }
}

macro_rules! floats {
    ($($t:ident, $bits:ident);*) => { $(impl Wide for $t {
        fn from_bits(bits: u64) -> $t { $t::from_bits(bits as $bits) }
        fn to_bits(self) -> u64 { u64::from($t::to_bits(self.canonical())) }
        fn widen(dtype: DType, bits: u64) -> $t { float(dtype, bits) as $t }
        fn narrow(self, dtype: DType) -> u64 {
            match dtype {
                DType::F16 => u64::from(f16::from_f32(self as f32).canonical().to_bits()),
                DType::BF16 => u64::from(bf16::from_f32(self as f32).canonical().to_bits()),
                DType::F64 => f64::from(self).canonical().to_bits(),
                _ => u64::from((self as f32).canonical().to_bits()),
            }
        }
        fn larger(self, other: $t) -> $t { Real::larger(self, other) }
        fn smaller(self, other: $t) -> $t { Real::smaller(self, other) }
    })* };
}
floats!(f32, u32; f64, u64);

macro_rules! integers {
    ($($t:ident, $unsigned:ident);*) => { $(impl Wide for $t {
        fn from_bits(bits: u64) -> $t { bits as $t }
        fn to_bits(self) -> u64 { u64::from(self as $unsigned) }
        fn widen(dtype: DType, bits: u64) -> $t { integer(dtype, bits) as $t }
        fn narrow(self, dtype: DType) -> u64 {
            let bits = self as u64;
            match dtype.size() { 1 => bits & 0xff, 2 => bits & 0xffff, 4 => bits & 0xffff_ffff, _ => bits }
        }
        fn larger(self, other: $t) -> $t { self.max(other) }
        fn smaller(self, other: $t) -> $t { self.min(other) }
    })* };
}
integers!(i32, u32; i64, u64; u32, u32; u64, u64);
