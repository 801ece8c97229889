//! Element types of 8 bits and less that have no Rust type: 8-bit and 4-bit floats, 4-bit and 2-bit integers.
//!
//! Invariant: in a tensor each takes one byte. An integer's byte is its value (two's complement for signed types), a
//! float's byte holds its bits at the bottom; other bytes are no elements. Every value is exact in f64.

use super::DType;

/// How a float type encodes numbers. The exponent's field is `bits - 1 - mantissa` bits wide.
struct Format {
    mantissa: u32,
    bias: i32,
    /// The largest finite number's code.
    largest: u8,
    infinity: Option<u8>,
    nan: Option<u8>,
    /// The sign's bit.
    sign: u8,
    /// Whether zero has a sign.
    signed_zero: bool,
}

/// OCP 8-bit floating point specification, OFP8, and Noune et al., "8-bit numerical formats for deep neural networks".
const fn format(dtype: DType) -> Option<Format> {
    Some(match dtype {
        DType::F8E4M3FN => Format {
            mantissa: 3,
            bias: 7,
            largest: 0x7e,
            infinity: None,
            nan: Some(0x7f),
            sign: 0x80,
            signed_zero: true,
        },
        DType::F8E4M3FNUZ => Format {
            mantissa: 3,
            bias: 8,
            largest: 0x7f,
            infinity: None,
            nan: Some(0x80),
            sign: 0x80,
            signed_zero: false,
        },
        DType::F8E5M2 => Format {
            mantissa: 2,
            bias: 15,
            largest: 0x7b,
            infinity: Some(0x7c),
            nan: Some(0x7e),
            sign: 0x80,
            signed_zero: true,
        },
        DType::F8E5M2FNUZ => Format {
            mantissa: 2,
            bias: 16,
            largest: 0x7f,
            infinity: None,
            nan: Some(0x80),
            sign: 0x80,
            signed_zero: false,
        },
        DType::F4E2M1 => Format {
            mantissa: 1,
            bias: 1,
            largest: 0x7,
            infinity: None,
            nan: None,
            sign: 0x8,
            signed_zero: true,
        },
        _ => return None,
    })
}

/// The least and greatest value of a narrow integer type.
pub const fn integer_range(dtype: DType) -> Option<(i8, i8)> {
    Some(match dtype {
        DType::U4 => (0, 15),
        DType::I4 => (-8, 7),
        DType::U2 => (0, 3),
        DType::I2 => (-2, 1),
        _ => return None,
    })
}

/// f8e8m0's only NaN.
const E8M0_NAN: u8 = 0xff;

/// The value of an element. Panics for types that are not narrow: callers have matched on it.
pub fn value(dtype: DType, byte: u8) -> f64 {
    if integer_range(dtype).is_some() {
        return match dtype {
            DType::I4 | DType::I2 => f64::from(byte as i8),
            _ => f64::from(byte),
        };
    }
    if dtype == DType::F8E8M0 {
        return if byte == E8M0_NAN { f64::NAN } else { power_of_two(i32::from(byte) - 127) };
    }
    let format = format(dtype).expect("a narrow type");
    if canonical(dtype, byte) == format.nan {
        return f64::NAN;
    }
    let code = byte & (format.sign - 1);
    let magnitude = if Some(code) == format.infinity {
        f64::INFINITY
    } else {
        let (exponent, fraction) = (i32::from(code >> format.mantissa), code & ((1 << format.mantissa) - 1));
        let implicit = if exponent == 0 { 0 } else { 1u8 << format.mantissa };
        f64::from(implicit | fraction) * power_of_two(exponent.max(1) - format.bias - format.mantissa as i32)
    };
    if byte & format.sign != 0 { -magnitude } else { magnitude }
}

/// The byte as a tensor holds it: a NaN becomes the type's one. `None` when it is no element of the type.
pub fn canonical(dtype: DType, byte: u8) -> Option<u8> {
    if let Some((low, high)) = integer_range(dtype) {
        let value = if low < 0 { i32::from(byte as i8) } else { i32::from(byte) };
        return (i32::from(low)..=i32::from(high)).contains(&value).then_some(byte);
    }
    let Some(format) = format(dtype) else { return Some(byte) };
    match format.nan {
        // Every code above the last number (or infinity) is a NaN; the formats without a signed zero have its code.
        Some(nan) if format.signed_zero => {
            let code = byte & (format.sign - 1);
            Some(if code > format.infinity.unwrap_or(format.largest) { nan } else { byte })
        }
        Some(_) => Some(byte),
        None => (byte < 2 * format.sign).then_some(byte),
    }
}

/// How a number that f8e8m0 does not hold is rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundMode {
    /// To the next power of two.
    Up,
    /// To the power of two below.
    Down,
    /// To the nearer one, ties up.
    Nearest,
}

/// What becomes of numbers outside of a type's range, and which way f8e8m0 rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub saturate: bool,
    pub round_mode: RoundMode,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { saturate: true, round_mode: RoundMode::Up }
    }
}

/// The element of a float type that is nearest to `x`, ties to even; numbers beyond the largest after rounding, and
/// infinities, become it, or without `saturate` infinity where the type has it, else NaN. Where the type has no NaN
/// (f4e2m1) a NaN becomes +0, and `saturate` changes nothing.
///
/// f8e8m0: the power of two by `round_mode`; below the least one it is the least, above the greatest the greatest, or
/// without `saturate` NaN; zeros are below the least; negative numbers are NaN.
pub fn round_float(dtype: DType, x: f64, rules: Rules) -> u8 {
    if dtype == DType::F8E8M0 {
        return round_e8m0(x, rules);
    }
    let format = format(dtype).expect("a narrow float type");
    let sign = if x.is_sign_negative() { format.sign } else { 0 };
    if x.is_nan() {
        return format.nan.unwrap_or(0);
    }
    let mantissa = format.mantissa as i32;
    // Powers of two scale exactly; what is below the subnormals of f64 rounds to zero either way.
    let code = if x.is_infinite() {
        None
    } else {
        let exponent = exponent_of(x).max(1 - format.bias);
        let quotient = x.abs() * power_of_two(mantissa - exponent);
        let steps = quotient.round_ties_even() as i64;
        // A quotient that rounds up to the next power of two carries into the exponent.
        let code = (i64::from(exponent + format.bias - 1) << mantissa) + steps;
        u8::try_from(code).ok().filter(|&code| code <= format.largest)
    };
    match code {
        Some(0) if !format.signed_zero => 0,
        Some(code) => sign | code,
        None if rules.saturate => sign | format.largest,
        None => match (format.infinity, format.nan) {
            (Some(infinity), _) => sign | infinity,
            (None, Some(nan)) => nan,
            (None, None) => sign | format.largest,
        },
    }
}

fn round_e8m0(x: f64, rules: Rules) -> u8 {
    if x.is_nan() || x < 0.0 {
        return E8M0_NAN;
    }
    let out_of_range = |limit: u8| if rules.saturate { limit } else { E8M0_NAN };
    if x == 0.0 {
        return out_of_range(0);
    } else if x.is_infinite() {
        return out_of_range(0xfe);
    }
    let exponent = exponent_of(x);
    let floor = power_of_two_wide(exponent);
    let above = match rules.round_mode {
        RoundMode::Up => x > floor,
        RoundMode::Down => false,
        // 1.5 times a power of two is exact, but for the least subnormals, which round to the least power anyhow.
        RoundMode::Nearest => x - floor >= floor * 0.5,
    };
    match exponent + i32::from(above) + 127 {
        code if code < 0 => out_of_range(0),
        code if code > 0xfe => out_of_range(0xfe),
        code => code as u8,
    }
}

/// floor(log2 |x|) of a finite number; that of the least subnormal for zero.
fn exponent_of(x: f64) -> i32 {
    let bits = x.to_bits() & (u64::MAX >> 1);
    match (bits >> 52) as i32 {
        0 => 63 - (bits | 1).leading_zeros() as i32 - 1074,
        field => field - 1023,
    }
}

/// 2^n for a normal result.
fn power_of_two(n: i32) -> f64 {
    debug_assert!((-1022..=1023).contains(&n));
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// 2^n, also where it is subnormal.
fn power_of_two_wide(n: i32) -> f64 {
    if n >= -1022 { power_of_two(n) } else { f64::from_bits(1u64 << (n + 1074)) }
}

/// The number of bytes in which ONNX keeps `elements` elements: several share a byte where they fit.
pub fn packed_len(dtype: DType, elements: usize) -> usize {
    elements.div_ceil(per_byte(dtype)) * dtype.size()
}

/// How many elements share a byte in ONNX's files.
pub fn per_byte(dtype: DType) -> usize {
    match dtype {
        DType::U4 | DType::I4 | DType::F4E2M1 => 2,
        DType::U2 | DType::I2 => 4,
        _ => 1,
    }
}

/// The bytes of `elements` elements that ONNX has packed, the first one lowest. Panics when there are too few bytes.
pub fn unpack(dtype: DType, packed: &[u8], elements: usize) -> Vec<u8> {
    let count = per_byte(dtype);
    let bits = 8 / count as u32;
    let element = |at: usize| {
        let field = packed[at / count] >> (bits * (at % count) as u32);
        match dtype {
            // Sign-extended.
            DType::I4 | DType::I2 => ((field << (8 - bits)) as i8 >> (8 - bits)) as u8,
            _ => field & (u8::MAX >> (8 - bits)),
        }
    };
    (0..elements).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOATS: [DType; 5] =
        [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1];

    #[test]
    fn every_element_rounds_to_itself() {
        for dtype in FLOATS.into_iter().chain([DType::F8E8M0]) {
            for byte in 0..=255u8 {
                let Some(canonical) = canonical(dtype, byte) else {
                    assert!(dtype == DType::F4E2M1 && byte > 15);
                    continue;
                };
                let rules = Rules { saturate: false, ..Rules::default() };
                assert_eq!(round_float(dtype, value(dtype, byte), rules), canonical, "{dtype} {byte:#x}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(value(DType::F8E4M3FN, 0x7e), 448.0);
        assert_eq!(value(DType::F8E4M3FN, 0x01), 1.0 / 512.0);
        assert_eq!(value(DType::F8E4M3FNUZ, 0x7f), 240.0);
        assert_eq!(value(DType::F8E5M2, 0x7b), 57344.0);
        assert_eq!(value(DType::F8E5M2, 0xfc), f64::NEG_INFINITY);
        assert_eq!(value(DType::F8E5M2FNUZ, 0x7f), 57344.0);
        assert_eq!(value(DType::F8E5M2FNUZ, 0x01), 1.0 / f64::from(1u32 << 17));
        let f4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        assert_eq!((0..8).map(|b| value(DType::F4E2M1, b)).collect::<Vec<_>>(), f4);
        assert!(value(DType::F8E4M3FNUZ, 0x80).is_nan() && value(DType::F8E4M3FN, 0xff).is_nan());
        assert!(value(DType::F8E8M0, 0xff).is_nan() && value(DType::F8E5M2, 0xfd).is_nan());
        assert_eq!(value(DType::F8E8M0, 0), f64::from_bits((1023 - 127) << 52));
        assert_eq!((value(DType::I4, 0xf8), value(DType::I2, 1), value(DType::U4, 15)), (-8.0, 1.0, 15.0));
    }

    /// Ties and their neighbours between all numbers of each type.
    #[test]
    fn rounding_is_to_nearest_even() {
        for dtype in FLOATS {
            let largest = format(dtype).unwrap().largest;
            for code in 0..largest {
                let (low, high) = (value(dtype, code), value(dtype, code + 1));
                let tie = (low + high) / 2.0;
                let even = if code % 2 == 0 { code } else { code + 1 };
                let round = |x| round_float(dtype, x, Rules::default());
                let got = (round(tie.next_down()), round(tie), round(tie.next_up()));
                assert_eq!(got, (code, even, code + 1), "{dtype} {code:#x}");
            }
        }
    }

    #[test]
    fn what_is_too_large() {
        let (keep, drop) = (Rules::default(), Rules { saturate: false, ..Rules::default() });
        let of = |dtype, x: f64| (round_float(dtype, x, keep), round_float(dtype, x, drop));
        assert_eq!(of(DType::F8E4M3FN, 464.0), (0x7e, 0x7e)); // the tie to 480, which would be even
        assert_eq!(of(DType::F8E4M3FN, 464.1), (0x7e, 0x7f));
        assert_eq!(of(DType::F8E4M3FN, f64::NEG_INFINITY), (0xfe, 0x7f));
        assert_eq!(of(DType::F8E5M2, 61440.0), (0x7b, 0x7c));
        assert_eq!(of(DType::F8E5M2, -1e300), (0xfb, 0xfc));
        assert_eq!(of(DType::F8E5M2FNUZ, 1e9), (0x7f, 0x80));
        assert_eq!(of(DType::F8E4M3FNUZ, -0.0), (0, 0));
        assert_eq!(of(DType::F8E4M3FNUZ, -1e-9), (0, 0));
        assert_eq!(of(DType::F8E4M3FN, -1e-9), (0x80, 0x80));
        assert_eq!(of(DType::F4E2M1, -100.0), (0xf, 0xf));
        assert_eq!(of(DType::F4E2M1, f64::NAN), (0, 0));
        assert_eq!(of(DType::F8E5M2, f64::from_bits(1)), (0, 0));
    }

    #[test]
    fn powers_of_two() {
        let of = |x: f64, round_mode| round_float(DType::F8E8M0, x, Rules { saturate: true, round_mode });
        let all = |x| [RoundMode::Up, RoundMode::Down, RoundMode::Nearest].map(|mode| of(x, mode));
        assert_eq!(all(1.0), [127; 3]);
        assert_eq!(all(1.5), [128, 127, 128]);
        assert_eq!(all(1.49), [128, 127, 127]);
        assert_eq!(all(0.0), [0; 3]);
        assert_eq!(all(1e-300), [0; 3]);
        assert_eq!(all(f64::from_bits(3)), [0; 3]);
        assert_eq!(all(1e300), [0xfe; 3]);
        assert_eq!(all(-1.0), [0xff; 3]);
        let drop = Rules { saturate: false, round_mode: RoundMode::Nearest };
        for x in [0.0, 1e300, 1e-300, f64::INFINITY, f64::NAN] {
            assert_eq!(round_float(DType::F8E8M0, x, drop), 0xff, "{x}");
        }
    }

    #[test]
    fn unpacking() {
        assert_eq!(unpack(DType::U4, &[0x21, 0x0f], 3), [1, 2, 15]);
        assert_eq!(unpack(DType::I4, &[0x81, 0x0f], 3), [1, 0xf8, 0xff]);
        assert_eq!(unpack(DType::U2, &[0b1110_0100, 1], 5), [0, 1, 2, 3, 1]);
        assert_eq!(unpack(DType::I2, &[0b1110_0100], 4), [0, 1, 0xfe, 0xff]);
        assert_eq!(
            (packed_len(DType::I4, 3), packed_len(DType::U2, 5), packed_len(DType::F32, 2)),
            (2, 2, 8)
        );
    }
}
