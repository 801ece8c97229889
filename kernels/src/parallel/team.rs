//! Threads that wait awake between kernels.
//!
//! A program is a row of kernels of some microseconds each, and to wake a sleeping thread takes tens of them. A thread
//! of a [`pool`] that was called to help therefore looks out for the next job for a while ([`LINGER`]) before it goes
//! back to sleep, and in between takes up whatever else is given to the pool, hashing above all.
//!
//! Invariant: a helper touches a job only between raising and lowering `joined`, and whoever gave the job returns only after
//! taking it back and seeing `joined` at zero.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::LocalKey;
use std::time::{Duration, Instant};

use crate::float_env::FloatEnv;

/// How long a helper looks out for the next job: longer than what lies between two kernels, or between two tokens.
const LINGER: Duration = Duration::from_micros(200);
/// Looks between two glances at the clock and at the pool's other work.
const LOOKS: usize = 64;
/// Looks at a helper that has not finished before the processor is offered to others.
const PATIENCE: usize = 1 << 12;

/// A pool of so many threads (0: as many as the machine has) for kernels and hashing, which wait awake between kernels as long as
/// each can have a processor.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { processors } else { threads };
    build(threads, (2..=processors).contains(&threads))
}

fn build(threads: usize, with_team: bool) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let team = with_team.then(|| Arc::new(Team::default()));
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |_| {
            // For good: these threads run nothing but kernels and hashing.
            std::mem::forget(FloatEnv::enter());
            if let Some(team) = &team {
                OWN.with(|own| {
                    own.set(team.clone()).unwrap_or_else(|_| unreachable!("set once, at the start"))
                });
            }
        })
        .thread_name(|index| format!("repops-{index}"))
        .build()
}

/// Gives `work` to a thread of the current pool that has nothing else to do. Kernels and hashing within it leave those who look
/// out to the kernels beside which it runs.
pub fn spawn(work: impl FnOnce() + Send + 'static) {
    rayon::spawn(|| {
        let _aside = Set::new(&ASIDE);
        work();
    });
}

/// Runs a task that waits for a thread of the current pool, if there is one; otherwise gives way to other threads. For
/// whoever waits for such a task.
pub fn take_up_work() {
    if below(rayon::yield_now) != Some(rayon::Yield::Executed) {
        std::thread::yield_now();
    }
}

thread_local! {
    /// The team of this thread's pool.
    static OWN: OnceCell<Arc<Team>> = const { OnceCell::new() };
    /// Whether something lies beneath on this thread that waits: then it must not stay away to help.
    static WAITED_FOR: Cell<bool> = const { Cell::new(false) };
    /// Whether what runs is work beside kernels.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// A flag that is set until this is dropped.
struct Set(&'static LocalKey<Cell<bool>>, bool);

impl Set {
    fn new(flag: &'static LocalKey<Cell<bool>>) -> Set {
        Set(flag, flag.replace(true))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Calls `work`, in which this thread may take up other tasks.
pub(super) fn below<R>(work: impl FnOnce() -> R) -> R {
    let _waited_for = Set::new(&WAITED_FOR);
    work()
}

/// Calls `work` on this thread and on up to `threads - 1` others at the same time, by the team of this thread's pool; `false`, and
/// nothing called, where there is none, or it has a job, or this is work beside kernels.
pub(super) fn together(threads: usize, work: &(dyn Fn() + Sync)) -> bool {
    !ASIDE.get() && OWN.with(|own| own.get().is_some_and(|team| team.give(threads, work)))
}

type Work<'a> = dyn Fn() + Sync + 'a;

struct Job {
    work: *const Work<'static>,
    /// Helpers at the most.
    room: usize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// What helpers look at; on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Call {
    /// Null: there is no job.
    job: AtomicPtr<Job>,
    /// Jobs so far: who has helped one does not come again for it.
    number: AtomicUsize,
}

#[derive(Default)]
struct Team {
    call: Call,
    /// Helpers that may be inside of the job.
    joined: AtomicUsize,
    /// Helpers that look out, or were asked to come.
    called: AtomicUsize,
    /// Someone has a job.
    taken: AtomicBool,
}

impl Team {
    fn give(self: &Arc<Team>, threads: usize, work: &Work<'_>) -> bool {
        if self.taken.swap(true, Ordering::Acquire) {
            return false;
        }
        // SAFETY: only the lifetime changes, and `End` ends every use of the pointer before `work` ends.
        let work_ptr = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        let mut job = Job { work: work_ptr, room: threads - 1, panic: Mutex::default() };
        // Helpers write to it through the pointer.
        let pointer: *mut Job = &raw mut job;
        {
            let _end = End(self);
            self.call.job.store(pointer, Ordering::SeqCst);
            self.call.number.fetch_add(1, Ordering::Release);
            for _ in self.called.load(Ordering::Relaxed)..threads - 1 {
                self.called.fetch_add(1, Ordering::Relaxed);
                let (team, home) = (self.clone(), rayon::current_thread_index());
                rayon::spawn(move || team.help(home));
            }
            work();
        }
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
        true
    }

    /// Helps with one job after the other, until none comes for a while. `home`: the thread that asked.
    fn help(&self, home: Option<usize>) {
        // Whoever asked has its own share of the work, and who is waited for cannot stay.
        if !WAITED_FOR.get() && rayon::current_thread_index() != home {
            below(|| self.look_out());
        }
        self.called.fetch_sub(1, Ordering::Relaxed);
    }

    #[expect(clippy::disallowed_methods, reason = "how long a thread waits awake decides no result")]
    fn look_out(&self) {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            for _ in 0..LOOKS {
                let number = self.call.number.load(Ordering::Acquire);
                if number != seen {
                    seen = number;
                    self.join();
                    since = Instant::now();
                }
                std::hint::spin_loop();
            }
            // What is taken up there may give jobs itself, and then needs another helper than this one.
            self.called.fetch_sub(1, Ordering::Relaxed);
            let taken_up = rayon::yield_now();
            self.called.fetch_add(1, Ordering::Relaxed);
            if taken_up == Some(rayon::Yield::Executed) {
                since = Instant::now();
            } else if since.elapsed() > LINGER {
                return;
            }
        }
    }

    fn join(&self) {
        let before = self.joined.fetch_add(1, Ordering::SeqCst);
        let job = self.call.job.load(Ordering::SeqCst).cast_const();
        if !job.is_null() {
            // SAFETY: `joined` was raised before the pointer was read and is lowered after the last use, so that `End` waits for it.
            let job = unsafe { &*job };
            if before < job.room {
                // SAFETY: as above; the work outlives the job.
                let work = unsafe { &*job.work };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                    *job.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
        }
        self.joined.fetch_sub(1, Ordering::Release);
    }
}

/// Takes the job back and waits for those inside; also when its work panics.
struct End<'a>(&'a Team);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let team = self.0;
        team.call.job.store(null_mut(), Ordering::SeqCst);
        let mut looks = 0;
        while team.joined.load(Ordering::SeqCst) != 0 {
            looks += 1;
            if looks < PATIENCE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        team.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::super::parallel;
    use super::*;

    /// Jobs of all sizes one after the other, and tasks of the pool between them: each piece once, whoever computes it.
    #[test]
    fn every_piece_of_every_job_once() {
        for threads in [2, 3, 7] {
            let pool = build(threads, true).unwrap();
            let spawned = Arc::new(AtomicUsize::new(0));
            pool.install(|| {
                for job in 0..3000usize {
                    let sums: Vec<AtomicU64> = (0..job % 11).map(|_| AtomicU64::new(0)).collect();
                    parallel(sums.len(), |piece| {
                        sums[piece].fetch_add(1 + piece as u64, Ordering::Relaxed);
                    });
                    for (piece, sum) in sums.iter().enumerate() {
                        assert_eq!(sum.load(Ordering::Relaxed), 1 + piece as u64, "job {job}");
                    }
                    if job % 5 == 0 {
                        let spawned = spawned.clone();
                        spawn(move || {
                            parallel(3, |_| {
                                spawned.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                    if job % 500 == 0 {
                        // Long enough for helpers to leave.
                        std::thread::sleep(2 * LINGER);
                    }
                }
                while spawned.load(Ordering::Relaxed) != 3 * 600 {
                    take_up_work();
                }
            });
        }
    }

    /// Several jobs at once in one pool, and jobs within jobs.
    #[test]
    fn jobs_beside_and_within_jobs() {
        let pool = build(4, true).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.install(|| {
                            parallel(5, |_| {
                                parallel(4, |_| {
                                    total.fetch_add(1, Ordering::Relaxed);
                                });
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * 200 * 20);
    }

    #[test]
    fn a_panic_reaches_whoever_gave_the_job() {
        let pool = build(2, true).unwrap();
        for at in 0..8 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.install(|| {
                    parallel(8, |piece| {
                        std::thread::sleep(Duration::from_micros(50));
                        assert_ne!(piece, at, "planted");
                    });
                });
            }));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.install(|| {
            parallel(8, |piece| {
                sum.fetch_add(piece, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[test]
    fn helpers_leave() {
        let pool = build(2, true).unwrap();
        let called = || pool.install(|| OWN.with(|own| own.get().unwrap().called.load(Ordering::Relaxed)));
        pool.install(|| parallel(2, |_| std::thread::sleep(Duration::from_millis(1))));
        for _ in 0..1000 {
            if called() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("a helper stays awake for nothing");
    }
}
