//! The Merkle root that tensors' digests are made of; throughput in bytes.

mod timing;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use repops_kernels::merkle_root;

fn roots(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    for (name, size) in [("4 KiB", 4 << 10), ("1 MiB", 1 << 20), ("64 MiB", 64 << 20)] {
        let bytes: Vec<u8> = (0..size).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 8) as u8).collect();
        group.throughput(Throughput::Bytes(size as u64));
        for threads in [1, 0] {
            let pool = repops_kernels::pool(threads).expect("threads");
            let name = format!("{name}, {} threads", pool.current_num_threads());
            let root = || {
                std::hint::black_box(merkle_root(&bytes));
            };
            group.bench_function(name, |bencher| bencher.iter_custom(|n| timing::timed(&pool, n, root)));
        }
    }
    group.finish();
}

criterion_group!(benches, roots);
criterion_main!(benches);
