//! Shorter ways to the bits of exp and erf, for machines whose f32 lanes are many.
//!
//! The definition (`repops::scalar`) evaluates in f64: half as many lanes, and a conversion each way. Here the value
//! is the sum of two f32 with a bound of its error, which nearly always says how the exact value rounds (A. Ziv, "Fast
//! evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS 17(3), 1991). Where it
//! does not, in any lane, the caller evaluates the definition.
//!
//! Invariant: where a lane is sure, its bits are the definition's. The bound was measured; what it rests on is that
//! every one of the 2^32 inputs was compared (`cargo xtask slow`, test `all_inputs`).

use repops::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

use super::quick_tables::*;

/// Lanes that look up f32.
pub(super) trait QuickLane: Lane {
    /// `table[index mod 16]`.
    fn lookup_16(table: &'static [f32; 16], index: Self::Bits) -> Self;
}

/// Lanes whose f64 lanes look up f64 by the index that f32 look up by.
pub(super) trait WideQuickLane: QuickLane {
    fn widen_index(index: Self::Bits) -> <Self::F64 as FloatLane>::Bits;
    /// Whether the mask holds in no lane.
    fn none(mask: <Self::F64 as FloatLane>::Mask) -> bool;
    /// Whether the mask holds in every lane.
    fn every(mask: Self::Mask) -> bool;
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

/// Distance of the centres of the expansions of erf.
const ERF_STEP: f32 = 33.0 / 128.0;
const INV_ERF_STEP: f32 = 128.0 / 33.0;
/// How far a value in f64 is from erf at the most, in units of its last place.
const ERF_BOUND: u64 = 1 << 17;

/// erf x, and whether it is sure in every lane.
///
/// The definition's sixteen expansions, cut to degree 8: from t^4 on in f32, the rest in f64. Bits that an f64 has and an
/// f32 has not tell how far the value is from where rounding turns.
#[inline(always)]
pub(super) fn erf<L: WideQuickLane>(x: L) -> (L, bool) {
    let splat = L::splat;
    let wide = <L::F64 as FloatLane>::Bits::splat;
    let (magnitude, limit) = (x.abs(), splat(3.99));
    let a = L::select(limit.less(magnitude), limit, magnitude);
    let t = a.fma(splat(INV_ERF_STEP), splat(ROUNDER));
    let index = t.to_bits();
    // Exact: j has 4 bits, the step 6, and the difference is small.
    let t = t.sub(splat(ROUNDER)).fma(splat(-ERF_STEP), a);
    let mut q = L::lookup_16(&ERF_8, index);
    for table in [&ERF_7, &ERF_6, &ERF_5, &ERF_4] {
        q = q.fma(t, L::lookup_16(table, index));
    }
    let (t, index) = (t.widen(), L::widen_index(index));
    let mut y = q.widen();
    for table in [&ERF_3, &ERF_2, &ERF_1, &ERF_0] {
        y = y.fma(t, L::F64::lookup(table, index));
    }
    // The 29 bits that rounding drops, less those of the lowest value that may round the other way.
    const DROPPED: u64 = (1 << 29) - 1;
    const TURN: u64 = (1 << 28) - ERF_BOUND;
    let near = y.to_bits().sub(wide(TURN)).and(wide(DROPPED & !(2 * ERF_BOUND - 1))).equal(wide(0));
    // NaNs are left to the definition, and what is so small that the result may be subnormal.
    let known = splat(1e-30).less_equal(magnitude).or(magnitude.equal(splat(0.0)));
    (L::narrow(y).copysign(x), L::every(known) && L::none(near))
}

#[cfg(test)]
mod tests {
    use repops::scalar;

    use super::super::VectorLane;
    use super::super::dispatch::{Vectorized, dispatch};
    use crate::isa::Isa;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Erf,
    }

    /// A function of all, by whatever way the lanes have, or by the definition.
    struct All<'a> {
        function: Function,
        is_defined: bool,
        x: &'a [f32],
        y: &'a mut [f32],
    }

    impl Vectorized for All<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            for at in (0..self.x.len()).step_by(V::LANES) {
                // SAFETY: both are as long, a multiple of the lanes.
                unsafe {
                    let x = V::load(self.x.as_ptr().add(at));
                    let y = match (self.function, self.is_defined) {
                        (Function::Exp, false) => x.rounded_exp(),
                        (Function::Exp, true) => scalar::exp(x),
                        (Function::Erf, false) => x.rounded_erf(),
                        (Function::Erf, true) => scalar::erf(x),
                    };
                    y.store(self.y.as_mut_ptr().add(at));
                }
            }
        }
    }

    fn compare(x: &[f32]) {
        compare_on(Isa::available(), x);
    }

    fn compare_on(isas: impl Iterator<Item = Isa>, x: &[f32]) {
        let (mut found, mut expected) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
        for isa in isas {
            for (function, name) in [(Function::Exp, "exp"), (Function::Erf, "erf")] {
                dispatch(isa, All { function, is_defined: false, x, y: &mut found });
                dispatch(isa, All { function, is_defined: true, x, y: &mut expected });
                for ((x, found), expected) in x.iter().zip(&found).zip(&expected) {
                    assert_eq!(found.to_bits(), expected.to_bits(), "{} {name} of {x:e}", isa.name());
                }
            }
        }
    }

    /// Neighbours and strangers in the lanes: one that is not sure must not disturb the others.
    #[test]
    fn inputs_of_all_sizes() {
        let spread: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
        compare(&spread);
        // The ranges, densely, and their ends.
        let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (110.0 / 32768.0)).collect();
        compare(&dense);
        let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (4.5 / 32768.0)).collect();
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
        // Elsewhere the definition is the only way.
        let isas = || Isa::available().filter(|isa| matches!(isa, Isa::Avx512 | Isa::Avx2));
        for high in 0..1u32 << 16 {
            let inputs: Vec<f32> = (0..1u32 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
            compare_on(isas(), &inputs);
        }
    }
}
