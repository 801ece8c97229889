//! SequenceRotary.

use repops::dtype::DType;
use repops::lane::Lane;
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch, each};
use super::super::require_row_major;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32)).then_some(rotary)
}

fn rotary(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let [x, cos, sin] = [0, 1, 2].map(|index| require_row_major(inputs, index));
    let (x, cos, sin) = (x?, cos?, sin?);
    let (rows, columns, half) = (x.shape[0], x.shape[1], cos.shape[1]);
    let (x, y) = (x.as_slice::<f32>(), outputs[0].as_mut_slice::<f32>());
    let (cos, sin) = (cos.as_slice::<f32>(), sin.as_slice::<f32>());
    if x.is_empty() || half == 0 {
        y.copy_from_slice(x);
        return Ok(());
    }
    let d = columns / ctx.attrs.int("heads") as usize;
    let interleaved = ctx.attrs.int("interleaved") != 0;
    let y = Shared::new(y);
    parallel_ranges(rows, 1, 4 * columns, |rows| {
        for row in rows {
            // SAFETY: tasks write rows of their own.
            let y = unsafe { y.slice(row * columns..(row + 1) * columns) };
            let x = &x[row * columns..][..columns];
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            dispatch(ctx.isa, Row { x, cos, sin, d, interleaved, y });
        }
    });
    Ok(())
}

/// A row, heads of `d` elements.
struct Row<'a> {
    x: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    d: usize,
    interleaved: bool,
    y: &'a mut [f32],
}

/// `(c * a) - (s * b)`, each operation rounded.
#[inline(always)]
fn first<V: Lane>([c, a, s, b]: [V; 4]) -> V {
    c.mul(a).sub(s.mul(b)).canonical_nan()
}

/// `(s * a) + (c * b)`, each operation rounded.
#[inline(always)]
fn second<V: Lane>([c, a, s, b]: [V; 4]) -> V {
    s.mul(a).add(c.mul(b)).canonical_nan()
}

impl Vectorized for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let Row { x, cos, sin, d, interleaved, y } = self;
        let half = cos.len();
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let (y, rest) = y.split_at_mut(2 * half);
            rest.copy_from_slice(&x[2 * half..]);
            if interleaved {
                for (t, y) in y.chunks_exact_mut(2).enumerate() {
                    let operands = [cos[t], x[2 * t], sin[t], x[2 * t + 1]];
                    y[0] = first(operands);
                    y[1] = second(operands);
                }
            } else {
                let (a, b) = x[..2 * half].split_at(half);
                let (to_a, to_b) = y.split_at_mut(half);
                each::<V, 4>([cos, a, sin, b], to_a, first::<V>);
                each::<V, 4>([cos, a, sin, b], to_b, second::<V>);
            }
        }
    }
}
