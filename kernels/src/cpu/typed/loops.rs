//! Loops over elements of any type, written so that compilers vectorize them: each is instantiated under
//! the features of every instruction set.
//!
//! The functions are closures marked `#[inline(always)]`: a loop calls its function at several places, and
//! one that is not inlined there would run without the instruction set's features.

use std::marker::PhantomData;

use bytemuck::Pod;
use repops::region::{PARAMS_MAX, RegionArg, RegionKernel};
use repops::tensor::{TensorView, TensorViewMut};

use super::super::elementwise::broadcast::evaluate_broadcast_at;
use crate::isa::Isa;

/// What an element costs beside its move, for [`evaluate_broadcast_at`].
pub(super) const CHEAP: usize = 2;

/// What a type of element must be.
pub(super) trait Value: Pod + Send + Sync {}
impl<T: Pod + Send + Sync> Value for T {}

/// `y[i] = f(a[i])`.
pub(super) fn one<A: Value, Y: Value>(
    isa: Isa,
    cost: usize,
    a: TensorView<'_>,
    y: &mut TensorViewMut<'_>,
    f: impl Fn(A) -> Y + Copy + Send + Sync,
) {
    run(&One { isa, f, types: PhantomData }, cost, &[a], y);
}

/// `y[i] = f(a[i], b[i])`, broadcast.
pub(super) fn two<A: Value, B: Value, Y: Value>(
    isa: Isa,
    cost: usize,
    [a, b]: [TensorView<'_>; 2],
    y: &mut TensorViewMut<'_>,
    f: impl Fn(A, B) -> Y + Copy + Send + Sync,
) {
    run(&Two { isa, f, types: PhantomData }, cost, &[a, b], y);
}

/// `y[i] = f(a[i], b[i], c[i])`, broadcast.
pub(super) fn three<A: Value, B: Value, Y: Value>(
    isa: Isa,
    cost: usize,
    inputs: [TensorView<'_>; 3],
    y: &mut TensorViewMut<'_>,
    f: impl Fn(A, B, B) -> Y + Copy + Send + Sync,
) {
    run(&Three { isa, f, types: PhantomData }, cost, &inputs, y);
}

/// The left fold of at most [`PARAMS_MAX`] inputs, broadcast.
pub(super) fn fold<Y: Value>(
    isa: Isa,
    cost: usize,
    inputs: &[TensorView<'_>],
    y: &mut TensorViewMut<'_>,
    f: impl Fn(Y, Y) -> Y + Copy + Send + Sync,
) {
    run(&Fold { isa, f, types: PhantomData::<fn(Y)> }, cost, inputs, y);
}

fn run(kernel: &dyn RegionKernel, cost: usize, inputs: &[TensorView<'_>], y: &mut TensorViewMut<'_>) {
    let shape = y.shape;
    let y = TensorViewMut { dtype: y.dtype, shape, bytes: &mut *y.bytes };
    evaluate_broadcast_at(cost, kernel, shape, inputs, &mut [y]);
}

/// A loop over a run of elements.
trait Task {
    /// Implementations are `#[inline(always)]`.
    fn run(self);
}

/// Runs the loop with the features of the instruction set. These loops wait for memory: wider registers than
/// those of AVX2 gain nothing, and one instance fewer of each is built.
fn dispatch<T: Task>(isa: Isa, task: T) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => {
            assert!(isa.is_available(), "this machine lacks {}", isa.name());
            // SAFETY: AVX2 and FMA are available, of which AVX-512 is an extension.
            unsafe { run_avx2(task) }
        }
        _ => task.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Task>(task: T) {
    task.run();
}

/// An input of a run, with its type.
#[derive(Clone, Copy)]
enum Arg<'a, T> {
    Each(&'a [T]),
    Same(T),
}

impl<'a, T: Pod> Arg<'a, T> {
    fn of(arg: RegionArg<'a>, n: usize) -> Arg<'a, T> {
        match arg {
            RegionArg::Slice(bytes) => Arg::Each(&bytemuck::cast_slice(bytes)[..n]),
            RegionArg::Splat(bytes) => Arg::Same(bytemuck::cast_slice(bytes)[0]),
        }
    }

    #[inline(always)]
    fn get(self, at: usize) -> T {
        match self {
            Arg::Each(values) => values[at],
            Arg::Same(value) => value,
        }
    }
}

struct One<F, A, Y> {
    isa: Isa,
    f: F,
    types: PhantomData<fn(A) -> Y>,
}

impl<F: Fn(A) -> Y + Copy + Send + Sync, A: Value, Y: Value> RegionKernel for One<F, A, Y> {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        let y: &mut [Y] = bytemuck::cast_slice_mut(outputs[0]);
        dispatch(self.isa, OneRun { f: self.f, a: Arg::of(args[0], n), y: &mut y[..n] });
    }
}

struct OneRun<'a, F, A, Y> {
    f: F,
    a: Arg<'a, A>,
    y: &'a mut [Y],
}

impl<F: Fn(A) -> Y, A: Value, Y: Value> Task for OneRun<'_, F, A, Y> {
    #[inline(always)]
    fn run(self) {
        match self.a {
            Arg::Each(a) => {
                for (y, &a) in self.y.iter_mut().zip(a) {
                    *y = (self.f)(a);
                }
            }
            Arg::Same(a) => self.y.fill((self.f)(a)),
        }
    }
}

struct Two<F, A, B, Y> {
    isa: Isa,
    f: F,
    types: PhantomData<fn(A, B) -> Y>,
}

impl<F: Fn(A, B) -> Y + Copy + Send + Sync, A: Value, B: Value, Y: Value> RegionKernel for Two<F, A, B, Y> {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        let y: &mut [Y] = bytemuck::cast_slice_mut(outputs[0]);
        let (a, b) = (Arg::of(args[0], n), Arg::of(args[1], n));
        dispatch(self.isa, TwoRun { f: self.f, a, b, y: &mut y[..n] });
    }
}

struct TwoRun<'a, F, A, B, Y> {
    f: F,
    a: Arg<'a, A>,
    b: Arg<'a, B>,
    y: &'a mut [Y],
}

impl<F: Fn(A, B) -> Y, A: Value, B: Value, Y: Value> Task for TwoRun<'_, F, A, B, Y> {
    #[inline(always)]
    fn run(self) {
        match (self.a, self.b) {
            (Arg::Each(a), Arg::Each(b)) => {
                for ((y, &a), &b) in self.y.iter_mut().zip(a).zip(b) {
                    *y = (self.f)(a, b);
                }
            }
            (Arg::Each(a), Arg::Same(b)) => {
                for (y, &a) in self.y.iter_mut().zip(a) {
                    *y = (self.f)(a, b);
                }
            }
            (Arg::Same(a), Arg::Each(b)) => {
                for (y, &b) in self.y.iter_mut().zip(b) {
                    *y = (self.f)(a, b);
                }
            }
            (Arg::Same(a), Arg::Same(b)) => self.y.fill((self.f)(a, b)),
        }
    }
}

struct Three<F, A, B, Y> {
    isa: Isa,
    f: F,
    types: PhantomData<fn(A, B) -> Y>,
}

impl<F: Fn(A, B, B) -> Y + Copy + Send + Sync, A: Value, B: Value, Y: Value> RegionKernel
    for Three<F, A, B, Y>
{
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        let y: &mut [Y] = bytemuck::cast_slice_mut(outputs[0]);
        let (a, b, c) = (Arg::of(args[0], n), Arg::of(args[1], n), Arg::of(args[2], n));
        dispatch(self.isa, ThreeRun { f: self.f, a, b, c, y: &mut y[..n] });
    }
}

struct ThreeRun<'a, F, A, B, Y> {
    f: F,
    a: Arg<'a, A>,
    b: Arg<'a, B>,
    c: Arg<'a, B>,
    y: &'a mut [Y],
}

impl<F: Fn(A, B, B) -> Y, A: Value, B: Value, Y: Value> Task for ThreeRun<'_, F, A, B, Y> {
    #[inline(always)]
    fn run(self) {
        match (self.a, self.b, self.c) {
            (Arg::Each(a), Arg::Each(b), Arg::Each(c)) => {
                for (((y, &a), &b), &c) in self.y.iter_mut().zip(a).zip(b).zip(c) {
                    *y = (self.f)(a, b, c);
                }
            }
            (Arg::Each(a), Arg::Same(b), Arg::Same(c)) => {
                for (y, &a) in self.y.iter_mut().zip(a) {
                    *y = (self.f)(a, b, c);
                }
            }
            (Arg::Each(a), Arg::Each(b), Arg::Same(c)) => {
                for ((y, &a), &b) in self.y.iter_mut().zip(a).zip(b) {
                    *y = (self.f)(a, b, c);
                }
            }
            (Arg::Each(a), Arg::Same(b), Arg::Each(c)) => {
                for ((y, &a), &c) in self.y.iter_mut().zip(a).zip(c) {
                    *y = (self.f)(a, b, c);
                }
            }
            (Arg::Same(a), b, c) => {
                for (at, y) in self.y.iter_mut().enumerate() {
                    *y = (self.f)(a, b.get(at), c.get(at));
                }
            }
        }
    }
}

struct Fold<F, Y> {
    isa: Isa,
    f: F,
    types: PhantomData<fn(Y)>,
}

impl<F: Fn(Y, Y) -> Y + Copy + Send + Sync, Y: Value> RegionKernel for Fold<F, Y> {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        assert!(args.len() <= PARAMS_MAX);
        let y: &mut [Y] = bytemuck::cast_slice_mut(outputs[0]);
        let y = &mut y[..n];
        match Arg::of(args[0], n) {
            Arg::Each(a) => y.copy_from_slice(a),
            Arg::Same(a) => y.fill(a),
        }
        for arg in &args[1..] {
            dispatch(self.isa, FoldRun { f: self.f, a: Arg::of(*arg, n), y });
        }
    }
}

struct FoldRun<'a, F, Y> {
    f: F,
    a: Arg<'a, Y>,
    y: &'a mut [Y],
}

impl<F: Fn(Y, Y) -> Y, Y: Value> Task for FoldRun<'_, F, Y> {
    #[inline(always)]
    fn run(self) {
        match self.a {
            Arg::Each(a) => {
                for (y, &a) in self.y.iter_mut().zip(a) {
                    *y = (self.f)(*y, a);
                }
            }
            Arg::Same(a) => {
                for y in self.y {
                    *y = (self.f)(*y, a);
                }
            }
        }
    }
}
