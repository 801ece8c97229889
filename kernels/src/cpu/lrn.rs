//! LRN of f32: lanes along a plane, the sum over the channels around it in the order of row sums.

use repops::dtype::DType;
use repops::lane_op::Math;
use repops::ops::OpError;
use repops::tensor::{TensorViewMut, element_count};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use super::require_row_major;
use super::rows::sums;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32)).then_some(lrn)
}

fn lrn(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    if x.is_empty() {
        return Ok(());
    }
    let (channels, plane) = (x.shape[1], element_count(&x.shape[2..]));
    let size = ctx.attrs.int("size") as usize;
    let (alpha, beta) = (ctx.attrs.float("alpha"), ctx.attrs.float("beta"));
    let (data, y) = (x.as_slice::<f32>(), Shared::new(outputs[0].as_mut_slice::<f32>()));
    parallel_ranges(x.shape[0] * channels, 1, plane * (64 + size.min(channels)), |planes| {
        for at in planes {
            let channel = at % channels;
            let first = channel.saturating_sub((size - 1) / 2);
            let end = (channel + size / 2 + 1).min(channels);
            let image = &data[(at - channel) * plane..][..channels * plane];
            let task = Plane {
                x: &image[channel * plane..][..plane],
                window: &image[first * plane..end * plane],
                factor: alpha / size as f32,
                bias: ctx.attrs.float("bias"),
                beta,
                // SAFETY: tasks write planes of their own.
                y: unsafe { y.slice(at * plane..(at + 1) * plane) },
            };
            dispatch(ctx.isa, task);
        }
    });
    Ok(())
}

struct Plane<'a> {
    x: &'a [f32],
    /// The planes that are summed.
    window: &'a [f32],
    factor: f32,
    bias: f32,
    beta: f32,
    y: &'a mut [f32],
}

impl Vectorized for Plane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(mut self) {
        let mut at = 0;
        while at + V::LANES <= self.x.len() {
            self.columns::<V>(at);
            at += V::LANES;
        }
        while at < self.x.len() {
            self.columns::<f32>(at);
            at += 1;
        }
    }
}

impl Plane<'_> {
    #[inline(always)]
    fn columns<V: VectorLane>(&mut self, at: usize) {
        let plane = self.x.len();
        assert!(at + V::LANES <= plane && self.y.len() == plane);
        let count = self.window.len() / plane;
        // SAFETY: each of the `count` planes has `V::LANES` elements from `at` on, and so have `x` and `y`.
        unsafe {
            let squares = sums::sum_columns::<V>(
                self.window.as_ptr().add(at),
                count,
                plane,
                #[inline(always)]
                |x| x.mul(x),
            );
            let base = V::splat(self.bias).add(V::splat(self.factor).mul(squares));
            let x = V::load(self.x.as_ptr().add(at));
            let y = x.div(Math::pow(base, V::splat(self.beta)));
            y.canonical_nan().store(self.y.as_mut_ptr().add(at));
        }
    }
}
