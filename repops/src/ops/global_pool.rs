//! GlobalAveragePool, GlobalMaxPool and GlobalLpPool: one number a channel.

use super::float::{Float, with_float};
use super::pool::{check_p, norm};
use super::reduce_max::{Extremes, with_extremes};
use super::reduce_sum::mean;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::tensor::{Tensor, element_count};

pub static AVERAGE: OpDef = OpDef {
    id: 402,
    name: "GlobalAveragePool",
    version: 1,
    doc: "y[n, c] = (row sum of X[n, c, ..] in row-major order) / number of elements; the spatial axes keep \
          extent 1. f64 in f64, f16 and bf16 in f32, rounded once. Row sum: SPEC.md, Row reductions. \
          Source: ONNX GlobalAveragePool-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, "a float", DType::is_float),
    eval: |ctx| with_float!(ctx.input(0).dtype, average(ctx)),
};

pub static MAX: OpDef = OpDef {
    id: 403,
    name: "GlobalMaxPool",
    version: 1,
    doc: "y[n, c] = the largest element of X[n, c, ..] (IEEE 754-2019 maximum: NaN if there is one); the \
          spatial axes keep extent 1. Source: ONNX GlobalMaxPool-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, "a number", DType::is_number),
    eval: |ctx| with_extremes!(ctx.input(0).dtype, maximum(ctx)),
};

pub static LP: OpDef = OpDef {
    id: 404,
    name: "GlobalLpPool",
    version: 1,
    doc: "y[n, c] = row sum of |x| (p = 1), sqrt(row sum of x * x), each square rounded (p = 2), else \
          pow(row sum of pow(|x|, p), 1 / p), each operation rounded, of X[n, c, \
          ..] in row-major order; the spatial axes keep extent 1. f64 in f64, f16 and bf16 in f32, rounded \
          once. Row sum: SPEC.md, Row reductions. Source: ONNX GlobalLpPool-2, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("p", AttrKind::Int, || AttrValue::Int(2), "The norm: 1 or more.")],
    class: OpClass::Reduction,
    infer: |ctx| {
        check_p(ctx)?;
        infer(ctx, "a float", DType::is_float)
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, lp(ctx)),
};

fn infer(
    ctx: &InferCtx<'_>,
    expected: &'static str,
    accept: fn(DType) -> bool,
) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, expected, accept)?;
    let mut shape = ctx.shape(0)?.to_vec();
    if shape.len() < 2 {
        return Err(OpError::shape("X has no axis of channels"));
    }
    shape[2..].fill(DimExpr::Const(1));
    Ok(vec![Inferred::new(dtype, shape)])
}

/// One element for each plane of X.
fn planes<T: Element>(ctx: &EvalCtx<'_>, plane: impl Fn(&[T]) -> T) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let mut shape = x.shape.to_vec();
    shape[2..].fill(1);
    let length = element_count(&x.shape[2..]);
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let elements = x.as_slice::<T>();
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        *out = plane(&elements[at * length..][..length]);
    }
    Ok(vec![y])
}

fn average<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    planes(ctx, |plane: &[T]| {
        let wide: Vec<T::Wide> = plane.iter().map(|v| v.widen()).collect();
        T::narrow(mean(&wide))
    })
}

fn lp<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let p = ctx.attrs.int("p");
    planes(ctx, |plane: &[T]| {
        let wide: Vec<T::Wide> = plane.iter().map(|v| v.widen()).collect();
        T::narrow(norm(&wide, p))
    })
}

fn maximum<T: Extremes>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    planes(ctx, |plane: &[T]| plane.iter().fold(T::LOWEST, |best, v| best.larger(*v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};
    use crate::reduce::row_sum;

    #[test]
    fn one_number_a_channel() {
        let x = noise(&[2, 2, 67, 63], 1);
        let v = x.as_slice::<f32>();
        let mean: Vec<f32> = (0..4).map(|p| row_sum(4221, |i| v[p * 4221 + i]) / 4221.0).collect();
        assert_bits(&output("GlobalAveragePool", &Attrs::new(), &[&x]), &[2, 2, 1, 1], &mean);
        let max: Vec<f32> = (0..4)
            .map(|p| v[p * 4221..][..4221].iter().fold(-9.0f32, |a, &b| if b > a { b } else { a }))
            .collect();
        assert_bits(&output("GlobalMaxPool", &Attrs::new(), &[&x]), &[2, 2, 1, 1], &max);
    }

    #[test]
    fn edges() {
        let empty = Tensor::zeros(DType::F32, &[1, 1, 0]).unwrap();
        let nan = crate::dtype::NAN_F32;
        assert_bits(&output("GlobalAveragePool", &Attrs::new(), &[&empty]), &[1, 1, 1], &[nan]);
        assert_bits(&output("GlobalMaxPool", &Attrs::new(), &[&empty]), &[1, 1, 1], &[f32::NEG_INFINITY]);
        assert!(run("GlobalMaxPool", &Attrs::new(), &[&noise(&[3], 1)]).is_err());
        let x = Tensor::from_slice(&[1, 1, 2], &[3.0f32, -4.0]);
        assert_bits(&output("GlobalLpPool", &Attrs::new(), &[&x]), &[1, 1, 1], &[5.0f32]);
        let one = Attrs::new().with_int("p", 1);
        assert_bits(&output("GlobalLpPool", &one, &[&x]), &[1, 1, 1], &[7.0f32]);
    }
}
