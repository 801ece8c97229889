//! Tiles for AVX2: 16 registers of 8 sums.

use std::arch::x86_64::*;

use super::engine::{Engine, Form};
use super::tile::{DotLane, Tile, TileFn, pick_tile, tile, tile_by_offsets};
use crate::isa::Isa;

/// Methods that do not depend on the instruction that multiplies.
macro_rules! register {
    () => {
        const COLUMNS: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm256_setzero_si256() })
        }
        #[inline(always)]
        unsafe fn load(from: *const i32) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm256_loadu_si256(from.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_si256(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn left(from: *const u8) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) })
        }
        #[inline(always)]
        unsafe fn right(from: *const u8) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm256_loadu_si256(from.cast()) })
        }
    };
}

/// Bytes: one operand signed, the other not.
#[derive(Clone, Copy)]
struct Bytes<const SIGNED_LEFT: bool>(__m256i);

impl<const SIGNED_LEFT: bool> DotLane for Bytes<SIGNED_LEFT> {
    register!();
    #[inline(always)]
    unsafe fn dot(self, left: Self, right: Self) -> Self {
        let (unsigned, signed) = if SIGNED_LEFT { (right.0, left.0) } else { (left.0, right.0) };
        // SAFETY: registers only; the caller's promise.
        Self(unsafe { _mm256_dpbusd_avx_epi32(self.0, unsigned, signed) })
    }
}

/// Pairs of 16-bit numbers. (The instruction for bytes, `vpmaddubsw`, saturates.)
#[derive(Clone, Copy)]
struct Words(__m256i);

impl DotLane for Words {
    register!();
    #[inline(always)]
    unsafe fn dot(self, left: Self, right: Self) -> Self {
        // SAFETY: registers only; the caller's promise.
        Self(unsafe { _mm256_add_epi32(self.0, _mm256_madd_epi16(left.0, right.0)) })
    }
}

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn vnni<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

/// # Safety
/// As for [`TileFn`]; the tile has as many offsets as groups.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn offsets<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile_by_offsets::<V, ROWS, VECTORS>(t) }
}

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx2")]
unsafe fn words<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

/// Few rows take more columns, so that there are enough independent chains.
fn panels(rows: usize) -> usize {
    match rows {
        0..=1 => 4,
        2..=3 => 2,
        _ => 1,
    }
}

macro_rules! tiles {
    ($entry:ident::<$lane:ty>) => {
        pick_tile!($entry::<$lane>;
            1 => 2 : [1 2 3 4 5 6];
            2 => 4 : [1 2 3];
            4 => 8 : [1];
        )
    };
}

/// 12 sums, 2 registers of the right operand, one of the left.
pub(super) static VNNI: Engine = Engine {
    name: "vnni",
    few_rows: false,
    form: Form::Opposite,
    rows_max: 6,
    panels,
    pick: |signed_left| if signed_left { tiles!(vnni::<Bytes<true>>) } else { tiles!(vnni::<Bytes<false>>) },
    pick_by_offsets: Some(|signed_left| {
        if signed_left { tiles!(offsets::<Bytes<true>>) } else { tiles!(offsets::<Bytes<false>>) }
    }),
    available: || Isa::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
};

pub(super) static WORDS: Engine = Engine {
    name: "pairs",
    few_rows: false,
    form: Form::Pairs,
    rows_max: 6,
    panels,
    pick: |_| tiles!(words::<Words>),
    pick_by_offsets: None,
    available: || Isa::Avx2.is_available(),
};
