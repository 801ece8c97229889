//! Fused element-wise regions; throughput in bytes read and written.

mod timing;

use criterion::{Criterion, criterion_group, criterion_main};
use repops_benches::cases::{exp, gelu};
use repops_kernels::Isa;

fn regions(c: &mut Criterion) {
    let isa = Isa::detect();
    timing::time(c, "regions", vec![exp(isa, 1 << 20), exp(isa, 1 << 24), gelu(isa, 1 << 20)]);
}

criterion_group!(benches, regions);
criterion_main!(benches);
