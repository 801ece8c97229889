//! Matrix products: square ones, those of decoding, 8-bit ones; throughput in operations.

mod timing;

use criterion::{Criterion, criterion_group, criterion_main};
use repops_benches::cases::{product, product_int8};
use repops_kernels::Isa;

fn contraction(c: &mut Criterion) {
    let isa = Isa::detect();
    let shapes = [(256, 256, 256), (1024, 1024, 1024), (128, 4096, 4096), (333, 777, 1234), (1, 4096, 4096)];
    let mut cases: Vec<_> = shapes.iter().map(|&(m, k, n)| product(isa, m, k, n, true)).collect();
    cases.push(product(isa, 1024, 1024, 1024, false));
    cases.push(product_int8(isa, 128, 1024, 1024));
    timing::time(c, "contraction", cases);
}

criterion_group!(benches, contraction);
criterion_main!(benches);
