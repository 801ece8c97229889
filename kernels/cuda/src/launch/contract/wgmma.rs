//! Large products of bytes on Hopper: operands are packed once, then warpgroups multiply them.
//!
//! Invariant: shapes alone decide whether a product is large. The bits are those of [`super::integer`], exact sums, whatever computes
//! them.

use super::integer::{Operands, address, step};
use super::product::size;
use crate::device::{Argument, Device, View};
use crate::{Error, kernels};

kernels! {
    MODULE = "igemm_wgmma.90a";
    PACK_ROWS = "pack_rows";
    PACK_COLUMNS = "pack_columns";
    ADD_PARTS = "add_parts";
    IGEMM_256X192 = "igemm_256x192";
    QGEMM_256X192 = "qgemm_256x192";
}

/// The kernels' constants: a tile of results, terms of a step, rows or columns that a block packs, steps of a partial sum.
const TILE: [u32; 2] = [256, 192];
const STEP: u32 = 128;
const UNIT: u32 = 64;
const PART: u32 = 8;
/// Four stages, each a tile's rows and columns of a step, and two barriers of 8 bytes for each.
const SHARED_BYTES: u32 = 4 * ((TILE[0] + TILE[1]) * STEP + 16);
/// Blocks that take tiles in turn: as many as an H100 or H200 has processors. On another chip some of them wait.
pub(super) const BLOCKS: u32 = 132;

/// With fewer tiles much of the chip is idle, with fewer terms packing takes longer than is saved.
const TILES_MIN: u64 = 64;
const TERMS_MIN: u32 = 1024;
/// Bytes of both packed operands.
const PACKED_MAX: u64 = 4 << 30;

/// Whether a product is worth packing its operands.
pub(super) fn is_large(m: u32, n: u32, k: u32) -> bool {
    let (down, across) = (u64::from(m.div_ceil(TILE[0])), u64::from(n.div_ceil(TILE[1])));
    let rows = down * u64::from(TILE[0]) + across * u64::from(TILE[1]);
    let packed = rows * u64::from(k.div_ceil(STEP)) * u64::from(STEP);
    let fills_tiles = m >= TILE[0] / 2 && n >= TILE[1] / 2;
    fills_tiles && down * across >= TILES_MIN && k >= TERMS_MIN && packed <= PACKED_MAX
}

/// Of one matrix by another. `scales`: as the kernels' `SCALES`, empty for exact sums. `blocks`: at most.
pub(super) fn launch<D: Device>(
    device: &D,
    operands: &Operands<'_, D::Buffer>,
    [m, n, k]: [u32; 3],
    scales: Vec<Argument<'_, D::Buffer>>,
    blocks: u32,
) -> Result<(), Error> {
    let steps = k.div_ceil(STEP);
    let (down, across) = (m.div_ceil(TILE[0]), n.div_ceil(TILE[1]));
    let (rows, columns) = (down * TILE[0], across * TILE[1]);
    let parts = steps.div_ceil(PART);
    let (pitch, flips) = (rows + columns, operands.flips());
    let bytes = |rows: u32| rows as usize * steps as usize * STEP as usize;
    let a = device.alloc(bytes(rows))?;
    let b = device.alloc(bytes(columns))?;
    let sums = device.alloc(4 * pitch as usize * parts as usize)?;
    let at = |buffer, offset: u32| Argument::Pointer { buffer, offset: offset as usize };

    let is_wide = |view: &View<'_, D::Buffer>, row: u32, align: u32| {
        u32::from(view.offset.is_multiple_of(align as usize) && row.is_multiple_of(align))
    };
    let pack = |kernel, view: &View<'_, D::Buffer>, to, first, padded: u32, axis: usize| {
        let (count, wide) = if axis == 0 { (m, is_wide(view, k, 16)) } else { (n, is_wide(view, n, 4)) };
        let flip = if flips >> axis & 1 == 1 { 0x8080_8080 } else { 0 };
        let mut arguments = vec![view.pointer(), at(to, 0), at(&sums, 4 * first)];
        let numbers = [count, k, steps, TILE[axis] / UNIT, pitch, flip, wide];
        arguments.extend(numbers.map(Argument::U32));
        device.launch(kernel, [padded / UNIT, parts, 1], [128, 1, 1], 0, &arguments)
    };
    pack(&PACK_ROWS, &operands.a, &a, 0, rows, 0)?;
    pack(&PACK_COLUMNS, &operands.b, &b, rows, columns, 1)?;
    let zeros = [&operands.a_zero, &operands.b_zero];
    let corrections = device.alloc(8 * pitch as usize)?;
    let mut arguments = vec![at(&corrections, 0), at(&sums, 0)];
    arguments.extend(zeros.map(|zero| address(zero.as_ref())));
    arguments.extend([pitch, parts, rows, m, n, k, flips].map(Argument::U32));
    arguments.extend(zeros.map(|zero| Argument::U32(step(zero.as_ref()))));
    device.launch(&ADD_PARTS, [pitch.div_ceil(128), 1, 1], [128, 1, 1], 0, &arguments)?;

    let mut arguments =
        vec![at(&a, 0), at(&b, 0), at(&corrections, 0), at(&corrections, 8 * rows), operands.out.pointer()];
    arguments.extend([m, n, steps, down, across].map(Argument::U32));
    let kernel = if scales.is_empty() { &IGEMM_256X192 } else { &QGEMM_256X192 };
    arguments.extend(scales);
    let tiles = size("tiles", down as usize * across as usize)?;
    device.launch(kernel, [tiles.min(blocks), 1, 1], [384, 1, 1], SHARED_BYTES, &arguments)
}

#[cfg(test)]
mod tests {
    use super::is_large;

    #[test]
    fn shapes_decide() {
        assert!(is_large(8192, 8192, 8192) && is_large(2048, 2048, 2048) && is_large(256, 64 * 192, 1024));
        assert!(!is_large(1024, 1024, 1024) && !is_large(4096, 4096, 1000) && !is_large(1, 12288, 4096));
        assert!(!is_large(1 << 20, 1 << 20, 1 << 20));
    }
}
