//! Tiles for AVX2 with FMA: 16 registers.

use super::super::lane::avx2::F32x8;
use super::tile::{Form, One, Tile, TileFn, TileLane, TileSet, scalar_set, tile, tile_set};

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "avx2,fma")]
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

/// 12 sums, 2 registers of the right operand, one of the left.
pub(super) fn f32_6x16() -> &'static TileSet<f32> {
    fn panels(rows: usize) -> usize {
        match rows {
            0..=1 => 4,
            2..=3 => 2,
            _ => 1,
        }
    }
    tile_set!(entry::<F32x8> of f32, rows_max 6, panels panels;
        1 => 2 : [1 2 3 4 5 6] [];
        2 => 4 : [1 2 3] [];
        4 => 8 : [1] [];
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
