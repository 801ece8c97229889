//! Criterion over cases: every case on one thread and on all.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rayon::ThreadPool;
use repops_benches::Case;

/// Times the cases, their amounts as throughput.
#[allow(dead_code, reason = "not every benchmark has cases")]
pub fn time(c: &mut Criterion, group: &str, cases: Vec<Case>) {
    let mut group = c.benchmark_group(group);
    group.sample_size(20);
    for mut case in cases {
        group.throughput(Throughput::Elements(case.amount));
        for threads in [1, 0] {
            let pool = repops_kernels::pool(threads).expect("threads");
            let threads = pool.current_num_threads();
            let name = format!("{}, {threads} threads", case.name);
            group.bench_function(name, |bencher| bencher.iter_custom(|n| timed(&pool, n, || case.call())));
            if threads == 1 && std::thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
                break;
            }
        }
    }
    group.finish();
}

/// The time of `n` calls on the pool's threads; entering the pool is not in it.
#[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
pub fn timed(pool: &ThreadPool, n: u64, mut call: impl FnMut() + Send) -> Duration {
    pool.install(|| {
        let start = Instant::now();
        (0..n).for_each(|_| call());
        start.elapsed()
    })
}
