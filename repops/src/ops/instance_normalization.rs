//! InstanceNormalization and GroupNormalization: rows of one channel or a group of channels.

use super::conv::{check_bias, groups};
use super::float::{Float, Real, wide_elements, with_float};
use super::layer_normalization::Moments;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::tensor::{Tensor, element_count};

const EPSILON: AttrDef =
    AttrDef::default("epsilon", AttrKind::Float, || AttrValue::Float(1e-5), "Added to the variance.");

pub static INSTANCE: OpDef = OpDef {
    id: 375,
    name: "InstanceNormalization",
    version: 1,
    doc: "For each n and c: x[0 .. k] = X[n, c, ..] in row-major order; mean = (row sum of x) / k; d[i] = \
          x[i] - mean; var = (row sum of d * d) / k, each square rounded; inv = 1 / sqrt(var + epsilon); \
          y[i] = (d[i] * inv) * scale[c] + B[c], each operation rounded. f64 in f64, f16 and bf16 in f32, \
          rounded once at y. Row sum: SPEC.md, Row reductions. Source: ONNX InstanceNormalization-6, -22.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[EPSILON],
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, normalize(ctx, None)),
};

pub static GROUP: OpDef = OpDef {
    id: 376,
    name: "GroupNormalization",
    version: 1,
    doc: "As InstanceNormalization, but a row is the elements of C / num_groups channels that follow each \
          other, in row-major order; scale and bias are one number a channel. Source: ONNX \
          GroupNormalization-21.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        EPSILON,
        AttrDef::required("num_groups", AttrKind::Int, "Groups of channels."),
        AttrDef::default("stash_type", AttrKind::Int, || AttrValue::Int(1), "1 (f32) is the only one."),
    ],
    class: OpClass::Reduction,
    infer: |ctx| {
        if ctx.attrs.int("stash_type") != 1 {
            return Err(OpError::attr("stash_type", "only 1 (f32) is supported"));
        }
        let attrs = Attrs::new().with_int("group", ctx.attrs.int("num_groups"));
        if let Some(channels) = ctx.shape(0)?.get(1) {
            groups(&attrs, &[("channels", channels)])?;
        }
        infer(ctx)
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, normalize(ctx, Some(ctx.attrs.int("num_groups") as usize))),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    let channels = shape.get(1).ok_or_else(|| OpError::shape("X has no axis of channels"))?;
    for index in [1, 2] {
        ctx.require_same(index, dtype)?;
        check_bias(ctx.shape(index)?, channels)?;
    }
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

/// Normalizes each group of channels; without a count each channel is a group.
fn normalize<T: Float>(ctx: &EvalCtx<'_>, groups: Option<usize>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let mut y = Tensor::zeros(T::DTYPE, x.shape)?;
    if y.is_empty() {
        return Ok(vec![y]);
    }
    let (channels, plane) = (x.shape[1], element_count(&x.shape[2..]));
    let length = channels / groups.unwrap_or(channels) * plane;
    let (scale, bias) = (wide_elements::<T::Wide>(ctx.input(1)), wide_elements::<T::Wide>(ctx.input(2)));
    let epsilon = T::Wide::from_f64(f64::from(ctx.attrs.float("epsilon")));
    let rows = x.as_slice::<T>().chunks_exact(length);
    for (row, (from, to)) in rows.zip(y.as_mut_slice::<T>().chunks_exact_mut(length)).enumerate() {
        let elements: Vec<T::Wide> = from.iter().map(|v| v.widen()).collect();
        let moments = Moments::of(&elements, epsilon);
        for (i, (out, value)) in to.iter_mut().zip(elements).enumerate() {
            let channel = (row * length + i) / plane % channels;
            *out = T::narrow(moments.normalize(value, Some(scale[channel]), Some(bias[channel])));
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn rows_are_those_of_layer_normalization() {
        // Rows of 71 * 59 = 4189 elements: two blocks.
        let x = noise(&[2, 4, 71, 59], 1);
        let (scale, bias) = (noise(&[4], 2), noise(&[4], 3));
        let repeated = |t: &Tensor, per: usize| {
            let v: Vec<f32> = (0..4 * per).map(|i| t.as_slice::<f32>()[i / per]).collect();
            Tensor::from_slice(&[4 * per], &v)
        };
        let plane = 71 * 59;
        let layer = |x: &Tensor, rows: usize| {
            let scale = repeated(&scale, plane).reshaped(&[rows, 4 * plane / rows]);
            let bias = repeated(&bias, plane).reshaped(&[rows, 4 * plane / rows]);
            let x = x.clone().reshaped(&[2, rows, 4 * plane / rows]);
            output("LayerNormalization", &Attrs::new(), &[&x, &scale, &bias])
        };
        let y = output("InstanceNormalization", &Attrs::new(), &[&x, &scale, &bias]);
        assert_bits(&y, &[2, 4, 71, 59], layer(&x, 4).as_slice::<f32>());
        let y = output("GroupNormalization", &Attrs::new().with_int("num_groups", 2), &[&x, &scale, &bias]);
        assert_bits(&y, &[2, 4, 71, 59], layer(&x, 2).as_slice::<f32>());
    }

    #[test]
    fn misfits_are_errors() {
        let (x, s) = (noise(&[1, 4, 3], 1), noise(&[4], 2));
        let group =
            |n: i64| run("GroupNormalization", &Attrs::new().with_int("num_groups", n), &[&x, &s, &s]);
        assert!(group(2).is_ok() && group(3).is_err() && group(0).is_err() && group(-4).is_err());
        assert!(run("InstanceNormalization", &Attrs::new(), &[&x, &s, &noise(&[3], 1)]).is_err());
        let empty = Tensor::zeros(DType::F32, &[0, 4, 3]).unwrap();
        assert_eq!(output("InstanceNormalization", &Attrs::new(), &[&empty, &s, &s]).shape(), [0, 4, 3]);
    }
}
