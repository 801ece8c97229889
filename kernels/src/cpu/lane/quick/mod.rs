//! Shorter ways to the bits of exp and erf, for machines whose f32 lanes are many.
//!
//! The definition (`repops::scalar`) evaluates in f64: half as many lanes, and a conversion each way. Here the value
//! is the sum of two f32 with a bound of its error, which nearly always says how the exact value rounds (A. Ziv, "Fast
//! evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS 17(3), 1991). Where it
//! does not, in any lane, the caller evaluates the definition.
//!
//! Invariant: where a lane is sure, its bits are the definition's. The bound was measured; what it rests on is that
//! every one of the 2^32 inputs was compared (`cargo xtask slow`, test `all_inputs`).

mod group;
mod tables_16;
mod tables_32;
#[cfg(test)]
mod tests;

use repops::lane::{FloatLane, IntLane, MaskLane};

use super::VectorLane;

/// One or several registers that look up f32.
pub(crate) trait QuickLane: FloatLane<Scalar = f32, Bits: IntLane<Word = u32>> {
    /// Numbers in the tables: 16, or 32 where looking up among those costs no more.
    const STEPS: usize;
    /// Numbers in the registers, at most 64.
    const COUNT: usize;
    /// `table[index mod N]`, for N the `STEPS`.
    fn look_up<const N: usize>(table: &'static [f32; N], index: Self::Bits) -> Self;
    /// Lane by lane the number with the greater magnitude, its sign perhaps lost. Of a NaN whatever.
    fn greater_magnitude(self, other: Self) -> Self;
    /// Whether no magnitude exceeds the limit. Of a NaN whatever.
    fn is_within(self, limit: f32) -> bool;
    /// Bit i is the truth of lane i.
    fn truths(mask: Self::Mask) -> u64;
    /// Reads `COUNT` numbers.
    ///
    /// # Safety
    /// `from` points at `COUNT` readable f32.
    unsafe fn read(from: *const f32) -> Self;
    /// Writes `COUNT` numbers.
    ///
    /// # Safety
    /// `to` points at `COUNT` writable f32.
    unsafe fn write(self, to: *mut f32);
}

/// A register of [`QuickLane`].
pub(crate) trait QuickVector: QuickLane + VectorLane {
    /// So many registers that their operations, one after another, do not wait for each other.
    type Several: QuickLane;
    /// Out of line: seldom called.
    fn exp_by_definition(self) -> Self;
    fn erf_by_definition(self) -> Self;
}

/// 1.5 * 2^23: a small number added to it is rounded to an integer, found in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const SIXTEEN_OVER_LN2: f32 = 23.083_12;
/// ln 2 / 16 and what it lacks. A multiple of the first, or of its half, taken from x by one fma is exact: x and the
/// multiple are multiples of 2^-29 (2^-30) at the least, and the difference is below 2^-5 (2^-6).
const LN2_16: f32 = 0.043_321_7;
const LN2_16_REST: f32 = (0.043_321_698_784_996_58_f64 - LN2_16 as f64) as f32;

/// Bounds of errors relative to the function, which the tables have taken off: 2^-33.9, 2^-35.9, 2^-34.2, 2^-32.2.
const EXP_BOUND_16: f32 = 6.2e-11;
const EXP_BOUND_32: f32 = 1.6e-11;
const ERF_BOUND_16: f32 = 4.9e-11;
const ERF_BOUND_32: f32 = 2.0e-10;

/// e^x, correctly rounded.
#[inline(always)]
pub(super) fn rounded_exp<L: QuickVector>(x: L) -> L {
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
pub(super) fn rounded_erf<L: QuickVector>(x: L) -> L {
    let (y, sure) = erf(x);
    if L::all(sure) {
        return y;
    }
    x.erf_by_definition()
}

/// Beyond this e^x or the errors of the products may be subnormal.
pub(crate) const EXP_LIMIT: f32 = 76.0;

/// e^x, and where it is sure.
#[inline(always)]
fn exp<L: QuickLane>(x: L) -> (L, L::Mask) {
    let (y, sure) = exp_within(x);
    (y, sure.and(x.abs().less_equal(L::splat(EXP_LIMIT))))
}

/// The same within the limit.
#[inline(always)]
pub(crate) fn exp_within<L: QuickLane>(x: L) -> (L, L::Mask) {
    if const { L::STEPS == 32 } {
        // The third coefficient of e^r: 1/6, and what makes (r^5 - c r^3) / 120 least over |r| <= ln 2 / 64, c being
        // 0.8685 times the square of that.
        let sum = exp_sum(x, 0.166_667_52, (&tables_32::EXP_HIGH, &tables_32::EXP_REST));
        rounded(sum, EXP_BOUND_32)
    } else {
        let sum = exp_sum(x, 0.166_670_06, (&tables_16::EXP_HIGH, &tables_16::EXP_REST));
        rounded(sum, EXP_BOUND_16)
    }
}

/// A sum of two, the second less than what it stands for by up to twice `bound` of it: rounded, and where that is sure.
#[inline(always)]
fn rounded<L: FloatLane<Scalar = f32>>((sum, low): (L, L), bound: f32) -> (L, L::Mask) {
    let least = sum.add(low);
    let most = sum.add(sum.fma(L::splat(2.0 * bound), low));
    (least, least.equal(most))
}

/// e^x as a sum of two, by the given third coefficient and 2^(j/N) with what it lacks.
#[inline(always)]
fn exp_sum<L: QuickLane, const N: usize>(
    x: L,
    third: f32,
    (power, lack): (&'static [f32; N], &'static [f32; N]),
) -> (L, L) {
    let splat = L::splat;
    let parts = const { N as f32 / 16.0 };
    let t = x.fma(splat(SIXTEEN_OVER_LN2 * parts), splat(ROUNDER));
    let (k, index) = (t.sub(splat(ROUNDER)), t.to_bits());
    let r = k.fma(splat(-LN2_16 / parts), x);
    let exponent = index.shl(const { 23 - N.trailing_zeros() });
    let high = L::from_bits(L::look_up(power, index).to_bits().add(exponent));
    // What the table and r lack.
    let d = k.fma(splat(-LN2_16_REST / parts), L::look_up(lack, index));
    // e^(r + d) - 1 - r. The third coefficient takes on what the absent fifth power would give.
    let whole = r.add(d);
    let tail = whole.fma(splat(1.0 / 24.0), splat(third)).fma(whole, splat(0.5));
    let rest = whole.mul(whole).fma(tail, d);
    // high (1 + r + rest) as a sum of two: the difference is exact, for r is small, and what the first sum lacks is
    // found by a second that starts with it.
    let sum = high.fma(r, high);
    (sum, high.fma(rest, high.fma(r, high.sub(sum))))
}

/// `coefficient + t y`, all but t a sum of two.
///
/// The difference from the sum is exact, for t y is at most half of the coefficient, or the coefficient is zero.
#[inline(always)]
fn step<L: QuickLane, const N: usize>(
    t: L,
    index: L::Bits,
    (high, rest): (L, L),
    tables: (&'static [f32; N], &'static [f32; N]),
) -> (L, L) {
    let coefficient = L::look_up(tables.0, index);
    let sum = t.fma(high, coefficient);
    let lost = t.fma(high, coefficient.sub(sum));
    // The small ones first, so that one rounding counts.
    (sum, t.fma(rest, L::look_up(tables.1, index).add(lost)))
}

/// erf x, which is right for zeros too, and where it is sure: nowhere else below 1e-30, where errors of products may be
/// subnormal.
#[inline(always)]
pub(crate) fn erf<L: QuickLane>(x: L) -> (L, L::Mask) {
    let magnitude = x.abs();
    let (y, sure) = erf_of_magnitude(magnitude);
    let is_small = magnitude.less(L::splat(1e-30)).and(magnitude.equal(L::splat(0.0)).not());
    (y.copysign(x), sure.and(is_small.not()))
}

/// erf x of an x that is not negative, and where it is sure, but for small x.
#[inline(always)]
pub(crate) fn erf_of_magnitude<L: QuickLane>(x: L) -> (L, L::Mask) {
    if const { L::STEPS == 32 } {
        rounded(erf_sum_32(x), ERF_BOUND_32)
    } else {
        rounded(erf_sum_16(x), ERF_BOUND_16)
    }
}

/// x as the nearest of centres so far apart, by its number, and the difference.
#[inline(always)]
fn nearest_centre<L: QuickLane>(x: L, (distance, inverse): (f32, f32)) -> (L::Bits, L) {
    let splat = L::splat;
    let limit = splat(3.99);
    let a = L::select(limit.less(x), limit, x);
    let t = a.fma(splat(inverse), splat(ROUNDER));
    // Exact: the number has 5 bits at the most, the distance 6, and the difference is small.
    (t.to_bits(), t.sub(splat(ROUNDER)).fma(splat(-distance), a))
}

/// erf x as a sum of two, of an x that is not negative.
///
/// The definition's sixteen expansions, cut to degree 8; from t^4 on in single numbers, the rest in sums of two.
#[inline(always)]
fn erf_sum_16<L: QuickLane>(x: L) -> (L, L) {
    use tables_16::*;
    let (index, t) = nearest_centre(x, (33.0 / 128.0, 128.0 / 33.0));
    let mut q = L::look_up(&ERF_8, index);
    for table in [&ERF_7, &ERF_6, &ERF_5, &ERF_4, &ERF_3_REST] {
        q = q.fma(t, L::look_up(table, index));
    }
    let y = (L::look_up(&ERF_3, index), q);
    let y = step(t, index, y, (&ERF_2, &ERF_2_REST));
    let y = step(t, index, y, (&ERF_1, &ERF_1_REST));
    step(t, index, y, (&ERF_0, &ERF_0_REST))
}

/// The same by twice as many expansions, of degree 6; from t^3 on in single numbers.
#[inline(always)]
fn erf_sum_32<L: QuickLane>(x: L) -> (L, L) {
    use tables_32::*;
    let (index, t) = nearest_centre(x, (33.0 / 256.0, 256.0 / 33.0));
    let mut q = L::look_up(&ERF_6, index);
    for table in [&ERF_5, &ERF_4, &ERF_3, &ERF_2_REST] {
        q = q.fma(t, L::look_up(table, index));
    }
    let y = (L::look_up(&ERF_2, index), q);
    let y = step(t, index, y, (&ERF_1, &ERF_1_REST));
    step(t, index, y, (&ERF_0, &ERF_0_REST))
}
