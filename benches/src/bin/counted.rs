//! One call of a key kernel, for callgrind: `counted list` prints the names, `counted NAME` calls.
//!
//! Only what happens inside of `counted_call` is to be counted (`--toggle-collect`); a call before it warms up
//! what is made once. AVX2 always, because valgrind knows nothing newer.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use repops_benches::{Case, cases};
use repops_kernels::Isa;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    if !Isa::Avx2.is_available() {
        eprintln!("this machine has no AVX2");
        return ExitCode::from(2);
    }
    let mut all = cases::key_kernels(Isa::Avx2);
    if name == "list" {
        all.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    let Some(case) = all.iter_mut().find(|case| case.name == name) else {
        eprintln!("no such kernel: {name:?}");
        return ExitCode::from(2);
    };
    let pool = repops_kernels::pool(1).expect("a thread");
    pool.install(|| {
        case.call();
        counted_call(case);
    });
    ExitCode::SUCCESS
}

#[inline(never)]
fn counted_call(case: &mut Case) {
    case.call();
    std::hint::black_box(case.output().bytes());
}
