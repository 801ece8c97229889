//! What the machine can do at most: `limits read|hash THREADS MEBIBYTES [SECONDS]` prints GB/s.
//!
//! `read` adds up all words of a buffer of that size, so its figure is to be compared with work on as many
//! bytes; `hash` is the Merkle root that tensors' digests are made of. The median of the passes is printed.
#![forbid(unsafe_code)]

use std::time::Instant;

use rayon::prelude::*;
use repops_kernels::merkle_root;

/// Bytes that a thread reads at a time.
const PIECE: usize = 256 << 10;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| args[index].parse::<usize>().expect("a number");
    let (what, threads, bytes) = (args[0].as_str(), number(1), number(2) << 20);
    let seconds: f64 = args.get(3).map_or(1.0, |s| s.parse().expect("seconds"));
    let pool = repops_kernels::pool(threads).expect("threads");
    let words: Vec<u64> = pool.install(|| (0..bytes as u64 / 8).into_par_iter().collect());
    let time = pool.install(|| match what {
        "read" => median(seconds, || sum(&words)),
        "hash" => median(seconds, || {
            let root = merkle_root(bytemuck::cast_slice(&words));
            u64::from(root.0[0])
        }),
        _ => panic!("read or hash"),
    });
    println!("{:.3}", bytes as f64 / time / 1e9);
}

#[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
fn median(seconds: f64, pass: impl Fn() -> u64) -> f64 {
    std::hint::black_box(pass());
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let call = Instant::now();
        std::hint::black_box(pass());
        times.push(call.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// All words added, modulo 2^64; many sums at once, so that loads are all there is to wait for.
fn sum(words: &[u64]) -> u64 {
    let piece = |piece: &[u64]| {
        let mut sums = [0u64; 32];
        for block in piece.chunks_exact(sums.len()) {
            for (sum, word) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums.into_iter().fold(0, u64::wrapping_add)
    };
    words.par_chunks(PIECE / 8).map(piece).reduce(|| 0, u64::wrapping_add)
}
