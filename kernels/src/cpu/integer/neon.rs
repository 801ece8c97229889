//! Tiles for AArch64: 32 registers of 4 sums.

use std::arch::aarch64::*;
use std::arch::asm;

use super::engine::{Engine, Form};
use super::tile::{DotLane, Tile, TileFn, pick_tile, tile};
use crate::isa::Isa;

/// Signed bytes; `DOT`: by the instruction that multiplies and adds four of them.
#[derive(Clone, Copy)]
struct Bytes<const DOT: bool>(int32x4_t);

impl<const DOT: bool> DotLane for Bytes<DOT> {
    const COLUMNS: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vdupq_n_s32(0) })
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vld1q_s32(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn left(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vdupq_n_s32(from.cast::<i32>().read_unaligned()) })
    }
    #[inline(always)]
    unsafe fn right(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vreinterpretq_s32_u8(vld1q_u8(from)) })
    }
    #[inline(always)]
    unsafe fn dot(self, left: Self, right: Self) -> Self {
        // SAFETY: registers only; the caller's promise.
        unsafe {
            if DOT {
                let mut sum = self.0;
                asm!(
                    ".arch_extension dotprod",
                    "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                    inout(vreg) sum,
                    in(vreg) left.0,
                    in(vreg) right.0,
                    options(pure, nomem, nostack, preserves_flags)
                );
                return Self(sum);
            }
            let (left, right) = (vreinterpretq_s8_s32(left.0), vreinterpretq_s8_s32(right.0));
            // A product fits 16 bits, the sum of two does not.
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(left), vget_low_s8(right)));
            let high = vpaddlq_s16(vmull_high_s8(left, right));
            Self(vaddq_s32(self.0, vpaddq_s32(low, high)))
        }
    }
}

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "neon")]
unsafe fn entry<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

fn panels(rows: usize) -> usize {
    if rows <= 3 { 2 } else { 1 }
}

macro_rules! tiles {
    ($lane:ty) => {
        pick_tile!(entry::<$lane>; 1 => 4 : [1 2 3 4 5 6]; 2 => 8 : [1 2 3];)
    };
}

/// 24 sums, 4 registers of the right operand, one of the left.
pub(super) static DOT: Engine = Engine {
    name: "dotprod",
    few_rows: false,
    form: Form::Signed,
    rows_max: 6,
    panels,
    pick: |_| tiles!(Bytes<true>),
    pick_by_offsets: None,
    available: || Isa::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod"),
};

pub(super) static WIDENING: Engine = Engine {
    name: "widening",
    few_rows: false,
    form: Form::Signed,
    rows_max: 6,
    panels,
    pick: |_| tiles!(Bytes<false>),
    pick_by_offsets: None,
    available: || Isa::Neon.is_available(),
};
