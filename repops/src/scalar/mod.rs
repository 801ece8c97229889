//! The scalar functions: what one number becomes.
//!
//! f32: each function is correctly rounded to nearest, ties to even, for every input; the
//! mathematics is the specification and the code is one way to it. Every NaN result is the
//! canonical quiet NaN `0x7fc00000`. (`softmax_exp` alone is otherwise.) Written once over [`crate::lane::Lane`]: no branches on
//! values, no operation that is not exact or correctly rounded.

pub mod double_word;
pub mod erf;
pub mod exp;
pub mod f64_;
mod generated;
pub mod hyperbolic;
pub mod inverse_hyperbolic;
pub mod inverse_trig;
pub mod log;
mod polynomial;
pub mod pow;
mod repairs;
pub mod softmax;
pub mod trig;

pub use erf::erf;
pub use exp::{exp, exp2, expm1};
pub use hyperbolic::{cosh, sinh, tanh};
pub use inverse_hyperbolic::{acosh, asinh, atanh};
pub use inverse_trig::{acos, asin, atan};
pub use log::{log, log1p, log2};
pub use pow::pow;
pub use softmax::softmax_exp;
pub use trig::{cos, sin, tan};

/// A function of one number, with its definition for each type.
#[derive(Clone, Copy, Debug)]
pub struct ScalarFn {
    /// The name in programs, tests and proofs.
    pub name: &'static str,
    /// Never reused, never renumbered: programs contain it.
    pub id: u16,
    /// The reference for f32.
    pub f32: fn(f32) -> f32,
    /// The definition for f64.
    pub f64: fn(f64) -> f64,
    /// Where it is defined, and its value at the edges.
    pub domain: &'static str,
}

/// Every one-argument scalar function that programs may fuse, by ascending id. Ids 16 to 18 are kept for asinh, acosh and
/// atanh, which are not fused and not proved yet. Tests, kernels and proofs iterate it.
pub const FUNCTIONS: &[ScalarFn] = &[
    ScalarFn { name: "exp", id: 1, f32: exp, f64: f64_::exp, domain: "all; -inf -> +0, +inf -> +inf" },
    ScalarFn { name: "exp2", id: 2, f32: exp2, f64: f64_::exp2, domain: "all; -inf -> +0, +inf -> +inf" },
    ScalarFn {
        name: "expm1",
        id: 3,
        f32: expm1,
        f64: f64_::expm1,
        domain: "all; -inf -> -1, +inf -> +inf, +-0 -> +-0",
    },
    ScalarFn {
        name: "log",
        id: 4,
        f32: log,
        f64: f64_::log,
        domain: "x >= 0, else NaN; +-0 -> -inf, +inf -> +inf",
    },
    ScalarFn {
        name: "log2",
        id: 5,
        f32: log2,
        f64: f64_::log2,
        domain: "x >= 0, else NaN; +-0 -> -inf, +inf -> +inf",
    },
    ScalarFn {
        name: "log1p",
        id: 6,
        f32: log1p,
        f64: f64_::log1p,
        domain: "x >= -1, else NaN; -1 -> -inf, +inf -> +inf, +-0 -> +-0",
    },
    ScalarFn { name: "sin", id: 7, f32: sin, f64: f64_::sin, domain: "all; +-inf -> NaN, +-0 -> +-0" },
    ScalarFn { name: "cos", id: 8, f32: cos, f64: f64_::cos, domain: "all; +-inf -> NaN, +-0 -> 1" },
    ScalarFn { name: "tan", id: 9, f32: tan, f64: f64_::tan, domain: "all; +-inf -> NaN, +-0 -> +-0" },
    ScalarFn { name: "asin", id: 10, f32: asin, f64: f64_::asin, domain: "|x| <= 1, else NaN; +-0 -> +-0" },
    ScalarFn { name: "acos", id: 11, f32: acos, f64: f64_::acos, domain: "|x| <= 1, else NaN; 1 -> +0" },
    ScalarFn { name: "atan", id: 12, f32: atan, f64: f64_::atan, domain: "all; +-inf -> +-pi/2, +-0 -> +-0" },
    ScalarFn { name: "sinh", id: 13, f32: sinh, f64: f64_::sinh, domain: "all; +-inf -> +-inf, +-0 -> +-0" },
    ScalarFn { name: "cosh", id: 14, f32: cosh, f64: f64_::cosh, domain: "all; +-inf -> +inf, +-0 -> 1" },
    ScalarFn { name: "tanh", id: 15, f32: tanh, f64: f64_::tanh, domain: "all; +-inf -> +-1, +-0 -> +-0" },
    ScalarFn { name: "erf", id: 19, f32: erf, f64: f64_::erf, domain: "all; +-inf -> +-1, +-0 -> +-0" },
];

/// A function of two numbers, with its definition for each type.
#[derive(Clone, Copy, Debug)]
pub struct ScalarFn2 {
    /// The name in programs, tests and proofs.
    pub name: &'static str,
    /// In one numbering with [`FUNCTIONS`].
    pub id: u16,
    /// The reference for f32.
    pub f32: fn(f32, f32) -> f32,
    /// The definition for f64.
    pub f64: fn(f64, f64) -> f64,
    /// Where it is defined, and its value at the edges.
    pub domain: &'static str,
}

/// Every two-argument scalar function.
pub const FUNCTIONS_2: &[ScalarFn2] = &[ScalarFn2 {
    name: "pow",
    id: 20,
    f32: pow,
    f64: f64_::pow,
    domain: "x < 0 with y no integer -> NaN; x^0 = 1^y = 1; zeros and infinities as IEEE 754-2019 9.2.1",
}];

/// An f16 function is the f32 function of the widened argument, rounded once more.
#[inline]
pub fn through_f32_f16(f: fn(f32) -> f32, x: half::f16) -> half::f16 {
    let y = half::f16::from_f32(f(x.to_f32()));
    if y.is_nan() { half::f16::from_bits(0x7e00) } else { y }
}

/// A bf16 function is the f32 function of the widened argument, rounded once more.
#[inline]
pub fn through_f32_bf16(f: fn(f32) -> f32, x: half::bf16) -> half::bf16 {
    let y = half::bf16::from_f32(f(x.to_f32()));
    if y.is_nan() { half::bf16::from_bits(0x7fc0) } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(f: fn(f32) -> f32, cases: &[(f32, f32)]) {
        for &(x, want) in cases {
            let got = f(x);
            assert!(got.to_bits() == want.to_bits(), "f({x:e}) = {got:e}, expected {want:e}");
        }
        for payload in [0x7fc0_0001, 0xffc0_0000, 0x7f80_0001] {
            assert_eq!(f(f32::from_bits(payload)).to_bits(), 0x7fc0_0000);
        }
    }

    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::from_bits(0x7fc0_0000);

    #[test]
    fn special_values() {
        check(exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)]);
        check(
            exp2,
            &[
                (0.0, 1.0),
                (-0.0, 1.0),
                (INF, INF),
                (-INF, 0.0),
                (127.0, f32::from_bits(0x7f00_0000)),
                (10.0, 1024.0),
            ],
        );
        check(exp2, &[(-149.0, f32::from_bits(1)), (-150.0, 0.0), (128.0, INF)]);
        check(expm1, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (1e-40, 1e-40), (-1e-40, -1e-40)]);
        check(
            log,
            &[(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN), (-1e-45, NAN)],
        );
        check(log2, &[(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (1e-45, -149.0), (-1.0, NAN)]);
        check(
            log1p,
            &[(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-1.5, NAN), (-INF, NAN), (1e-45, 1e-45)],
        );
        check(tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (-1e-45, -1e-45), (20.0, 1.0)]);
        check(sin, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (-1e-45, -1e-45)]);
        check(cos, &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (1e-45, 1.0)]);
        check(tan, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (-1e-45, -1e-45)]);
        check(asin, &[(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-INF, NAN), (-1e-45, -1e-45)]);
        check(asin, &[(1.0, f32::from_bits(0x3fc9_0fdb)), (-1.0, f32::from_bits(0xbfc9_0fdb))]);
        check(acos, &[(1.0, 0.0), (1.5, NAN), (INF, NAN), (-1.5, NAN), (-1.0, f32::from_bits(0x4049_0fdb))]);
        check(acos, &[(0.0, f32::from_bits(0x3fc9_0fdb)), (-0.0, f32::from_bits(0x3fc9_0fdb))]);
        check(atan, &[(0.0, 0.0), (-0.0, -0.0), (INF, f32::from_bits(0x3fc9_0fdb)), (1e-45, 1e-45)]);
        check(sinh, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e-45, 1e-45)]);
        check(cosh, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF)]);
        check(erf, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (4.0, 1.0)]);
    }

    #[test]
    fn special_values_of_pow() {
        let cases = [
            (2.0, 10.0, 1024.0),
            (2.0, -149.0, f32::from_bits(1)),
            (2.0, -150.0, 0.0),
            (4097.0, 2.0, 16_785_408.0), // 16785409 is halfway
            (4099.0, 2.0, 16_801_800.0), // 16801801 is halfway
            (0.25, -0.5, 2.0),
            (9.0, 0.5, 3.0),
            (NAN, 0.0, 1.0),
            (1.0, NAN, 1.0),
            (NAN, 1.0, NAN),
            (2.0, NAN, NAN),
            (-1.0, INF, 1.0),
            (-1.0, -INF, 1.0),
            (-8.0, 3.0, -512.0),
            (-8.0, 2.0, 64.0),
            (-8.0, 0.5, NAN),
            (0.0, -1.0, INF),
            (-0.0, -1.0, -INF),
            (-0.0, -2.0, INF),
            (-0.0, -0.5, INF),
            (-0.0, 3.0, -0.0),
            (-0.0, 0.5, 0.0),
            (0.5, INF, 0.0),
            (0.5, -INF, INF),
            (-2.0, INF, INF),
            (INF, -1.0, 0.0),
            (-INF, -1.0, -0.0),
            (-INF, 3.0, -INF),
            (-INF, 0.5, INF),
            (-INF, -2.0, 0.0),
            (-3.0, 16_777_217.0, INF),
        ];
        for (x, y, want) in cases {
            let got = pow(x, y);
            assert!(got.to_bits() == want.to_bits(), "pow({x:e}, {y:e}) = {got:e}, expected {want:e}");
            let got = f64_::pow(f64::from(x), f64::from(y));
            if want.is_nan() {
                assert_eq!(got.to_bits(), 0x7ff8_0000_0000_0000);
            } else if want == 0.0 || want.is_infinite() || want == want.trunc() && want < 4096.0 {
                let exact = y.abs() < 100.0 || y.is_infinite();
                assert!(
                    !exact || got.to_bits() == f64::from(want).to_bits(),
                    "f64 pow({x:e}, {y:e}) = {got:e}"
                );
            }
        }
    }

    #[test]
    fn ids_are_distinct_and_ascending() {
        let ids: Vec<u16> = FUNCTIONS.iter().map(|f| f.id).chain(FUNCTIONS_2.iter().map(|f| f.id)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn half_precision_rounds_once_more() {
        let x = half::f16::from_f32(1.0);
        assert_eq!(through_f32_f16(exp, x).to_bits(), half::f16::from_f32(std::f32::consts::E).to_bits());
        assert_eq!(through_f32_f16(log, half::f16::from_f32(-1.0)).to_bits(), 0x7e00);
        assert_eq!(through_f32_bf16(log, half::bf16::from_f32(-1.0)).to_bits(), 0x7fc0);
        assert_eq!(through_f32_bf16(exp, half::bf16::from_f32(0.0)).to_bits(), 0x3f80);
    }
}
