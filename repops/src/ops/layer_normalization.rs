//! LayerNormalization and RMSNormalization: rows of the last axes.

use super::float::{Float, Real, wide_elements, with_float};
use super::infer::normalize_axis;
use super::reduce_sum::{mean, sum_square};
use super::rows::{BroadcastTo, check_broadcast};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::row_sum;
use crate::tensor::{Tensor, element_count};

/// Attributes of both.
const ATTRS: &[AttrDef] = &[
    AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(-1), "The first of the normalized axes."),
    AttrDef::default("epsilon", AttrKind::Float, || AttrValue::Float(1e-5), "Added to the variance."),
    AttrDef::default("stash_type", AttrKind::Int, || AttrValue::Int(1), "1 (f32) is the only one."),
];

pub static LAYER: OpDef = OpDef {
    id: 372,
    name: "LayerNormalization",
    version: 1,
    doc: "x[0 .. n] is the row of the axes from `axis` on. mean = (row sum of x) / n; d[i] = x[i] - mean; var \
          = (row sum of d * d) / n, each square rounded; inv = 1 / sqrt(var + epsilon); y[i] = (d[i] * inv) \
          * Scale[i] + B[i], each operation rounded, without B no addition. Scale and B broadcast to X. \
          Outputs Mean and InvStdDev (mean and inv) are f32 with extent 1 at the normalized axes. f64 in \
          f64 (Mean and InvStdDev rounded to f32), f16 and bf16 in f32, rounded once at y. Row sum: \
          SPEC.md, Row reductions. Source: ONNX LayerNormalization-17.",
    inputs: Arity::between(2, 3),
    outputs: Arity::between(1, 3),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, 3),
    eval: |ctx| with_float!(ctx.input(0).dtype, layer(ctx)),
};

pub static RMS: OpDef = OpDef {
    id: 373,
    name: "RMSNormalization",
    version: 1,
    doc: "x[0 .. n] is the row of the axes from `axis` on. r = sqrt((row sum of x * x) / n + epsilon), each \
          square rounded; y[i] = (x[i] / r) * scale[i], each operation rounded. scale broadcasts to X. f64 \
          in f64, f16 and bf16 in f32, rounded once at y. Row sum: SPEC.md, Row reductions. Source: ONNX \
          RMSNormalization-23.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, 1),
    eval: |ctx| with_float!(ctx.input(0).dtype, rms(ctx)),
};

fn infer(ctx: &InferCtx<'_>, outputs: usize) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    let axis = ctx.axis_attr("axis", shape.len())?;
    if ctx.attrs.int("stash_type") != 1 {
        return Err(OpError::attr("stash_type", "only 1 (f32) is supported"));
    }
    for index in (1..3).filter(|&i| ctx.optional(i).is_some()) {
        ctx.require(index, "a float", DType::is_float)?;
        check_broadcast(index, ctx.shape(index)?, shape)?;
    }
    let mut stash = shape.to_vec();
    stash[axis..].fill(DimExpr::Const(1));
    let mut all = vec![Inferred::new(dtype, shape.to_vec())];
    all.resize(outputs, Inferred::new(DType::F32, stash));
    Ok(all)
}

/// X as rows of its last axes.
struct Normalized {
    rows: usize,
    length: usize,
    stash_shape: Vec<usize>,
}

impl Normalized {
    fn of(ctx: &EvalCtx<'_>) -> Result<Normalized, OpError> {
        let shape = ctx.input(0).shape;
        let axis = normalize_axis(ctx.attrs.int("axis"), shape.len()).map_err(OpError::shape)?;
        let mut stash_shape = shape.to_vec();
        stash_shape[axis..].fill(1);
        let rows = element_count(&shape[..axis]);
        Ok(Normalized { rows, length: element_count(&shape[axis..]), stash_shape })
    }
}

/// A tensor broadcast to X's shape, read by offset in X.
struct Broadcast<W> {
    elements: Vec<W>,
    to: BroadcastTo,
}

impl<W: Real> Broadcast<W> {
    fn of(ctx: &EvalCtx<'_>, index: usize) -> Option<Broadcast<W>> {
        let tensor = ctx.optional(index)?;
        let to = BroadcastTo::new(tensor.shape, ctx.input(0).shape);
        Some(Broadcast { elements: wide_elements(tensor), to })
    }

    fn at(&self, offset: usize) -> W {
        self.elements[self.to.offset(offset)]
    }
}

fn layer<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let Normalized { rows, length, stash_shape } = Normalized::of(ctx)?;
    let x = ctx.input(0).as_slice::<T>();
    let epsilon = T::Wide::from_f64(f64::from(ctx.attrs.float("epsilon")));
    let (scale, bias) = (Broadcast::<T::Wide>::of(ctx, 1), Broadcast::<T::Wide>::of(ctx, 2));
    let mut y = Tensor::zeros(T::DTYPE, ctx.input(0).shape)?;
    let mut means = Tensor::zeros(DType::F32, &stash_shape)?;
    let mut invs = Tensor::zeros(DType::F32, &stash_shape)?;
    for row in 0..rows {
        let first = row * length;
        let elements: Vec<T::Wide> = x[first..][..length].iter().map(|v| v.widen()).collect();
        let stats = Moments::of(&elements, epsilon);
        for (i, &value) in elements.iter().enumerate() {
            let scale = scale.as_ref().map(|s| s.at(first + i));
            let bias = bias.as_ref().map(|b| b.at(first + i));
            y.as_mut_slice::<T>()[first + i] = T::narrow(stats.normalize(value, scale, bias));
        }
        if let (Some(mean), Some(inv)) =
            (means.as_mut_slice::<f32>().get_mut(row), invs.as_mut_slice::<f32>().get_mut(row))
        {
            *mean = f32::narrow(stats.mean.to_f64() as f32);
            *inv = f32::narrow(stats.inv.to_f64() as f32);
        }
    }
    Ok(vec![y, means, invs])
}

/// Mean and inverse standard deviation of a row, as every normalization of this family computes them.
pub(crate) struct Moments<W> {
    pub mean: W,
    pub inv: W,
}

impl<W: Real> Moments<W> {
    /// mean = (row sum) / n; var = (row sum of (x - mean)^2) / n; inv = 1 / sqrt(var + epsilon).
    pub fn of(row: &[W], epsilon: W) -> Moments<W> {
        let mean = mean(row);
        let squares = row_sum(row.len(), |i| {
            let d = row[i] - mean;
            d * d
        });
        let variance = squares / W::count(row.len());
        Moments { mean, inv: W::ONE / (variance + epsilon).sqrt() }
    }

    /// ((x - mean) * inv) * scale + bias, each operation rounded.
    pub fn normalize(&self, x: W, scale: Option<W>, bias: Option<W>) -> W {
        let normalized = (x - self.mean) * self.inv;
        let scaled = scale.map_or(normalized, |s| normalized * s);
        bias.map_or(scaled, |b| scaled + b)
    }
}

fn rms<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let Normalized { rows, length, .. } = Normalized::of(ctx)?;
    let x = ctx.input(0).as_slice::<T>();
    let epsilon = T::Wide::from_f64(f64::from(ctx.attrs.float("epsilon")));
    let scale = Broadcast::<T::Wide>::of(ctx, 1);
    let mut y = Tensor::zeros(T::DTYPE, ctx.input(0).shape)?;
    for row in 0..rows {
        let first = row * length;
        let elements: Vec<T::Wide> = x[first..][..length].iter().map(|v| v.widen()).collect();
        let root = (sum_square(&elements) / T::Wide::count(length) + epsilon).sqrt();
        for (i, &value) in elements.iter().enumerate() {
            let normalized = value / root;
            let scaled = scale.as_ref().map_or(normalized, |s| normalized * s.at(first + i));
            y.as_mut_slice::<T>()[first + i] = T::narrow(scaled);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run, run_optional};

    #[test]
    fn rows_follow_the_formula() {
        // Rows of 4099 elements: two blocks and a remainder.
        let (x, scale, bias) = (noise(&[2, 4099], 1), noise(&[4099], 2), noise(&[4099], 3));
        let inputs = [Some(&x), Some(&scale), Some(&bias)];
        let out = run_optional("LayerNormalization", &Attrs::new(), &inputs, 3).unwrap();
        for row in 0..2 {
            let v = &x.as_slice::<f32>()[row * 4099..][..4099];
            let mean = row_sum(4099, |i| v[i]) / 4099.0;
            let variance = row_sum(4099, |i| (v[i] - mean) * (v[i] - mean)) / 4099.0;
            let inv = 1.0 / (variance + 1e-5f32).sqrt();
            assert_eq!(out[1].as_slice::<f32>()[row].to_bits(), mean.to_bits());
            assert_eq!(out[2].as_slice::<f32>()[row].to_bits(), inv.to_bits());
            for (i, &x) in v.iter().enumerate() {
                let expected = (x - mean) * inv * scale.as_slice::<f32>()[i] + bias.as_slice::<f32>()[i];
                assert_eq!(out[0].as_slice::<f32>()[row * 4099 + i].to_bits(), expected.to_bits());
            }
            let rms = output("RMSNormalization", &Attrs::new(), &[&x, &scale]);
            let root = (row_sum(4099, |i| v[i] * v[i]) / 4099.0 + 1e-5f32).sqrt();
            for (i, &x) in v.iter().enumerate() {
                let expected = x / root * scale.as_slice::<f32>()[i];
                assert_eq!(rms.as_slice::<f32>()[row * 4099 + i].to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn several_axes_and_broadcast_scale() {
        let x = noise(&[2, 3, 4], 5);
        let flat = x.clone().reshaped(&[2, 12]);
        let scale = Tensor::from_slice(&[3, 1], &[1.0f32, 2.0, -0.5]);
        let wide: Vec<f32> = (0..12).map(|i| [1.0, 2.0, -0.5][i / 4]).collect();
        let y = output("LayerNormalization", &Attrs::new().with_int("axis", 1), &[&x, &scale]);
        let expected =
            output("LayerNormalization", &Attrs::new(), &[&flat, &Tensor::from_slice(&[12], &wide)]);
        assert_bits(&y, &[2, 3, 4], expected.as_slice::<f32>());
    }

    #[test]
    fn misfits_are_errors() {
        let x = noise(&[2, 3], 1);
        let run = |attrs: Attrs, scale: &[usize]| run("LayerNormalization", &attrs, &[&x, &noise(scale, 2)]);
        assert!(run(Attrs::new(), &[3]).is_ok());
        assert!(run(Attrs::new(), &[2]).is_err());
        assert!(run(Attrs::new(), &[1, 2, 3]).is_err());
        assert!(run(Attrs::new().with_int("axis", 2), &[3]).is_err());
        assert!(run(Attrs::new().with_int("stash_type", 10), &[3]).is_err());
        let empty = Tensor::zeros(DType::F32, &[2, 0]).unwrap();
        let y = output("LayerNormalization", &Attrs::new(), &[&empty, &Tensor::from_slice(&[1], &[1.0f32])]);
        assert_bits::<f32>(&y, &[2, 0], &[]);
    }
}
