//! Tiles for the build's baseline.

use super::tile::{Form, One, Tile, TileFn, TileLane, TileSet, scalar_set, tile, tile_set};

/// # Safety
/// As for [`TileFn`].
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

pub(super) fn f32_4x16() -> &'static TileSet<f32> {
    scalar_set!(entry, f32)
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
