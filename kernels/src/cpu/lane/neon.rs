//! Lanes of Advanced SIMD: four f32, or two registers of two f64.
//! Masks are registers of zeros and ones; table entries are loaded one by one.

#![allow(unused_unsafe)]

use std::arch::aarch64::*;

use repops::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

use super::pair::Pair;
use super::{VectorLane, methods};

/// One truth value per 32-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask32(uint32x4_t);

impl MaskLane for Mask32 {
    methods! {
        and(a, other) -> Mask32 = vandq_u32(a, other);
        or(a, other) -> Mask32 = vorrq_u32(a, other);
        not(a) -> Mask32 = vmvnq_u32(a);
    }
}

/// One truth value per 64-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Mask64(uint64x2_t);

impl MaskLane for Mask64 {
    methods! {
        and(a, other) -> Mask64 = vandq_u64(a, other);
        or(a, other) -> Mask64 = vorrq_u64(a, other);
        not(a) -> Mask64 = vreinterpretq_u64_u32(vmvnq_u32(vreinterpretq_u32_u64(a)));
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U32x4(uint32x4_t);

impl IntLane for U32x4 {
    type Word = u32;
    type Mask = Mask32;
    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x4(vdupq_n_u32(word)) }
    }
    methods! {
        add(a, other) -> U32x4 = vaddq_u32(a, other);
        sub(a, other) -> U32x4 = vsubq_u32(a, other);
        and(a, other) -> U32x4 = vandq_u32(a, other);
        or(a, other) -> U32x4 = vorrq_u32(a, other);
        xor(a, other) -> U32x4 = veorq_u32(a, other);
        equal(a, other) -> Mask32 = vceqq_u32(a, other);
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x4(vshlq_u32(self.0, vdupq_n_s32(count as i32))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x4(vshlq_u32(self.0, vdupq_n_s32(-(count as i32)))) }
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { U32x4(vbslq_u32(mask.0, if_true.0, if_false.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct U64x2(uint64x2_t);

impl IntLane for U64x2 {
    type Word = u64;
    type Mask = Mask64;
    #[inline(always)]
    fn splat(word: u64) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x2(vdupq_n_u64(word)) }
    }
    methods! {
        add(a, other) -> U64x2 = vaddq_u64(a, other);
        sub(a, other) -> U64x2 = vsubq_u64(a, other);
        and(a, other) -> U64x2 = vandq_u64(a, other);
        or(a, other) -> U64x2 = vorrq_u64(a, other);
        xor(a, other) -> U64x2 = veorq_u64(a, other);
        equal(a, other) -> Mask64 = vceqq_u64(a, other);
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x2(vshlq_u64(self.0, vdupq_n_s64(count as i64))) }
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x2(vshlq_u64(self.0, vdupq_n_s64(-(count as i64)))) }
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { U64x2(vbslq_u64(mask.0, if_true.0, if_false.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

impl FloatLane for F32x4 {
    type Scalar = f32;
    type Mask = Mask32;
    type Bits = U32x4;
    #[inline(always)]
    fn splat(scalar: f32) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x4(vdupq_n_f32(scalar)) }
    }
    methods! {
        add(a, other) -> F32x4 = vaddq_f32(a, other);
        sub(a, other) -> F32x4 = vsubq_f32(a, other);
        mul(a, other) -> F32x4 = vmulq_f32(a, other);
        div(a, other) -> F32x4 = vdivq_f32(a, other);
        fma(a, factor, addend) -> F32x4 = vfmaq_f32(addend, a, factor);
        sqrt(a) -> F32x4 = vsqrtq_f32(a);
        equal(a, other) -> Mask32 = vceqq_f32(a, other);
        less(a, other) -> Mask32 = vcltq_f32(a, other);
        less_equal(a, other) -> Mask32 = vcleq_f32(a, other);
        neg(a) -> F32x4 = vnegq_f32(a);
        abs(a) -> F32x4 = vabsq_f32(a);
        copysign(a, sign) -> F32x4 = vbslq_f32(vdupq_n_u32(1 << 31), sign, a);
        to_bits(a) -> U32x4 = vreinterpretq_u32_f32(a);
    }
    #[inline(always)]
    fn select(mask: Mask32, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x4(vbslq_f32(mask.0, if_true.0, if_false.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U32x4) -> Self {
        // SAFETY: see `methods`.
        unsafe { F32x4(vreinterpretq_f32_u32(bits.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F64x2(float64x2_t);

impl FloatLane for F64x2 {
    type Scalar = f64;
    type Mask = Mask64;
    type Bits = U64x2;
    #[inline(always)]
    fn splat(scalar: f64) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x2(vdupq_n_f64(scalar)) }
    }
    methods! {
        add(a, other) -> F64x2 = vaddq_f64(a, other);
        sub(a, other) -> F64x2 = vsubq_f64(a, other);
        mul(a, other) -> F64x2 = vmulq_f64(a, other);
        div(a, other) -> F64x2 = vdivq_f64(a, other);
        fma(a, factor, addend) -> F64x2 = vfmaq_f64(addend, a, factor);
        sqrt(a) -> F64x2 = vsqrtq_f64(a);
        equal(a, other) -> Mask64 = vceqq_f64(a, other);
        less(a, other) -> Mask64 = vcltq_f64(a, other);
        less_equal(a, other) -> Mask64 = vcleq_f64(a, other);
        neg(a) -> F64x2 = vnegq_f64(a);
        abs(a) -> F64x2 = vabsq_f64(a);
        copysign(a, sign) -> F64x2 = vbslq_f64(vdupq_n_u64(1 << 63), sign, a);
        to_bits(a) -> U64x2 = vreinterpretq_u64_f64(a);
    }
    #[inline(always)]
    fn select(mask: Mask64, if_true: Self, if_false: Self) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x2(vbslq_f64(mask.0, if_true.0, if_false.0)) }
    }
    #[inline(always)]
    fn from_bits(bits: U64x2) -> Self {
        // SAFETY: see `methods`.
        unsafe { F64x2(vreinterpretq_f64_u64(bits.0)) }
    }
}

impl Lane for F32x4 {
    type F64 = Pair<F64x2>;
    #[inline(always)]
    fn widen(self) -> Pair<F64x2> {
        let a = self.0;
        // SAFETY: see `methods`.
        unsafe { Pair(F64x2(vcvt_f64_f32(vget_low_f32(a))), F64x2(vcvt_high_f64_f32(a))) }
    }
    #[inline(always)]
    fn canonical_nan(self) -> Self {
        // SAFETY: see `methods`. Decided by the bits: magnitudes are not negative as integers.
        unsafe {
            let bits = vreinterpretq_u32_f32(self.0);
            let magnitude = vandq_u32(bits, vdupq_n_u32(0x7fff_ffff));
            let nan = vcgtq_u32(magnitude, vdupq_n_u32(0x7f80_0000));
            F32x4(vreinterpretq_f32_u32(vbslq_u32(nan, vdupq_n_u32(0x7fc0_0000), bits)))
        }
    }
    #[inline(always)]
    fn narrow(wide: Pair<F64x2>) -> Self {
        let (low, high) = (wide.0.0, wide.1.0);
        // SAFETY: see `methods`.
        unsafe { F32x4(vcvt_high_f32_f64(vcvt_f32_f64(low), high)) }
    }
}

impl VectorLane for F32x4 {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 4 readable f32.
        unsafe { F32x4(vld1q_f32(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 4 writable f32.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    fn all(mask: Mask32) -> bool {
        // SAFETY: see `methods`.
        unsafe { vminvq_u32(mask.0) == u32::MAX }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: the caller promises 8 readable bytes; the instruction is part of Advanced SIMD.
        unsafe {
            let halves = vld1_u8(from);
            let wide: float32x4_t;
            std::arch::asm!(
                "fcvtl {0:v}.4s, {1:v}.4h",
                out(vreg) wide,
                in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags)
            );
            F32x4(wide)
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: the caller promises 8 readable bytes.
        unsafe { F32x4(vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(from))))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe {
            let bytes = vreinterpret_s8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
            F32x4(vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes)))))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe { F32x4(vcvtq_f32_u32(bytes(from))) }
    }
    #[inline(always)]
    unsafe fn load_u4<const CENTRED: bool>(from: *const u8) -> [Self; 2] {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe {
            let bytes = bytes(from);
            let less = vdupq_n_s32(if CENTRED { 8 } else { 0 });
            [vandq_u32(bytes, vdupq_n_u32(15)), vshrq_n_u32::<4>(bytes)].map(
                #[inline(always)]
                |bits| F32x4(vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(bits), less))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_u6(low: *const u8, high: *const u8) -> [Self; 4] {
        // SAFETY: the caller promises 4 readable bytes at each place.
        unsafe {
            let (first, second, high) = (bytes(low), bytes(low.add(16)), bytes(high));
            [
                six(first, vshlq_n_u32::<4>(high)),
                six(vshrq_n_u32::<4>(first), vshlq_n_u32::<2>(high)),
                six(second, high),
                six(vshrq_n_u32::<4>(second), vshrq_n_u32::<2>(high)),
            ]
        }
    }
}

/// Numbers of six bits less 32, out of the low four bits of words and bits 4 and 5 of others.
///
/// # Safety
/// See `methods`.
#[inline(always)]
unsafe fn six(low: uint32x4_t, high: uint32x4_t) -> F32x4 {
    // SAFETY: see `methods`.
    unsafe {
        let bits = vorrq_u32(vandq_u32(low, vdupq_n_u32(15)), vandq_u32(high, vdupq_n_u32(48)));
        F32x4(vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(bits), vdupq_n_s32(32))))
    }
}

/// Four bytes, each in a word of its own.
///
/// # Safety
/// `from` points at 4 readable bytes; see `methods`.
#[inline(always)]
unsafe fn bytes(from: *const u8) -> uint32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = vreinterpret_u8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
        vmovl_u16(vget_low_u16(vmovl_u8(bytes)))
    }
}

impl Lane64 for F64x2 {
    #[inline(always)]
    fn lookup<const N: usize>(table: &'static [f64; N], index: U64x2) -> Self {
        const { assert!(N.is_power_of_two()) };
        // SAFETY: see `methods`.
        let (i, j) = unsafe { (vgetq_lane_u64::<0>(index.0), vgetq_lane_u64::<1>(index.0)) };
        let pair = [table[i as usize & (N - 1)], table[j as usize & (N - 1)]];
        // SAFETY: `pair` holds two f64.
        F64x2(unsafe { vld1q_f64(pair.as_ptr()) })
    }
}
