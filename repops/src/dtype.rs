//! Element types.
//!
//! Invariant: the discriminants are ONNX's `TensorProto.DataType` numbers. They are part of every
//! digest and of the program format, so they never change; numbers not listed here are reserved.

pub mod narrow;

use std::fmt;

use bytemuck::Pod;
use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum DType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    /// One byte an element, 0 or 1; any other byte is refused where it enters.
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
    BF16 = 16,
    F8E4M3FN = 17,
    F8E4M3FNUZ = 18,
    F8E5M2 = 19,
    F8E5M2FNUZ = 20,
    U4 = 21,
    I4 = 22,
    F4E2M1 = 23,
    F8E8M0 = 24,
    U2 = 25,
    I2 = 26,
    /// The bytes of a value that is no tensor of numbers ([`crate::packed`]). Only a few operators take it.
    Packed = 200,
}

impl DType {
    /// Every type of elements, in the order of their numbers; packed values have none.
    pub const ALL: [DType; 23] = [
        DType::F32,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::Bool,
        DType::F16,
        DType::F64,
        DType::U32,
        DType::U64,
        DType::BF16,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::U4,
        DType::I4,
        DType::F4E2M1,
        DType::F8E8M0,
        DType::U2,
        DType::I2,
    ];

    /// The element type with ONNX's number `code`; `None` for numbers that are reserved or unknown.
    pub fn from_code(code: u32) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.code() as u32 == code)
    }

    /// As [`DType::from_code`], also [`DType::Packed`]: what programs and records may name.
    pub fn from_any_code(code: u32) -> Option<DType> {
        if code == u32::from(DType::Packed.code()) { Some(DType::Packed) } else { DType::from_code(code) }
    }

    /// ONNX's number of this type.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
            // Narrow types too: one element a byte.
            _ => 1,
        }
    }

    /// Whether the type is f16, bf16, f32 or f64.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether the type is a signed or unsigned integer of 8 bits and more (bool is none).
    pub fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool | DType::Packed) && !self.is_narrow()
    }

    /// Whether the type is one of [`narrow`]'s, which only operators that convert or move elements take.
    pub fn is_narrow(self) -> bool {
        self.is_narrow_float() || narrow::integer_range(self).is_some()
    }

    /// Whether the type is a float of 8 bits or less.
    pub fn is_narrow_float(self) -> bool {
        matches!(
            self,
            DType::F8E4M3FN
                | DType::F8E4M3FNUZ
                | DType::F8E5M2
                | DType::F8E5M2FNUZ
                | DType::F4E2M1
                | DType::F8E8M0
        )
    }

    /// Whether the type is a float or an integer of 8 bits and more.
    pub fn is_number(self) -> bool {
        self.is_float() || self.is_int()
    }

    /// Whether the type is a signed integer.
    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// The short name used in printed programs and messages.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U16 => "u16",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::Bool => "bool",
            DType::F16 => "f16",
            DType::F64 => "f64",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::BF16 => "bf16",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
            DType::U4 => "u4",
            DType::I4 => "i4",
            DType::F4E2M1 => "f4e2m1",
            DType::F8E8M0 => "f8e8m0",
            DType::U2 => "u2",
            DType::I2 => "i2",
            DType::Packed => "packed",
        }
    }

    /// The inverse of [`DType::name`].
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().chain([DType::Packed]).find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that holds one element of a tensor. `bool` is stored as `u8` and has no `Element`.
pub trait Element: Pod + Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    const DTYPE: DType;
    /// The one value that stands for every NaN of the type; other values unchanged.
    fn canonical(self) -> Self {
        self
    }
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
elements!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, i32 => I32, i64 => I64, u32 => U32, u64 => U64);

/// The canonical quiet NaNs (SPEC.md, "NaN").
pub const NAN_F32: f32 = f32::from_bits(0x7fc0_0000);
pub const NAN_F64: f64 = f64::from_bits(0x7ff8_0000_0000_0000);
pub const NAN_F16: f16 = f16::from_bits(0x7e00);
pub const NAN_BF16: bf16 = bf16::from_bits(0x7fc0);

// Decided by the bits: of `if x.is_nan() { NAN } else { x }` LLVM drops the select where x is a square root,
// because it holds the payload of a NaN for unspecified.
macro_rules! float_elements {
    ($($rust:ty => $dtype:ident, $nan:ident, $shift:literal);*) => { $(impl Element for $rust {
        const DTYPE: DType = DType::$dtype;
        #[inline(always)]
        fn canonical(self) -> Self {
            let bits = self.to_bits();
            let (magnitude, infinity) = (bits << 1 >> 1, <$rust>::INFINITY.to_bits());
            // Wraps, so that the top bit is set, exactly where the magnitude exceeds infinity's.
            let is_nan = infinity.wrapping_sub(magnitude) >> $shift == 1;
            <$rust>::from_bits(if is_nan { $nan.to_bits() } else { bits })
        }
    })* };
}
float_elements!(
    f32 => F32, NAN_F32, 31;
    f64 => F64, NAN_F64, 63;
    f16 => F16, NAN_F16, 15;
    bf16 => BF16, NAN_BF16, 15
);

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;
    use crate::lane::{Lane, Lane64};

    const PAYLOADS_F32: [u32; 4] = [0x7fee_2a1c, 0xffc1_2345, 0x7f80_0001, 0xffff_ffff];

    // Functions of their own, so that the optimizer sees nothing but the operation and the canonicalization.
    #[inline(never)]
    fn roots(x: f32) -> [f32; 2] {
        [x.sqrt().canonical(), Lane::canonical_nan(x.sqrt())]
    }

    #[inline(never)]
    fn wide_roots(x: f64) -> [f64; 2] {
        [x.sqrt().canonical(), Lane64::canonical_nan(x.sqrt())]
    }

    #[test]
    fn a_nan_is_canonical_also_right_after_an_operation() {
        for bits in PAYLOADS_F32 {
            let x = black_box(f32::from_bits(bits));
            assert_eq!(roots(x).map(f32::to_bits), [0x7fc0_0000; 2]);
            assert_eq!((x + 1.0).canonical().to_bits(), 0x7fc0_0000);
            let wide = black_box(f64::from_bits(0x7ff4_0000_0000_0001 | u64::from(bits) << 32));
            assert!(wide.is_nan());
            assert_eq!(wide_roots(wide).map(f64::to_bits), [0x7ff8_0000_0000_0000; 2]);
        }
    }

    #[test]
    fn numbers_keep_their_bits() {
        for bits in [0, 0x8000_0000, 1, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x3f80_0000] {
            let x = f32::from_bits(bits);
            assert_eq!((x.canonical().to_bits(), Lane::canonical_nan(x).to_bits()), (bits, bits));
            let wide = f64::from(x);
            assert_eq!(wide.canonical().to_bits(), wide.to_bits());
            assert_eq!(Lane64::canonical_nan(wide).to_bits(), wide.to_bits());
        }
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            let want = if half.is_nan() { 0x7e00 } else { bits };
            assert_eq!(half.canonical().to_bits(), want);
            let want = if brain.is_nan() { 0x7fc0 } else { bits };
            assert_eq!(brain.canonical().to_bits(), want);
        }
    }
}
