//! PBM, PGM and PPM, plain and raw. Source: the Netpbm manual, pages pbm, pgm and ppm.

use super::{Picture, checked_extents};

pub fn decode(file: &[u8]) -> Option<Picture> {
    let kind = file[1] - b'0';
    let mut rest = file.get(2..)?;
    let (width, height) = checked_extents(number(&mut rest)?, number(&mut rest)?)?;
    let most = if matches!(kind, 1 | 4) { 1 } else { number(&mut rest)? };
    if !(1..=65535).contains(&most) {
        return None;
    }
    let channels = if matches!(kind, 3 | 6) { 3 } else { 1 };
    let samples = width * height * channels;
    let scaled = |v: usize| (v <= most).then(|| ((v * 510 + most) / (2 * most)) as u8);
    let mut pixels = Vec::new();
    match kind {
        1 => {
            for _ in 0..samples {
                let digit = loop {
                    match rest.split_first()? {
                        (b'0', after) => break (255, after),
                        (b'1', after) => break (0, after),
                        (_, after) => rest = after,
                    }
                };
                pixels.push(digit.0);
                rest = digit.1;
            }
        }
        2 | 3 => {
            for _ in 0..samples {
                pixels.push(scaled(number(&mut rest)?)?);
            }
        }
        _ => {
            // One byte of white space stands before the raster.
            rest = rest.get(1..)?;
            let row_len = match kind {
                4 => width.div_ceil(8),
                _ => width * channels * if most > 255 { 2 } else { 1 },
            };
            for row in rest.get(..row_len.checked_mul(height)?)?.chunks_exact(row_len) {
                match (kind, most > 255) {
                    (4, _) => pixels
                        .extend((0..width).map(|x| if row[x / 8] >> (7 - x % 8) & 1 == 1 { 0 } else { 255 })),
                    (_, false) => {
                        for &v in row {
                            pixels.push(scaled(usize::from(v))?);
                        }
                    }
                    (_, true) => {
                        for v in row.chunks_exact(2) {
                            pixels.push(scaled(usize::from(v[0]) << 8 | usize::from(v[1]))?);
                        }
                    }
                }
            }
        }
    }
    Some(Picture { width, height, channels, pixels })
}

/// The next number, after white space and comments.
fn number(rest: &mut &[u8]) -> Option<usize> {
    loop {
        match rest.split_first()? {
            (b'#', _) => {
                let end = rest.iter().position(|b| *b == b'\n')?;
                *rest = &rest[end..];
            }
            (b, after) if b.is_ascii_whitespace() => *rest = after,
            _ => break,
        }
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (text, after) = rest.split_at(digits);
    *rest = after;
    std::str::from_utf8(text).ok()?.parse().ok()
}
