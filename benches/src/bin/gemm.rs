//! Times f32 matrix products: `gemm THREADS ISA M K N [row|panel] [SECONDS]` prints the best and the median
//! GFLOP/s. `gemm.py` runs it beside OpenBLAS.
#![forbid(unsafe_code)]

use std::time::Instant;

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops;
use repops::reference::pack_panel16;
use repops::tensor::Tensor;
use repops_kernels::{Isa, KernelCtx, Operand, lookup};

#[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| args[index].parse::<usize>().expect("a number");
    let (threads, m, k, n) = (number(0), number(2), number(3), number(4));
    let isa =
        if args[1] == "auto" { Isa::detect() } else { Isa::from_name(&args[1]).expect("an instruction set") };
    let panel = args.get(5).is_some_and(|s| s == "panel");
    let seconds: f64 = args.get(6).map_or(1.0, |s| s.parse().expect("seconds"));
    let fill = |count: usize| -> Vec<f32> {
        (0..count as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    };
    let a = Tensor::from_slice(&[m, k], &fill(m * k));
    let b = Tensor::from_slice(&[k, n], &fill(k * n));
    let mut y = Tensor::zeros(DType::F32, &[m, n]).expect("memory");
    let mut right = Operand::from(b.view());
    let packed;
    if panel {
        let bytes = pack_panel16(b.view());
        packed = Tensor::from_bytes(DType::F32, &[bytes.len() / 4], &bytes).expect("packed");
        right = Operand { layout: Layout::Panel16, bytes: packed.bytes(), ..right };
    }
    let def = ops::by_name("MatMul").expect("MatMul");
    let kernel = lookup(def.id, def.version, &[Some(DType::F32); 2]).expect("a kernel");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let attrs = Attrs::new();
    let ctx = KernelCtx { isa, attrs: &attrs };
    let mut times = Vec::new();
    pool.install(|| {
        let start = Instant::now();
        while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
            let call = Instant::now();
            kernel(&ctx, &[Some(Operand::from(a.view())), Some(right)], &mut [y.view_mut()]).expect("runs");
            times.push(call.elapsed().as_secs_f64());
        }
    });
    times.sort_by(f64::total_cmp);
    let rate = |time: f64| 2.0 * (m * n * k) as f64 / time / 1e9;
    println!("{:.2} {:.2}", rate(times[0]), rate(times[times.len() / 2]));
}
