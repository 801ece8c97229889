//! MPFR: the value of last resort, 400 bits wide.

use rug::Float;
use rug::float::Round;

/// Bits of every MPFR computation.
pub const PRECISION: u32 = 400;

/// f(x) to `PRECISION` bits.
pub fn value(name: &str, x: f64) -> Float {
    let x = Float::with_val(PRECISION, x);
    match name {
        "exp" => x.exp(),
        "exp2" => x.exp2(),
        "expm1" => x.exp_m1(),
        "log" => x.ln(),
        "log2" => x.log2(),
        "log1p" => x.ln_1p(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "tanh" => x.tanh(),
        "erf" => x.erf(),
        _ => unreachable!("no oracle for {name}"),
    }
}

/// The correctly rounded f32; every NaN canonical.
pub fn f32_bits(name: &str, x: f32) -> u32 {
    let y = value(name, f64::from(x));
    // IEEE 754-2019 9.2.1: log of -0 is -inf, as of +0; MPFR agrees.
    if y.is_nan() { 0x7fc0_0000 } else { y.to_f32_round(Round::Nearest).to_bits() }
}

/// The correctly rounded f64; every NaN canonical.
pub fn f64_bits(name: &str, x: f64) -> u64 {
    let y = value(name, x);
    if y.is_nan() { 0x7ff8_0000_0000_0000 } else { y.to_f64_round(Round::Nearest).to_bits() }
}
