//! Cast between all types: truncation and saturation to integers, one rounding to floats.

use half::{bf16, f16};
use repops::dtype::{DType, Element};
use repops::tensor::{TensorView, TensorViewMut};

use super::halves::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use super::loops::{CHEAP, Value, one};
use crate::isa::Isa;

/// Y = X converted; `None` between narrow types and others, which have no loops.
pub(super) fn cast(isa: Isa, x: TensorView<'_>, y: &mut TensorViewMut<'_>) -> Option<()> {
    if x.dtype == y.dtype {
        y.bytes.copy_from_slice(x.bytes);
        return Some(());
    }
    match x.dtype {
        DType::Bool | DType::U8 => from::<u8>(isa, x, y),
        DType::I8 => from::<i8>(isa, x, y),
        DType::U16 => from::<u16>(isa, x, y),
        DType::I16 => from::<i16>(isa, x, y),
        DType::U32 => from::<u32>(isa, x, y),
        DType::I32 => from::<i32>(isa, x, y),
        DType::U64 => from::<u64>(isa, x, y),
        DType::I64 => from::<i64>(isa, x, y),
        DType::F32 => from::<f32>(isa, x, y),
        DType::F64 => from::<f64>(isa, x, y),
        DType::F16 => from::<f16>(isa, x, y),
        DType::BF16 => from::<bf16>(isa, x, y),
        _ => None,
    }
}

fn from<S: Source>(isa: Isa, x: TensorView<'_>, y: &mut TensorViewMut<'_>) -> Option<()> {
    fn to<S: Source + To<T>, T: Value>(isa: Isa, x: TensorView<'_>, y: &mut TensorViewMut<'_>) {
        one(isa, CHEAP, x, y, f!(|v: S| <S as To<T>>::to(v)));
    }
    match y.dtype {
        DType::Bool => one(isa, CHEAP, x, y, f!(|v: S| u8::from(v.is_true()))),
        DType::U8 => to::<S, u8>(isa, x, y),
        DType::I8 => to::<S, i8>(isa, x, y),
        DType::U16 => to::<S, u16>(isa, x, y),
        DType::I16 => to::<S, i16>(isa, x, y),
        DType::U32 => to::<S, u32>(isa, x, y),
        DType::I32 => to::<S, i32>(isa, x, y),
        DType::U64 => to::<S, u64>(isa, x, y),
        DType::I64 => to::<S, i64>(isa, x, y),
        DType::F32 => to::<S, f32>(isa, x, y),
        DType::F64 => to::<S, f64>(isa, x, y),
        DType::F16 => to::<S, f16>(isa, x, y),
        DType::BF16 => to::<S, bf16>(isa, x, y),
        _ => return None,
    }
    Some(())
}

/// A conversion to `T`.
trait To<T>: Value {
    fn to(self) -> T;
}

/// A type that converts to all types.
trait Source:
    To<u8>
    + To<i8>
    + To<u16>
    + To<i16>
    + To<u32>
    + To<i32>
    + To<u64>
    + To<i64>
    + To<f32>
    + To<f64>
    + To<f16>
    + To<bf16>
{
    /// Whether it is other than 0.
    fn is_true(self) -> bool;

    /// The value rounded to f32 "to odd": toward zero, with the last bit set if anything was lost, so that
    /// rounding it again to f16 or bf16 is rounding once.
    fn odd(self) -> f32;
}

/// Rust's `as` truncates and saturates to integers, takes NaN to 0, wraps integers and rounds to floats.
macro_rules! primitive {
    ($($s:ident ($($t:ident),*);)*) => { $($(
        impl To<$t> for $s {
            #[inline(always)]
            fn to(self) -> $t {
                Element::canonical(self as $t)
            }
        }
    )*)* };
}
primitive! {
    u8 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    i8 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    u16 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    i16 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    u32 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    i32 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    u64 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    i64 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    f32 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    f64 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
}

macro_rules! to_halves {
    ($($s:ident: $x:ident => $odd:expr;)*) => { $(
        impl To<f16> for $s {
            #[inline(always)]
            fn to(self) -> f16 {
                narrow_f16(self.odd())
            }
        }
        impl To<bf16> for $s {
            #[inline(always)]
            fn to(self) -> bf16 {
                narrow_bf16(self.odd())
            }
        }
        impl Source for $s {
            #[inline(always)]
            fn is_true(self) -> bool {
                self != 0 as $s
            }
            #[inline(always)]
            fn odd(self) -> f32 {
                let $x = self;
                $odd
            }
        }
    )* };
}
to_halves! {
    u8: x => f32::from(x);
    i8: x => f32::from(x);
    u16: x => f32::from(x);
    i16: x => f32::from(x);
    u32: x => odd_of_f64(f64::from(x));
    i32: x => odd_of_f64(f64::from(x));
    u64: x => odd_of_u64(x);
    i64: x => odd_of_u64(x.unsigned_abs()).copysign(if x < 0 { -1.0 } else { 1.0 });
    f32: x => x;
    f64: x => odd_of_f64(x);
}

#[inline(always)]
fn odd_of_f64(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let lost = back.to_bits() != x.to_bits() && !x.is_nan();
    // One below in magnitude is one less in the bits, also from infinity to the largest number.
    let toward_zero = nearest.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(if lost { toward_zero | 1 } else { nearest.to_bits() })
}

#[inline(always)]
fn odd_of_u64(x: u64) -> f32 {
    // The upper 32 bits of the first one, the others gathered into the last: far more than f16 keeps.
    let shift = 32u32.saturating_sub(x.leading_zeros());
    let rest = x & ((1u64 << shift) - 1);
    let upper = (x >> shift) as f64 + if rest != 0 { 0.5 } else { 0.0 };
    // Exact: a power of two times a number of 33 bits.
    odd_of_f64(upper * (1u64 << shift) as f64)
}

macro_rules! from_halves {
    ($($s:ident $widen:ident ($($t:ident),*);)*) => { $(
        $(impl To<$t> for $s {
            #[inline(always)]
            fn to(self) -> $t {
                <f32 as To<$t>>::to($widen(self))
            }
        })*
        impl Source for $s {
            #[inline(always)]
            fn is_true(self) -> bool {
                self.to_bits() & 0x7fff != 0
            }
            #[inline(always)]
            fn odd(self) -> f32 {
                $widen(self)
            }
        }
    )* };
}
from_halves! {
    f16 widen_f16 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, f16, bf16);
    bf16 widen_bf16 (u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, f16, bf16);
}
