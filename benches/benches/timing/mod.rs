//! Criterion over cases: every case on one thread and on all.

use criterion::{Criterion, Throughput};
use repops_benches::Case;

/// Times the cases, their amounts as throughput.
pub fn time(c: &mut Criterion, group: &str, cases: Vec<Case>) {
    let mut group = c.benchmark_group(group);
    group.sample_size(20);
    for mut case in cases {
        group.throughput(Throughput::Elements(case.amount));
        for threads in [1, 0] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let threads = pool.current_num_threads();
            let name = format!("{}, {threads} threads", case.name);
            pool.install(|| group.bench_function(name, |bencher| bencher.iter(|| case.call())));
            if threads == 1 && std::thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
                break;
            }
        }
    }
    group.finish();
}
