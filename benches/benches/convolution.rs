//! Convolutions of ResNet-50 and MobileNetV2; throughput in operations.

mod timing;

use criterion::{Criterion, criterion_group, criterion_main};
use repops_benches::cases::{LAYERS, convolution};
use repops_kernels::Isa;

fn layers(c: &mut Criterion) {
    timing::time(c, "convolution", LAYERS.map(|layer| convolution(Isa::detect(), layer)).into());
}

criterion_group!(benches, layers);
criterion_main!(benches);
