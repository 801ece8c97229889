//! Loops of the functions that `lane::quick` has shorter ways to.
//!
//! A block is computed by the short way, several registers at a time and without a branch; the few numbers for which it
//! does not decide are noted, and left to the definition after the block. Invariant: that of [`super::loops`].

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use repops::lane::Lane;
use repops::lane_op::{Math, UnaryOp};

use super::super::lane::quick::{self, EXP_LIMIT, QuickLane, QuickVector};
use super::super::lane::{avx2, avx512};
use super::loops;
use crate::isa::Isa;

/// A function with a short way.
trait Quick: Copy {
    /// The function by its meaning.
    fn definition<L: Lane>(self, x: L) -> L;
    /// The function, where these are surely the bits of the definition, and no NaN, and whether that may be relied on.
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool);
}

/// Whether there are short ways with this instruction set.
fn has_ways(isa: Isa) -> bool {
    matches!(isa, Isa::Avx2 | Isa::Avx512)
}

/// `dst[i] = op(x[i])`, if the operator has a short way with this instruction set.
pub(super) fn unary(isa: Isa, op: UnaryOp, x: &[f32], dst: &mut [f32]) -> bool {
    if !has_ways(isa) {
        return false;
    }
    match op {
        UnaryOp::Exp => map(isa, Exp, x, dst),
        UnaryOp::Erf => map(isa, Erf, x, dst),
        UnaryOp::Sigmoid => map(isa, Sigmoid, x, dst),
        UnaryOp::Swish { alpha } => map(isa, Swish(alpha), x, dst),
        UnaryOp::Gelu => map(isa, Gelu::<false>, x, dst),
        _ => return false,
    }
    true
}

/// The same of [`loops::gelu_half_last`].
pub(super) fn gelu_half_last(isa: Isa, x: &[f32], dst: &mut [f32]) -> bool {
    if has_ways(isa) {
        map(isa, Gelu::<true>, x, dst);
    }
    has_ways(isa)
}

#[derive(Clone, Copy)]
struct Exp;
impl Quick for Exp {
    #[inline(always)]
    fn definition<L: Lane>(self, x: L) -> L {
        x.exp()
    }
    #[inline(always)]
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool) {
        let (y, sure) = quick::exp_within(x);
        (y, sure, x.is_within(EXP_LIMIT))
    }
}

#[derive(Clone, Copy)]
struct Erf;
impl Quick for Erf {
    #[inline(always)]
    fn definition<L: Lane>(self, x: L) -> L {
        x.erf()
    }
    #[inline(always)]
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool) {
        let (y, sure) = quick::erf(x);
        (y, sure, true)
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;
impl Quick for Sigmoid {
    #[inline(always)]
    fn definition<L: Lane>(self, x: L) -> L {
        UnaryOp::Sigmoid.apply(x)
    }
    #[inline(always)]
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool) {
        let one = L::splat(1.0);
        let (e, sure) = quick::exp_within(x.abs().neg());
        let y = L::select(x.less(L::splat(0.0)), e, one).div(one.add(e));
        (y, sure, x.is_within(EXP_LIMIT))
    }
}

#[derive(Clone, Copy)]
struct Swish(f32);
impl Quick for Swish {
    #[inline(always)]
    fn definition<L: Lane>(self, x: L) -> L {
        UnaryOp::Swish { alpha: self.0 }.apply(x)
    }
    /// The exponential is sure of finite numbers alone, and of these no product with a sigmoid is NaN.
    #[inline(always)]
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool) {
        let (y, sure, is_reliable) = Sigmoid.quick(L::splat(self.0).mul(x));
        (x.mul(y), sure, is_reliable)
    }
}

/// In its own order, or with the half last.
#[derive(Clone, Copy)]
struct Gelu<const HALF_LAST: bool>;
impl<const HALF_LAST: bool> Gelu<HALF_LAST> {
    const DIVISOR: f32 = std::f32::consts::SQRT_2;
    /// The reciprocal, correctly rounded, and what it lacks, as in `lane::divisor`.
    const HIGH: f32 = 1.0 / Self::DIVISOR;
    const LOW: f32 = ((1.0 - Self::HIGH as f64 * Self::DIVISOR as f64) / Self::DIVISOR as f64) as f32;
}
impl<const HALF_LAST: bool> Quick for Gelu<HALF_LAST> {
    #[inline(always)]
    fn definition<L: Lane>(self, x: L) -> L {
        if HALF_LAST { loops::gelu_half_last(x) } else { UnaryOp::Gelu.apply(x) }
    }
    /// Of small numbers neither the quotient nor erf is right, but 1 and their erf is 1. An infinity becomes a NaN,
    /// of which erf is not sure.
    #[inline(always)]
    fn quick<L: QuickLane>(self, x: L) -> (L, L::Mask, bool) {
        let (high, divisor) = (L::splat(Self::HIGH), L::splat(Self::DIVISOR));
        let quotient = x.fma(high, x.mul(L::splat(Self::LOW)));
        let quotient = quotient.neg().fma(divisor, x).fma(high, quotient);
        let (erf, sure) = quick::erf_of_magnitude(quotient.abs());
        let phi = L::splat(1.0).add(erf.copysign(quotient));
        let half = L::splat(0.5);
        let y = if HALF_LAST { x.mul(phi).mul(half) } else { half.mul(x).mul(phi) };
        (y, sure, true)
    }
}

/// # Panics
/// If the lengths differ or this machine lacks `isa`.
fn map<F: Quick>(isa: Isa, function: F, x: &[f32], dst: &mut [f32]) {
    assert_eq!(x.len(), dst.len(), "arguments of a loop");
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    for (x, dst) in x.chunks(BLOCK).zip(dst.chunks_mut(BLOCK)) {
        if isa == Isa::Avx512 {
            // SAFETY: the instruction set is available.
            unsafe { block_avx512(function, x, dst) };
        } else {
            // SAFETY: the other one of `unary` is available.
            unsafe { block_avx2(function, x, dst) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn block_avx2<F: Quick>(function: F, x: &[f32], dst: &mut [f32]) {
    block::<avx2::F32x8, F>(function, x, dst);
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn block_avx512<F: Quick>(function: F, x: &[f32], dst: &mut [f32]) {
    block::<avx512::F32x16, F>(function, x, dst);
}

/// Numbers of a block: they stay in the first-level cache, and the doubtful ones among them fill a register.
const BLOCK: usize = 4096;

#[inline(always)]
fn block<V: QuickVector, F: Quick>(function: F, x: &[f32], dst: &mut [f32]) {
    const GROUPS_MAX: usize = BLOCK / 16;
    const { assert!(V::Several::COUNT >= 16 && V::Several::COUNT <= 64) };
    let count = const { V::Several::COUNT };
    let groups = x.len() / count;
    assert!(groups <= GROUPS_MAX && dst.len() == x.len(), "numbers of a block");
    // The groups that have doubtful numbers, and which these are.
    let mut doubtful = [MaybeUninit::<(u64, usize)>::uninit(); GROUPS_MAX];
    let mut found = 0;
    for group in 0..groups {
        // SAFETY: so many groups are within both slices.
        let sure = unsafe {
            let (y, sure, is_reliable) = function.quick(V::Several::read(x.as_ptr().add(group * count)));
            y.write(dst.as_mut_ptr().add(group * count));
            if is_reliable { V::Several::truths(sure) } else { 0 }
        };
        let doubt = !sure & (u64::MAX >> (64 - count));
        // No branch: which groups are doubtful cannot be foretold.
        // SAFETY: no more were found than there were groups, of which there are `GROUPS_MAX` at the most.
        unsafe { doubtful.get_unchecked_mut(found) }.write((doubt, group * count));
        found += usize::from(doubt != 0);
    }
    let mut rest = Rest::<V, F> { function, x, dst, places: [0; 16], count: 0, vector: PhantomData };
    for group in &doubtful[..found] {
        // SAFETY: as many were written as were found.
        let (mut doubt, start) = unsafe { group.assume_init() };
        if doubt.count_ones() as usize >= V::LANES {
            rest.registers(start..start + count);
            continue;
        }
        while doubt != 0 {
            rest.number(start + doubt.trailing_zeros() as usize);
            doubt &= doubt - 1;
        }
    }
    let whole = x.len() - x.len() % V::LANES;
    rest.registers(groups * count..whole);
    for at in whole..x.len() {
        rest.number(at);
    }
    if rest.count > 0 {
        rest.gathered();
    }
}

/// What is left of a block to the definition.
struct Rest<'a, V, F> {
    function: F,
    x: &'a [f32],
    dst: &'a mut [f32],
    /// Where the numbers stand that are done together, once there are as many as lanes.
    places: [u16; 16],
    count: usize,
    vector: PhantomData<V>,
}

impl<V: QuickVector, F: Quick> Rest<'_, V, F> {
    /// Whole registers.
    #[inline(always)]
    fn registers(&mut self, range: Range<usize>) {
        for at in range.step_by(V::LANES) {
            let (x, dst) = (&self.x[at..at + V::LANES], &mut self.dst[at..at + V::LANES]);
            // SAFETY: as many elements as lanes.
            unsafe {
                self.function.definition(V::load(x.as_ptr())).canonical_nan().store(dst.as_mut_ptr());
            }
        }
    }

    #[inline(always)]
    fn number(&mut self, at: usize) {
        self.places[self.count] = at as u16;
        self.count += 1;
        if self.count == V::LANES {
            self.gathered();
        }
    }

    #[inline(always)]
    fn gathered(&mut self) {
        const { assert!(V::LANES <= 16) };
        let mut values = [0.0f32; 16];
        for (value, &at) in values.iter_mut().zip(&self.places[..self.count]) {
            *value = self.x[usize::from(at)];
        }
        // SAFETY: the array has at least `LANES` elements.
        unsafe {
            let y = self.function.definition(V::load(values.as_ptr())).canonical_nan();
            y.store(values.as_mut_ptr());
        }
        for (&value, &at) in values.iter().zip(&self.places[..self.count]) {
            self.dst[usize::from(at)] = value;
        }
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISAS: [Isa; 2] = [Isa::Avx2, Isa::Avx512];

    #[track_caller]
    fn compare(op: UnaryOp, x: &[f32], expected: &[f32]) {
        let mut y = vec![-7.0f32; x.len()];
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            assert!(unary(isa, op, x, &mut y));
            for ((x, y), expected) in x.iter().zip(&y).zip(expected) {
                assert_eq!(y.to_bits(), expected.to_bits(), "{op:?} of {x:e} with {}", isa.name());
            }
        }
    }

    fn expected(op: UnaryOp, x: &[f32]) -> Vec<f32> {
        x.iter().map(|&x| op.apply(x).canonical_nan()).collect()
    }

    /// Blocks and what is less, groups that are doubtful as a whole, and numbers that alone are in theirs.
    #[test]
    fn blocks_are_the_definition() {
        let dense = |i: usize| (i % 7919) as f32 * 0.002 - 7.0;
        let mut x: Vec<f32> = (0..2 * BLOCK + 1000).map(dense).collect();
        x[100..400].fill(f32::NEG_INFINITY);
        x[500..600].fill(-104.6);
        x[700..800].fill(0.0);
        x[900..1000].fill(-1e-40);
        x[1100..1117].fill(f32::NAN);
        for (i, x) in x[BLOCK..].iter_mut().enumerate().step_by(97) {
            *x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, 1e-31, 88.8, -103.9, -1e30][i / 97 % 8];
        }
        let swish = UnaryOp::Swish { alpha: 1.702 };
        const LENGTHS: [usize; 11] = [0, 1, 15, 16, 63, 64, 65, 127, BLOCK - 1, BLOCK, BLOCK + 1];
        for op in [UnaryOp::Exp, UnaryOp::Erf, UnaryOp::Sigmoid, swish, UnaryOp::Gelu] {
            let expected = expected(op, &x);
            for len in LENGTHS.into_iter().chain([x.len()]) {
                compare(op, &x[..len], &expected[..len]);
            }
        }
        x.extend([3e38, -3e38, 1.5e38, 2e38, f32::MAX, f32::MIN]);
        for len in LENGTHS.into_iter().chain([x.len()]) {
            compare_half_last(&x[..len]);
        }
    }

    /// The steps one by one, and the other order in which no half is rounded: it is Gelu's.
    #[track_caller]
    fn compare_half_last(x: &[f32]) {
        let mut y = vec![-7.0f32; x.len()];
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            assert!(gelu_half_last(isa, x, &mut y));
            for (&x, y) in x.iter().zip(&y) {
                let expected = (x * (1.0 + Math::erf(x / std::f32::consts::SQRT_2)) * 0.5).canonical_nan();
                assert_eq!(
                    y.to_bits(),
                    expected.to_bits(),
                    "Gelu, its half last, of {x:e} with {}",
                    isa.name()
                );
            }
        }
    }

    /// That Gelu may leave small numbers and infinities as it does. Of the others, that of exp and erf is the proof
    /// (`lane::quick`): they do with the bits of these what the definition does. Neighbours are strangers, lest a whole
    /// group that is doubtful hide a number that is wrong.
    #[test]
    #[ignore = "2^32 inputs; `cargo xtask slow` runs it"]
    fn all_inputs_of_gelu() {
        for high in 0..1u32 << 16 {
            let inputs = (0..1u32 << 16).map(|low| (high << 16 | low).wrapping_mul(0x9e37_79b1));
            let x: Vec<f32> = inputs.map(f32::from_bits).collect();
            let expected = expected(UnaryOp::Gelu, &x);
            compare(UnaryOp::Gelu, &x, &expected);
            compare_half_last(&x);
            // With the half in the middle it is the operator, as `super::gelu` has it.
            for (x, expected) in x.iter().zip(&expected) {
                let phi = 1.0 + Math::erf(x / std::f32::consts::SQRT_2);
                assert_eq!((x * (0.5 * phi)).canonical_nan().to_bits(), expected.to_bits(), "{x:e}");
            }
        }
    }
}
