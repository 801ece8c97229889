//! JPEG with Huffman codes: markers, tables, frames. Source: ITU-T T.81; colors: T.871 (JFIF).
//!
//! All scans are read into coefficients first, whichever kind the frame is; then `pixels.rs` makes pixels of them.

mod entropy;
mod pixels;

use super::{Bytes, Picture, checked_extents};
use entropy::Code;

/// Real files have a dozen scans; each may visit all blocks for few bytes.
const SCANS_MAX: usize = 100;

/// The place in a block of the k-th coefficient.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

type Block = [i16; 64];

struct Component {
    id: u8,
    /// Sampling factors.
    h: usize,
    v: usize,
    table: usize,
    /// The quantization table in force when the component's first scan began.
    quantization: Option<[u16; 64]>,
    /// Samples, and blocks as stored: whole groups.
    width: usize,
    height: usize,
    columns: usize,
    rows: usize,
    blocks: Vec<Block>,
}

struct Frame {
    width: usize,
    height: usize,
    is_progressive: bool,
    h_max: usize,
    v_max: usize,
    components: Vec<Component>,
}

#[derive(Default)]
struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Code>; 4],
    ac: [Option<Code>; 4],
    restart: usize,
}

/// What the file says of its colors.
#[derive(Default)]
struct Colors {
    has_jfif: bool,
    adobe: Option<u8>,
}

pub fn decode(file: &[u8]) -> Option<Picture> {
    let bytes = Bytes(file);
    let (mut tables, mut colors, mut frame, mut scans) = (Tables::default(), Colors::default(), None, 0);
    let mut at = 2;
    loop {
        let marker = marker(file, &mut at)?;
        match marker {
            0xd9 => break,
            0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let len = bytes.number::<2>(at, false)?.checked_sub(2)?;
        let body = bytes.get(at + 2, len)?;
        at += 2 + len;
        match marker {
            0xc0..=0xc2 if frame.is_none() => frame = Some(read_frame(body, marker == 0xc2)?),
            0xc4 => codes(body, &mut tables)?,
            0xc0..=0xcf => return None,
            0xdb => quantization(body, &mut tables)?,
            0xdd => tables.restart = Bytes(body).number::<2>(0, false)?,
            0xe0 if body.starts_with(b"JFIF\0") => colors.has_jfif = true,
            0xee if body.starts_with(b"Adobe") => colors.adobe = body.get(11).copied(),
            0xda => {
                scans += 1;
                if scans > SCANS_MAX {
                    return None;
                }
                at += entropy::scan(frame.as_mut()?, body, &tables, &file[at..])?;
            }
            _ => {}
        }
    }
    pixels::picture(&frame?, &colors)
}

/// The next marker; bytes before it are skipped as far as they are fill.
fn marker(file: &[u8], at: &mut usize) -> Option<u8> {
    if *file.get(*at)? != 0xff {
        return None;
    }
    while *file.get(*at)? == 0xff {
        *at += 1;
    }
    let marker = file[*at];
    *at += 1;
    (marker != 0).then_some(marker)
}

fn read_frame(body: &[u8], is_progressive: bool) -> Option<Frame> {
    let bytes = Bytes(body);
    let (width, height) = checked_extents(bytes.number::<2>(3, false)?, bytes.number::<2>(1, false)?)?;
    let count = usize::from(*body.get(5)?);
    if body[0] != 8 || !matches!(count, 1 | 3) {
        return None;
    }
    let mut given = Vec::new();
    for entry in bytes.get(6, 3 * count)?.chunks_exact(3) {
        let (h, v) = (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) || entry[2] > 3 {
            return None;
        }
        given.push((entry[0], h, v, usize::from(entry[2])));
    }
    if count == 1 {
        // A single component is not interleaved: its factors mean nothing.
        (given[0].1, given[0].2) = (1, 1);
    }
    let h_max = given.iter().map(|c| c.1).max()?;
    let v_max = given.iter().map(|c| c.2).max()?;
    let (groups_x, groups_y) = (width.div_ceil(8 * h_max), height.div_ceil(8 * v_max));
    let mut components = Vec::new();
    for (id, h, v, table) in given {
        // Samples are repeated a whole number of times.
        if h_max % h != 0 || v_max % v != 0 {
            return None;
        }
        let (columns, rows) = (groups_x * h, groups_y * v);
        components.push(Component {
            id,
            h,
            v,
            table,
            quantization: None,
            width: (width * h).div_ceil(h_max),
            height: (height * v).div_ceil(v_max),
            columns,
            rows,
            blocks: vec![[0; 64]; columns * rows],
        });
    }
    Some(Frame { width, height, is_progressive, h_max, v_max, components })
}

fn quantization(mut body: &[u8], tables: &mut Tables) -> Option<()> {
    while let Some((&head, rest)) = body.split_first() {
        let is_wide = match head >> 4 {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (values, rest) = rest.split_at_checked(if is_wide { 128 } else { 64 })?;
        let mut table = [0; 64];
        for (k, &place) in ZIGZAG.iter().enumerate() {
            table[place] = match is_wide {
                true => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
                false => u16::from(values[k]),
            };
        }
        *tables.quantization.get_mut(usize::from(head & 15))? = Some(table);
        body = rest;
    }
    Some(())
}

fn codes(mut body: &[u8], tables: &mut Tables) -> Option<()> {
    while let Some((&head, rest)) = body.split_first() {
        let (counts, rest) = rest.split_at_checked(16)?;
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let code = Code::new(counts, symbols)?;
        let class = match head >> 4 {
            0 => &mut tables.dc,
            1 => &mut tables.ac,
            _ => return None,
        };
        *class.get_mut(usize::from(head & 15))? = Some(code);
        body = rest;
    }
    Some(())
}
