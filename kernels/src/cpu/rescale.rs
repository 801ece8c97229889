//! Convolutions whose weights hold subnormal numbers, without multiplying by subnormal numbers.
//!
//! Processors take a hundred cycles and more for a product with a subnormal factor. Trained models hold whole
//! channels of them: those that training let die. Two changes to a channel leave every sum what it was:
//!
//! - Its weights times 2^e and its pixels times 2^-e, where all of them stay exact: each product is the same
//!   number as before, and so is each fused multiply-add.
//! - Its weights and pixels zero, where all of their products are below 2^-150 in magnitude: that is less than
//!   half of the distance of any two numbers, so that adding such a product changes no sum but zero, and zero
//!   only in its sign, which the `+ (+0)` at the end of a chunk hides.

use super::contract::pack::with_wide_moves;
use super::conv::Geometry;

/// The magnitudes of some numbers.
#[derive(Clone, Copy)]
struct Range {
    /// Bits of the least magnitude that is not zero; all ones: none.
    least: u32,
    /// Bits of the greatest magnitude.
    greatest: u32,
}

impl Range {
    const NONE: Range = Range { least: u32::MAX, greatest: 0 };

    #[inline(always)]
    fn with(self, values: &[f32]) -> Range {
        let mut range = self;
        for value in values {
            let bits = value.to_bits() & 0x7fff_ffff;
            // Zero wraps to the greatest.
            range.least = range.least.min(bits.wrapping_sub(1));
            range.greatest = range.greatest.max(bits);
        }
        range
    }

    fn is_finite(self) -> bool {
        self.greatest < 0x7f80_0000
    }

    fn has_subnormal(self) -> bool {
        self.least < 0x007f_ffff
    }

    /// The exponents of the least and of the greatest: 2^e is not above the magnitude. `None`: all are zero.
    fn exponents(self) -> Option<(i32, i32)> {
        let exponent = |bits: u32| match bits >> 23 {
            0 => -118 - bits.leading_zeros() as i32,
            biased => biased as i32 - 127,
        };
        (self.greatest > 0).then(|| (exponent(self.least + 1), exponent(self.greatest)))
    }
}

/// The factors for a channel's weights and pixels.
fn factors(weights: Range, pixels: Range) -> (f32, f32) {
    let plain = (1.0, 1.0);
    if !weights.has_subnormal() || !weights.is_finite() || !pixels.is_finite() {
        return plain;
    }
    let Some((w_least, w_greatest)) = weights.exponents() else { return plain };
    let Some((x_least, x_greatest)) = pixels.exponents() else { return (0.0, 0.0) };
    // The product of the greatest is below 2^(sum of exponents + 2).
    if w_greatest + x_greatest + 2 <= -150 {
        return (0.0, 0.0);
    }
    // Normal and finite: weights from 2^-126 to 2^126, and pixels.
    let low = (-126 - w_least).max(x_greatest - 126);
    let high = (x_least + 126).min(126 - w_greatest);
    if low > high || low > 126 || high < -126 {
        return plain;
    }
    let e = low.max(-126);
    let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
    (power(e), power(-e))
}

/// Rows of weights that are looked at to tell whether a convolution may have channels to change.
const SAMPLE: usize = 16;

/// The pixels and the weights with the channels changed for which it helps; `None`: no channel.
///
/// Where no subnormal number is among a few rows' weights, no channel is made of them, and all others are not
/// read: they may be more than the caches hold. Nothing but time depends on what is found.
pub(crate) fn rescaled(g: &Geometry, x: &[f32], w: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
    let taps: usize = g.kernel.iter().product();
    let image: usize = g.image.iter().product();
    let row_len = g.group_channels * taps;
    if image == 0 || row_len == 0 || g.group_out == 0 {
        return None;
    }
    // Of each group.
    let step = g.group_out.div_ceil(SAMPLE);
    // Loops rather than a fold, which would be a function of its own, without the wide registers.
    let sample = with_wide_moves(
        #[inline(always)]
        || {
            let mut range = Range::NONE;
            for group in w.chunks_exact(row_len * g.group_out) {
                for row in group.chunks_exact(row_len).step_by(step) {
                    range = range.with(row);
                }
            }
            range
        },
    );
    if !sample.has_subnormal() {
        return None;
    }
    // The first channel that a row of weights reads.
    let first = |row: usize| row / g.group_out * g.group_channels;
    let mut weights = vec![Range::NONE; g.channels];
    with_wide_moves(
        #[inline(always)]
        || {
            for (row, w) in w.chunks_exact(row_len).enumerate() {
                let ranges = &mut weights[first(row)..][..g.group_channels];
                // Of one tap each, side by side.
                match taps {
                    1 => ranges.iter_mut().zip(w).for_each(
                        #[inline(always)]
                        |(range, w)| *range = range.with(std::slice::from_ref(w)),
                    ),
                    _ => ranges.iter_mut().zip(w.chunks_exact(taps)).for_each(
                        #[inline(always)]
                        |(range, w)| *range = range.with(w),
                    ),
                }
            }
        },
    );
    let mut pixels = vec![Range::NONE; g.channels];
    for (plane, x) in x.chunks_exact(image).enumerate() {
        let range = &mut pixels[plane % g.channels];
        // Only these can be changed.
        if weights[plane % g.channels].has_subnormal() {
            *range = with_wide_moves(
                #[inline(always)]
                || range.with(x),
            );
        }
    }
    let factors: Vec<(f32, f32)> = weights.iter().zip(&pixels).map(|(w, x)| factors(*w, *x)).collect();
    if factors.iter().all(|factors| *factors == (1.0, 1.0)) {
        return None;
    }
    let mut new_x = Vec::with_capacity(x.len());
    for (plane, x) in x.chunks_exact(image).enumerate() {
        let (_, factor) = factors[plane % g.channels];
        match factor {
            // Not by multiplying: that would give zeros of both signs, slowly.
            0.0 => new_x.resize(new_x.len() + image, 0.0),
            1.0 => new_x.extend_from_slice(x),
            _ => new_x.extend(x.iter().map(|x| x * factor)),
        }
    }
    let of_weights: Vec<f32> = factors.iter().map(|(factor, _)| *factor).collect();
    let times = |w: f32, factor: f32| if factor == 0.0 { 0.0 } else { w * factor };
    let mut new_w = vec![0.0; w.len()];
    with_wide_moves(
        #[inline(always)]
        || {
            for (row, (w, to)) in w.chunks_exact(row_len).zip(new_w.chunks_exact_mut(row_len)).enumerate() {
                let factors = &of_weights[first(row)..][..g.group_channels];
                if taps == 1 {
                    for ((to, w), factor) in to.iter_mut().zip(w).zip(factors) {
                        *to = times(*w, *factor);
                    }
                    continue;
                }
                for ((to, w), factor) in to.chunks_exact_mut(taps).zip(w.chunks_exact(taps)).zip(factors) {
                    to.iter_mut().zip(w).for_each(|(to, w)| *to = times(*w, *factor));
                }
            }
        },
    );
    Some((new_x, new_w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(values: &[f32]) -> Range {
        Range::NONE.with(values)
    }

    #[test]
    fn tells_subnormals_and_exponents() {
        assert!(!range(&[0.0, -0.0, f32::MIN_POSITIVE, 1.0]).has_subnormal());
        assert!(!range(&[f32::NAN, f32::INFINITY]).has_subnormal());
        for bits in [1, 0x807f_ffff] {
            assert!(range(&[0.0, f32::from_bits(bits), 2.0]).has_subnormal());
        }
        assert_eq!(range(&[0.0]).exponents(), None);
        assert_eq!(range(&[f32::from_bits(1), 3.0]).exponents(), Some((-149, 1)));
        assert_eq!(range(&[f32::from_bits(0x0040_0000), -0.5]).exponents(), Some((-127, -1)));
        assert_eq!(range(&[f32::MIN_POSITIVE, f32::MAX]).exponents(), Some((-126, 127)));
    }

    #[test]
    fn factors_are_exact_or_none() {
        let tiny = f32::from_bits(77);
        // Products that no sum can feel.
        assert_eq!(factors(range(&[tiny, 1e-35]), range(&[1e-12])), (0.0, 0.0));
        assert_eq!(factors(range(&[tiny]), range(&[0.0])), (0.0, 0.0));
        // Products at the edge are left.
        let (w, x) = factors(range(&[tiny]), range(&[1e-2, 5.0]));
        assert!(w > 1.0 && (tiny * w).is_normal() && w * x == 1.0);
        // No exponent serves both, or nothing is gained.
        assert_eq!(factors(range(&[tiny, 1e30]), range(&[1e-38, 1e9])), (1.0, 1.0));
        assert_eq!(factors(range(&[1.0]), range(&[tiny])), (1.0, 1.0));
        assert_eq!(factors(range(&[tiny]), range(&[f32::INFINITY])), (1.0, 1.0));
        assert_eq!(factors(range(&[tiny, f32::NAN]), range(&[1.0])), (1.0, 1.0));
    }
}
