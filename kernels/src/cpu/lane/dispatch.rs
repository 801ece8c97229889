//! Running one generic body with the registers of an instruction set.

use super::VectorLane;
#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::isa::Isa;

/// Work written over vector registers.
pub(crate) trait Vectorized {
    type Output;
    /// Implementations are `#[inline(always)]`.
    fn run<V: VectorLane>(self) -> Self::Output;
}

/// Runs the work.
///
/// # Panics
/// If this machine lacks `isa`.
#[inline]
pub(crate) fn dispatch<T: Vectorized>(isa: Isa, task: T) -> T::Output {
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available.
        Isa::Avx2 => unsafe { run_avx2(task) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available.
        Isa::Avx512 => unsafe { run_avx512(task) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the instruction set is available.
        Isa::Neon => unsafe { run_neon(task) },
        _ => task.run::<f32>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<T: Vectorized>(task: T) -> T::Output {
    task.run::<avx2::F32x8>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
fn run_avx512<T: Vectorized>(task: T) -> T::Output {
    task.run::<avx512::F32x16>()
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn run_neon<T: Vectorized>(task: T) -> T::Output {
    task.run::<neon::F32x4>()
}

/// `dst[i] = f([args[0][i], ...])`: whole vectors, then the remainder through vectors padded with zeros.
/// All are as long as `dst`.
#[inline(always)]
pub(crate) fn each<V: VectorLane, const N: usize>(
    args: [&[f32]; N],
    dst: &mut [f32],
    f: impl Fn([V; N]) -> V,
) {
    const LANES_MAX: usize = 16;
    const { assert!(V::LANES <= LANES_MAX) };
    assert!(args.iter().all(|arg| arg.len() == dst.len()), "arguments of a loop");
    let whole = dst.len() - dst.len() % V::LANES;
    let mut at = 0;
    while at < whole {
        // SAFETY: `at + LANES` is within the length of every slice.
        unsafe {
            let mut values = [V::splat(0.0); N];
            for (value, arg) in values.iter_mut().zip(&args) {
                *value = V::load(arg.as_ptr().add(at));
            }
            f(values).store(dst.as_mut_ptr().add(at));
        }
        at += V::LANES;
    }
    let rest = dst.len() - whole;
    if rest > 0 {
        let mut padded = [[0.0f32; LANES_MAX]; N];
        for (padded, arg) in padded.iter_mut().zip(&args) {
            padded[..rest].copy_from_slice(&arg[whole..]);
        }
        let mut result = [0.0f32; LANES_MAX];
        // SAFETY: the arrays have at least `LANES` elements.
        unsafe {
            let mut values = [V::splat(0.0); N];
            for (value, padded) in values.iter_mut().zip(&padded) {
                *value = V::load(padded.as_ptr());
            }
            f(values).store(result.as_mut_ptr());
        }
        dst[whole..].copy_from_slice(&result[..rest]);
    }
}
