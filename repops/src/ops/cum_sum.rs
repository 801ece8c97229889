//! CumSum and CumProd: running sums and products along an axis.

use super::float::{Float, Integer, NUMBER, is_number, with_float, with_integer};
use super::infer::normalize_axis;
use super::rows::Rows;
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::Element;
use crate::reduce::Accumulate;
use crate::tensor::Tensor;

const ATTRS: &[AttrDef] = &[
    AttrDef::default("exclusive", AttrKind::Int, || AttrValue::Int(0), "1: without the element itself."),
    AttrDef::default("reverse", AttrKind::Int, || AttrValue::Int(0), "1: from the back."),
];

pub static SUM: OpDef = OpDef {
    id: 363,
    name: "CumSum",
    version: 1,
    doc: "Along the axis given by the i64 or i32 scalar input `axis`, one element after another (with reverse \
          from the last): s = +0 at first; s = s + x[i]; y[i] = s after that addition, or with exclusive \
          before it. f64 in f64, f16 and bf16 with s in f32, each y[i] rounded once; integers wrap. This is a chain in \
          ascending order, not a row sum. An axis that X does not have is fault 2. Source: ONNX CumSum-14.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| eval(ctx, false),
};

pub static PROD: OpDef = OpDef {
    id: 364,
    name: "CumProd",
    version: 1,
    doc: "Along the axis given by the i64 or i32 scalar input `axis`, one element after another (with reverse \
          from the last): p = 1 at first; p = p * x[i]; y[i] = p after that product, or with exclusive \
          before it. f64 in f64, f16 and bf16 with p in f32, each y[i] rounded once; integers wrap. \
          An axis that X does not have is fault 2. Source: ONNX CumProd-26.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| eval(ctx, true),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, NUMBER, is_number)?;
    let shape = ctx.shape(0)?;
    let axis = ctx.shape(1)?;
    if axis.len() > 1 || axis.first().is_some_and(|n| n.as_const().is_some_and(|n| n != 1)) {
        return Err(OpError::shape("the axis is not one number"));
    }
    // The axis may be computed: its value changes no shape.
    ctx.require(1, "i64 or i32", |d| matches!(d, crate::DType::I64 | crate::DType::I32))?;
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>, product: bool) -> Result<Vec<Tensor>, OpError> {
    match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, product)),
        dtype => with_integer!(dtype, integers(ctx, product)),
    }
}

fn floats<T: Float>(ctx: &EvalCtx<'_>, product: bool) -> Result<Vec<Tensor>, OpError> {
    use super::float::Real;
    let narrow = |v: T::Wide| T::narrow(v);
    match product {
        true => scan(ctx, T::Wide::ONE, |p, x: T| p * x.widen(), narrow),
        false => scan(ctx, T::Wide::ZERO, |s, x: T| s + x.widen(), narrow),
    }
}

fn integers<T: Integer>(ctx: &EvalCtx<'_>, product: bool) -> Result<Vec<Tensor>, OpError> {
    match product {
        true => scan(ctx, T::ONE, |p: T, x: T| p.fma(x, T::ZERO), |v| v),
        false => scan(ctx, T::ZERO, |s: T, x: T| s.add(x), |v| v),
    }
}

fn scan<T: Element, W: Copy>(
    ctx: &EvalCtx<'_>,
    start: W,
    step: impl Fn(W, T) -> W,
    narrow: impl Fn(W) -> T,
) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = ctx.input(1).to_i64s().and_then(|v| v.first().copied()).unwrap_or(0);
    let axis = normalize_axis(axis, x.shape.len()).map_err(|_| Fault::IndexOutOfRange)?;
    let (exclusive, reverse) = (ctx.attrs.int("exclusive") != 0, ctx.attrs.int("reverse") != 0);
    let mut rows = Rows::along(x.shape, axis);
    if reverse {
        rows.offsets.reverse();
    }
    let mut y = Tensor::zeros(T::DTYPE, x.shape)?;
    let elements = x.as_slice::<T>();
    for base in &rows.bases {
        let mut state = start;
        for offset in &rows.offsets {
            let before = state;
            state = step(state, elements[base + offset]);
            y.as_mut_slice::<T>()[base + offset] = narrow(if exclusive { before } else { state });
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn a_chain_in_ascending_order() {
        let x = noise(&[2, 5000], 1);
        let v = x.as_slice::<f32>();
        let axis = Tensor::scalar(-1i64);
        let y = output("CumSum", &Attrs::new(), &[&x, &axis]);
        let reversed = output("CumSum", &Attrs::new().with_int("reverse", 1), &[&x, &axis]);
        let exclusive = output("CumSum", &Attrs::new().with_int("exclusive", 1), &[&x, &axis]);
        for row in 0..2 {
            let (mut forward, mut backward) = (0.0f32, 0.0f32);
            for i in 0..5000 {
                let at = row * 5000 + i;
                assert_eq!(exclusive.as_slice::<f32>()[at].to_bits(), forward.to_bits());
                forward += v[at];
                assert_eq!(y.as_slice::<f32>()[at].to_bits(), forward.to_bits());
                let at = row * 5000 + 4999 - i;
                backward += v[at];
                assert_eq!(reversed.as_slice::<f32>()[at].to_bits(), backward.to_bits());
            }
        }
    }

    #[test]
    fn products_integers_and_bad_axes() {
        let x = Tensor::from_slice(&[2, 3], &[1i32, 2, 3, 4, 5, i32::MAX]);
        let y = output("CumProd", &Attrs::new(), &[&x, &Tensor::from_slice(&[1], &[0i32])]);
        assert_bits(&y, &[2, 3], &[1, 2, 3, 4, 10, i32::MAX - 2]);
        let half = |v: f32| half::f16::from_f32(v);
        let x = Tensor::from_slice(&[3], &[half(2048.0), half(1.0), half(1.0)]);
        let y = output("CumSum", &Attrs::new(), &[&x, &Tensor::scalar(0i64)]);
        assert_bits(&y, &[3], &[half(2048.0), half(2048.0), half(2050.0)]);
        assert_eq!(
            run("CumSum", &Attrs::new(), &[&x, &Tensor::scalar(1i64)]),
            Err(Fault::IndexOutOfRange.into())
        );
    }
}
