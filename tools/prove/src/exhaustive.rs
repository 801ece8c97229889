//! All 2^32 inputs of one function.

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use repops_kernels::cpu::map::map1;
use repops_kernels::isa::Isa;
use sha2::{Digest, Sha256};

use crate::functions::{Visitor, with_function};
use crate::judge::{Candidate, Doubt, Judged, Quick};
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

/// The digest of a function's results alone, without judging them.
pub fn results_digest(name: &str) -> Option<String> {
    with_function(name, DigestOnly)
}

struct DigestOnly;

impl Visitor for DigestOnly {
    type Output = String;

    #[expect(clippy::disallowed_methods, reason = "the record states how long a proof took")]
    fn visit<F: Judged>(self, function: F) -> String {
        let (isa, candidate) = (Isa::detect(), Candidate(function));
        let digests: Vec<[u8; 32]> = (0..CHUNKS)
            .into_par_iter()
            .map_init(Buffers::default, |buffers, chunk| {
                buffers.evaluate(isa, &candidate, chunk);
                buffers.digest()
            })
            .collect();
        hex(Sha256::digest(digests.concat()))
    }
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
        let candidate = Candidate(function);
        let pieces: Vec<Piece> = (0..CHUNKS)
            .into_par_iter()
            .map_init(Buffers::default, |buffers, chunk| {
                let piece = buffers.judge(isa, &candidate, chunk);
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
            results_digest: hex(digest.finalize()),
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
    fn evaluate<F: Judged>(&mut self, isa: Isa, candidate: &Candidate<F>, chunk: u32) {
        let first = chunk * CHUNK as u32;
        self.inputs.clear();
        self.inputs.extend((0..CHUNK as u32).map(|i| f32::from_bits(first + i)));
        self.results.resize(CHUNK, 0.0);
        map1(isa, candidate, &self.inputs, &mut self.results);
    }

    fn digest(&self) -> [u8; 32] {
        let bytes: Vec<u8> = self.results.iter().flat_map(|y| y.to_bits().to_le_bytes()).collect();
        Sha256::digest(&bytes).into()
    }

    fn judge<F: Judged>(&mut self, isa: Isa, candidate: &Candidate<F>, chunk: u32) -> Piece {
        self.evaluate(isa, candidate, chunk);
        self.doubts.resize(CHUNK, 0.0);
        self.find_doubts::<F>(isa);
        let rows = self.inputs.iter().zip(&self.results).zip(&self.doubts);
        let doubtful = rows.filter(|(_, doubt)| **doubt != 0.0).map(|((x, y), _)| (x.to_bits(), y.to_bits()));
        Piece { digest: self.digest(), doubtful: doubtful.collect() }
    }

    /// The cheapest sufficient judgement for the whole chunk; magnitudes ascend within it.
    fn find_doubts<F: Judged>(&mut self, isa: Isa) {
        map1(isa, &Quick::<F>::default(), &self.inputs, &mut self.doubts);
        if self.doubts.iter().all(|&doubt| doubt == 0.0) {
            return;
        }
        let (smallest, largest) = (self.inputs[0].abs(), self.inputs[CHUNK - 1].abs());
        let constant = smallest >= F::CONSTANT_FROM && largest < f32::INFINITY;
        let first = self.results[0].to_bits();
        if constant && self.results.iter().all(|y| y.to_bits() == first) {
            // One value for all: the first element's judgement is everyone's.
            let (head, rest) = self.doubts.split_at_mut(1);
            map1(isa, &Doubt::<F, false>::default(), &self.inputs[..1], head);
            rest.fill(head[0]);
        } else if largest <= 0.5 {
            map1(isa, &Doubt::<F, true>::default(), &self.inputs, &mut self.doubts);
        } else {
            map1(isa, &Doubt::<F, false>::default(), &self.inputs, &mut self.doubts);
        }
    }
}
