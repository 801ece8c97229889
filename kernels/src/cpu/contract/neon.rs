//! Tiles for Advanced SIMD: 32 registers of four f32.

use super::super::lane::neon::F32x4;
use super::tile::{Form, One, Tile, TileFn, TileLane, TileSet, scalar_set, tile, tile_set};

/// # Safety
/// As for [`TileFn`].
#[target_feature(enable = "neon")]
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

/// 24 sums, 4 registers of the right operand, one of the left.
pub(super) fn f32_6x16() -> &'static TileSet<f32> {
    fn panels(rows: usize) -> usize {
        if rows <= 3 { 2 } else { 1 }
    }
    tile_set!(entry::<F32x4> of f32, rows_max 6, panels panels;
        1 => 4 : [1 2 3 4 5 6] [];
        2 => 8 : [1 2 3] [];
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
