//! What one lane computes: floats rounded to nearest even with subnormals, integers, conversions.
//!
//! Invariant: every NaN that arithmetic makes has PTX's own bits, which are not those that operators store, so that a
//! kernel that forgets to make its NaNs canonical shows.

use half::{bf16, f16};

use crate::code::{Comparison, Rounding, Type};

pub const NAN_32: u32 = 0x7fff_ffff;
pub const NAN_64: u64 = 0x7fff_ffff_ffff_ffff;
const NAN_16: u16 = 0x7fff;

#[inline]
pub fn bits_32(value: f32) -> u32 {
    if value.is_nan() { NAN_32 } else { value.to_bits() }
}

#[inline]
pub fn bits_64(value: f64) -> u64 {
    if value.is_nan() { NAN_64 } else { value.to_bits() }
}

#[inline]
pub fn float_32(f: impl Fn(f32, f32) -> f32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| bits_32(f(f32::from_bits(a), f32::from_bits(b)))
}

#[inline]
pub fn float_64(f: impl Fn(f64, f64) -> f64) -> impl Fn(u64, u64) -> u64 {
    move |a, b| bits_64(f(f64::from_bits(a), f64::from_bits(b)))
}

/// Sums, differences and products of two f16 are exact enough in f32: rounding twice gives what rounding once does,
/// because f32 has more than twice as many bits of precision and two more.
pub fn float_16(f: impl Fn(f32, f32) -> f32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| {
        let wide = |bits: u32| f16::from_bits(bits as u16).to_f32();
        narrow_16(f(wide(a), wide(b))).into()
    }
}

fn narrow_16(value: f32) -> u16 {
    narrow(value.into(), 10)
}

/// `min.f32`: the other operand if one is a NaN; -0 is below +0.
#[inline]
pub fn min_32(a: u32, b: u32) -> u32 {
    least_32(a, b, false)
}

#[inline]
pub fn max_32(a: u32, b: u32) -> u32 {
    least_32(a, b, true)
}

fn is_nan_32(a: u32) -> bool {
    a & 0x7fff_ffff > 0x7f80_0000
}

fn least_32(a: u32, b: u32, greatest: bool) -> u32 {
    match (is_nan_32(a), is_nan_32(b)) {
        (true, true) => NAN_32,
        (true, false) => b,
        (false, true) => a,
        // Order by the integers that sort as the floats do, -0 before +0.
        _ => {
            let key = |bits: u32| if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
            if (key(a) < key(b)) != greatest { a } else { b }
        }
    }
}

/// `min.NaN.f32`.
pub fn min_nan_32(a: u32, b: u32) -> u32 {
    if is_nan_32(a) || is_nan_32(b) { NAN_32 } else { min_32(a, b) }
}

pub fn max_nan_32(a: u32, b: u32) -> u32 {
    if is_nan_32(a) || is_nan_32(b) { NAN_32 } else { max_32(a, b) }
}

pub fn least_64(a: u64, b: u64, greatest: bool) -> u64 {
    let is_nan = |bits: u64| bits << 1 > 0x7ff0_0000_0000_0000 << 1;
    match (is_nan(a), is_nan(b)) {
        (true, true) => NAN_64,
        (true, false) => b,
        (false, true) => a,
        _ => {
            let key = |bits: u64| if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            if (key(a) < key(b)) != greatest { a } else { b }
        }
    }
}

/// Whether `a` compares with `b` as asked. `None` for the order: one is a NaN.
#[inline]
pub fn holds(comparison: Comparison, order: Option<std::cmp::Ordering>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match comparison {
        Comparison::Eq => order == Some(Equal),
        Comparison::Ne => matches!(order, Some(Less | Greater)),
        Comparison::Lt => order == Some(Less),
        Comparison::Le => matches!(order, Some(Less | Equal)),
        Comparison::Gt => order == Some(Greater),
        Comparison::Ge => matches!(order, Some(Greater | Equal)),
        Comparison::Equ => !matches!(order, Some(Less | Greater)),
        Comparison::Neu => order != Some(Equal),
        Comparison::Ltu => !matches!(order, Some(Greater | Equal)),
        Comparison::Leu => order != Some(Greater),
        Comparison::Gtu => !matches!(order, Some(Less | Equal)),
        Comparison::Geu => order != Some(Less),
        Comparison::Num => order.is_some(),
        Comparison::Nan => order.is_none(),
    }
}

/// A register's bits as a value of the type: extended to 64 bits for integers.
#[inline]
pub fn extend(ty: Type, bits: u64) -> u64 {
    match ty {
        Type::S8 => bits as i8 as u64,
        Type::S16 => bits as i16 as u64,
        Type::S32 => bits as i32 as u64,
        _ if ty.bits() == 64 => bits,
        _ => bits & ((1 << ty.bits()) - 1),
    }
}

/// Converts the bits of one value; the result is extended as the target's sign asks.
pub fn convert(to: Type, from: Type, rounding: Rounding, saturate: bool, bits: u64) -> u64 {
    let bits = extend(from, bits);
    match (to.is_float(), from.is_float()) {
        (false, false) => extend(to, if saturate { clamp(to, from, bits) } else { bits }),
        (true, false) => from_integer(to, from.is_signed(), bits),
        (false, true) => to_integer(to, from, rounding, bits),
        (true, true) => between_floats(to, from, rounding, bits),
    }
}

/// An integer into the range of a narrower type.
fn clamp(to: Type, from: Type, bits: u64) -> u64 {
    let value = if from.is_signed() { i128::from(bits as i64) } else { i128::from(bits) };
    let (low, high) = range(to);
    value.clamp(low, high) as u64
}

fn range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn from_integer(to: Type, signed: bool, bits: u64) -> u64 {
    let value = bits as i64;
    match (to, signed) {
        (Type::F64, true) => (value as f64).to_bits(),
        (Type::F64, false) => (bits as f64).to_bits(),
        (Type::F32, true) => (value as f32).to_bits().into(),
        (Type::F32, false) => (bits as f32).to_bits().into(),
        // Into a type this small integers round once: f64 is wide enough for all that do not overflow.
        (Type::F16, true) => narrow(value as f64, 10).into(),
        (Type::F16, false) => narrow(bits as f64, 10).into(),
        _ => 0,
    }
}

fn wide(from: Type, bits: u64) -> f64 {
    match from {
        Type::F16 => f16::from_bits(bits as u16).to_f64(),
        Type::BF16 => bf16::from_bits(bits as u16).to_f64(),
        Type::F32 => f32::from_bits(bits as u32).into(),
        _ => f64::from_bits(bits),
    }
}

fn integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Even => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
        Rounding::Exact | Rounding::Nearest => value,
    }
}

/// Clamped to the range; a NaN is 0, or the lowest bit pattern with only the top bit where 64 bits take part.
fn to_integer(to: Type, from: Type, rounding: Rounding, bits: u64) -> u64 {
    let value = wide(from, bits);
    if value.is_nan() {
        let is_wide = from == Type::F64 || to.bits() == 64;
        return if is_wide { extend(to, 1 << (to.bits() - 1)) } else { 0 };
    }
    // Integral values of f64 within 128 bits convert exactly; beyond, `as` saturates, and the clamp is the same.
    let (low, high) = range(to);
    (integral(value, rounding) as i128).clamp(low, high) as u64
}

fn between_floats(to: Type, from: Type, rounding: Rounding, bits: u64) -> u64 {
    let value = integral(wide(from, bits), rounding);
    match to {
        Type::F64 => bits_64(value),
        // Narrow values pass through f64 unchanged.
        Type::F32 => bits_32(value as f32).into(),
        Type::F16 => narrow(value, 10).into(),
        _ => narrow(value, 7).into(),
    }
}

/// Rounds once, ties to even, to a float of 16 bits with so many bits of fraction: 10 for f16, 7 for bf16.
fn narrow(value: f64, fraction_bits: u32) -> u16 {
    if value.is_nan() {
        return NAN_16;
    }
    let bias = (1i64 << (14 - fraction_bits)) - 1;
    let bits = value.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    let infinity = ((1u64 << (15 - fraction_bits)) - 1) << fraction_bits;
    if value.is_infinite() {
        return sign | infinity as u16;
    }
    let exponent = (bits >> 52 & 0x7ff) as i64 - 1023;
    // Subnormal f64 are far below half of the least value.
    if exponent < -1000 {
        return sign;
    }
    let least = 1 - bias;
    let significand = bits & ((1 << 52) - 1) | 1 << 52;
    let shift = i64::from(52 - fraction_bits) + (least - exponent).max(0);
    if shift > 54 {
        return sign;
    }
    let kept = significand >> shift;
    let rest = significand & ((1 << shift) - 1);
    let half = 1u64 << (shift - 1);
    let rounded = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
    // A carry out of the fraction moves into the exponent by itself.
    let magnitude =
        if exponent < least { rounded } else { rounded + (((exponent + bias - 1) as u64) << fraction_bits) };
    sign | if exponent + bias > 1 << 10 { infinity } else { magnitude.min(infinity) } as u16
}

pub fn prmt(a: u32, b: u32, selectors: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let mut out = [0u8; 4];
    for (index, byte) in out.iter_mut().enumerate() {
        let selector = selectors >> (4 * index) & 15;
        let chosen = bytes[(selector & 7) as usize];
        *byte = if selector & 8 != 0 { ((chosen as i8) >> 7) as u8 } else { chosen };
    }
    u32::from_le_bytes(out)
}

/// A funnel shift; the amount is taken modulo 32 or clamped to 32.
pub fn funnel(a: u32, b: u32, c: u32, left: bool, wrap: bool) -> u32 {
    let amount = if wrap { c & 31 } else { c.min(32) };
    let both = u64::from(b) << 32 | u64::from(a);
    if left { ((both << amount) >> 32) as u32 } else { (both >> amount) as u32 }
}

/// `bfe`: `length` bits from `start` on, extended by the sign bit of the field if signed.
pub fn bfe(a: u64, start: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    let bit = |index: u32| a >> index & 1;
    let sign = if !signed || length == 0 { 0 } else { bit((start + length - 1).min(width - 1)) };
    let mut out = 0;
    for index in 0..width {
        let value = if index < length && start + index < width { bit(start + index) } else { sign };
        out |= value << index;
    }
    out
}

/// `bfi`: the low bits of `a` into `b`.
pub fn bfi(a: u64, b: u64, start: u32, length: u32, width: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    let mut out = b;
    let mut index = 0;
    while index < length && start + index < width {
        out = out & !(1 << (start + index)) | (a >> index & 1) << (start + index);
        index += 1;
    }
    out
}

/// A byte of a register as an integer.
#[inline]
pub fn byte(word: u32, index: u32, signed: bool) -> i32 {
    let byte = (word >> (8 * index)) as u8;
    if signed { (byte as i8).into() } else { byte.into() }
}

pub fn dp4a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let mut sum = c;
    for index in 0..4 {
        sum = sum.wrapping_add((byte(a, index, a_signed) * byte(b, index, b_signed)) as u32);
    }
    sum
}

/// The position of the highest bit that is not the sign; all ones if there is none.
pub fn bfind(value: u64, bits: u32, signed: bool) -> u32 {
    let value = if signed && value >> (bits - 1) & 1 == 1 { !value } else { value };
    let value = if bits == 64 { value } else { value & ((1 << bits) - 1) };
    if value == 0 { u32::MAX } else { 63 - value.leading_zeros() }
}

pub fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut out = 0;
    for index in 0..8u8 {
        if table >> index & 1 == 1 {
            let pick = |word: u32, bit: u8| if index >> bit & 1 == 1 { word } else { !word };
            out |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    out
}
