//! A lane: the handful of exact or correctly rounded operations that every machine offers.
//!
//! A scalar function is written once over these traits. Instantiated with `f32` it is the
//! reference; with a vector register it is the kernel; with a symbolic value it emits code.
//! Invariant: every operation is exact or rounds once to nearest, ties to even (IEEE 754-2019,
//! 4.3.1), subnormals included. There is no control flow on lane values: comparisons give
//! masks, masks select. Constants enter by `splat`, tables by `lookup`. NaN payloads are not
//! specified here; whoever stores a value canonicalizes it.

use crate::scalar;

/// A truth value per lane.
pub trait MaskLane: Copy {
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn not(self) -> Self;
}

/// Unsigned integers of 32 or 64 bits per lane; sums and differences wrap.
pub trait IntLane: Copy {
    type Word: Copy;
    type Mask: MaskLane;

    fn splat(word: Self::Word) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// Shifts left by a constant below the width.
    fn shl(self, count: u32) -> Self;
    /// Shifts right by a constant below the width, filling with zeros.
    fn shr(self, count: u32) -> Self;
    fn equal(self, other: Self) -> Self::Mask;
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self;
}

/// Binary floating-point numbers per lane.
pub trait FloatLane: Copy {
    type Scalar: Copy;
    type Mask: MaskLane;
    type Bits: IntLane<Mask = Self::Mask>;

    fn splat(scalar: Self::Scalar) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn fma(self, factor: Self, addend: Self) -> Self;
    fn sqrt(self) -> Self;
    /// Ordered equality: false where either side is NaN.
    fn equal(self, other: Self) -> Self::Mask;
    /// Ordered less-than: false where either side is NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// Ordered less-or-equal: false where either side is NaN.
    fn less_equal(self, other: Self) -> Self::Mask;
    /// Copies bits; a NaN keeps its payload.
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self;
    fn to_bits(self) -> Self::Bits;
    fn from_bits(bits: Self::Bits) -> Self;
    /// Negation by the sign bit alone.
    fn neg(self) -> Self;
    /// Clears the sign bit.
    fn abs(self) -> Self;
    /// The magnitude of `self` with the sign bit of `sign`.
    fn copysign(self, sign: Self) -> Self;
}

/// A group of f32 lanes. `F64` holds as many f64 lanes.
pub trait Lane: FloatLane<Scalar = f32, Bits: IntLane<Word = u32>> {
    type F64: Lane64;

    /// Exact.
    fn widen(self) -> Self::F64;
    /// Rounds to nearest, ties to even; subnormal and infinite results as IEEE 754 has them.
    fn narrow(wide: Self::F64) -> Self;

    /// The bits of [`scalar::exp`], which a machine may find in a way of its own.
    #[inline(always)]
    fn rounded_exp(self) -> Self {
        scalar::exp(self)
    }

    /// The bits of [`scalar::erf`], which a machine may find in a way of its own.
    #[inline(always)]
    fn rounded_erf(self) -> Self {
        scalar::erf(self)
    }

    /// Replaces every NaN by the canonical quiet NaN `0x7fc00000`.
    ///
    /// Decided by the bits, and selected among bits: LLVM holds the payload of a NaN for unspecified, and drops
    /// the select of `x == x ? x : nan` where x is a square root.
    #[inline(always)]
    fn canonical_nan(self) -> Self {
        let bits = self.to_bits();
        let magnitude = bits.and(Self::Bits::splat(0x7fff_ffff));
        // Wraps, so that the top bit is set, exactly where the magnitude exceeds infinity's.
        let is_beyond = Self::Bits::splat(0x7f80_0000).sub(magnitude).shr(31);
        let is_number = is_beyond.equal(Self::Bits::splat(0));
        Self::from_bits(Self::Bits::select(is_number, bits, Self::Bits::splat(0x7fc0_0000)))
    }
}

/// A group of f64 lanes.
pub trait Lane64: FloatLane<Scalar = f64, Bits: IntLane<Word = u64>> {
    /// `table[index mod N]` per lane; `N` is a power of two, so that no index is out of range.
    fn lookup<const N: usize>(table: &'static [f64; N], index: Self::Bits) -> Self;

    /// Replaces every NaN by the canonical quiet NaN `0x7ff8000000000000`.
    /// As for f32, decided by the bits.
    #[inline(always)]
    fn canonical_nan(self) -> Self {
        let bits = self.to_bits();
        let magnitude = bits.and(Self::Bits::splat(0x7fff_ffff_ffff_ffff));
        // Wraps, so that the top bit is set, exactly where the magnitude exceeds infinity's.
        let is_beyond = Self::Bits::splat(0x7ff0_0000_0000_0000).sub(magnitude).shr(63);
        let is_number = is_beyond.equal(Self::Bits::splat(0));
        Self::from_bits(Self::Bits::select(is_number, bits, Self::Bits::splat(0x7ff8_0000_0000_0000)))
    }
}

impl MaskLane for bool {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    fn not(self) -> Self {
        !self
    }
}

macro_rules! scalar_lane {
    ($float:ty, $word:ty) => {
        impl IntLane for $word {
            type Word = $word;
            type Mask = bool;
            #[inline(always)]
            fn splat(word: $word) -> Self {
                word
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn shl(self, count: u32) -> Self {
                self << count
            }
            #[inline(always)]
            fn shr(self, count: u32) -> Self {
                self >> count
            }
            #[inline(always)]
            fn equal(self, other: Self) -> bool {
                self == other
            }
            #[inline(always)]
            fn select(mask: bool, if_true: Self, if_false: Self) -> Self {
                if mask { if_true } else { if_false }
            }
        }

        impl FloatLane for $float {
            type Scalar = $float;
            type Mask = bool;
            type Bits = $word;
            #[inline(always)]
            fn splat(scalar: $float) -> Self {
                scalar
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn fma(self, factor: Self, addend: Self) -> Self {
                self.mul_add(factor, addend)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$float>::sqrt(self)
            }
            #[inline(always)]
            fn equal(self, other: Self) -> bool {
                self == other
            }
            #[inline(always)]
            fn less(self, other: Self) -> bool {
                self < other
            }
            #[inline(always)]
            fn less_equal(self, other: Self) -> bool {
                self <= other
            }
            #[inline(always)]
            fn select(mask: bool, if_true: Self, if_false: Self) -> Self {
                if mask { if_true } else { if_false }
            }
            #[inline(always)]
            fn to_bits(self) -> $word {
                <$float>::to_bits(self)
            }
            #[inline(always)]
            fn from_bits(bits: $word) -> Self {
                <$float>::from_bits(bits)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                -self
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$float>::abs(self)
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                <$float>::copysign(self, sign)
            }
        }
    };
}

scalar_lane!(f32, u32);
scalar_lane!(f64, u64);

impl Lane for f32 {
    type F64 = f64;
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrow(wide: f64) -> f32 {
        wide as f32
    }
}

impl Lane64 for f64 {
    #[inline(always)]
    fn lookup<const N: usize>(table: &'static [f64; N], index: u64) -> f64 {
        const { assert!(N.is_power_of_two()) };
        table[index as usize & (N - 1)]
    }
}
