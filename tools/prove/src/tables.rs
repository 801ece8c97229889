//! The expected bits that the ordinary tests read, under `repops/src/scalar/testdata`.
//!
//! `NAME.f32`: pairs of little-endian u32, input and correctly rounded result by MPFR; every exponent
//! of both signs, edges, the repaired inputs, and the inputs nearest to midpoints of a large sample.
//! `NAME.f64`: pairs of u64, input and the specified algorithm's result, which is checked here to be
//! within one unit in the last place of MPFR's. `pow.f32`, `pow.f64`: triples.

use std::path::Path;

use rayon::prelude::*;
use repops::scalar::{self, FUNCTIONS};
use repops_kernels::cpu::map::map1;
use repops_kernels::isa::Isa;

use crate::double::random;
use crate::functions::{Visitor, with_function};
use crate::judge::{Hardness, Judged};
use crate::{oracle, pow, record};

/// Random inputs among which the hard ones are sought.
const SEARCHED: u64 = 1 << 23;
/// How many of them are kept.
const HARD: usize = 600;

/// Writes all files.
pub fn write_all() -> Result<(), String> {
    let folder = record::repops_folder().join("src/scalar/testdata");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in FUNCTIONS {
        let mut inputs = stratified();
        inputs.extend(record::repaired_inputs(entry.name)?);
        inputs.extend(with_function(entry.name, HardInputs).ok_or("no evaluation")?);
        let rows: Vec<[u32; 2]> =
            inputs.par_iter().map(|&x| [x, oracle::f32_bits(entry.name, f32::from_bits(x))]).collect();
        let bytes = rows.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        write(&folder, &format!("{}.f32", entry.name), bytes)?;
        let mut bytes = Vec::new();
        for x in stratified_f64() {
            let y = (entry.f64)(x).to_bits();
            if y.abs_diff(oracle::f64_bits(entry.name, x)) > 1 {
                return Err(format!("{}({x:e}) is far from MPFR's value", entry.name));
            }
            bytes.extend(x.to_bits().to_le_bytes());
            bytes.extend(y.to_le_bytes());
        }
        write(&folder, &format!("{}.f64", entry.name), bytes)?;
        println!("{}: {} inputs", entry.name, rows.len());
    }
    write_pow(&folder)
}

fn write_pow(folder: &Path) -> Result<(), String> {
    let mut bytes = Vec::new();
    for i in 0..4000 {
        let (x, y) = pow::pair(1_000_000_000 + i);
        for word in [x.to_bits(), y.to_bits(), pow::f32_bits(x, y)] {
            bytes.extend(word.to_le_bytes());
        }
    }
    write(folder, "pow.f32", bytes)?;
    let mut bytes = Vec::new();
    for i in 0..400 {
        let x = f64::from_bits(random(2 * i) >> 1);
        let y = random(2 * i + 1) as f64 / u64::MAX as f64 * 4.0 - 2.0;
        for word in [x.to_bits(), y.to_bits(), scalar::f64_::pow(x, y).to_bits()] {
            bytes.extend(word.to_le_bytes());
        }
    }
    write(folder, "pow.f64", bytes)
}

fn write(folder: &Path, name: &str, bytes: Vec<u8>) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Every exponent of both signs: two random mantissas each, and the edges.
fn stratified() -> Vec<u32> {
    let mut inputs = vec![0, 1, 2, 0x007f_ffff, 0x0080_0000, 0x3f7f_ffff, 0x3f80_0000, 0x3f80_0001];
    inputs.extend([0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff]);
    inputs.extend(inputs.clone().iter().map(|bits| bits | 0x8000_0000));
    for high in 0..510_u32 {
        for i in 0..2 {
            inputs.push(high << 23 | random(u64::from(high * 2 + i)) as u32 >> 9);
        }
    }
    // More of the ordinary range, 2^-6 to 2^8.
    for i in 0..600 {
        let bits = random(10_000 + i) as u32;
        inputs.push(bits & 0x8000_0000 | 0x3c80_0000 + (bits & 0x7fff_ffff) % 0x0700_0000);
    }
    inputs
}

fn stratified_f64() -> Vec<f64> {
    let mut inputs = vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0, -1.0, f64::MAX];
    inputs.extend([f64::MIN_POSITIVE, f64::from_bits(1), -f64::from_bits(1), 0.5, -0.5, 2.0]);
    for i in 0..300 {
        let bits = random(20_000 + i);
        inputs.push(match i % 3 {
            0 => f64::from_bits(bits & !(0x7ff << 52) | (1 + (bits >> 52) % 2046) << 52),
            1 => bits as f64 / u64::MAX as f64 * 2.0 - 1.0,
            _ => bits as f64 / u64::MAX as f64 * 60.0 - 30.0,
        });
    }
    inputs
}

/// The inputs of a large sample whose values are nearest to midpoints.
struct HardInputs;

impl Visitor for HardInputs {
    type Output = Vec<u32>;

    fn visit<F: Judged>(self, function: F) -> Vec<u32> {
        const BATCH: u64 = 1 << 14;
        let hardness = Hardness(function);
        let mut found: Vec<(u32, u32)> = (0..SEARCHED / BATCH)
            .into_par_iter()
            .flat_map_iter(|batch| {
                let bits = |i| random(40_000 + batch * BATCH + i) as u32;
                // Exponents from 2^-12 to 2^7, where values are least trivial.
                let near = |b: u32| b & 0x8000_0000 | 0x3980_0000 + (b & 0x7fff_ffff) % 0x0a00_0000;
                let inputs: Vec<f32> = (0..BATCH)
                    .map(|i| f32::from_bits(if i % 4 == 0 { bits(i) } else { near(bits(i)) }))
                    .collect();
                let mut distance = vec![0.0; inputs.len()];
                map1(Isa::detect(), &hardness, &inputs, &mut distance);
                let mut rows: Vec<(u32, u32)> =
                    distance.iter().zip(&inputs).map(|(d, x)| (d.to_bits(), x.to_bits())).collect();
                rows.sort_unstable();
                rows.truncate(HARD);
                rows
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().take(HARD).map(|(_, x)| x).collect()
    }
}
