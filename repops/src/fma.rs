//! Whether this build's fused multiply-add rounds once, as SPEC.md demands of `fma`.
//!
//! Where a build does not enable the CPU's instruction, `mul_add` is the C library's `fma`, and not every library's
//! is right: some multiply and add, some go through a wider type and so round twice. Every contraction is made of
//! fused multiply-adds, so executors ask [`check`] before a run instead of giving other bits.
//!
//! Invariant: the cases are evaluated at run time, by the code that evaluation itself uses, in the calling thread
//! and so in its floating-point environment.

use std::hint::black_box;

/// A fused multiply-add that is none. All values are bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the fused multiply-add of this build does not round once to nearest (f{width}: {a:#x} * {b:#x} + {c:#x} gives \
     {found:#x}, not {expected:#x}), so results would not be those of the specification; use another C library, \
     build with the CPU's instruction enabled (on x86-64 `-C target-feature=+fma`), or, if this thread changed its \
     rounding mode or flushes subnormal numbers to zero, restore what it changed"
)]
pub struct FmaError {
    /// 32 or 64.
    pub width: u32,
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub expected: u64,
    pub found: u64,
}

/// The bits of a, b, c and of `a * b + c` rounded once.
type Case<Bits> = [Bits; 4];

/// In order: the product is a tie that a tiny addend decides, upwards and downwards (lost where the sum is rounded to f64
/// first); the product's low half is all that is left; the product overflows; the sum is subnormal; it is -0.
const F32_CASES: [Case<u32>; 6] = [
    // (1 + 2^-12)^2 + 2^-80
    [0x3f80_0800, 0x3f80_0800, 0x1780_0000, 0x3f80_1001],
    // (1 + 3 2^-12) (1 + 2^-12) - 2^-80
    [0x3f80_1800, 0x3f80_0800, 0x9780_0000, 0x3f80_2001],
    // (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24
    [0x3f80_0800, 0x3f80_0800, 0xbf80_1000, 0x3380_0000],
    // greatest * 2 - greatest
    [0x7f7f_ffff, 0x4000_0000, 0xff7f_ffff, 0x7f7f_ffff],
    // 2^-75 * 1.5 2^-74 + 2^-149 = 2.5 2^-149
    [0x1a00_0000, 0x1ac0_0000, 0x0000_0001, 0x0000_0002],
    // 2^-149 * -2^-149 - 0
    [0x0000_0001, 0x8000_0001, 0x8000_0000, 0x8000_0000],
];

/// The same for f64, with ties that even 64-bit significands lose.
const F64_CASES: [Case<u64>; 6] = [
    // (1 + 2^-27) (1 + 2^-26) + 2^-200
    [0x3ff0_0000_0200_0000, 0x3ff0_0000_0400_0000, 0x3370_0000_0000_0000, 0x3ff0_0000_0600_0001],
    // (1 + 3 2^-27) (1 + 2^-26) - 2^-200
    [0x3ff0_0000_0600_0000, 0x3ff0_0000_0400_0000, 0xb370_0000_0000_0000, 0x3ff0_0000_0a00_0001],
    // (1 + 2^-30) (1 - 2^-30) - 1 = -2^-60
    [0x3ff0_0000_0040_0000, 0x3fef_ffff_ff80_0000, 0xbff0_0000_0000_0000, 0xbc30_0000_0000_0000],
    // greatest * 2 - greatest
    [0x7fef_ffff_ffff_ffff, 0x4000_0000_0000_0000, 0xffef_ffff_ffff_ffff, 0x7fef_ffff_ffff_ffff],
    // 2^-537 * 1.5 2^-537 + 2^-1074 = 2.5 2^-1074
    [0x1e60_0000_0000_0000, 0x1e68_0000_0000_0000, 0x0000_0000_0000_0001, 0x0000_0000_0000_0002],
    // 2^-1074 * -2^-1074 - 0
    [0x0000_0000_0000_0001, 0x8000_0000_0000_0001, 0x8000_0000_0000_0000, 0x8000_0000_0000_0000],
];

/// Tries the cases; takes less than a microsecond.
pub fn check() -> Result<(), FmaError> {
    check_of(f32::mul_add, f64::mul_add)
}

fn check_of(fma32: fn(f32, f32, f32) -> f32, fma64: fn(f64, f64, f64) -> f64) -> Result<(), FmaError> {
    for case in F32_CASES {
        // Without this the compiler would compute the cases itself, rightly.
        let [a, b, c, _] = black_box(case).map(f32::from_bits);
        let found = fma32(a, b, c).to_bits();
        same(32, case.map(u64::from), found.into())?;
    }
    for case in F64_CASES {
        let [a, b, c, _] = black_box(case).map(f64::from_bits);
        same(64, case, fma64(a, b, c).to_bits())?;
    }
    Ok(())
}

fn same(width: u32, [a, b, c, expected]: Case<u64>, found: u64) -> Result<(), FmaError> {
    if found == expected { Ok(()) } else { Err(FmaError { width, a, b, c, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_rounds_once() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn multiplying_and_adding_is_found() {
        let error = check_of(|a, b, c| a * b + c, f64::mul_add).unwrap_err();
        assert_eq!((error.width, error.expected, error.found), (32, 0x3f80_1001, 0x3f80_1000));
        assert!(error.to_string().contains("(f32: 0x3f800800 * 0x3f800800"), "{error}");
        let error = check_of(f32::mul_add, |a, b, c| a * b + c).unwrap_err();
        assert_eq!((error.width, error.expected), (64, 0x3ff0_0000_0600_0001));
    }

    #[test]
    fn rounding_twice_is_found() {
        let wide = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        assert_eq!(check_of(wide, f64::mul_add).unwrap_err().width, 32);
    }

    #[test]
    fn each_case_but_that_of_the_sign_of_zero_tells_a_fused_operation_from_two() {
        for case in &F32_CASES[..5] {
            let [a, b, c, expected] = case.map(f32::from_bits);
            assert_ne!((a * b + c).to_bits(), expected.to_bits(), "{a:e} * {b:e} + {c:e}");
        }
        for case in &F64_CASES[..5] {
            let [a, b, c, expected] = case.map(f64::from_bits);
            assert_ne!((a * b + c).to_bits(), expected.to_bits(), "{a:e} * {b:e} + {c:e}");
        }
    }

    #[test]
    fn flushing_subnormal_numbers_is_found() {
        fn flush(value: f32) -> f32 {
            if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
        }
        let fma = |a: f32, b: f32, c: f32| flush(flush(a).mul_add(flush(b), flush(c)));
        let error = check_of(fma, f64::mul_add).unwrap_err();
        assert_eq!((error.expected, error.found), (2, 0));
    }
}
