//! The first picture of a TIFF file: 8-bit samples in strips. Source: Adobe, "TIFF Revision 6.0".

use super::inflate::inflate;
use super::{Bytes, Picture, checked_extents};

struct Directory<'a> {
    file: Bytes<'a>,
    is_little: bool,
    at: usize,
    entries: usize,
}

impl Directory<'_> {
    /// The values of a tag; `None` where there is none or it is no list of numbers.
    fn values(&self, tag: usize) -> Option<Vec<usize>> {
        let number2 = |at| self.file.number::<2>(at, self.is_little);
        let number4 = |at| self.file.number::<4>(at, self.is_little);
        let entry = (0..self.entries).map(|i| self.at + 2 + 12 * i);
        let entry = entry.into_iter().find(|&at| number2(at) == Some(tag))?;
        let size = match number2(entry + 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => return None,
        };
        let count = number4(entry + 4)?;
        let inside = count.checked_mul(size)? <= 4;
        let start = if inside { entry + 8 } else { number4(entry + 8)? };
        self.file.get(start, count * size)?;
        let value = |i| match size {
            1 => self.file.number::<1>(start + i, true),
            2 => number2(start + 2 * i),
            _ => number4(start + 4 * i),
        };
        (0..count).map(value).collect()
    }

    fn value(&self, tag: usize) -> Option<usize> {
        self.values(tag)?.first().copied()
    }
}

pub fn decode(file: &[u8]) -> Option<Picture> {
    let is_little = file[0] == b'I';
    let file = Bytes(file);
    let at = file.number::<4>(4, is_little)?;
    let entries = file.number::<2>(at, is_little)?;
    file.get(at, 2 + 12 * entries)?;
    let tags = Directory { file, is_little, at, entries };
    let (width, height) = checked_extents(tags.value(256)?, tags.value(257)?)?;
    let samples = tags.value(277).unwrap_or(1);
    let depths = tags.values(258)?;
    let (compression, photometric) = (tags.value(259).unwrap_or(1), tags.value(262)?);
    let is_plain = tags.value(284).unwrap_or(1) == 1 && tags.value(317).unwrap_or(1) == 1;
    let fits = match photometric {
        0 | 1 => samples == 1 || samples == 2,
        2 => samples == 3 || samples == 4,
        3 => samples == 1,
        _ => false,
    };
    if depths.len() != samples || depths.iter().any(|depth| *depth != 8) || !is_plain || !fits {
        return None;
    }
    let rows = tags.value(278).unwrap_or(height).clamp(1, height);
    let (offsets, lens) = (tags.values(273)?, tags.values(279)?);
    let palette = if photometric == 3 { tags.values(320)? } else { Vec::new() };
    if offsets.len() != height.div_ceil(rows)
        || lens.len() != offsets.len()
        || !matches!(palette.len(), 0 | 768)
    {
        return None;
    }
    let channels = if photometric < 2 { 1 } else { 3 };
    let mut pixels = Vec::new();
    for (strip, (&offset, &len)) in offsets.iter().zip(&lens).enumerate() {
        let size = (height - strip * rows).min(rows) * width * samples;
        let stored = file.get(offset, len)?;
        let bytes = match compression {
            1 => stored.get(..size)?.to_vec(),
            8 | 32946 => inflate(stored, size)?,
            32773 => packbits(stored, size)?,
            _ => return None,
        };
        for pixel in bytes.chunks_exact(samples) {
            match photometric {
                0 => pixels.push(255 - pixel[0]),
                1 => pixels.push(pixel[0]),
                2 => pixels.extend(&pixel[..3]),
                _ => pixels.extend((0..3).map(|c| (palette[256 * c + usize::from(pixel[0])] >> 8) as u8)),
            }
        }
    }
    Some(Picture { width, height, channels, pixels })
}

fn packbits(mut stored: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while out.len() < size {
        let (&count, rest) = stored.split_first()?;
        stored = rest;
        match count as i8 {
            -128 => {}
            n @ 0.. => {
                let (literal, rest) = stored.split_at_checked(n as usize + 1)?;
                out.extend_from_slice(literal);
                stored = rest;
            }
            n => {
                let (&value, rest) = stored.split_first()?;
                out.extend(std::iter::repeat_n(value, usize::from(n.unsigned_abs()) + 1));
                stored = rest;
            }
        }
    }
    (out.len() == size).then_some(out)
}
