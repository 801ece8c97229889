//! Times f32 matrix products: `gemm THREADS ISA M K N [row|panel] [SECONDS]` prints the best and the median
//! GFLOP/s. `cargo xtask bench --peers --only gemm gemv` runs it beside OpenBLAS.
#![forbid(unsafe_code)]

use std::time::Instant;

use repops_benches::cases;
use repops_kernels::Isa;

#[expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| args[index].parse::<usize>().expect("a number");
    let (threads, m, k, n) = (number(0), number(2), number(3), number(4));
    let isa =
        if args[1] == "auto" { Isa::detect() } else { Isa::from_name(&args[1]).expect("an instruction set") };
    let panel = args.get(5).is_some_and(|s| s == "panel");
    let seconds: f64 = args.get(6).map_or(1.0, |s| s.parse().expect("seconds"));
    let mut case = cases::product(isa, m, k, n, panel);
    let pool = repops_kernels::pool(threads).expect("threads");
    let mut times = Vec::new();
    pool.install(|| {
        let start = Instant::now();
        while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
            let call = Instant::now();
            case.call();
            times.push(call.elapsed().as_secs_f64());
        }
    });
    times.sort_by(f64::total_cmp);
    let rate = |time: f64| 2.0 * (m * n * k) as f64 / time / 1e9;
    println!("{:.2} {:.2}", rate(times[0]), rate(times[times.len() / 2]));
}
