//! The register tile of integer products: a few rows by a few panels of sums, over groups of terms.
//!
//! A group is what one instruction multiplies and adds for a column: four bytes, or two 16-bit numbers. In
//! either form it takes four bytes of a row, and 64 bytes of a panel of 16 columns. Invariant: sums wrap in
//! 32 bits, so the order of the terms does not matter.

use super::super::contract::tile::prefetch;

/// Columns of a panel of the right operand.
pub(crate) const PANEL: usize = 16;
/// Bytes of a group of one row.
pub(crate) const GROUP: usize = 4;

/// Rows up to which the right operand is asked for ahead, and how far.
const FEW_ROWS: usize = 5;
const AHEAD: usize = 1 << 10;

/// What one call of a tile computes.
pub(crate) struct Tile {
    /// First group of the first row; rows are `a_row` bytes apart.
    pub a: *const u8,
    pub a_row: usize,
    /// First group of the first panel; panels are `b_panel` bytes apart.
    pub b: *const u8,
    pub b_panel: usize,
    /// If not null, where each group of the right operand is, in bytes from `b`, for tiles that read them there.
    pub offsets: *const usize,
    pub groups: usize,
    /// Where the sums go: `(row, column)` at `row * out_row + column`.
    pub out: *mut i32,
    pub out_row: usize,
    /// If not null, what the sums begin with; rows are `init_row` apart, 0 for the same in every row.
    pub init: *const i32,
    pub init_row: usize,
}

/// A tile of a fixed number of rows and panels.
///
/// # Safety
/// The pointers of the tile are valid for those rows and panels, and the processor has the instructions.
pub(crate) type TileFn = unsafe fn(&Tile);

/// A register of sums, or of the groups that are multiplied.
///
/// # Safety
/// Every function needs the instructions of its set, and pointers that are valid for a register, or for one
/// group for `left`.
pub(crate) trait DotLane: Copy {
    /// Sums of a register.
    const COLUMNS: usize;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    /// The group of a row, for every column.
    unsafe fn left(from: *const u8) -> Self;
    /// The groups of `COLUMNS` columns.
    unsafe fn right(from: *const u8) -> Self;
    /// `self + sum over the group of left * right`, in each column.
    unsafe fn dot(self, left: Self, right: Self) -> Self;
}

/// `ROWS` rows by `VECTORS` registers of columns.
///
/// # Safety
/// As for [`TileFn`].
#[inline(always)]
pub(crate) unsafe fn tile<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile_of::<V, ROWS, VECTORS, false>(t) }
}

/// [`tile`] of groups at offsets of their own.
///
/// # Safety
/// As for [`TileFn`]; the tile has as many offsets as groups.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[inline(always)]
pub(crate) unsafe fn tile_by_offsets<V: DotLane, const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile_of::<V, ROWS, VECTORS, true>(t) }
}

/// # Safety
/// As for [`tile`] and [`tile_by_offsets`].
#[inline(always)]
unsafe fn tile_of<V: DotLane, const ROWS: usize, const VECTORS: usize, const OFFSETS: bool>(t: &Tile) {
    let per_panel = PANEL / V::COLUMNS;
    let column = |v: usize| (v / per_panel) * t.b_panel + (v % per_panel) * V::COLUMNS * GROUP;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        if !t.init.is_null() {
            for (r, row) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = V::load(t.init.add(r * t.init_row + v * V::COLUMNS));
                }
            }
        }
        let (mut a, mut b) = (t.a, t.b);
        for group in 0..t.groups {
            if OFFSETS {
                b = t.b.add(*t.offsets.add(group));
            }
            // Few rows are through with a group before the next ones have come from memory.
            if const { ROWS <= FEW_ROWS && !OFFSETS } {
                for v in (0..VECTORS).step_by(per_panel) {
                    prefetch(b.wrapping_add(column(v) + AHEAD));
                }
            }
            let mut right = [V::zero(); VECTORS];
            for (v, right) in right.iter_mut().enumerate() {
                *right = V::right(b.add(column(v)));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let left = V::left(a.add(r * t.a_row));
                for (sum, right) in row.iter_mut().zip(right) {
                    *sum = sum.dot(left, right);
                }
            }
            a = a.add(GROUP);
            if !OFFSETS {
                b = b.add(GROUP * PANEL);
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                sum.store(t.out.add(r * t.out_row + v * V::COLUMNS));
            }
        }
    }
}

/// A function that picks `entry::<Lane, ROWS, VECTORS>`: `panels => vectors : [rows]`.
macro_rules! pick_tile {
    ($entry:ident::<$lane:ty>; $($p:literal => $vectors:literal : [$($r:literal)*];)*) => {{
        fn pick(rows: usize, panels: usize) -> Option<TileFn> {
            match (panels, rows) {
                $($(($p, $r) => Some($entry::<$lane, $r, $vectors> as TileFn),)*)*
                _ => None,
            }
        }
        pick
    }};
}
pub(crate) use pick_tile;
