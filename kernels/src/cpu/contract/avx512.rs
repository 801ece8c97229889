//! Tiles for AVX-512: 32 registers.

use std::arch::x86_64::*;

use super::super::lane::avx512::F32x16;
use super::tile::{Form, One, Tile, TileFn, TileLane, TileSet, scalar_set, tile, tile_set};
use crate::isa::Isa;

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
unsafe fn entry<
    V: TileLane,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: bool,
    const GATHERED: bool,
>(
    t: &Tile<V::Elem>,
) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS, PACKED, GATHERED>(t) }
}

/// What becomes of sums that are turned, in this order; in the end NaNs are canonical.
pub(super) struct Turned<'a> {
    /// What is added: one number for each column.
    pub bias: Option<&'a [f32]>,
    /// What is added then: as many numbers as results, and as far apart.
    pub addend: Option<&'a [f32]>,
    pub relu: bool,
}

/// Stores columns of a tile of sums as rows: what comes of `(row, column)` at `row * stride + column` goes to
/// `column * to_stride + row`.
///
/// # Panics
/// If there are more than 16 rows or columns, or too few numbers to add.
///
/// # Safety
/// This machine has AVX-512, each row has 16 elements at `tile`, and `to` is valid for the rows of every column.
pub(super) unsafe fn store_turned(
    tile: (*const f32, usize),
    (rows, columns): (usize, usize),
    after: &Turned<'_>,
    to: (*mut f32, usize),
) {
    debug_assert!(Isa::Avx512.is_available());
    assert!((1..=16).contains(&rows) && (1..=16).contains(&columns));
    assert!(after.bias.is_none_or(|bias| bias.len() == columns));
    assert!(after.addend.is_none_or(|addend| addend.len() >= (columns - 1) * to.1 + rows));
    // SAFETY: the instructions are there; the rest is the caller's promise.
    unsafe { turned(tile, (rows, columns), after, to) }
}

/// # Safety
/// As for [`store_turned`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
unsafe fn turned(
    (tile, stride): (*const f32, usize),
    (rows, columns): (usize, usize),
    after: &Turned<'_>,
    (to, to_stride): (*mut f32, usize),
) {
    let mut lines = [_mm512_setzero_ps(); 16];
    for (row, line) in lines[..rows].iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *line = unsafe { _mm512_loadu_ps(tile.add(row * stride)) };
    }
    // Pairs, then fours of rows within each quarter of a register, then the quarters.
    let mut pairs = lines;
    for at in (0..16).step_by(2) {
        pairs[at] = _mm512_unpacklo_ps(lines[at], lines[at + 1]);
        pairs[at + 1] = _mm512_unpackhi_ps(lines[at], lines[at + 1]);
    }
    let double = |v| _mm512_castps_pd(v);
    let single = |v| _mm512_castpd_ps(v);
    let mut fours = lines;
    for at in (0..16).step_by(4) {
        fours[at] = single(_mm512_unpacklo_pd(double(pairs[at]), double(pairs[at + 2])));
        fours[at + 1] = single(_mm512_unpackhi_pd(double(pairs[at]), double(pairs[at + 2])));
        fours[at + 2] = single(_mm512_unpacklo_pd(double(pairs[at + 1]), double(pairs[at + 3])));
        fours[at + 3] = single(_mm512_unpackhi_pd(double(pairs[at + 1]), double(pairs[at + 3])));
    }
    let mut turned = lines;
    for at in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x88>(fours[at], fours[at + 4]);
        let high = _mm512_shuffle_f32x4::<0xdd>(fours[at], fours[at + 4]);
        let low_8 = _mm512_shuffle_f32x4::<0x88>(fours[at + 8], fours[at + 12]);
        let high_8 = _mm512_shuffle_f32x4::<0xdd>(fours[at + 8], fours[at + 12]);
        turned[at] = _mm512_shuffle_f32x4::<0x88>(low, low_8);
        turned[at + 8] = _mm512_shuffle_f32x4::<0xdd>(low, low_8);
        turned[at + 4] = _mm512_shuffle_f32x4::<0x88>(high, high_8);
        turned[at + 12] = _mm512_shuffle_f32x4::<0xdd>(high, high_8);
    }
    let kept = (u32::from(u16::MAX) >> (16 - rows)) as u16;
    for (column, line) in turned[..columns].iter().enumerate() {
        let mut sum = *line;
        if let Some(bias) = after.bias {
            sum = _mm512_add_ps(sum, _mm512_set1_ps(bias[column]));
        }
        if let Some(addend) = after.addend {
            // SAFETY: as asserted by the caller.
            let addend = unsafe { _mm512_maskz_loadu_ps(kept, addend.as_ptr().add(column * to_stride)) };
            sum = _mm512_add_ps(sum, addend);
        }
        if after.relu {
            // Nothing of what is not above zero; NaNs are.
            let above = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(sum, _mm512_setzero_ps());
            sum = _mm512_maskz_mov_ps(above, sum);
        }
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(sum, sum);
        let sum = _mm512_mask_blend_ps(is_nan, sum, _mm512_set1_ps(f32::from_bits(0x7fc0_0000)));
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(to.add(column * to_stride), kept, sum) };
    }
}

/// 24 sums, 2 registers of the right operand, one of the left. Few rows take more columns, so that there
/// are enough independent chains. Where rows are gathered, 28 sums, two registers of the right operand and one of the left are
/// nearly all there are: lines of images are often multiples of 14 long.
pub(super) fn f32_12x32() -> &'static TileSet<f32> {
    fn panels(rows: usize) -> usize {
        match rows {
            0..=2 => 8,
            3..=6 => 4,
            _ => 2,
        }
    }
    tile_set!(entry::<F32x16> of f32, rows_max 12, panels panels;
        1 => 1 : [1 2 3 4 5 6 7 8 9 10 11 12] [13 14];
        2 => 2 : [1 2 3 4 5 6 7 8 9 10 11 12] [13 14];
        4 => 4 : [1 2 3 4 5 6] [];
        8 => 8 : [1 2] [];
    )
}
pub(super) fn f64_4x16() -> &'static TileSet<f64> {
    scalar_set!(entry, f64)
}
pub(super) fn i32_4x16() -> &'static TileSet<i32> {
    scalar_set!(entry, i32)
}
pub(super) fn i64_4x16() -> &'static TileSet<i64> {
    scalar_set!(entry, i64)
}
pub(super) fn u32_4x16() -> &'static TileSet<u32> {
    scalar_set!(entry, u32)
}
pub(super) fn u64_4x16() -> &'static TileSet<u64> {
    scalar_set!(entry, u64)
}
