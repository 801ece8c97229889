//! LayerNormalization, RMSNormalization and BatchNormalization of f32.

use repops::dtype::{DType, Element};
use repops::ops::infer::normalize_axis;
use repops::ops::{self, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch, each};
use super::super::{by_reference, require_row_major};
use super::sums;
use crate::float_env::FloatEnv;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

fn all_f32(dtypes: &[Option<DType>]) -> bool {
    dtypes.iter().flatten().all(|d| *d == DType::F32)
}

pub(crate) fn choose_layer(dtypes: &[Option<DType>]) -> Option<Kernel> {
    all_f32(dtypes).then_some(|ctx, inputs, outputs| rows("LayerNormalization", ctx, inputs, outputs))
}

pub(crate) fn choose_rms(dtypes: &[Option<DType>]) -> Option<Kernel> {
    all_f32(dtypes).then_some(|ctx, inputs, outputs| rows("RMSNormalization", ctx, inputs, outputs))
}

pub(crate) fn choose_batch(dtypes: &[Option<DType>]) -> Option<Kernel> {
    all_f32(dtypes).then_some(batch)
}

fn rows(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let (count, len) = (element_count(&x.shape[..axis]), element_count(&x.shape[axis..]));
    let scale = require_row_major(inputs, 1)?;
    let bias = match inputs.get(2).copied().flatten() {
        Some(_) => Some(require_row_major(inputs, 2)?),
        None => None,
    };
    // Anything but one factor for each element of a row is rare.
    let plain = |t: &Operand<'_>| t.shape == &x.shape[axis..];
    if !plain(&scale) || !bias.as_ref().is_none_or(plain) {
        let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    let epsilon = ctx.attrs.float("epsilon");
    let (x, scale) = (x.as_slice::<f32>(), scale.as_slice::<f32>());
    let bias = bias.map(|b| b.as_slice::<f32>());
    let (first, others) = outputs.split_at_mut(1);
    let y = Shared::new(first[0].as_mut_slice::<f32>());
    let stash: Vec<Shared<f32>> = others.iter_mut().map(|o| Shared::new(o.as_mut_slice::<f32>())).collect();
    parallel_ranges(count, 1, 4 * len.max(1), |rows| {
        for row in rows {
            let x = &x[row * len..][..len];
            // SAFETY: tasks write rows of their own.
            let y = unsafe { y.slice(row * len..(row + 1) * len) };
            if name == "RMSNormalization" {
                dispatch(ctx.isa, RmsRow { x, scale, epsilon, y });
                continue;
            }
            let (mean, inv) = dispatch(ctx.isa, LayerRow { x, scale, bias, epsilon, y });
            for (stash, value) in stash.iter().zip([mean, inv]) {
                // SAFETY: as above; one element for each row.
                unsafe { stash.slice(row..row + 1) }.fill(value.canonical());
            }
        }
    });
    Ok(())
}

struct LayerRow<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
    y: &'a mut [f32],
}

impl Vectorized for LayerRow<'_> {
    /// Mean and inverse standard deviation.
    type Output = (f32, f32);
    #[inline(always)]
    fn run<V: VectorLane>(self) -> (f32, f32) {
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
        let inv = 1.0 / (squares / count + self.epsilon).sqrt();
        let factor = V::splat(inv);
        match self.bias {
            Some(bias) => each::<V, 3>(
                [self.x, self.scale, bias],
                self.y,
                #[inline(always)]
                |[x, scale, bias]| x.sub(center).mul(factor).mul(scale).add(bias).canonical_nan(),
            ),
            None => each::<V, 2>(
                [self.x, self.scale],
                self.y,
                #[inline(always)]
                |[x, scale]| x.sub(center).mul(factor).mul(scale).canonical_nan(),
            ),
        }
        (mean, inv)
    }
}

struct RmsRow<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
}

impl Vectorized for RmsRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let squares = sums::sum::<V>(
            self.x,
            #[inline(always)]
            |x| x.mul(x),
        );
        let root = V::splat((squares / self.x.len() as f32 + self.epsilon).sqrt());
        each::<V, 2>(
            [self.x, self.scale],
            self.y,
            #[inline(always)]
            |[x, scale]| x.div(root).mul(scale).canonical_nan(),
        );
    }
}

fn batch(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let _env = FloatEnv::enter();
    let x = require_row_major(inputs, 0)?;
    let mut parameters = [&[][..]; 4];
    for (index, parameter) in parameters.iter_mut().enumerate() {
        *parameter = require_row_major(inputs, index + 1)?.as_slice::<f32>();
    }
    let [scale, bias, mean, variance] = parameters;
    let epsilon = ctx.attrs.float("epsilon");
    let channels = x.shape[1];
    let mut factors = Vec::with_capacity(channels);
    let mut shifts = Vec::with_capacity(channels);
    for c in 0..channels {
        let factor = scale[c] / (variance[c] + epsilon).sqrt();
        factors.push(factor);
        shifts.push((-mean[c]).mul_add(factor, bias[c]));
    }
    let plane = element_count(&x.shape[2..]);
    let (data, y) = (x.as_slice::<f32>(), Shared::new(outputs[0].as_mut_slice::<f32>()));
    // Without further axes, a row of channels is the run.
    let (count, run) = if plane == 1 { (x.shape[0], channels) } else { (x.shape[0] * channels, plane) };
    parallel_ranges(count, 1, 4 * run.max(1), |rows| {
        for row in rows {
            let x = &data[row * run..][..run];
            // SAFETY: tasks write rows of their own.
            let y = unsafe { y.slice(row * run..(row + 1) * run) };
            if plane == 1 {
                dispatch(ctx.isa, ChannelRow { x, factors: &factors, shifts: &shifts, y });
            } else {
                let (factor, shift) = (factors[row % channels], shifts[row % channels]);
                dispatch(ctx.isa, ChannelPlane { x, factor, shift, y });
            }
        }
    });
    Ok(())
}

struct ChannelPlane<'a> {
    x: &'a [f32],
    factor: f32,
    shift: f32,
    y: &'a mut [f32],
}

impl Vectorized for ChannelPlane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let (factor, shift) = (V::splat(self.factor), V::splat(self.shift));
        each::<V, 1>(
            [self.x],
            self.y,
            #[inline(always)]
            |[x]| x.fma(factor, shift).canonical_nan(),
        );
    }
}

struct ChannelRow<'a> {
    x: &'a [f32],
    factors: &'a [f32],
    shifts: &'a [f32],
    y: &'a mut [f32],
}

impl Vectorized for ChannelRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        each::<V, 3>(
            [self.x, self.factors, self.shifts],
            self.y,
            #[inline(always)]
            |[x, factor, shift]| x.fma(factor, shift).canonical_nan(),
        );
    }
}
