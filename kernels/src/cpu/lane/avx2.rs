//! Lanes of AVX2 with FMA: eight f32, or two registers of four f64.
//! Masks are registers of zeros and ones; tables are gathered.

use std::arch::x86_64::*;

use repops::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

use super::pair::Pair;
use super::quick::{self, QuickLane, QuickVector};
use super::{VectorLane, methods};

/// One truth value per 32-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask32(__m256);

impl MaskLane for Mask32 {
    methods! {
        and(a, other) -> Mask32 = _mm256_and_ps(a, other);
        or(a, other) -> Mask32 = _mm256_or_ps(a, other);
        not(a) -> Mask32 = _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi64x(-1)));
    }
}

/// One truth value per 64-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask64(__m256d);

impl MaskLane for Mask64 {
    methods! {
        and(a, other) -> Mask64 = _mm256_and_pd(a, other);
        or(a, other) -> Mask64 = _mm256_or_pd(a, other);
        not(a) -> Mask64 = _mm256_xor_pd(a, _mm256_castsi256_pd(_mm256_set1_epi64x(-1)));
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U32x8(__m256i);

impl IntLane for U32x8 {
    type Word = u32;
    type Mask = Mask32;
    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x8(_mm256_set1_epi32(word.cast_signed())) }
    }
    methods! {
        add(a, other) -> U32x8 = _mm256_add_epi32(a, other);
        sub(a, other) -> U32x8 = _mm256_sub_epi32(a, other);
        and(a, other) -> U32x8 = _mm256_and_si256(a, other);
        or(a, other) -> U32x8 = _mm256_or_si256(a, other);
        xor(a, other) -> U32x8 = _mm256_xor_si256(a, other);
        equal(a, other) -> Mask32 = _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, other));
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x8(_mm256_sll_epi32(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x8(_mm256_srl_epi32(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe {
            U32x8(_mm256_castps_si256(_mm256_blendv_ps(
                _mm256_castsi256_ps(if_false.0),
                _mm256_castsi256_ps(if_true.0),
                mask.0,
            )))
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U64x4(__m256i);

impl IntLane for U64x4 {
    type Word = u64;
    type Mask = Mask64;
    #[inline(always)]
    fn splat(word: u64) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x4(_mm256_set1_epi64x(word.cast_signed())) }
    }
    methods! {
        add(a, other) -> U64x4 = _mm256_add_epi64(a, other);
        sub(a, other) -> U64x4 = _mm256_sub_epi64(a, other);
        and(a, other) -> U64x4 = _mm256_and_si256(a, other);
        or(a, other) -> U64x4 = _mm256_or_si256(a, other);
        xor(a, other) -> U64x4 = _mm256_xor_si256(a, other);
        equal(a, other) -> Mask64 = _mm256_castsi256_pd(_mm256_cmpeq_epi64(a, other));
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x4(_mm256_sll_epi64(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x4(_mm256_srl_epi64(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe {
            U64x4(_mm256_castpd_si256(_mm256_blendv_pd(
                _mm256_castsi256_pd(if_false.0),
                _mm256_castsi256_pd(if_true.0),
                mask.0,
            )))
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

impl FloatLane for F32x8 {
    type Scalar = f32;
    type Mask = Mask32;
    type Bits = U32x8;
    #[inline(always)]
    fn splat(scalar: f32) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_set1_ps(scalar)) }
    }
    methods! {
        add(a, other) -> F32x8 = _mm256_add_ps(a, other);
        sub(a, other) -> F32x8 = _mm256_sub_ps(a, other);
        mul(a, other) -> F32x8 = _mm256_mul_ps(a, other);
        div(a, other) -> F32x8 = _mm256_div_ps(a, other);
        fma(a, factor, addend) -> F32x8 = _mm256_fmadd_ps(a, factor, addend);
        sqrt(a) -> F32x8 = _mm256_sqrt_ps(a);
        equal(a, other) -> Mask32 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, other);
        less(a, other) -> Mask32 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, other);
        less_equal(a, other) -> Mask32 = _mm256_cmp_ps::<_CMP_LE_OQ>(a, other);
        neg(a) -> F32x8 = _mm256_xor_ps(a, _mm256_set1_ps(-0.0));
        abs(a) -> F32x8 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        copysign(a, sign) -> F32x8 = _mm256_or_ps(_mm256_and_ps(_mm256_set1_ps(-0.0), sign), _mm256_andnot_ps(_mm256_set1_ps(-0.0), a));
        to_bits(a) -> U32x8 = _mm256_castps_si256(a);
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_blendv_ps(if_false.0, if_true.0, mask.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U32x8) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_castsi256_ps(bits.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F64x4(__m256d);

impl FloatLane for F64x4 {
    type Scalar = f64;
    type Mask = Mask64;
    type Bits = U64x4;
    #[inline(always)]
    fn splat(scalar: f64) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x4(_mm256_set1_pd(scalar)) }
    }
    methods! {
        add(a, other) -> F64x4 = _mm256_add_pd(a, other);
        sub(a, other) -> F64x4 = _mm256_sub_pd(a, other);
        mul(a, other) -> F64x4 = _mm256_mul_pd(a, other);
        div(a, other) -> F64x4 = _mm256_div_pd(a, other);
        fma(a, factor, addend) -> F64x4 = _mm256_fmadd_pd(a, factor, addend);
        sqrt(a) -> F64x4 = _mm256_sqrt_pd(a);
        equal(a, other) -> Mask64 = _mm256_cmp_pd::<_CMP_EQ_OQ>(a, other);
        less(a, other) -> Mask64 = _mm256_cmp_pd::<_CMP_LT_OQ>(a, other);
        less_equal(a, other) -> Mask64 = _mm256_cmp_pd::<_CMP_LE_OQ>(a, other);
        neg(a) -> F64x4 = _mm256_xor_pd(a, _mm256_set1_pd(-0.0));
        abs(a) -> F64x4 = _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
        copysign(a, sign) -> F64x4 = _mm256_or_pd(_mm256_and_pd(_mm256_set1_pd(-0.0), sign), _mm256_andnot_pd(_mm256_set1_pd(-0.0), a));
        to_bits(a) -> U64x4 = _mm256_castpd_si256(a);
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x4(_mm256_blendv_pd(if_false.0, if_true.0, mask.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U64x4) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x4(_mm256_castsi256_pd(bits.0)) }
    }
}

impl Lane for F32x8 {
    type F64 = Pair<F64x4>;
    #[inline(always)]
    fn widen(self) -> Pair<F64x4> {
        let a = self.0;
        // SAFETY: see `methods`.
        unsafe {
            Pair(
                F64x4(_mm256_cvtps_pd(_mm256_castps256_ps128(a))),
                F64x4(_mm256_cvtps_pd(_mm256_extractf128_ps::<1>(a))),
            )
        }
    }
    #[inline(always)]
    fn canonical_nan(self) -> Self {
        // SAFETY: see `methods`. Decided by the bits: magnitudes are not negative as integers.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fff_ffff));
            let nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f80_0000));
            F32x8(_mm256_castsi256_ps(_mm256_blendv_epi8(bits, _mm256_set1_epi32(0x7fc0_0000), nan)))
        }
    }
    #[inline(always)]
    fn rounded_exp(self) -> Self {
        quick::rounded_exp(self)
    }
    #[inline(always)]
    fn rounded_erf(self) -> Self {
        quick::rounded_erf(self)
    }
    #[inline(always)]
    fn narrow(wide: Pair<F64x4>) -> Self {
        let (low, high) = (wide.0.0, wide.1.0);
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low))) }
    }
}

impl QuickLane for F32x8 {
    const STEPS: usize = 16;
    const COUNT: usize = 8;
    #[inline(always)]
    fn look_up<const N: usize>(table: &'static [f32; N], index: U32x8) -> Self {
        assert!(N == Self::STEPS, "a table of another instruction set");
        let start = table.as_ptr();
        // SAFETY: see `methods`; both halves are loaded, a permute looks at the low three bits of its index, and bit 3
        // becomes the sign that chooses.
        unsafe {
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(start), index.0);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(start.add(8)), index.0);
            F32x8(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index.0))))
        }
    }
    #[inline(always)]
    fn greater_magnitude(self, other: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_max_ps(self.abs().0, other.abs().0)) }
    }
    #[inline(always)]
    fn is_within(self, limit: f32) -> bool {
        Self::all(self.abs().less_equal(Self::splat(limit)))
    }
    #[inline(always)]
    fn truths(mask: Mask32) -> u64 {
        // SAFETY: see `methods`.
        unsafe { u64::from(_mm256_movemask_ps(mask.0).cast_unsigned()) }
    }
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
}

impl QuickVector for F32x8 {
    type Several = Pair<F32x8>;
    #[inline(always)]
    fn exp_by_definition(self) -> Self {
        // SAFETY: see `methods`.
        unsafe { exp_by_definition(self) }
    }
    #[inline(always)]
    fn erf_by_definition(self) -> Self {
        // SAFETY: see `methods`.
        unsafe { erf_by_definition(self) }
    }
}

/// # Safety
/// See `methods`.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn exp_by_definition(x: F32x8) -> F32x8 {
    repops::scalar::exp(x)
}

/// # Safety
/// See `methods`.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn erf_by_definition(x: F32x8) -> F32x8 {
    repops::scalar::erf(x)
}

impl VectorLane for F32x8 {
    #[inline(always)]
    fn if_greater(self, other: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x8(_mm256_max_ps(self.0, other.0)) }
    }
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 8 readable f32.
        unsafe { F32x8(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 8 writable f32.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn all(mask: Mask32) -> bool {
        // SAFETY: see `methods`.
        unsafe { _mm256_movemask_ps(mask.0) == 0xff }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { F32x8(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self {
        // SAFETY: the caller promises 8 readable bytes.
        unsafe { F32x8(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the caller promises 8 readable bytes.
        unsafe { F32x8(_mm256_cvtepi32_ps(bytes(from))) }
    }
    #[inline(always)]
    unsafe fn load_u4<const CENTRED: bool>(from: *const u8) -> [Self; 2] {
        // SAFETY: the caller promises 8 readable bytes.
        unsafe {
            let bytes = bytes(from);
            let less = _mm256_set1_epi32(if CENTRED { 8 } else { 0 });
            [_mm256_and_si256(bytes, _mm256_set1_epi32(15)), _mm256_srli_epi32::<4>(bytes)].map(
                #[inline(always)]
                |bits| F32x8(_mm256_cvtepi32_ps(_mm256_sub_epi32(bits, less))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_u6(low: *const u8, high: *const u8) -> [Self; 4] {
        // SAFETY: the caller promises 8 readable bytes at each place.
        unsafe {
            let (first, second, high) = (bytes(low), bytes(low.add(16)), bytes(high));
            [
                six(first, _mm256_slli_epi32::<4>(high)),
                six(_mm256_srli_epi32::<4>(first), _mm256_slli_epi32::<2>(high)),
                six(second, high),
                six(_mm256_srli_epi32::<4>(second), _mm256_srli_epi32::<2>(high)),
            ]
        }
    }
}

/// Numbers of six bits less 32, out of the low four bits of words and bits 4 and 5 of others.
///
/// # Safety
/// See `methods`.
#[inline(always)]
unsafe fn six(low: __m256i, high: __m256i) -> F32x8 {
    // SAFETY: see `methods`.
    unsafe {
        let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
        let high = _mm256_and_si256(high, _mm256_set1_epi32(48));
        F32x8(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32))))
    }
}

/// Eight bytes, each in a word of its own.
///
/// # Safety
/// `from` points at 8 readable bytes; see `methods`.
#[inline(always)]
unsafe fn bytes(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) }
}

impl Lane64 for F64x4 {
    #[inline(always)]
    fn lookup<const N: usize>(table: &'static [f64; N], index: U64x4) -> Self {
        const { assert!(N.is_power_of_two()) };
        // SAFETY: every index is masked to N - 1.
        F64x4(unsafe {
            let i = _mm256_and_si256(index.0, _mm256_set1_epi64x(N as i64 - 1));
            _mm256_i64gather_pd::<8>(table.as_ptr(), i)
        })
    }
}
