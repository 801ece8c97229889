//! All 2^32 inputs of one function.

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use repops_kernels::cpu::map::map1;
use repops_kernels::isa::Isa;
use sha2::{Digest, Sha256};

use crate::functions::{Visitor, with_function};
use crate::judge::{Candidate, Doubt, Judged};
use crate::oracle;

/// Inputs per piece of work; also the unit of the digest.
const CHUNK: usize = 1 << 20;
const CHUNKS: u32 = 1 << 12;

/// What a run over all inputs found.
pub struct Proof {
    pub name: String,
    pub isa: Isa,
    /// Inputs that the filter left to MPFR, in ascending order of bits.
    pub doubtful: Vec<u32>,
    /// Those of them whose candidate is wrong, with the right result.
    pub mismatches: Vec<(u32, u32)>,
    /// SHA-256 over the SHA-256 of each 2^20 results (little endian, inputs in ascending order).
    pub results_digest: String,
    pub seconds: f64,
}

/// # Panics
/// If there is no function of that name.
pub fn prove(name: &str) -> Proof {
    with_function(name, Exhaustive(name)).expect("names are checked before")
}

struct Exhaustive<'a>(&'a str);

struct Piece {
    digest: [u8; 32],
    doubtful: Vec<(u32, u32)>,
}

impl Visitor for Exhaustive<'_> {
    type Output = Proof;

    fn visit<F: Judged>(self, function: F) -> Proof {
        let name = self.0;
        let isa = Isa::detect();
        let start = std::time::Instant::now();
        let bar = ProgressBar::new(u64::from(CHUNKS));
        let style =
            ProgressStyle::with_template("{prefix:8} {wide_bar} {percent}% {eta}").expect("a valid template");
        bar.set_style(style);
        bar.set_prefix(name.to_string());
        let (candidate, doubt) = (Candidate(function), Doubt::<F>::default());
        let pieces: Vec<Piece> = (0..CHUNKS)
            .into_par_iter()
            .map_init(Buffers::default, |buffers, chunk| {
                let piece = buffers.judge(isa, &candidate, &doubt, chunk);
                bar.inc(1);
                piece
            })
            .collect();
        bar.finish_and_clear();
        let mut digest = Sha256::new();
        let (mut doubtful, mut mismatches) = (Vec::new(), Vec::new());
        for piece in pieces {
            digest.update(piece.digest);
            for (input, got) in piece.doubtful {
                doubtful.push(input);
                let right = oracle::f32_bits(name, f32::from_bits(input));
                if got != right {
                    mismatches.push((input, right));
                }
            }
        }
        Proof {
            name: name.to_string(),
            isa,
            doubtful,
            mismatches,
            results_digest: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

#[derive(Default)]
struct Buffers {
    inputs: Vec<f32>,
    results: Vec<f32>,
    doubts: Vec<f32>,
}

impl Buffers {
    fn judge<F: Judged>(
        &mut self,
        isa: Isa,
        candidate: &Candidate<F>,
        doubt: &Doubt<F>,
        chunk: u32,
    ) -> Piece {
        let first = chunk * CHUNK as u32;
        self.inputs.clear();
        self.inputs.extend((0..CHUNK as u32).map(|i| f32::from_bits(first + i)));
        self.results.resize(CHUNK, 0.0);
        self.doubts.resize(CHUNK, 0.0);
        map1(isa, candidate, &self.inputs, &mut self.results);
        map1(isa, doubt, &self.inputs, &mut self.doubts);
        let mut digest = Sha256::new();
        let mut doubtful = Vec::new();
        let mut bytes = Vec::with_capacity(CHUNK * 4);
        for (i, (y, &is_doubtful)) in self.results.iter().zip(&self.doubts).enumerate() {
            bytes.extend_from_slice(&y.to_bits().to_le_bytes());
            if is_doubtful != 0.0 {
                doubtful.push((first + i as u32, y.to_bits()));
            }
        }
        digest.update(&bytes);
        Piece { digest: digest.finalize().into(), doubtful }
    }
}
