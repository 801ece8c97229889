//! The exponential within a softmax.
//!
//! Unlike the functions beside it this one is its own specification, operation by operation (docs/SCALAR.md, S.3): what a
//! softmax sums up are rounded sums of thousands of such terms, so that the last bit of each says nothing about the
//! mathematics, and thirteen binary32 operations without a table are the same few instructions on every machine.

use crate::lane::{IntLane, Lane};

/// 1.5 * 2^23 + 127: what is added to it is rounded to an integer k, and k + 127 found in the low bits.
const ROUNDER: f32 = 12_583_039.0;
const INV_LN2: f32 = std::f32::consts::LOG2_E;
/// ln 2 to 15 bits, so that its product with k is exact, and what it lacks.
const LN2_HI: f32 = f32::from_bits(0x3f31_7200);
const LN2_LO: f32 = f32::from_bits(0x35bf_be8e);
/// Of r^2 to r^6 in e^r, the best for |r| <= ln 2 / 2: relative error below 2^-28.
const TAIL: [f32; 5] = [
    f32::from_bits(0x3eff_fffe),
    f32::from_bits(0x3e2a_aa49),
    f32::from_bits(0x3d2a_ac79),
    f32::from_bits(0x3c09_1cf1),
    f32::from_bits(0x3ab5_121a),
];
/// Below, the result is +0; from here on it is a normal number.
const LEAST: f32 = -87.0;

/// About e^x for x <= 0, within one unit in the last place; +0 below -87; NaN of NaN, in no particular form.
///
/// Total: above 0 the operations give what they give, which is e^x up to 88.
#[inline(always)]
pub fn softmax_exp<L: Lane>(x: L) -> L {
    let splat = L::splat;
    let t = x.fma(splat(INV_LN2), splat(ROUNDER));
    let k = t.sub(splat(ROUNDER));
    let r = k.fma(splat(-LN2_HI), x);
    let r = k.fma(splat(-LN2_LO), r);
    let mut p = splat(TAIL[4]);
    for &c in TAIL[..4].iter().rev() {
        p = p.fma(r, splat(c));
    }
    let p = p.fma(r, splat(1.0)).fma(r, splat(1.0));
    let power = L::from_bits(t.to_bits().shl(23));
    L::select(x.less(splat(LEAST)), splat(0.0), p.mul(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar;

    /// In units of the last place of e^x rounded.
    fn error(x: f32) -> f64 {
        let exact = scalar::f64_::exp(f64::from(x));
        let unit = f64::from(f32::from_bits(scalar::exp(x).to_bits() + 1)) - f64::from(scalar::exp(x));
        (f64::from(softmax_exp(x)) - exact).abs() / unit
    }

    #[test]
    fn is_close_to_e_to_the_x() {
        // Every 97th number of [-87, -0].
        for bits in (0x8000_0000..=(-87.0f32).to_bits()).step_by(97) {
            let x = f32::from_bits(bits);
            assert!(error(x) < 1.0, "{x}: {}", error(x));
        }
    }

    #[test]
    fn edges() {
        for (x, y) in [(0.0, 1.0f32), (-0.0, 1.0), (-87.000_01, 0.0), (f32::NEG_INFINITY, 0.0), (-1e38, 0.0)]
        {
            assert_eq!(softmax_exp(x).to_bits(), y.to_bits(), "{x}");
        }
        assert!(softmax_exp(-87.0f32) >= f32::MIN_POSITIVE);
        for bits in [0x7fc0_0000u32, 0x7f80_0001, 0xffff_ffff, 0x7fff_ff81] {
            assert!(softmax_exp(f32::from_bits(bits)).is_nan());
        }
    }

    /// The very operations, so that none changes unseen.
    #[test]
    fn bits_of_some() {
        for (x, y) in BITS {
            assert_eq!(softmax_exp(x).to_bits(), y, "{x}: {:08x}", softmax_exp(x).to_bits());
        }
    }

    /// Found in rational arithmetic.
    const BITS: [(f32, u32); 6] = [
        (-0.25, 0x3f47_5f7d),
        (-1.0, 0x3ebc_5ab2),
        (-0.346_573_6, 0x3f35_04f3),
        (-10.5, 0x37e6_fe13),
        (-50.125, 0x1b4d_c5ef),
        (-87.0, 0x00b3_3687),
    ];
}
