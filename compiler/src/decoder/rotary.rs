//! The tables of rotary position embedding: cosine and sine of every position's angles.
//!
//! Inverse frequencies and angles are f64, by the functions that `repops` specifies for f64; the cosine and the sine are
//! rounded to f32 once. So the tables are the same on every machine, and as exact as f32 can hold.
#![expect(
    clippy::float_arithmetic,
    reason = "the tables are constants of the program, made by specified functions"
)]

use rayon::prelude::*;
use repops::scalar::f64_;
use repops::{DType, Tensor};

use super::config::{Rope, Scaling};
use super::error::ModelError;

/// Cosines and sines `[context, dims / 2]`.
pub fn tables(rope: &Rope, context: usize) -> Result<(Tensor, Tensor), ModelError> {
    let frequencies = inverse_frequencies(rope);
    let magnitude = magnitude(&rope.scaling);
    let half = rope.dims / 2;
    let table = |function: fn(f64) -> f64| -> Result<Tensor, ModelError> {
        let mut table = Tensor::zeros(DType::F32, &[context, half])?;
        table.as_mut_slice::<f32>().par_chunks_exact_mut(half).enumerate().for_each(|(position, row)| {
            for (out, frequency) in row.iter_mut().zip(&frequencies) {
                *out = (function(position as f64 * frequency) * magnitude) as f32;
            }
        });
        table.canonicalize();
        Ok(table)
    };
    Ok((table(f64_::cos)?, table(f64_::sin)?))
}

/// 1 / base^(2i / dims), scaled.
pub(super) fn inverse_frequencies(rope: &Rope) -> Vec<f64> {
    let plain = |i: usize| 1.0 / f64_::pow(rope.base, (2 * i) as f64 / rope.dims as f64);
    let plain: Vec<f64> = (0..rope.dims / 2).map(plain).collect();
    let scaled = |scale: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        plain.iter().enumerate().map(|(i, &frequency)| scale(i, frequency)).collect()
    };
    match &rope.scaling {
        Scaling::None => plain,
        Scaling::Linear { factor } => scaled(&|_, frequency| frequency / factor),
        Scaling::Factors(factors) => scaled(&|i, frequency| frequency / f64::from(factors[i])),
        Scaling::Llama3 { factor, low, high, original } => {
            scaled(&|_, frequency| llama3(frequency, *factor, *low, *high, *original))
        }
        Scaling::Yarn { factor, original, fast, slow, .. } => {
            let (first, last) = yarn_range(rope, *original, *fast, *slow);
            // Below `first` frequencies stay, above `last` they are those of a context `factor` times as long.
            scaled(&|i, frequency| {
                let ramp = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                frequency / factor * ramp + frequency * (1.0 - ramp)
            })
        }
    }
}

/// Llama 3.1: long wavelengths are stretched, short ones stay, those between are blended.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength > original / low {
        frequency / factor
    } else if wavelength < original / high {
        frequency
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// The pairs between which YaRN blends (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models",
/// 2023).
fn yarn_range(rope: &Rope, original: f64, fast: f64, slow: f64) -> (f64, f64) {
    let pair = |rotations: f64| {
        let turns = original / (rotations * 2.0 * std::f64::consts::PI);
        rope.dims as f64 * f64_::log(turns) / (2.0 * f64_::log(rope.base))
    };
    let limit = (rope.dims - 1) as f64;
    let first = pair(fast).floor().clamp(0.0, limit);
    let last = pair(slow).ceil().clamp(0.0, limit);
    (first, if last > first { last } else { first + 0.001 })
}

/// YaRN makes attention sharper by longer vectors.
fn magnitude(scaling: &Scaling) -> f64 {
    match scaling {
        Scaling::Yarn { attention: Some(given), .. } => *given,
        Scaling::Yarn { factor, .. } if *factor > 1.0 => 0.1 * f64_::log(*factor) + 1.0,
        _ => 1.0,
    }
}

/// 1 / sqrt(n), rounded to f32 once.
pub(super) fn inverse_root(n: f64) -> f32 {
    (1.0 / n.sqrt()) as f32
}

/// 1 / c, rounded once.
pub(super) fn reciprocal(c: f32) -> f32 {
    1.0 / c
}

/// sqrt(n), rounded to f32 once.
pub(super) fn root(n: f64) -> f32 {
    n.sqrt() as f32
}

/// 1 + w for every element.
pub(super) fn plus_one(weights: &mut Tensor) {
    weights.as_mut_slice::<f32>().iter_mut().for_each(|w| *w += 1.0);
    weights.canonicalize();
}
