//! The double-word evaluations and the f64 functions against MPFR, on a sample.

use rayon::prelude::*;
use repops::scalar::FUNCTIONS;
use rug::Float;

use crate::functions::{Visitor, with_function};
use crate::judge::{Judged, Symmetry};
use crate::oracle::{self, PRECISION};

/// The filter relies on a relative error below 2^-92.
const RELIED_UPON: f64 = -92.0;
const SAMPLE: u64 = 200_000;

/// Prints, for each function, the worst double-word error and how many f64 results are not the
/// correctly rounded ones; false if the filter's bound or one unit in the last place is exceeded.
pub fn check_all() -> Result<bool, String> {
    let mut good = true;
    for entry in FUNCTIONS {
        let worst = with_function(entry.name, WorstError(entry.name)).ok_or("no evaluation")?;
        let outcome = rounded_results(entry.name, entry.f64);
        println!(
            "{:6} double-word error 2^{:.1}; f64: {} of {} not correctly rounded, {} off by more than one",
            entry.name, worst, outcome.differ, outcome.total, outcome.far
        );
        good &= worst < RELIED_UPON && outcome.far == 0;
    }
    Ok(good)
}

/// A reproducible sequence (SplitMix64).
pub fn random(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

struct WorstError<'a>(&'a str);

impl Visitor for WorstError<'_> {
    type Output = f64;

    /// log2 of the largest relative error over f32 arguments inside of the domain.
    fn visit<F: Judged>(self, _: F) -> f64 {
        (0..SAMPLE)
            .into_par_iter()
            .filter_map(|i| {
                let x = f32::from_bits(random(i) as u32);
                // Half of the sample near the ordinary range.
                let x = if i % 2 == 0 { x } else { x.to_bits() as f32 / 4_294_967_296.0 * 8.0 - 4.0 };
                let x = if F::SYMMETRY == Symmetry::None { x } else { x.abs() };
                let value = F::value::<f32>(f64::from(x));
                let exact = oracle::value(self.0, f64::from(x));
                if !exact.is_normal() || F::undefined::<f32>(x) {
                    return None;
                }
                let right = f32::from_bits(oracle::f32_bits(self.0, x));
                // Where the evaluation stands for everything beyond its domain.
                if right.is_infinite()
                    || right == 0.0
                    || right.abs() == 1.0
                    || x.abs() > 1e18 && self.0 == "atan"
                {
                    return None;
                }
                let sum = Float::with_val(PRECISION, value.hi) + value.lo;
                let error = ((sum - &exact) / &exact).abs();
                Some(if error == 0 { f64::NEG_INFINITY } else { error.log2().to_f64() })
            })
            .reduce(|| f64::NEG_INFINITY, |a, b| if a < b { b } else { a })
    }
}

struct Outcome {
    total: u64,
    differ: u64,
    far: u64,
}

fn rounded_results(name: &str, f: fn(f64) -> f64) -> Outcome {
    let distances: Vec<u64> = (0..SAMPLE)
        .into_par_iter()
        .map(|i| {
            let bits = random(i + SAMPLE);
            let x = match i % 4 {
                0 => f64::from_bits(bits),
                // Exponents from 2^-60 to 2^10.
                1 => f64::from_bits(bits & 0x800f_ffff_ffff_ffff | (963 + (bits >> 52) % 70) << 52),
                2 => bits as f64 / u64::MAX as f64 * 2.0 - 1.0,
                _ => bits as f64 / u64::MAX as f64 * 1500.0 - 750.0,
            };
            let (got, right) = (f(x).to_bits(), oracle::f64_bits(name, x));
            let distance = got.abs_diff(right);
            if distance > 1 {
                eprintln!("{name}({x:e} = {:#018x}) = {got:#018x}, MPFR {right:#018x}", x.to_bits());
            }
            distance
        })
        .collect();
    Outcome {
        total: SAMPLE,
        differ: distances.iter().filter(|&&d| d == 1).count() as u64,
        far: distances.iter().filter(|&&d| d > 1).count() as u64,
    }
}
