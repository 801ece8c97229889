//! DynamicQuantizeLinear: u8 with a scale and zero point taken from the values.

use super::float::Real;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 409,
    name: "DynamicQuantizeLinear",
    version: 1,
    doc: "low = the least of +0 and x, high = the greatest of +0 and x (NaN if there is one); y_scale = (high - \
          low) / 255, or 1 where high = low; y_zero_point = -low / y_scale limited to 0 .. 255 and rounded to \
          an integer, ties to even (NaN is 0); y = x / y_scale rounded to an integer, ties to even (NaN is \
          0), plus y_zero_point, saturated to u8. Every operation rounds to f32. Source: ONNX \
          DynamicQuantizeLinear-11.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(3),
    attrs: &[],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::F32)?;
    let number = |dtype| Inferred::new(dtype, Vec::new());
    Ok(vec![Inferred::new(DType::U8, ctx.shape(0)?.to_vec()), number(DType::F32), number(DType::U8)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0).as_slice::<f32>();
    let low = x.iter().fold(0.0, |low: f32, v| low.smaller(*v));
    let high = x.iter().fold(0.0, |high: f32, v| high.larger(*v));
    let (scale, zero) = parameters(low, high);
    let mut y = Tensor::zeros(DType::U8, ctx.input(0).shape)?;
    for (at, v) in x.iter().enumerate() {
        y.bytes_mut()[at] = quantized(*v, scale, zero);
    }
    Ok(vec![y, Tensor::scalar(scale.canonical()), Tensor::scalar(zero)])
}

/// Scale and zero point for elements from `low` to `high`.
pub(super) fn parameters(low: f32, high: f32) -> (f32, u8) {
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    (scale, (-low / scale).clamp(0.0, 255.0).round_ties_even() as u8)
}

pub(super) fn quantized(v: f32, scale: f32, zero: u8) -> u8 {
    let rounded = (v / scale).round_ties_even() as i64;
    rounded.saturating_add(i64::from(zero)).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, run_optional};

    fn quantize(x: &[f32]) -> (Vec<u8>, u32, u8) {
        let x = Tensor::from_slice(&[x.len()], x);
        let out = run_optional("DynamicQuantizeLinear", &Attrs::new(), &[Some(&x)], 3).unwrap();
        assert_bits(&out[2], &[], out[2].bytes());
        (out[0].bytes().to_vec(), out[1].as_slice::<f32>()[0].to_bits(), out[2].bytes()[0])
    }

    #[test]
    fn follows_the_formula() {
        let scale = (2.0f32 + 3.0) / 255.0;
        assert_eq!(
            quantize(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]),
            ([153, 255, 0, 26, 221, 179].to_vec(), scale.to_bits(), 153)
        );
        assert_eq!(quantize(&[1.0, 255.0]), ([1, 255].to_vec(), 1.0f32.to_bits(), 0));
    }

    #[test]
    fn edges() {
        assert_eq!(quantize(&[0.0, -0.0]), ([0, 0].to_vec(), 1.0f32.to_bits(), 0));
        assert_eq!(quantize(&[]), (Vec::new(), 1.0f32.to_bits(), 0));
        assert_eq!(quantize(&[1.0, f32::NAN]), ([0, 0].to_vec(), 0x7fc0_0000, 0));
        assert_eq!(quantize(&[f32::INFINITY, 1.0]), ([0, 0].to_vec(), f32::INFINITY.to_bits(), 0));
    }
}
