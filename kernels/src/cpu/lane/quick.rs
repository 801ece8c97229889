//! Shorter ways to the bits of exp and erf, for machines whose f32 lanes are many.
//!
//! The definition (`repops::scalar`) evaluates in f64: half as many lanes, and a conversion each way. Here the value
//! is the sum of two f32 with a bound of its error, which nearly always says how the exact value rounds (A. Ziv, "Fast
//! evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS 17(3), 1991). Where it
//! does not, in any lane, the caller evaluates the definition.
//!
//! Invariant: where a lane is sure, its bits are the definition's. The bound was measured; what it rests on is that
//! every one of the 2^32 inputs was compared (`cargo xtask slow`, test `all_inputs`).

use repops::lane::{IntLane, Lane, MaskLane};

use super::VectorLane;
use super::quick_tables::*;

/// Lanes that look up f32.
pub(super) trait QuickLane: VectorLane {
    /// `table[index mod 16]`.
    fn lookup_16(table: &'static [f32; 16], index: Self::Bits) -> Self;
    /// Out of line: seldom called.
    fn exp_by_definition(self) -> Self;
    fn erf_by_definition(self) -> Self;
}

/// 1.5 * 2^23: a small number added to it is rounded to an integer, found in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const SIXTEEN_OVER_LN2: f32 = 23.083_12;
/// ln 2 / 16 and what it lacks. A multiple of the first taken from x by one fma is exact: x and the multiple are
/// multiples of 2^-29 at the least, and the difference is below 2^-5.
const LN2_16: f32 = 0.043_321_7;
const LN2_16_REST: f32 = (0.043_321_698_784_996_58_f64 - LN2_16 as f64) as f32;
/// The third coefficient of e^r: 1/6, and what makes (r^5 - c r^3) / 120 least over |r| <= ln 2 / 32, c being 0.8685
/// times the square of that.
const EXP_3: f32 = 0.166_670_06;
/// Relative to e^x: 2^-33.91.
const EXP_BOUND: f32 = 6.2e-11;

/// e^x, correctly rounded.
#[inline(always)]
pub(super) fn rounded_exp<L: QuickLane>(x: L) -> L {
    let (y, sure) = exp(x);
    if L::all(sure) {
        return y;
    }
    // Half of the least subnormal is e^-103.97. Masked scores are beyond.
    let vanishes = x.less(L::splat(-104.5));
    if L::all(sure.or(vanishes)) {
        return L::select(vanishes, L::splat(0.0), y);
    }
    x.exp_by_definition()
}

/// erf x, correctly rounded.
#[inline(always)]
pub(super) fn rounded_erf<L: QuickLane>(x: L) -> L {
    let (y, sure) = erf(x);
    if L::all(sure) || L::all(sure.or(x.equal(L::splat(0.0)))) {
        return y;
    }
    x.erf_by_definition()
}

/// e^x, and where it is sure: nowhere beyond 76, where e^x or the errors of the products may be subnormal.
#[inline(always)]
fn exp<L: QuickLane>(x: L) -> (L, L::Mask) {
    let (y, sure) = rounded(exp_sum(x), EXP_BOUND);
    (y, sure.and(x.abs().less_equal(L::splat(76.0))))
}

/// A sum of two that is off by `bound` of it at the most, rounded, and where that is sure.
#[inline(always)]
fn rounded<L: Lane>((sum, low): (L, L), bound: f32) -> (L, L::Mask) {
    let least = sum.add(sum.fma(L::splat(-bound), low));
    let most = sum.add(sum.fma(L::splat(bound), low));
    (least, least.equal(most))
}

/// e^x as a sum of two.
#[inline(always)]
fn exp_sum<L: QuickLane>(x: L) -> (L, L) {
    let splat = L::splat;
    let t = x.fma(splat(SIXTEEN_OVER_LN2), splat(ROUNDER));
    let (k, index) = (t.sub(splat(ROUNDER)), t.to_bits());
    let r = k.fma(splat(-LN2_16), x);
    let high = L::from_bits(L::lookup_16(&EXP_HIGH, index).to_bits().add(index.shl(19)));
    // What the table and r lack.
    let d = k.fma(splat(-LN2_16_REST), L::lookup_16(&EXP_REST, index));
    // e^(r + d) - 1 - r. The third coefficient takes on what the absent fifth power would give.
    let whole = r.add(d);
    let tail = whole.fma(splat(1.0 / 24.0), splat(EXP_3)).fma(whole, splat(0.5));
    let rest = whole.mul(whole).fma(tail, d);
    // high (1 + r + rest) as a sum of two: the difference is exact, for r is small, and what the first sum lacks is
    // found by a second that starts with it.
    let sum = high.fma(r, high);
    (sum, high.fma(rest, high.fma(r, high.sub(sum))))
}

/// Distance of the centres of the expansions of erf.
const ERF_STEP: f32 = 33.0 / 128.0;
const INV_ERF_STEP: f32 = 128.0 / 33.0;
/// Relative to erf x: 2^-34.25.
const ERF_BOUND: f32 = 4.9e-11;

/// `coefficient + t y`, all but t a sum of two.
///
/// The difference from the sum is exact, for t y is at most half of the coefficient, or the coefficient is zero.
#[inline(always)]
fn step<L: QuickLane>(
    t: L,
    index: L::Bits,
    (high, rest): (L, L),
    tables: (&'static [f32; 16], &'static [f32; 16]),
) -> (L, L) {
    let coefficient = L::lookup_16(tables.0, index);
    let sum = t.fma(high, coefficient);
    let lost = t.fma(high, coefficient.sub(sum));
    // The small ones first, so that one rounding counts.
    (sum, t.fma(rest, L::lookup_16(tables.1, index).add(lost)))
}

/// erf x, which is right for zeros too, and where it is sure: nowhere below 1e-30, where errors of products may be
/// subnormal.
#[inline(always)]
fn erf<L: QuickLane>(x: L) -> (L, L::Mask) {
    let magnitude = x.abs();
    let (y, sure) = rounded(erf_sum(magnitude), ERF_BOUND);
    (y.copysign(x), sure.and(L::splat(1e-30).less_equal(magnitude)))
}

/// erf x as a sum of two, of an x that is not negative.
///
/// The definition's sixteen expansions, cut to degree 8; from t^4 on in single numbers, the rest in sums of two.
#[inline(always)]
fn erf_sum<L: QuickLane>(x: L) -> (L, L) {
    let splat = L::splat;
    let limit = splat(3.99);
    let a = L::select(limit.less(x), limit, x);
    let t = a.fma(splat(INV_ERF_STEP), splat(ROUNDER));
    let index = t.to_bits();
    // Exact: j has 4 bits, the step 6, and the difference is small.
    let t = t.sub(splat(ROUNDER)).fma(splat(-ERF_STEP), a);
    let mut q = L::lookup_16(&ERF_8, index);
    for table in [&ERF_7, &ERF_6, &ERF_5, &ERF_4, &ERF_3_REST] {
        q = q.fma(t, L::lookup_16(table, index));
    }
    let y = (L::lookup_16(&ERF_3, index), q);
    let y = step(t, index, y, (&ERF_2, &ERF_2_REST));
    let y = step(t, index, y, (&ERF_1, &ERF_1_REST));
    step(t, index, y, (&ERF_0, &ERF_0_REST))
}

#[cfg(test)]
mod tests {
    use repops::lane::FloatLane;
    use repops::scalar;

    use super::super::dispatch::{Vectorized, dispatch};
    use super::super::{VectorLane, avx2, avx512};
    use crate::isa::Isa;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Erf,
    }

    /// A function of all: by the definition, and by whatever way the lanes have.
    struct All<'a> {
        function: Function,
        x: &'a [f32],
        expected: &'a mut [f32],
        found: &'a mut [f32],
    }

    impl Vectorized for All<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            for at in (0..self.x.len()).step_by(V::LANES) {
                // SAFETY: all are as long, a multiple of the lanes.
                unsafe {
                    let x = V::load(self.x.as_ptr().add(at));
                    let (expected, found) = match self.function {
                        Function::Exp => (scalar::exp(x), x.rounded_exp()),
                        Function::Erf => (scalar::erf(x), x.rounded_erf()),
                    };
                    expected.store(self.expected.as_mut_ptr().add(at));
                    found.store(self.found.as_mut_ptr().add(at));
                }
            }
        }
    }

    /// As [`All`], each lane judged alone: in `rounded_exp` a neighbour that is not sure hides a wrong one.
    macro_rules! alone {
        ($name:ident, $features:literal, $lane:ty) => {
            #[target_feature(enable = $features)]
            fn $name(all: All<'_>) {
                for at in (0..all.x.len()).step_by(<$lane>::LANES) {
                    // SAFETY: all are as long, a multiple of the lanes.
                    unsafe {
                        let x = <$lane>::load(all.x.as_ptr().add(at));
                        let (expected, (y, sure)) = match all.function {
                            Function::Exp => (scalar::exp(x), super::exp(x)),
                            Function::Erf => (scalar::erf(x), super::erf(x)),
                        };
                        expected.store(all.expected.as_mut_ptr().add(at));
                        <$lane>::select(sure, y, expected).store(all.found.as_mut_ptr().add(at));
                    }
                }
            }
        };
    }
    alone!(alone_avx512, "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma", avx512::F32x16);
    alone!(alone_avx2, "avx2,fma", avx2::F32x8);

    fn compare(isa: Isa, alone: bool, x: &[f32]) {
        let (mut found, mut expected) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
        for (function, name) in [(Function::Exp, "exp"), (Function::Erf, "erf")] {
            let all = All { function, x, expected: &mut expected, found: &mut found };
            match isa {
                // SAFETY: the callers ask for what is available.
                Isa::Avx512 if alone => unsafe { alone_avx512(all) },
                // SAFETY: as above.
                Isa::Avx2 if alone => unsafe { alone_avx2(all) },
                isa => dispatch(isa, all),
            }
            for ((x, found), expected) in x.iter().zip(&found).zip(&expected) {
                assert_eq!(found.to_bits(), expected.to_bits(), "{} {name} of {x:e}", isa.name());
            }
        }
    }

    fn compare_all(x: &[f32]) {
        for isa in Isa::available() {
            compare(isa, false, x);
            compare(isa, true, x);
        }
    }

    /// Neighbours and strangers in the lanes: one that is not sure must not disturb the others.
    #[test]
    fn inputs_of_all_sizes() {
        let spread: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
        compare_all(&spread);
        // The ranges, densely, and their ends.
        let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (110.0 / 32768.0)).collect();
        compare_all(&dense);
        let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (4.5 / 32768.0)).collect();
        compare_all(&dense);
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
        compare_all(&special);
        for x in special {
            compare_all(&[x; 16]);
        }
    }

    /// The proof: 2^32 inputs on every instruction set, a minute each when optimized.
    #[test]
    #[ignore = "2^32 inputs; `cargo xtask slow` runs it"]
    fn all_inputs() {
        // Elsewhere the definition is the only way.
        for isa in Isa::available().filter(|isa| matches!(isa, Isa::Avx512 | Isa::Avx2)) {
            for high in 0..1u32 << 16 {
                let inputs: Vec<f32> = (0..1u32 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
                compare(isa, true, &inputs);
            }
        }
    }
}
