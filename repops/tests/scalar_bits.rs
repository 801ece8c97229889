//! The scalar functions against committed bits.
//!
//! `cargo xtask prove tables` writes the files: f32 results by MPFR, f64 results of the specified
//! algorithm after MPFR has confirmed them to one unit in the last place.

use std::path::PathBuf;

use repops::scalar::{FUNCTIONS, FUNCTIONS_2};

/// The rows of a file of little-endian words, `N` words a row.
fn rows<const N: usize, const BYTES: usize, W>(name: &str, word: fn([u8; BYTES]) -> W) -> Vec<[W; N]> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/scalar/testdata").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(!bytes.is_empty() && bytes.len().is_multiple_of(N * BYTES), "{name} has whole rows");
    let mut words = bytes.chunks_exact(BYTES).map(|chunk| word(chunk.try_into().expect("BYTES bytes")));
    let mut table = Vec::new();
    while let Some(first) = words.next() {
        let mut first = Some(first);
        table.push(std::array::from_fn(|_| first.take().or_else(|| words.next()).expect("whole rows")));
    }
    table
}

#[test]
fn f32_functions_are_correctly_rounded() {
    for entry in FUNCTIONS {
        let table = rows::<2, 4, u32>(&format!("{}.f32", entry.name), u32::from_le_bytes);
        assert!(table.len() > 2000, "{} has a large sample", entry.name);
        for [x, want] in table {
            let got = (entry.f32)(f32::from_bits(x)).to_bits();
            assert!(got == want, "{}({x:#010x}) = {got:#010x}, expected {want:#010x}", entry.name);
        }
    }
}

#[test]
fn f64_functions_follow_their_algorithm() {
    for entry in FUNCTIONS {
        for [x, want] in rows::<2, 8, u64>(&format!("{}.f64", entry.name), u64::from_le_bytes) {
            let got = (entry.f64)(f64::from_bits(x)).to_bits();
            assert!(got == want, "{}({x:#018x}) = {got:#018x}, expected {want:#018x}", entry.name);
        }
    }
}

#[test]
fn pow_of_f32_is_correctly_rounded() {
    for entry in FUNCTIONS_2 {
        for [x, y, want] in rows::<3, 4, u32>(&format!("{}.f32", entry.name), u32::from_le_bytes) {
            let got = (entry.f32)(f32::from_bits(x), f32::from_bits(y)).to_bits();
            assert!(got == want, "{}({x:#010x}, {y:#010x}) = {got:#010x}, expected {want:#010x}", entry.name);
        }
    }
}

#[test]
fn pow_of_f64_follows_its_algorithm() {
    for entry in FUNCTIONS_2 {
        for [x, y, want] in rows::<3, 8, u64>(&format!("{}.f64", entry.name), u64::from_le_bytes) {
            let got = (entry.f64)(f64::from_bits(x), f64::from_bits(y)).to_bits();
            assert!(got == want, "{}({x:#018x}, {y:#018x}) = {got:#018x}, expected {want:#018x}", entry.name);
        }
    }
}
