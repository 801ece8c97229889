//! Dividing work among the threads of the current rayon pool, which may be one that waits awake ([`pool`]).
//!
//! Invariant: which thread runs a task, and how many there are, never changes what a task computes.

mod team;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::float_env::FloatEnv;
pub use team::{pool, spawn, take_up_work};

/// Runs `task(0) .. task(count - 1)`, each once, in ascending order of their start, on the threads of the current pool.
pub fn parallel(count: usize, task: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        let _env = FloatEnv::enter();
        (0..count).for_each(task);
        return;
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let _env = FloatEnv::enter();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            task(index);
        }
    };
    if team::together(threads, &worker) {
        return;
    }
    team::below(|| {
        rayon::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| worker());
            }
            worker();
        })
    });
}

/// Runs `task` on ranges that cover `0 .. len`, each a multiple of `grain` long but for the last. Short
/// work stays on one thread: `cost` is roughly how many bytes or multiply-adds one unit of `len` takes.
pub(crate) fn parallel_ranges(
    len: usize,
    grain: usize,
    cost: usize,
    task: impl Fn(std::ops::Range<usize>) + Sync,
) {
    /// Below this much a second thread does not pay.
    const COST_MIN: usize = 1 << 17;
    let grains = len.div_ceil(grain.max(1));
    let tasks =
        (len.saturating_mul(cost) / COST_MIN).clamp(1, 4 * rayon::current_num_threads()).min(grains.max(1));
    let step = grains.div_ceil(tasks) * grain.max(1);
    let count = len.div_ceil(step.max(1));
    parallel(count, |index| task(index * step..len.min((index + 1) * step)));
}

/// Calls `task` on so many elements of `from` at a time, and on those of `out` that stand where they do.
pub fn parallel_chunks<T: Sync, U: Send>(
    from: &[T],
    out: &mut [U],
    len: usize,
    task: impl Fn(&[T], &mut [U]) + Sync,
) {
    assert_eq!(from.len(), out.len());
    let shared = Shared::new(out);
    parallel(from.len().div_ceil(len), |index| {
        let range = index * len..from.len().min((index + 1) * len);
        // SAFETY: the ranges do not overlap.
        task(&from[range.clone()], unsafe { shared.slice(range) });
    });
}

/// A pointer that tasks share; each writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);
// SAFETY: whoever dereferences it keeps the parts of concurrent tasks apart.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Shared<T> {
        Shared(slice.as_mut_ptr())
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// The range lies inside of the slice, which outlives the result, and no two live results overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.end - range.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut seen = vec![0u8; 1001];
                let shared = Shared::new(&mut seen);
                parallel_ranges(1001, 8, 1 << 16, |range| {
                    // SAFETY: the ranges do not overlap.
                    unsafe { shared.slice(range) }.iter_mut().for_each(|v| *v += 1);
                });
                assert!(seen.iter().all(|&v| v == 1));
            });
        }
    }
}
