//! Tiles for the build's baseline: pairs of 16-bit numbers.

use super::engine::{Engine, Form};
use super::tile::{DotLane, PANEL, Tile, TileFn, pick_tile, tile};

/// A panel's sums, or the groups of its columns. Compilers make vectors of the loops.
#[derive(Clone, Copy)]
struct Wide([i32; PANEL]);

/// The two numbers of a group.
#[inline(always)]
fn pair(group: i32) -> [i32; 2] {
    [i32::from(group as i16), group >> 16]
}

impl DotLane for Wide {
    const COLUMNS: usize = PANEL;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Wide([0; PANEL])
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's promise.
        Wide(unsafe { from.cast::<[i32; PANEL]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[i32; PANEL]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn left(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Wide([i32::from_le_bytes(unsafe { from.cast::<[u8; 4]>().read_unaligned() }); PANEL])
    }
    #[inline(always)]
    unsafe fn right(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let groups = unsafe { from.cast::<[[u8; 4]; PANEL]>().read_unaligned() };
        Wide(groups.map(i32::from_le_bytes))
    }
    #[inline(always)]
    unsafe fn dot(mut self, left: Self, right: Self) -> Self {
        let [a, b] = pair(left.0[0]);
        for (sum, right) in self.0.iter_mut().zip(right.0) {
            let [c, d] = pair(right);
            *sum = sum.wrapping_add(a * c + b * d);
        }
        self
    }
}

/// # Safety
/// As for [`TileFn`].
unsafe fn entry<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<V, ROWS, VECTORS>(t) }
}

pub(super) static PAIRS: Engine = Engine {
    name: "pairs",
    few_rows: false,
    form: Form::Pairs,
    rows_max: 2,
    panels: |_| 1,
    pick: |_| pick_tile!(entry::<Wide>; 1 => 1 : [1 2];),
    pick_by_offsets: None,
    available: || true,
};
