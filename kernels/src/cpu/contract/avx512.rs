//! Tiles for AVX-512: 32 registers.

use super::super::lane::avx512::F32x16;
use super::tile::{Form, One, Tile, TileFn, TileLane, TileSet, scalar_set, tile, tile_set};

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

/// 24 sums, 2 registers of the right operand, one of the left. Few rows take more columns, so that there
/// are enough independent chains.
pub(super) fn f32_12x32() -> &'static TileSet<f32> {
    fn panels(rows: usize) -> usize {
        match rows {
            0..=2 => 8,
            3..=6 => 4,
            _ => 2,
        }
    }
    tile_set!(entry::<F32x16> of f32, rows_max 12, panels panels;
        1 => 1 : [1 2 3 4 5 6 7 8 9 10 11 12];
        2 => 2 : [1 2 3 4 5 6 7 8 9 10 11 12];
        4 => 4 : [1 2 3 4 5 6];
        8 => 8 : [1 2];
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
