//! Convolutions whose weights hold subnormal numbers, without multiplying by subnormal numbers.
//!
//! Processors take a hundred cycles and more for a product with a subnormal factor. Where all weights of a
//! channel can be multiplied by 2^64 exactly, and all of its pixels by 2^-64, every product is the same
//! number as before, and so is every fused multiply-add: no bit changes.

use super::contract::pack::with_wide_moves;
use super::conv::Geometry;

/// 2^64 and 2^-64.
const UP: f32 = 18_446_744_073_709_551_616.0;
const DOWN: f32 = 1.0 / UP;
/// Weights up to 2^62 stay finite.
const WEIGHT_MAX: f32 = 4_611_686_018_427_387_904.0;
/// Pixels from 2^-62 on stay normal.
const PIXEL_MIN: f32 = 1.0 / WEIGHT_MAX;

/// Whether a weight of `w` is subnormal.
fn any_subnormal(w: &[f32]) -> bool {
    // Without branches, in blocks, so that compilers make vectors.
    w.chunks(1024).any(|w| w.iter().fold(false, |any, w| any | is_subnormal(*w)))
}

#[inline(always)]
fn is_subnormal(value: f32) -> bool {
    (value.to_bits() & 0x7fff_ffff).wrapping_sub(1) < 0x007f_ffff
}

/// The pixels and the weights with those channels multiplied where it helps and is exact; `None`: no channel.
pub(crate) fn rescaled(g: &Geometry, x: &[f32], w: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
    let found = with_wide_moves(
        #[inline(always)]
        || any_subnormal(w),
    );
    if !found {
        return None;
    }
    let taps: usize = g.kernel.iter().product();
    let image: usize = g.image.iter().product();
    let mut scaled = vec![false; g.channels];
    for (row, w) in w.chunks_exact((g.group_channels * taps).max(1)).enumerate() {
        let first = row / g.group_out * g.group_channels;
        for (scaled, w) in scaled[first..].iter_mut().zip(w.chunks_exact(taps)) {
            *scaled |= w.iter().any(|w| is_subnormal(*w));
        }
    }
    for (row, w) in w.chunks_exact((g.group_channels * taps).max(1)).enumerate() {
        let first = row / g.group_out * g.group_channels;
        for (scaled, w) in scaled[first..].iter_mut().zip(w.chunks_exact(taps)) {
            *scaled &= w.iter().all(|w| w.abs() <= WEIGHT_MAX);
        }
    }
    for (index, plane) in x.chunks_exact(image.max(1)).enumerate() {
        let scaled = &mut scaled[index % g.channels];
        // A NaN is one before and after.
        *scaled &= plane.iter().fold(true, |all, x| all & !(x.abs() < PIXEL_MIN && *x != 0.0));
    }
    if !scaled.contains(&true) {
        return None;
    }
    let factors: Vec<(f32, f32)> = scaled.iter().map(|&s| if s { (DOWN, UP) } else { (1.0, 1.0) }).collect();
    let mut pixels = Vec::with_capacity(x.len());
    for (index, plane) in x.chunks_exact(image.max(1)).enumerate() {
        let (factor, _) = factors[index % g.channels];
        pixels.extend(plane.iter().map(|x| x * factor));
    }
    let mut weights = Vec::with_capacity(w.len());
    for (row, w) in w.chunks_exact((g.group_channels * taps).max(1)).enumerate() {
        let first = row / g.group_out * g.group_channels;
        for ((_, factor), w) in factors[first..].iter().zip(w.chunks_exact(taps)) {
            weights.extend(w.iter().map(|w| w * factor));
        }
    }
    Some((pixels, weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_subnormals() {
        for (value, expected) in [
            (0.0, false),
            (-0.0, false),
            (f32::MIN_POSITIVE, false),
            (f32::NAN, false),
            (f32::INFINITY, false),
            (1.0, false),
            (f32::from_bits(1), true),
            (f32::from_bits(0x807f_ffff), true),
        ] {
            assert_eq!(is_subnormal(value), expected, "{value}");
        }
    }
}
