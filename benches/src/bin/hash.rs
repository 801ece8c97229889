//! Times the Merkle root over a tensor's bytes on one thread: `hash [SECONDS]` prints, for each kind of
//! instructions of this machine and each size, the best time of a call and GB/s.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use repops::digest::{Digest, LEAF_BYTES, leaf_hash, merkle_root};
use repops_kernels::{HashIsa, merkle_root_by};

const SIZES: [usize; 8] = [100, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];

fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(0.5, |s| s.parse().expect("seconds"));
    let bytes: Vec<u8> = (0..64u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let pool = repops_kernels::pool(1).expect("a thread");
    pool.install(|| {
        report("plain", &bytes, seconds, |bytes| {
            let leaves: Vec<Digest> = bytes.chunks(LEAF_BYTES).map(leaf_hash).collect();
            merkle_root(&leaves)
        });
        for isa in HashIsa::available() {
            report(&format!("{isa:?}"), &bytes, seconds, |bytes| merkle_root_by(isa, bytes));
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
fn report(name: &str, bytes: &[u8], seconds: f64, root: impl Fn(&[u8]) -> Digest) {
    for size in SIZES {
        let part = &bytes[..size];
        let calls = ((128 << 10) / size).clamp(1, 100);
        let mut best = f64::MAX;
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            for _ in 0..calls {
                black_box(root(black_box(part)));
            }
            best = best.min(start.elapsed().as_secs_f64() / calls as f64);
        }
        println!("{name:10} {size:9} bytes {:12.0} ns {:7.2} GB/s", best * 1e9, size as f64 / best / 1e9);
    }
}
