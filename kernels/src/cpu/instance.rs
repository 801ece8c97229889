//! InstanceNormalization and GroupNormalization of f32: rows of one channel or a group of channels.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::{TensorViewMut, element_count};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch, each};
use super::require_row_major;
use super::rows::sums;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_instance(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32))
        .then_some(|ctx, inputs, outputs| normalize(ctx, None, inputs, outputs))
}

pub(crate) fn choose_group(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32)).then_some(|ctx, inputs, outputs| {
        normalize(ctx, Some(ctx.attrs.int("num_groups") as usize), inputs, outputs)
    })
}

fn normalize(
    ctx: &KernelCtx<'_>,
    groups: Option<usize>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    if x.is_empty() {
        return Ok(());
    }
    let (scale, bias) = (require_row_major(inputs, 1)?, require_row_major(inputs, 2)?);
    let (scale, bias) = (scale.as_slice::<f32>(), bias.as_slice::<f32>());
    let (channels, plane) = (x.shape[1], element_count(&x.shape[2..]));
    let together = channels / groups.unwrap_or(channels);
    let len = together * plane;
    let epsilon = ctx.attrs.float("epsilon");
    let (data, y) = (x.as_slice::<f32>(), Shared::new(outputs[0].as_mut_slice::<f32>()));
    parallel_ranges(data.len() / len, 1, 4 * len, |rows| {
        for row in rows {
            let first = row * together % channels;
            // SAFETY: tasks write rows of their own.
            let y = unsafe { y.slice(row * len..(row + 1) * len) };
            let task = Row {
                x: &data[row * len..][..len],
                scale: &scale[first..][..together],
                bias: &bias[first..][..together],
                plane,
                epsilon,
                y,
            };
            dispatch(ctx.isa, task);
        }
    });
    Ok(())
}

struct Row<'a> {
    x: &'a [f32],
    /// One number for each of the row's channels.
    scale: &'a [f32],
    bias: &'a [f32],
    /// Elements of a channel.
    plane: usize,
    epsilon: f32,
    y: &'a mut [f32],
}

impl Vectorized for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let count = self.x.len() as f32;
        let mean = sums::sum::<V>(
            self.x,
            #[inline(always)]
            |x| x,
        ) / count;
        let center = V::splat(mean);
        let squares = sums::sum::<V>(
            self.x,
            #[inline(always)]
            |x| {
                let d = x.sub(center);
                d.mul(d)
            },
        );
        let factor = V::splat(1.0 / (squares / count + self.epsilon).sqrt());
        let channels = self.x.chunks_exact(self.plane).zip(self.y.chunks_exact_mut(self.plane));
        for ((x, y), (&scale, &bias)) in channels.zip(self.scale.iter().zip(self.bias)) {
            let (scale, bias) = (V::splat(scale), V::splat(bias));
            each::<V, 1>(
                [x],
                y,
                #[inline(always)]
                |[x]| x.sub(center).mul(factor).mul(scale).add(bias).canonical_nan(),
            );
        }
    }
}
