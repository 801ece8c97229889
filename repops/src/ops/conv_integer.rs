//! ConvInteger and QLinearConv: convolutions of quantized tensors, exact in integers.

use super::conv::{ATTRS, Geometry, check_bias, convolved};
use super::float::wide_elements;
use super::matmul_integer::{integers, requantized, saturated};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::tensor::Tensor;

pub static INTEGER: OpDef = OpDef {
    id: 305,
    name: "ConvInteger",
    version: 1,
    doc: "Conv of x - x_zero_point and w - w_zero_point in i32: exact, wrapping on overflow; taps outside of \
          the image are skipped. x and w are u8 or i8, the zero points of x's and w's type, 0 when absent; \
          x_zero_point is one number, w_zero_point one or one an output channel. Source: ONNX \
          ConvInteger-10.",
    inputs: Arity::between(2, 4),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Contraction,
    infer: |ctx| Ok(vec![Inferred::new(DType::I32, infer(ctx, PLAIN)?)]),
    eval: |ctx| Ok(vec![sums(ctx, PLAIN)?]),
};

pub static QLINEAR: OpDef = OpDef {
    id: 307,
    name: "QLinearConv",
    version: 1,
    doc: "Inputs x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B (i32, optional). \
          s = Conv of x - x_zero_point and w - w_zero_point, plus B[m], in i32: exact, wrapping; taps outside \
          of the image are skipped. f = (x_scale * w_scale[m]) / y_scale in f32, each operation rounded. y = \
          s rounded to f32, times f (rounded), rounded to an integer (ties to even; NaN is 0), plus \
          y_zero_point, saturated to y_zero_point's type. w_scale and w_zero_point are one number or one an \
          output channel. Source: ONNX QLinearConv-10.",
    inputs: Arity::between(8, 9),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Contraction,
    infer: infer_qlinear,
    eval: eval_qlinear,
};

/// Where the operands are among the inputs.
#[derive(Clone, Copy)]
struct Operands {
    x: usize,
    w: usize,
    x_zero: usize,
    w_zero: usize,
    bias: usize,
}

/// ConvInteger has no input 4: no bias.
const PLAIN: Operands = Operands { x: 0, w: 1, x_zero: 2, w_zero: 3, bias: 4 };
const SCALED: Operands = Operands { x: 0, w: 3, x_zero: 2, w_zero: 5, bias: 8 };

fn infer(ctx: &InferCtx<'_>, at: Operands) -> Result<Vec<DimExpr>, OpError> {
    for index in [at.x, at.w] {
        ctx.require(index, "u8 or i8", |d| matches!(d, DType::U8 | DType::I8))?;
    }
    let shape = convolved(ctx.attrs, ctx.shape(at.x)?, ctx.shape(at.w)?)?;
    if ctx.optional(at.x_zero).is_some() {
        ctx.require_same(at.x_zero, ctx.dtype(at.x)?)?;
        check_numbers(ctx, at.x_zero, &DimExpr::Const(1))?;
    }
    if ctx.optional(at.w_zero).is_some() {
        ctx.require_same(at.w_zero, ctx.dtype(at.w)?)?;
        check_numbers(ctx, at.w_zero, &shape[1])?;
    }
    Ok(shape)
}

/// Input `index` is one number, or has one axis of 1 or `channels` elements.
fn check_numbers(ctx: &InferCtx<'_>, index: usize, channels: &DimExpr) -> Result<(), OpError> {
    match ctx.shape(index)? {
        [] => Ok(()),
        [n] if n.as_const() == Some(1) => Ok(()),
        shape => check_bias(shape, channels),
    }
}

fn infer_qlinear(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = infer(ctx, SCALED)?;
    for (index, count) in [(1, &DimExpr::Const(1)), (4, &shape[1]), (6, &DimExpr::Const(1))] {
        ctx.require_same(index, DType::F32)?;
        check_numbers(ctx, index, count)?;
    }
    let dtype = ctx.require(7, "u8 or i8", |d| matches!(d, DType::U8 | DType::I8))?;
    check_numbers(ctx, 7, &DimExpr::Const(1))?;
    if ctx.optional(8).is_some() {
        ctx.require_same(8, DType::I32)?;
        check_bias(ctx.shape(8)?, &shape[1])?;
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

/// The element for a channel of a list that may hold one for all.
fn for_channel<T: Copy>(list: &[T], channel: usize) -> T {
    list[if list.len() == 1 { 0 } else { channel }]
}

/// The exact sums in i32.
fn sums(ctx: &EvalCtx<'_>, at: Operands) -> Result<Tensor, OpError> {
    let geometry = Geometry::new(ctx.attrs, ctx.input(at.x).shape, ctx.input(at.w).shape)?;
    let (x, w) = (integers(ctx.input(at.x)), integers(ctx.input(at.w)));
    let zero = |index: usize| ctx.optional(index).map_or(vec![0], integers);
    let (x_zero, w_zero) = (zero(at.x_zero), zero(at.w_zero));
    let bias = ctx.optional(at.bias).map(|b| b.as_slice::<i32>());
    let mut y = Tensor::zeros(DType::I32, &geometry.shape)?;
    let out = y.as_mut_slice::<i32>();
    geometry.each_output(|element| {
        let zero = for_channel(&w_zero, element.channel);
        let sum = contract(element.terms(), |p| {
            Some((x[element.tap(p)?] - x_zero[0], w[element.weight(p)] - zero))
        });
        out[element.output] = sum.wrapping_add(bias.map_or(0, |bias| bias[element.channel]));
    });
    Ok(y)
}

fn eval_qlinear(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let sums = sums(ctx, SCALED)?;
    let [x_scale, w_scale, y_scale] = [1, 4, 6].map(|i| wide_elements::<f32>(ctx.input(i)));
    let zero = integers(ctx.input(7))[0];
    let mut y = Tensor::zeros(ctx.input(7).dtype, sums.shape())?;
    let plane: usize = sums.shape()[2..].iter().product();
    for (at, &sum) in sums.as_slice::<i32>().iter().enumerate() {
        let channel = at / plane % sums.shape()[1];
        let factor = x_scale[0] * for_channel(&w_scale, channel) / y_scale[0];
        saturated(&mut y, at, requantized(sum, factor, zero));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, output, run};

    fn bytes(shape: &[usize], seed: usize) -> Tensor {
        let v: Vec<u8> =
            (0..shape.iter().product()).map(|i: usize| (i * 37 + seed * 91 + i * i) as u8).collect();
        Tensor::from_slice(shape, &v)
    }

    /// The float convolution of the centered values: exact, since every sum stays below 2^53.
    fn exact(x: &Tensor, x_zero: f64, w: &Tensor, w_zero: &[f64], attrs: &Attrs) -> Vec<i32> {
        let per_channel = w.bytes().len() / w.shape()[0];
        let x64: Vec<f64> = x.bytes().iter().map(|&v| f64::from(v) - x_zero).collect();
        let w64: Vec<f64> =
            w.bytes().iter().enumerate().map(|(i, &v)| f64::from(v) - w_zero[i / per_channel]).collect();
        let y = output(
            "Conv",
            attrs,
            &[&Tensor::from_slice(x.shape(), &x64), &Tensor::from_slice(w.shape(), &w64)],
        );
        y.as_slice::<f64>().iter().map(|&v| v as i32).collect()
    }

    #[test]
    fn sums_are_exact() {
        let (x, w) = (bytes(&[1, 64, 5, 6], 1), bytes(&[2, 64, 3, 3], 2));
        let attrs = Attrs::new().with_ints("pads", &[1, 0, 1, 2]).with_ints("strides", &[2, 1]);
        let zeros = Tensor::from_slice(&[2], &[3u8, 200]);
        let y = output("ConvInteger", &attrs, &[&x, &w, &Tensor::scalar(130u8), &zeros]);
        assert_bits(&y, y.shape(), &exact(&x, 130.0, &w, &[3.0, 200.0], &attrs));
        let scale = |v: f32| Tensor::scalar(v);
        let bias = Tensor::from_slice(&[2], &[1000i32, -777]);
        let w_scale = Tensor::from_slice(&[2], &[0.002f32, 0.003]);
        let inputs = [
            &x,
            &scale(0.01),
            &Tensor::scalar(130u8),
            &w,
            &w_scale,
            &zeros,
            &scale(0.5),
            &Tensor::scalar(-4i8),
            &bias,
        ];
        let q = output("QLinearConv", &attrs, &inputs);
        let plane = y.shape()[2] * y.shape()[3];
        for (at, &sum) in y.as_slice::<i32>().iter().enumerate() {
            let channel = at / plane;
            let factor = 0.01f32 * [0.002f32, 0.003][channel] / 0.5;
            let total = sum + [1000, -777][channel];
            let expected = ((total as f32 * factor).round_ties_even() as i32 - 4).clamp(-128, 127);
            assert_eq!(i32::from(q.as_slice::<i8>()[at]), expected);
        }
    }

    #[test]
    fn misfits_are_errors() {
        let (x, w) = (bytes(&[1, 2, 4], 1), bytes(&[3, 2, 2], 2));
        assert!(run("ConvInteger", &Attrs::new(), &[&x, &w]).is_ok());
        assert!(run("ConvInteger", &Attrs::new(), &[&x, &w, &bytes(&[2], 1)]).is_err());
        assert!(run("ConvInteger", &Attrs::new(), &[&x, &w, &bytes(&[], 1), &bytes(&[2], 1)]).is_err());
        assert!(run("ConvInteger", &Attrs::new(), &[&x, &w, &Tensor::scalar(1i8)]).is_err());
    }
}
