//! BMP without compression. Source: Microsoft, "Bitmap Storage" (BITMAPFILEHEADER, BITMAPINFOHEADER).

use super::{Bytes, Picture, checked_extents};

pub fn decode(file: &[u8]) -> Option<Picture> {
    let file = Bytes(file);
    let pixels_at = file.number::<4>(10, true)?;
    let header = file.number::<4>(14, true)?;
    let is_core = header == 12;
    if !is_core && !(40..=124).contains(&header) {
        return None;
    }
    let (width, rows) = match is_core {
        true => (file.number::<2>(18, true)?, file.number::<2>(20, true)? as i64),
        false => (file.number::<4>(18, true)?, i64::from(file.number::<4>(22, true)? as u32 as i32)),
    };
    let (width, height) = checked_extents(width, usize::try_from(rows.unsigned_abs()).ok()?)?;
    let bits = file.number::<2>(if is_core { 24 } else { 28 }, true)?;
    let compression = if is_core { 0 } else { file.number::<4>(30, true)? };
    if compression != 0 || !matches!(bits, 1 | 4 | 8 | 24 | 32) {
        return None;
    }
    let palette_entry = if is_core { 3 } else { 4 };
    let row_len = (width * bits).div_ceil(32) * 4;
    let mut pixels = Vec::new();
    for row in 0..height {
        // The lowest row comes first, unless the height is negative.
        let place = if rows > 0 { height - 1 - row } else { row };
        let bytes = file.get(pixels_at.checked_add(place * row_len)?, row_len)?;
        for column in 0..width {
            let bgr = match bits {
                24 | 32 => &bytes[column * bits / 8..][..3],
                _ => {
                    let shift = 8 - bits - column * bits % 8;
                    let entry = usize::from(bytes[column * bits / 8] >> shift) & ((1 << bits) - 1);
                    file.get(14 + header + entry * palette_entry, 3)?
                }
            };
            pixels.extend([bgr[2], bgr[1], bgr[0]]);
        }
    }
    Some(Picture { width, height, channels: 3, pixels })
}
