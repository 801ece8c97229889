//! LRN: local response normalization over neighbouring channels.

use super::float::{Float, Real, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::reduce::row_sum;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 379,
    name: "LRN",
    version: 1,
    doc: "s = row sum of x * x, each square rounded, over the channels c - floor((size - 1) / 2) .. c + \
          ceil((size - 1) / 2) that exist, ascending; y = x / pow(bias + (alpha / size) * s, beta), each \
          operation rounded. f64 in f64, f16 and bf16 in f32, rounded once. Row sum: SPEC.md, Row \
          reductions. Source: ONNX LRN-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("alpha", AttrKind::Float, || AttrValue::Float(1e-4), "Factor of the sum."),
        AttrDef::default("beta", AttrKind::Float, || AttrValue::Float(0.75), "The exponent."),
        AttrDef::default("bias", AttrKind::Float, || AttrValue::Float(1.0), "Added to the sum."),
        AttrDef::required("size", AttrKind::Int, "Channels that are summed."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, normalize(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    if shape.len() < 2 {
        return Err(OpError::shape("X has no axis of channels"));
    }
    if !(1..=1 << 24).contains(&ctx.attrs.int("size")) {
        return Err(OpError::attr("size", "is not in 1 ..= 2^24"));
    }
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

fn normalize<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let (channels, plane) = (x.shape[1], element_count(&x.shape[2..]));
    let size = ctx.attrs.int("size") as usize;
    let constant = |name: &str| T::Wide::from_f64(f64::from(ctx.attrs.float(name)));
    let (alpha, beta, bias) = (constant("alpha"), constant("beta"), constant("bias"));
    let factor = alpha / T::Wide::count(size);
    let elements = x.as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, x.shape)?;
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let channel = at / plane % channels;
        let first = channel.saturating_sub((size - 1) / 2);
        let end = (channel + size / 2 + 1).min(channels);
        let base = at - channel * plane;
        let squares = row_sum(end - first, |i| {
            let v = elements[base + (first + i) * plane].widen();
            v * v
        });
        *out = T::narrow(elements[at].widen() / (bias + factor * squares).pow(beta));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, output, run};
    use crate::scalar::pow::pow;

    #[test]
    fn windows_of_channels() {
        let v = [1.0f32, -2.0, 3.0, 0.5];
        let x = Tensor::from_slice(&[1, 4, 1], &v);
        let attrs = Attrs::new().with_float("alpha", 0.3).with_float("bias", 2.0);
        let y = output("LRN", &attrs.clone().with_int("size", 3), &[&x]);
        let of = |x: f32, s: f32, size: f32| x / pow(2.0 + 0.3f32 / size * s, 0.75f32);
        assert_bits(
            &y,
            &[1, 4, 1],
            &[of(1.0, 5.0, 3.0), of(-2.0, 14.0, 3.0), of(3.0, 13.25, 3.0), of(0.5, 9.25, 3.0)],
        );
        // An even size reaches further up.
        let y = output("LRN", &attrs.clone().with_int("size", 2), &[&x]);
        assert_bits(
            &y,
            &[1, 4, 1],
            &[of(1.0, 5.0, 2.0), of(-2.0, 13.0, 2.0), of(3.0, 9.25, 2.0), of(0.5, 0.25, 2.0)],
        );
        assert!(run("LRN", &attrs.with_int("size", 0), &[&x]).is_err());
    }
}
