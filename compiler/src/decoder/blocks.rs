//! Quantized matrices: from the blocks of model files to those that `MatMulBlocks` and `Embedding` read.
//!
//! A file stores a block of one column's positions after the other; here one block holds the same positions of 16
//! columns, so that a kernel's lanes span columns. Only the order of bytes changes, no number does. Panels are filled in
//! parallel, straight from the file.

use rayon::prelude::*;
use repops::blocks::{COLUMNS, Format};
use repops::tensor::{AlignedBytes, TensorError};

/// Bytes of a block of one column in a file.
pub fn stored_bytes(format: Format) -> usize {
    match format {
        Format::Q8_0 => 34,
        Format::Q4_0 => 18,
        Format::Q4_1 => 20,
        Format::Q4K => 144,
        Format::Q6K => 210,
    }
}

/// The matrix `[n, k]` in a file's bytes as `[ceil(n / 16)][k / positions]` blocks; columns past `n` are zero bytes.
///
/// # Panics
/// If there are not as many bytes as the matrix has.
pub fn pack(format: Format, bytes: &[u8], n: usize, k: usize) -> Result<AlignedBytes, TensorError> {
    let (per_row, stored, packed) = (k / format.positions(), stored_bytes(format), format.bytes());
    assert_eq!(bytes.len(), n * per_row * stored, "a {} matrix [{n}, {k}]", format.name());
    let panels = n.div_ceil(COLUMNS);
    let mut out = AlignedBytes::zeros(panels * per_row * packed)?;
    if per_row > 0 {
        out.as_mut_slice().par_chunks_exact_mut(per_row * packed).enumerate().for_each(|(panel, out)| {
            let columns = COLUMNS.min(n - panel * COLUMNS);
            for (block, out) in out.chunks_exact_mut(packed).enumerate() {
                for column in 0..columns {
                    let at = ((panel * COLUMNS + column) * per_row + block) * stored;
                    put(format, &bytes[at..at + stored], column, out);
                }
            }
        });
    }
    Ok(out)
}

/// Puts the block of one column into that of 16.
fn put(format: Format, from: &[u8], column: usize, out: &mut [u8]) {
    match format {
        Format::Q8_0 => {
            put16(&from[..2], column, out);
            put_bytes(&from[2..], column, &mut out[32..]);
        }
        Format::Q4_0 => {
            put16(&from[..2], column, out);
            put_nibbles(|position| halves(&from[2..], position), column, &mut out[32..]);
        }
        Format::Q4_1 => {
            put16(&from[..2], column, out);
            put16(&from[2..4], column, &mut out[32..]);
            put_nibbles(|position| halves(&from[4..], position), column, &mut out[64..]);
        }
        Format::Q4K => put_q4_k(from, column, out),
        Format::Q6K => put_q6_k(from, column, out),
    }
}

/// d, dmin; 12 bytes of scales and minima of six bits; 4 x 32 bytes of nibbles, low ones first.
fn put_q4_k(from: &[u8], column: usize, out: &mut [u8]) {
    put16(&from[..2], column, out);
    put16(&from[2..4], column, &mut out[32..]);
    let packed = &from[4..16];
    for sub in 0..8 {
        let (scale, minimum) = if sub < 4 {
            (packed[sub] & 63, packed[sub + 4] & 63)
        } else {
            let low = packed[sub + 4];
            (low & 15 | packed[sub - 4] >> 6 << 4, low >> 4 | packed[sub] >> 6 << 4)
        };
        out[64 + sub * COLUMNS + column] = scale;
        out[192 + sub * COLUMNS + column] = minimum;
    }
    let nibbles = &from[16..];
    let at = |position: usize| {
        let byte = nibbles[position / 64 * 32 + position % 32];
        if position % 64 < 32 { byte & 15 } else { byte >> 4 }
    };
    put_nibbles(at, column, &mut out[320..][..2048]);
}

/// 128 bytes of low nibbles, 64 of high pairs of bits, 16 scales, d.
fn put_q6_k(from: &[u8], column: usize, out: &mut [u8]) {
    let (low, rest) = from.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    put16(d, column, out);
    put_bytes(scales, column, &mut out[32..]);
    let low_at = |position: usize| {
        let (half, p) = (position / 128, position % 128);
        let byte = low[half * 64 + p % 64];
        if p < 64 { byte & 15 } else { byte >> 4 }
    };
    put_nibbles(low_at, column, &mut out[288..][..2048]);
    let high_at = |position: usize| {
        let (half, p) = (position / 128, position % 128);
        high[half * 32 + p % 32] >> (p / 32 * 2) & 3
    };
    for (t, out) in out[2336..].chunks_exact_mut(COLUMNS).enumerate() {
        out[column] = (0..4).fold(0, |byte, i| byte | high_at(4 * t + i) << (2 * i));
    }
}

/// The nibble of a position: the first half of the positions in the low ones.
#[inline(always)]
fn halves(bytes: &[u8], position: usize) -> u8 {
    let byte = bytes[position % bytes.len()];
    if position < bytes.len() { byte & 15 } else { byte >> 4 }
}

#[inline(always)]
fn put16(from: &[u8], column: usize, out: &mut [u8]) {
    out[2 * column..][..2].copy_from_slice(from);
}

#[inline(always)]
fn put_bytes(from: &[u8], column: usize, out: &mut [u8]) {
    for (&byte, out) in from.iter().zip(out.chunks_exact_mut(COLUMNS)) {
        out[column] = byte;
    }
}

/// Byte t of a column holds positions 2t and 2t + 1.
#[inline(always)]
fn put_nibbles(at: impl Fn(usize) -> u8, column: usize, out: &mut [u8]) {
    for (t, out) in out.chunks_exact_mut(COLUMNS).enumerate() {
        out[column] = at(2 * t) | at(2 * t + 1) << 4;
    }
}
