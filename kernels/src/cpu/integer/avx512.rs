//! Tiles for AVX-512: 32 registers of 16 sums.

use std::arch::x86_64::*;

use super::engine::{Engine, Form};
use super::tile::{DotLane, Tile, TileFn, pick_tile, tile, tile_by_offsets};
use crate::isa::Isa;

/// Methods that do not depend on the instruction that multiplies.
macro_rules! register {
    () => {
        const COLUMNS: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm512_setzero_si512() })
        }
        #[inline(always)]
        unsafe fn load(from: *const i32) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm512_loadu_si512(from.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn left(from: *const u8) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) })
        }
        #[inline(always)]
        unsafe fn right(from: *const u8) -> Self {
            // SAFETY: the caller's promise.
            Self(unsafe { _mm512_loadu_si512(from.cast()) })
        }
    };
}

/// Bytes: one operand signed, the other not.
#[derive(Clone, Copy)]
struct Bytes<const SIGNED_LEFT: bool>(__m512i);

impl<const SIGNED_LEFT: bool> DotLane for Bytes<SIGNED_LEFT> {
    register!();
    #[inline(always)]
    unsafe fn dot(self, left: Self, right: Self) -> Self {
        let (unsigned, signed) = if SIGNED_LEFT { (right.0, left.0) } else { (left.0, right.0) };
        // SAFETY: registers only; the caller's promise.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, unsigned, signed) })
    }
}

/// Pairs of 16-bit numbers.
#[derive(Clone, Copy)]
struct Words(__m512i);

impl DotLane for Words {
    register!();
    #[inline(always)]
    unsafe fn dot(self, left: Self, right: Self) -> Self {
        // SAFETY: registers only; the caller's promise.
        Self(unsafe { _mm512_add_epi32(self.0, _mm512_madd_epi16(left.0, right.0)) })
    }
}

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")]
unsafe fn vnni<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

/// # Safety
/// As for [`TileFn`]; the tile has as many offsets as groups.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")]
unsafe fn offsets<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile_by_offsets::<V, ROWS, VECTORS>(t) }
}

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
unsafe fn words<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

/// Whether this machine has the instructions of [`VNNI`].
pub(super) fn vnni_available() -> bool {
    Isa::Avx512.is_available() && is_x86_feature_detected!("avx512vnni")
}

/// Few rows take more columns, so that there are enough independent chains.
fn panels(rows: usize) -> usize {
    match rows {
        0..=2 => 8,
        3..=6 => 4,
        _ => 2,
    }
}

macro_rules! tiles {
    ($entry:ident::<$lane:ty>) => {
        pick_tile!($entry::<$lane>;
            1 => 1 : [1 2 3 4 5 6 7 8 9 10 11 12];
            2 => 2 : [1 2 3 4 5 6 7 8 9 10 11 12];
            4 => 4 : [1 2 3 4 5 6];
            8 => 8 : [1 2];
        )
    };
}

/// 24 sums, 2 registers of the right operand, one of the left.
pub(super) static VNNI: Engine = Engine {
    name: "vnni",
    few_rows: true,
    form: Form::Opposite,
    rows_max: 12,
    panels,
    pick: |signed_left| if signed_left { tiles!(vnni::<Bytes<true>>) } else { tiles!(vnni::<Bytes<false>>) },
    pick_by_offsets: Some(|signed_left| {
        if signed_left { tiles!(offsets::<Bytes<true>>) } else { tiles!(offsets::<Bytes<false>>) }
    }),
    available: vnni_available,
};

pub(super) static WORDS: Engine = Engine {
    name: "pairs",
    few_rows: false,
    form: Form::Pairs,
    rows_max: 12,
    panels,
    pick: |_| tiles!(words::<Words>),
    pick_by_offsets: None,
    available: || Isa::Avx512.is_available(),
};
