//! From coefficients to pixels: quantization, IDCT, wider chroma, colors.
//!
//! Every step is in integers and is stated in the operator's document; ONNX's text fixes how chroma is widened.

use super::{Block, Colors, Component, Frame};
use crate::ops::image_decoder::Picture;

/// Samples of a component, rows of `width`.
struct Plane {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

impl Plane {
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.width..][..self.width]
    }

    fn filled(width: usize, height: usize, mut fill: impl FnMut(usize, &mut [u8])) -> Plane {
        let mut samples = vec![0; width * height];
        samples.chunks_exact_mut(width).enumerate().for_each(|(y, row)| fill(y, row));
        Plane { width, height, samples }
    }
}

pub fn picture(frame: &Frame, colors: &Colors) -> Option<Picture> {
    let mut planes = Vec::new();
    for component in &frame.components {
        let plane = samples(component)?;
        planes.push(widened(plane, frame.h_max / component.h, frame.v_max / component.v));
    }
    let (width, height) = (frame.width, frame.height);
    let mut pixels = Vec::with_capacity(width * height * planes.len());
    let is_rgb = has_rgb(frame, colors);
    for y in 0..height {
        match &planes[..] {
            [gray] => pixels.extend_from_slice(&gray.row(y)[..width]),
            [a, b, c] => {
                for ((a, b), c) in a.row(y)[..width].iter().zip(b.row(y)).zip(c.row(y)) {
                    pixels.extend(if is_rgb { [*a, *b, *c] } else { rgb(*a, *b, *c) });
                }
            }
            _ => return None,
        }
    }
    Some(Picture { width, height, channels: planes.len(), pixels })
}

/// Whether the components are red, green and blue already.
fn has_rgb(frame: &Frame, colors: &Colors) -> bool {
    match (colors.has_jfif, colors.adobe) {
        (true, _) => false,
        (false, Some(transform)) => transform == 0,
        (false, None) => frame.components.iter().map(|component| component.id).eq(*b"RGB"),
    }
}

/// T.871, 7, with constants of 16 bits.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let [y, cb, cr] = [i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128];
    let red = y + ((91881 * cr + 32768) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + 32768) >> 16);
    let blue = y + ((116130 * cb + 32768) >> 16);
    [red, green, blue].map(|v| v.clamp(0, 255) as u8)
}

/// The samples of a component, without those that fill its last blocks.
fn samples(component: &Component) -> Option<Plane> {
    let table = component.quantization?;
    let mut plane = Plane::filled(component.width, component.height, |_, _| {});
    for block_y in 0..component.height.div_ceil(8).min(component.rows) {
        for block_x in 0..component.width.div_ceil(8).min(component.columns) {
            let block = idct(&component.blocks[block_y * component.columns + block_x], &table);
            let columns = (component.width - 8 * block_x).min(8);
            for (y, row) in block.chunks_exact(8).take(component.height - 8 * block_y).enumerate() {
                let at = (8 * block_y + y) * component.width + 8 * block_x;
                plane.samples[at..at + columns].copy_from_slice(&row[..columns]);
            }
        }
    }
    Some(plane)
}

/// Source: C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989.
fn idct(block: &Block, table: &[u16; 64]) -> [u8; 64] {
    let mut values = [0i64; 64];
    for (value, (&coefficient, &step)) in values.iter_mut().zip(block.iter().zip(table)) {
        *value = i64::from(coefficient) * i64::from(step);
    }
    for x in 0..8 {
        let column = pass(std::array::from_fn(|y| values[8 * y + x]), 11);
        (0..8).for_each(|y| values[8 * y + x] = column[y]);
    }
    let mut out = [0; 64];
    for (y, row) in out.chunks_exact_mut(8).enumerate() {
        let values = pass(std::array::from_fn(|x| values[8 * y + x]), 18);
        (0..8).for_each(|x| row[x] = (values[x] + 128).clamp(0, 255) as u8);
    }
    out
}

/// Eight values in one direction; `shift` bits of the result are rounded away, half up. Coefficients are of 16 bits and so
/// are steps: nothing comes near 2^63.
fn pass(v: [i64; 8], shift: u32) -> [i64; 8] {
    // round(2^13 c) of the constants that the names show.
    const C0_298: i64 = 2446;
    const C0_390: i64 = 3196;
    const C0_541: i64 = 4433;
    const C0_765: i64 = 6270;
    const C0_899: i64 = 7373;
    const C1_175: i64 = 9633;
    const C1_501: i64 = 12299;
    const C1_847: i64 = 15137;
    const C1_961: i64 = 16069;
    const C2_053: i64 = 16819;
    const C2_562: i64 = 20995;
    const C3_072: i64 = 25172;
    let z = (v[2] + v[6]) * C0_541;
    let (even2, even3) = (z - v[6] * C1_847, z + v[2] * C0_765);
    let (even0, even1) = ((v[0] + v[4]) << 13, (v[0] - v[4]) << 13);
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let z5 = (v[7] + v[3] + v[5] + v[1]) * C1_175;
    let z1 = -(v[7] + v[1]) * C0_899;
    let z2 = -(v[5] + v[3]) * C2_562;
    let z3 = z5 - (v[7] + v[3]) * C1_961;
    let z4 = z5 - (v[5] + v[1]) * C0_390;
    let odd =
        [v[1] * C1_501 + z1 + z4, v[3] * C3_072 + z2 + z3, v[5] * C2_053 + z2 + z4, v[7] * C0_298 + z1 + z3];
    let rounded = |value: i64| (value + (1 << (shift - 1))) >> shift;
    std::array::from_fn(|i| rounded(if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] }))
}

/// A plane `h` times as wide and `v` times as high.
fn widened(plane: Plane, h: usize, v: usize) -> Plane {
    let smooth = plane.width > 2;
    let (width, height) = (plane.width, plane.height);
    // The row beside the one that an output row lies in: above the first half, below the second.
    let beside =
        |y: usize| if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(height - 1) };
    match (h, v) {
        (1, 1) => plane,
        (2, 1) if smooth => Plane::filled(2 * width, height, |y, out| {
            let sums: Vec<u16> = plane.row(y).iter().map(|&v| u16::from(v)).collect();
            spread(&sums, 1, 2, 2, out);
        }),
        (2, 2) if smooth => Plane::filled(2 * width, 2 * height, |y, out| {
            let (near, far) = (plane.row(y / 2), plane.row(beside(y)));
            let sums: Vec<u16> =
                near.iter().zip(far).map(|(&a, &b)| 3 * u16::from(a) + u16::from(b)).collect();
            spread(&sums, 8, 7, 4, out);
        }),
        (1, 2) => Plane::filled(width, 2 * height, |y, out| {
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            for (out, (&a, &b)) in out.iter_mut().zip(plane.row(y / 2).iter().zip(plane.row(beside(y)))) {
                *out = ((3 * u16::from(a) + u16::from(b) + bias) >> 2) as u8;
            }
        }),
        _ => Plane::filled(h * width, v * height, |y, out| {
            out.iter_mut().enumerate().for_each(|(x, out)| *out = plane.row(y / v)[x / h]);
        }),
    }
}

/// Two outputs for each input: three parts of it and one of its neighbour on that side, divided by `2^shift` after
/// adding the bias of the side. At the ends there is no neighbour, and the input counts fourfold.
fn spread(sums: &[u16], left_bias: u16, right_bias: u16, shift: u32, out: &mut [u8]) {
    for (i, pair) in out.chunks_exact_mut(2).enumerate() {
        let own = sums[i];
        let left = if i == 0 { own } else { sums[i - 1] };
        let right = sums.get(i + 1).copied().unwrap_or(own);
        pair[0] = ((3 * own + left + left_bias) >> shift) as u8;
        pair[1] = ((3 * own + right + right_bias) >> shift) as u8;
    }
}
