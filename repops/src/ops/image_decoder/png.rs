//! PNG. Source: W3C Portable Network Graphics (third edition).

use super::inflate::inflate;
use super::{Bytes, Picture, checked_extents};

struct Header {
    width: usize,
    height: usize,
    depth: usize,
    color: u8,
    is_interlaced: bool,
}

impl Header {
    /// Samples of a pixel as stored.
    fn samples(&self) -> usize {
        match self.color {
            2 => 3,
            4 => 2,
            6 => 4,
            _ => 1,
        }
    }

    /// Bytes of a row of so many pixels.
    fn row_len(&self, width: usize) -> usize {
        (width * self.samples() * self.depth).div_ceil(8)
    }
}

pub fn decode(file: &[u8]) -> Option<Picture> {
    if file.get(..8)? != [0x89, b'P', b'N', b'G', 13, 10, 26, 10] {
        return None;
    }
    let file = Bytes(file);
    let (mut at, mut header, mut palette, mut data) = (8, None, Vec::new(), Vec::new());
    loop {
        let len = file.number::<4>(at, false)?;
        let (kind, body) = (file.get(at + 4, 4)?, file.get(at + 8, len)?);
        let is_critical = kind[0] & 0x20 == 0;
        if is_critical && file.number::<4>(at + 8 + len, false)? != crc32(file.get(at + 4, len + 4)?) as usize
        {
            return None;
        }
        match kind {
            b"IHDR" if header.is_none() => header = Some(read_header(body)?),
            b"PLTE" => palette = body.to_vec(),
            b"IDAT" => data.extend_from_slice(body),
            b"IEND" => break,
            _ if is_critical => return None,
            _ => {}
        }
        at += len + 12;
    }
    pixels(&header?, &palette, &data)
}

fn read_header(body: &[u8]) -> Option<Header> {
    let bytes = Bytes(body);
    let [.., depth, color, 0, 0, interlace @ 0..=1] = *body else { return None };
    if body.len() != 13 {
        return None;
    }
    let (width, height) = checked_extents(bytes.number::<4>(0, false)?, bytes.number::<4>(4, false)?)?;
    let depths: &[u8] = match color {
        0 => &[1, 2, 4, 8, 16],
        3 => &[1, 2, 4, 8],
        2 | 4 | 6 => &[8, 16],
        _ => return None,
    };
    let is_allowed = depths.contains(&depth);
    is_allowed.then_some(Header {
        width,
        height,
        depth: usize::from(depth),
        color,
        is_interlaced: interlace == 1,
    })
}

/// Where the pixels of each pass lie: the first column and row, and the steps.
const WHOLE: [[usize; 4]; 1] = [[0, 0, 1, 1]];
const ADAM7: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

fn pixels(header: &Header, palette: &[u8], data: &[u8]) -> Option<Picture> {
    let passes: &[[usize; 4]] = if header.is_interlaced { &ADAM7 } else { &WHOLE };
    let extents = passes.iter().map(|[x, y, dx, dy]| {
        (header.width.saturating_sub(*x).div_ceil(*dx), header.height.saturating_sub(*y).div_ceil(*dy))
    });
    let extents: Vec<(usize, usize)> = extents.collect();
    let lens = extents.iter().map(|&(w, h)| if w == 0 { 0 } else { (header.row_len(w) + 1) * h });
    let mut stored = &inflate(data, lens.sum())?[..];
    let channels = if matches!(header.color, 0 | 4) { 1 } else { 3 };
    let mut pixels = vec![0; header.width * header.height * channels];
    for ([x, y, dx, dy], (width, height)) in passes.iter().zip(extents) {
        if width == 0 {
            continue;
        }
        let len = header.row_len(width);
        let mut above = vec![0; len];
        for row in 0..height {
            let (filtered, rest) = stored.split_at_checked(len + 1)?;
            stored = rest;
            let mut current = filtered[1..].to_vec();
            unfilter(filtered[0], &mut current, &above, (header.samples() * header.depth).div_ceil(8))?;
            for column in 0..width {
                let at = ((y + row * dy) * header.width + x + column * dx) * channels;
                write_pixel(header, palette, &current, column, &mut pixels[at..at + channels])?;
            }
            above = current;
        }
    }
    Some(Picture { width: header.width, height: header.height, channels, pixels })
}

fn unfilter(filter: u8, row: &mut [u8], above: &[u8], step: usize) -> Option<()> {
    for at in 0..row.len() {
        let left = if at < step { 0 } else { row[at - step] };
        let corner = if at < step { 0 } else { above[at - step] };
        let up = above[at];
        let predicted = match filter {
            0 => 0,
            1 => left,
            2 => up,
            3 => ((u16::from(left) + u16::from(up)) / 2) as u8,
            4 => paeth(left, up, corner),
            _ => return None,
        };
        row[at] = row[at].wrapping_add(predicted);
    }
    Some(())
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let [a, b, c] = [left, up, corner].map(i32::from);
    let p = a + b - c;
    let [to_a, to_b, to_c] = [a, b, c].map(|v| (p - v).abs());
    match () {
        () if to_a <= to_b && to_a <= to_c => left,
        () if to_b <= to_c => up,
        () => corner,
    }
}

fn write_pixel(header: &Header, palette: &[u8], row: &[u8], column: usize, out: &mut [u8]) -> Option<()> {
    let sample = |index: usize| match header.depth {
        8 => row[index],
        16 => row[2 * index],
        depth => row[index * depth / 8] >> (8 - depth - index * depth % 8) & ((1 << depth) - 1),
    };
    let first = column * header.samples();
    match header.color {
        3 => {
            let entry = usize::from(sample(first));
            out.copy_from_slice(palette.get(3 * entry..3 * entry + 3)?);
        }
        2 | 6 => (0..3).for_each(|channel| out[channel] = sample(first + channel)),
        _ if header.depth < 8 => out[0] = sample(first) * (255 / ((1 << header.depth) - 1)),
        _ => out[0] = sample(first),
    }
    Some(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
