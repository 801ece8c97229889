//! Running loops with the registers of an instruction set.

use crate::isa::Isa;

/// Runs `body` compiled for an instruction set. Its operations are exact or rounded one by one, so that
/// vectors of them give the same bits.
///
/// # Panics
/// If this machine lacks `isa`.
#[inline]
pub(crate) fn vectorized<R>(isa: Isa, body: impl FnOnce() -> R) -> R {
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
            fn run<R>(body: impl FnOnce() -> R) -> R {
                body()
            }
            // SAFETY: the instruction set is available.
            unsafe { run(body) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            fn run<R>(body: impl FnOnce() -> R) -> R {
                body()
            }
            // SAFETY: the instruction set is available.
            unsafe { run(body) }
        }
        _ => body(),
    }
}
