//! pow against MPFR: structured and random pairs.

use indicatif::ProgressBar;
use rayon::prelude::*;
use repops::scalar;
use repops_kernels::cpu::binary::{BinaryFn, binary_f32};
use repops_kernels::isa::Isa;
use rug::Float;
use rug::float::Round;
use rug::ops::Pow;

use crate::double::random;
use crate::oracle::PRECISION;

const BATCH: u64 = 1 << 12;

/// Compares `batches` * 4096 pairs; false if one differs.
pub fn check(batches: u64) -> Result<bool, String> {
    let isa = Isa::detect();
    let bar = ProgressBar::new(batches);
    let wrong: u64 = (0..batches)
        .into_par_iter()
        .inspect(|_| bar.inc(1))
        .map(|batch| {
            let (left, right): (Vec<f32>, Vec<f32>) = (0..BATCH).map(|i| pair(batch * BATCH + i)).unzip();
            let mut got = vec![0.0; left.len()];
            binary_f32(isa, BinaryFn::Pow, &left, &right, &mut got);
            let mut wrong = 0;
            for ((&x, &y), z) in left.iter().zip(&right).zip(got) {
                let right = f32_bits(x, y);
                if z.to_bits() != right {
                    eprintln!(
                        "pow({:#010x}, {:#010x}) = {:#010x}, MPFR {right:#010x}",
                        x.to_bits(),
                        y.to_bits(),
                        z.to_bits()
                    );
                    wrong += 1;
                }
            }
            wrong + wrong_f64(batch)
        })
        .sum();
    println!("pow: {} pairs of f32 and {} of f64, {wrong} wrong", batches * BATCH, batches * 64);
    Ok(wrong == 0)
}

/// The correctly rounded x^y; every NaN canonical.
///
/// MPFR's pow has IEEE's special cases; a 400-bit value is rounded again, which an exact midpoint
/// survives because 25 bits fit in 400.
pub fn f32_bits(x: f32, y: f32) -> u32 {
    let z = Float::with_val(PRECISION, x).pow(Float::with_val(PRECISION, y));
    if z.is_nan() { 0x7fc0_0000 } else { z.to_f32_round(Round::Nearest).to_bits() }
}

/// Results of f64 that are more than one unit in the last place off.
fn wrong_f64(batch: u64) -> u64 {
    let mut wrong = 0;
    for i in 0..64 {
        let (a, b) = (random(batch * 128 + 2 * i), random(batch * 128 + 2 * i + 1));
        let x = f64::from_bits(a >> 1);
        let y = if i % 2 == 0 { f64::from_bits(b) } else { b as f64 / u64::MAX as f64 * 8.0 - 4.0 };
        let got = scalar::f64_::pow(x, y);
        let z = Float::with_val(PRECISION, x).pow(Float::with_val(PRECISION, y));
        let right = if z.is_nan() { 0x7ff8_0000_0000_0000 } else { z.to_f64_round(Round::Nearest).to_bits() };
        if got.to_bits().abs_diff(right) > 1 {
            eprintln!("f64 pow({x:e}, {y:e}) = {got:e}, MPFR {:e}", f64::from_bits(right));
            wrong += 1;
        }
    }
    wrong
}

/// The pairs: any bits; exponents that keep the result finite; exact and halfway cases (small odd
/// numbers to small powers, roots of powers); results near 1.
pub fn pair(index: u64) -> (f32, f32) {
    let (a, b) = (random(2 * index + 77), random(2 * index + 78));
    let x = f32::from_bits((a >> 32) as u32 & 0x7fff_ffff);
    let unit = b as f32 / u64::MAX as f32 * 2.0 - 1.0;
    match index % 8 {
        0 => (f32::from_bits(a as u32), f32::from_bits(b as u32)),
        1 | 2 => {
            // |y log2 x| below about 150.
            let exponent = ((x.to_bits() >> 23) as f32 - 127.0).abs().max_by_total_order(1.0);
            (x, unit * (150.0 / exponent))
        }
        3 => (f32::from_bits(0x3f00_0000 + (a as u32 & 0x00ff_ffff)), unit * 200.0),
        4 => {
            let n = (b % 16) as i32 + 1;
            let most = [16_777_216_u64, 16_777_216, 8192, 512, 128, 40, 24, 16, 12, 10, 8, 6, 6, 6, 4, 4]
                [n as usize - 1];
            let odd = (a % most) | 1;
            let scale = f32::from_bits(((127 + ((a >> 40) % 9) as u32) - 4) << 23);
            (odd as f32 * scale, n as f32)
        }
        5 => {
            // x = m^(2^j), y = n / 2^j.
            let j = 1 + b % 3;
            let most = [4096, 64, 8][j as usize - 1];
            let m = (a % most) | 1;
            let x = (0..j).fold(m, |power, _| power * power);
            (x as f32, ((b >> 8) % 40) as f32 / (1 << j) as f32)
        }
        6 => (1.0 + (a % 4096) as f32 / 8_388_608.0, f32::from_bits(b as u32 & 0x0fff_ffff | 0x4000_0000)),
        _ => (-((a % 20_000) as f32) / 8.0, (b % 41) as f32 - 20.0),
    }
}

trait TotalMax {
    fn max_by_total_order(self, other: f32) -> f32;
}

impl TotalMax for f32 {
    fn max_by_total_order(self, other: f32) -> f32 {
        if self.total_cmp(&other).is_lt() { other } else { self }
    }
}
