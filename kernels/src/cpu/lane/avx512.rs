//! Lanes of AVX-512 (F, DQ, BW, VL): sixteen f32, or two registers of eight f64.
//! Masks are mask registers; tables of up to 32 entries are looked up by permutes.

use std::arch::x86_64::*;

use repops::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

use super::pair::Pair;
use super::quick::{self, QuickLane, QuickVector};
use super::{VectorLane, methods};

/// One truth value per 32-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask32(__mmask16);

impl MaskLane for Mask32 {
    methods! {
        and(a, other) -> Mask32 = a & other;
        or(a, other) -> Mask32 = a | other;
        not(a) -> Mask32 = !a;
    }
}

/// One truth value per 64-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask64(__mmask8);

impl MaskLane for Mask64 {
    methods! {
        and(a, other) -> Mask64 = a & other;
        or(a, other) -> Mask64 = a | other;
        not(a) -> Mask64 = !a;
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U32x16(__m512i);

impl IntLane for U32x16 {
    type Word = u32;
    type Mask = Mask32;
    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x16(_mm512_set1_epi32(word.cast_signed())) }
    }
    methods! {
        add(a, other) -> U32x16 = _mm512_add_epi32(a, other);
        sub(a, other) -> U32x16 = _mm512_sub_epi32(a, other);
        and(a, other) -> U32x16 = _mm512_and_si512(a, other);
        or(a, other) -> U32x16 = _mm512_or_si512(a, other);
        xor(a, other) -> U32x16 = _mm512_xor_si512(a, other);
        equal(a, other) -> Mask32 = _mm512_cmpeq_epi32_mask(a, other);
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x16(_mm512_sll_epi32(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x16(_mm512_srl_epi32(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x16(_mm512_mask_blend_epi32(mask.0, if_false.0, if_true.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U64x8(__m512i);

impl IntLane for U64x8 {
    type Word = u64;
    type Mask = Mask64;
    #[inline(always)]
    fn splat(word: u64) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x8(_mm512_set1_epi64(word.cast_signed())) }
    }
    methods! {
        add(a, other) -> U64x8 = _mm512_add_epi64(a, other);
        sub(a, other) -> U64x8 = _mm512_sub_epi64(a, other);
        and(a, other) -> U64x8 = _mm512_and_si512(a, other);
        or(a, other) -> U64x8 = _mm512_or_si512(a, other);
        xor(a, other) -> U64x8 = _mm512_xor_si512(a, other);
        equal(a, other) -> Mask64 = _mm512_cmpeq_epi64_mask(a, other);
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x8(_mm512_sll_epi64(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x8(_mm512_srl_epi64(self.0, _mm_cvtsi32_si128(count.cast_signed()))) }
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x8(_mm512_mask_blend_epi64(mask.0, if_false.0, if_true.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl FloatLane for F32x16 {
    type Scalar = f32;
    type Mask = Mask32;
    type Bits = U32x16;
    #[inline(always)]
    fn splat(scalar: f32) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x16(_mm512_set1_ps(scalar)) }
    }
    methods! {
        add(a, other) -> F32x16 = _mm512_add_ps(a, other);
        sub(a, other) -> F32x16 = _mm512_sub_ps(a, other);
        mul(a, other) -> F32x16 = _mm512_mul_ps(a, other);
        div(a, other) -> F32x16 = _mm512_div_ps(a, other);
        fma(a, factor, addend) -> F32x16 = _mm512_fmadd_ps(a, factor, addend);
        sqrt(a) -> F32x16 = _mm512_sqrt_ps(a);
        equal(a, other) -> Mask32 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, other);
        less(a, other) -> Mask32 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, other);
        less_equal(a, other) -> Mask32 = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, other);
        neg(a) -> F32x16 = _mm512_xor_ps(a, _mm512_set1_ps(-0.0));
        abs(a) -> F32x16 = _mm512_andnot_ps(_mm512_set1_ps(-0.0), a);
        copysign(a, sign) -> F32x16 = _mm512_or_ps(_mm512_and_ps(_mm512_set1_ps(-0.0), sign), _mm512_andnot_ps(_mm512_set1_ps(-0.0), a));
        to_bits(a) -> U32x16 = _mm512_castps_si512(a);
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x16(_mm512_mask_blend_ps(mask.0, if_false.0, if_true.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U32x16) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x16(_mm512_castsi512_ps(bits.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

impl FloatLane for F64x8 {
    type Scalar = f64;
    type Mask = Mask64;
    type Bits = U64x8;
    #[inline(always)]
    fn splat(scalar: f64) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x8(_mm512_set1_pd(scalar)) }
    }
    methods! {
        add(a, other) -> F64x8 = _mm512_add_pd(a, other);
        sub(a, other) -> F64x8 = _mm512_sub_pd(a, other);
        mul(a, other) -> F64x8 = _mm512_mul_pd(a, other);
        div(a, other) -> F64x8 = _mm512_div_pd(a, other);
        fma(a, factor, addend) -> F64x8 = _mm512_fmadd_pd(a, factor, addend);
        sqrt(a) -> F64x8 = _mm512_sqrt_pd(a);
        equal(a, other) -> Mask64 = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, other);
        less(a, other) -> Mask64 = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, other);
        less_equal(a, other) -> Mask64 = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, other);
        neg(a) -> F64x8 = _mm512_xor_pd(a, _mm512_set1_pd(-0.0));
        abs(a) -> F64x8 = _mm512_andnot_pd(_mm512_set1_pd(-0.0), a);
        copysign(a, sign) -> F64x8 = _mm512_or_pd(_mm512_and_pd(_mm512_set1_pd(-0.0), sign), _mm512_andnot_pd(_mm512_set1_pd(-0.0), a));
        to_bits(a) -> U64x8 = _mm512_castpd_si512(a);
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x8(_mm512_mask_blend_pd(mask.0, if_false.0, if_true.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U64x8) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x8(_mm512_castsi512_pd(bits.0)) }
    }
}

impl Lane for F32x16 {
    type F64 = Pair<F64x8>;
    #[inline(always)]
    fn widen(self) -> Pair<F64x8> {
        let a = self.0;
        // SAFETY: see `methods`.
        unsafe {
            Pair(
                F64x8(_mm512_cvtps_pd(_mm512_castps512_ps256(a))),
                F64x8(_mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(a))),
            )
        }
    }
    #[inline(always)]
    fn canonical_nan(self) -> Self {
        // SAFETY: see `methods`. Quiet and signalling NaNs by class: no comparison that could be folded.
        unsafe {
            let nan = _mm512_fpclass_ps_mask::<0x81>(self.0);
            F32x16(_mm512_castsi512_ps(_mm512_mask_set1_epi32(_mm512_castps_si512(self.0), nan, 0x7fc0_0000)))
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
    fn narrow(wide: Pair<F64x8>) -> Self {
        let (low, high) = (wide.0.0, wide.1.0);
        // SAFETY: see `methods`.
        unsafe {
            F32x16(_mm512_insertf32x8::<1>(
                _mm512_castps256_ps512(_mm512_cvtpd_ps(low)),
                _mm512_cvtpd_ps(high),
            ))
        }
    }
}

impl QuickLane for F32x16 {
    const STEPS: usize = 32;
    const COUNT: usize = 16;
    #[inline(always)]
    fn look_up<const N: usize>(table: &'static [f32; N], index: U32x16) -> Self {
        assert!(N == Self::STEPS, "a table of another instruction set");
        // SAFETY: see `methods`; both halves are loaded, and a permute looks at the low five bits of its index.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(table.as_ptr()), _mm512_loadu_ps(table.as_ptr().add(16)));
            F32x16(_mm512_permutex2var_ps(low, index.0, high))
        }
    }
    #[inline(always)]
    fn greater_magnitude(self, other: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x16(_mm512_range_ps::<0b1011>(self.0, other.0)) }
    }
    #[inline(always)]
    fn is_within(self, limit: f32) -> bool {
        Self::all(self.abs().less_equal(Self::splat(limit)))
    }
    #[inline(always)]
    fn truths(mask: Mask32) -> u64 {
        u64::from(mask.0)
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

impl QuickVector for F32x16 {
    type Several = Pair<Pair<F32x16>>;
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
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn exp_by_definition(x: F32x16) -> F32x16 {
    repops::scalar::exp(x)
}

/// # Safety
/// See `methods`.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn erf_by_definition(x: F32x16) -> F32x16 {
    repops::scalar::erf(x)
}

impl VectorLane for F32x16 {
    #[inline(always)]
    fn if_greater(self, other: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x16(_mm512_max_ps(self.0, other.0)) }
    }
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 16 readable f32.
        unsafe { F32x16(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 16 writable f32.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mask = if count >= 16 { u16::MAX } else { (1 << count) - 1 };
        // SAFETY: the caller promises as many writable f32.
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }
    #[inline(always)]
    fn all(mask: Mask32) -> bool {
        mask.0 == u16::MAX
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { F32x16(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe {
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { F32x16(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { F32x16(_mm512_cvtepi32_ps(bytes(from))) }
    }
    #[inline(always)]
    unsafe fn load_u4<const CENTRED: bool>(from: *const u8) -> [Self; 2] {
        // A permute looks at the low four bits of its index.
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let table = _mm512_loadu_ps(if CENTRED { CENTRED_4 } else { PLAIN_4 }.as_ptr());
            let bytes = bytes(from);
            [
                F32x16(_mm512_permutexvar_ps(bytes, table)),
                F32x16(_mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), table)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_u6(low: *const u8, high: *const u8) -> [Self; 4] {
        // SAFETY: the caller promises 16 readable bytes at each place.
        unsafe {
            let (first, second, high) = (bytes(low), bytes(low.add(16)), bytes(high));
            [
                six(first, high),
                six(_mm512_srli_epi32::<4>(first), _mm512_srli_epi32::<2>(high)),
                six(second, _mm512_srli_epi32::<4>(high)),
                six(_mm512_srli_epi32::<4>(second), _mm512_srli_epi32::<6>(high)),
            ]
        }
    }
}

/// The number of an index.
static PLAIN_4: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
/// The number of an index, less 8.
static CENTRED_4: [f32; 16] =
    [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
/// 16 times the low two bits of an index, less 32.
static HIGH_2: [f32; 16] =
    [-32.0, -16.0, 0.0, 16.0, -32.0, -16.0, 0.0, 16.0, -32.0, -16.0, 0.0, 16.0, -32.0, -16.0, 0.0, 16.0];

/// Numbers of six bits less 32, out of the low four bits of words and the low two of others. Both are looked up; their
/// sum is exact.
///
/// # Safety
/// See `methods`.
#[inline(always)]
unsafe fn six(low: __m512i, high: __m512i) -> F32x16 {
    // SAFETY: the tables are as long as a register.
    unsafe {
        let low = _mm512_permutexvar_ps(low, _mm512_loadu_ps(PLAIN_4.as_ptr()));
        let high = _mm512_permutexvar_ps(high, _mm512_loadu_ps(HIGH_2.as_ptr()));
        F32x16(_mm512_add_ps(low, high))
    }
}

/// Sixteen bytes, each in a word of its own.
///
/// # Safety
/// `from` points at 16 readable bytes; see `methods`.
#[inline(always)]
unsafe fn bytes(from: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
}

impl Lane64 for F64x8 {
    #[inline(always)]
    fn lookup<const N: usize>(table: &'static [f64; N], index: U64x8) -> Self {
        const { assert!(N.is_power_of_two()) };
        let (start, i) = (table.as_ptr(), index.0);
        // SAFETY: each load reads eight entries at an offset that the branch's N allows; the
        // permutes take the index modulo 8 or 16, the gather's index is masked to N - 1.
        F64x8(unsafe {
            if N == 8 {
                _mm512_permutexvar_pd(i, _mm512_loadu_pd(start))
            } else if N == 16 {
                _mm512_permutex2var_pd(_mm512_loadu_pd(start), i, _mm512_loadu_pd(start.add(8)))
            } else if N == 32 {
                let low = _mm512_permutex2var_pd(_mm512_loadu_pd(start), i, _mm512_loadu_pd(start.add(8)));
                let high =
                    _mm512_permutex2var_pd(_mm512_loadu_pd(start.add(16)), i, _mm512_loadu_pd(start.add(24)));
                _mm512_mask_blend_pd(_mm512_test_epi64_mask(i, _mm512_set1_epi64(16)), low, high)
            } else {
                let i = _mm512_and_si512(i, _mm512_set1_epi64(N as i64 - 1));
                _mm512_i64gather_pd::<8>(i, start)
            }
        })
    }
}
