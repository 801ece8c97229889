//! A shorter way to the bits of exp, for machines whose f32 lanes are many.
//!
//! The definition (`repops::scalar`) evaluates in f64: half as many lanes, and a conversion each way. Here the value
//! is the sum of two f32 with a bound of its error, which nearly always says how the exact value rounds (A. Ziv, "Fast
//! evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS 17(3), 1991). Where it
//! does not, in any lane, the caller evaluates the definition.
//!
//! Invariant: where a lane is sure, its bits are the definition's. The bound was measured; what it rests on is that
//! every one of the 2^32 inputs was compared (`cargo xtask slow`, test `all_inputs`).

use repops::lane::{IntLane, Lane, MaskLane};

use super::quick_tables::*;

/// Lanes that look up f32.
pub(super) trait QuickLane: Lane {
    /// `table[index mod 16]`.
    fn lookup_16(table: &'static [f32; 16], index: Self::Bits) -> Self;
}

/// 1.5 * 2^23: a small number added to it is rounded to an integer, found in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const SIXTEEN_OVER_LN2: f32 = 23.083_12;
/// ln 2 / 16 and what it lacks. A multiple of the first taken from x by one fma is exact: x and the multiple are
/// multiples of 2^-29 at the least, and the difference is below 2^-5.
const LN2_16: f32 = 0.043_321_7;
const LN2_16_REST: f32 = (0.043_321_698_784_996_58_f64 - LN2_16 as f64) as f32;
/// Relative to e^x.
const EXP_BOUND: f32 = 1.0 / (1u64 << 34) as f32;

/// e^x, and where it is sure.
#[inline(always)]
pub(super) fn exp<L: QuickLane>(x: L) -> (L, L::Mask) {
    let splat = L::splat;
    let t = x.fma(splat(SIXTEEN_OVER_LN2), splat(ROUNDER));
    let (k, index) = (t.sub(splat(ROUNDER)), t.to_bits());
    let r = k.fma(splat(-LN2_16), x);
    let high = L::from_bits(L::lookup_16(&EXP_HIGH, index).to_bits().add(index.shl(19)));
    // What the table and r lack.
    let d = k.fma(splat(-LN2_16_REST), L::lookup_16(&EXP_REST, index));
    let square = r.mul(r);
    let tail = r.fma(splat(1.0 / 120.0), splat(1.0 / 24.0)).fma(r, splat(1.0 / 6.0)).fma(r, splat(0.5));
    // e^(r + d) - 1 - r.
    let rest = square.fma(tail, d.fma(square.fma(tail, r), d));
    // high (1 + r + rest) as a sum of two.
    let product = high.mul(r);
    let lost = high.fma(r, product.neg());
    let sum = high.add(product);
    let low = high.fma(rest, lost).add(product.sub(sum.sub(high)));
    let least = sum.add(sum.fma(splat(-EXP_BOUND), low));
    let most = sum.add(sum.fma(splat(EXP_BOUND), low));
    // Beyond, the errors of the products above are subnormal, or e^x is.
    let in_range = x.less_equal(splat(88.0)).and(splat(-60.0).less_equal(x));
    // Half of the least subnormal is e^-103.97.
    let vanishes = x.less(splat(-104.5));
    (L::select(vanishes, splat(0.0), least), least.equal(most).and(in_range).or(vanishes))
}

#[cfg(test)]
mod tests {
    use repops::scalar;

    use super::super::VectorLane;
    use super::super::dispatch::{Vectorized, dispatch};
    use crate::isa::Isa;

    /// exp of all, by whatever way the lanes have.
    struct Quick<'a>(&'a [f32], &'a mut [f32]);

    impl Vectorized for Quick<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            for at in (0..self.0.len()).step_by(V::LANES) {
                // SAFETY: both are as long, a multiple of the lanes.
                unsafe {
                    let x = V::load(self.0.as_ptr().add(at));
                    x.rounded_exp().store(self.1.as_mut_ptr().add(at));
                }
            }
        }
    }

    /// The same by the definition.
    struct Defined<'a>(&'a [f32], &'a mut [f32]);

    impl Vectorized for Defined<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            for at in (0..self.0.len()).step_by(V::LANES) {
                // SAFETY: as above.
                unsafe {
                    let x = V::load(self.0.as_ptr().add(at));
                    scalar::exp(x).store(self.1.as_mut_ptr().add(at));
                }
            }
        }
    }

    fn compare(inputs: &[f32]) {
        let (mut found, mut expected) = (vec![0.0f32; inputs.len()], vec![0.0f32; inputs.len()]);
        for isa in Isa::available() {
            dispatch(isa, Quick(inputs, &mut found));
            dispatch(isa, Defined(inputs, &mut expected));
            for ((x, found), expected) in inputs.iter().zip(&found).zip(&expected) {
                assert_eq!(found.to_bits(), expected.to_bits(), "{} exp of {x:e}", isa.name());
            }
        }
    }

    /// Neighbours and strangers in the lanes: one that is not sure must not disturb the others.
    #[test]
    fn inputs_of_all_sizes() {
        let spread: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
        compare(&spread);
        // The range, densely, and its ends.
        let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (110.0 / 32768.0)).collect();
        compare(&dense);
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-45,
            -1e-40,
            88.8,
            -60.1,
            -103.9,
            -104.6,
            3.92,
            -3.93,
            1e-31,
            -1e30,
            1.0,
        ];
        compare(&special);
        for x in special {
            compare(&[x; 16]);
        }
    }

    /// The proof: 2^32 inputs on every instruction set, half a minute each when optimized.
    #[test]
    #[ignore = "2^32 inputs; `cargo xtask slow` runs it"]
    fn all_inputs() {
        for high in 0..1u32 << 16 {
            let inputs: Vec<f32> = (0..1u32 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
            compare(&inputs);
        }
    }
}
