//! Every committed corpus, and thousands of damaged copies of it, through every reader of strangers' bytes.
//!
//! The memory of this test program is limited, so that "a gigabyte declared in a kilobyte" fails it.
//! `REPOPS_MUTATIONS` sets how many damaged inputs each reader gets.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use cap::Cap;
use repops_conformance::hostile::{SURFACES, Surface};
use repops_conformance::mutate::damaged;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 512 << 20);

const SEED: u64 = 0x7265_706f_7073;
const MUTATIONS_DEFAULT: u64 = 4000;

fn corpus_dir(surface: &Surface) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(surface.name)
}

fn corpus(surface: &Surface) -> Vec<(String, Vec<u8>)> {
    let dir = corpus_dir(surface);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn replay(name: &str) {
    let surface = SURFACES.iter().find(|surface| surface.name == name).unwrap();
    let corpus = corpus(surface);
    let mut accepted = 0;
    for (file, bytes) in &corpus {
        let is_good = !file.starts_with("bad-");
        let found =
            catch_unwind(|| (surface.enter)(bytes)).unwrap_or_else(|_| panic!("{name}: {file} panics"));
        // After a change of a format: `cargo run -p repops-conformance --example corpus` writes the corpora anew.
        assert_eq!(found, is_good, "{name}: {file}: accepted");
        accepted += u32::from(found);
    }
    assert!(accepted > 0, "{name}: no file of the corpus is a good one");

    let bytes: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let count = std::env::var("REPOPS_MUTATIONS").map_or(MUTATIONS_DEFAULT, |text| text.parse().unwrap());
    let mut refused = 0;
    for index in 0..count {
        let input = damaged(&bytes, SEED, index);
        let found = catch_unwind(|| (surface.enter)(&input))
            .unwrap_or_else(|_| panic!("{name}: mutation {index} of seed {SEED:#x} panics"));
        refused += u64::from(!found);
    }
    assert!(refused > 0, "{name}: no damage was noticed");
}

#[test]
fn onnx() {
    replay("onnx");
}

#[test]
fn gguf() {
    replay("gguf");
}

#[test]
fn safetensors() {
    replay("safetensors");
}

#[test]
fn program() {
    replay("program");
}

#[test]
fn receipt() {
    replay("receipt");
}

#[test]
fn trace() {
    replay("trace");
}

#[test]
fn dispute() {
    replay("dispute");
}

#[test]
fn opening() {
    replay("opening");
}

#[test]
fn key() {
    replay("key");
}

#[test]
fn npy() {
    replay("npy");
}

#[test]
fn npz() {
    replay("npz");
}

#[test]
fn tensor_proto() {
    replay("tensor_proto");
}

#[test]
fn every_surface_has_a_fuzz_target() {
    for surface in SURFACES {
        let target =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fuzz/fuzz_targets/{}.rs", surface.name));
        assert!(target.is_file(), "{} is missing", target.display());
    }
}
