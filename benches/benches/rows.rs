//! Softmax and layer normalization; throughput in bytes read and written.

mod timing;

use criterion::{Criterion, criterion_group, criterion_main};
use repops_benches::cases::{layer_norm, softmax};
use repops_kernels::Isa;

fn rows(c: &mut Criterion) {
    let isa = Isa::detect();
    let cases = vec![softmax(isa, 1024, 1024), softmax(isa, 4096, 1024), layer_norm(isa, 4096, 1024)];
    timing::time(c, "rows", cases);
}

criterion_group!(benches, rows);
criterion_main!(benches);
