//! DequantizeLinear: small integers as floats.

use half::{bf16, f16};

use super::convert::{Convert, Exact, convert};
use super::elementwise::by_int;
use super::quantize::{Granularity, check_shapes, dtype_attr};
use super::quantize_linear::{SCALES, WIDE};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 169,
    name: "DequantizeLinear",
    version: 1,
    doc: "Y = (X - zero_point) * scale, of type output_dtype (0: the scale's). The difference (absent zero point: \
          0) is exact, then widened or converted to f32 (SPEC.md, 2.4), multiplied by the scale widened to f32, and rounded once more to \
          f16 or bf16. For 8-bit and 4-bit floats the difference is that of the f32 values, rounded to f32. One scale for all, one per position of `axis`, or one per `block_size` positions of it. \
          Source: ONNX DequantizeLinear-10 to -25.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(1), "Negative: from the back."),
        AttrDef::default("block_size", AttrKind::Int, || AttrValue::Int(0), "0: no blocks."),
        AttrDef::default(
            "output_dtype",
            AttrKind::Int,
            || AttrValue::Int(0),
            "ONNX's number; 0: the scale's.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.require(0, "u8, i8, u16, i16, i32 or a narrow type", |d| {
        matches!(d, DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32) || d.is_narrow()
    })?;
    let scale = ctx.require(1, SCALES.what, SCALES.test)?;
    if ctx.optional(2).is_some() {
        ctx.require_same(2, from)?;
    }
    let dtype = dtype_attr(ctx.attrs, "output_dtype")?.unwrap_or(scale);
    if !(WIDE.test)(dtype) {
        return Err(OpError::attr("output_dtype", format!("is {dtype}; {} is needed", WIDE.what)));
    }
    check_shapes(ctx)?;
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, scale) = (ctx.input(0), ctx.input(1));
    let granularity = Granularity::of(ctx.attrs, x.shape, scale.shape)?;
    let dtype = dtype_attr(ctx.attrs, "output_dtype")?.unwrap_or(scale.dtype);
    let scale = convert(scale, DType::F32)?;
    let values: Vec<f32> = if x.dtype.is_narrow() {
        let (x, zero) =
            (convert(x, DType::F32)?, ctx.optional(2).map(|z| convert(z, DType::F32)).transpose()?);
        let value = |(at, &x): (usize, &f32)| {
            let s = granularity.scale_of(at);
            let difference = zero.as_ref().map_or(x, |z| x - z.as_slice::<f32>()[s]);
            difference * scale.as_slice::<f32>()[s]
        };
        x.as_slice::<f32>().iter().enumerate().map(value).collect()
    } else {
        by_int!(x.dtype, T => {
            let zero = ctx.optional(2).map(|z| z.as_slice::<T>());
            let value = |(at, &x): (usize, &T)| {
                let s = granularity.scale_of(at);
                let difference = i128::from(x) - zero.map_or(0, |z| i128::from(z[s]));
                f32::of(Exact::Int(difference)) * scale.as_slice::<f32>()[s]
            };
            Ok::<_, OpError>(x.as_slice::<T>().iter().enumerate().map(value).collect())
        })?
    };
    let mut y = Tensor::zeros(dtype, x.shape)?;
    fn store<T: Element>(y: &mut Tensor, values: &[f32], narrow: fn(f32) -> T) {
        for (out, &value) in y.as_mut_slice::<T>().iter_mut().zip(values) {
            *out = narrow(value).canonical();
        }
    }
    match dtype {
        DType::F16 => store(&mut y, &values, f16::from_f32),
        DType::BF16 => store(&mut y, &values, bf16::from_f32),
        _ => store(&mut y, &values, |v| v),
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn granularities() {
        let x = Tensor::from_slice(&[2, 2], &[0u8, 255, 128, 3]);
        let y = run("DequantizeLinear", Attrs::new(), &[&x, &Tensor::scalar(0.5f32), &Tensor::scalar(128u8)]);
        assert_eq!(y.as_slice::<f32>(), [-64.0, 63.5, 0.0, -62.5]);
        let scale = Tensor::from_slice(&[2], &[1.0f32, 2.0]);
        assert_eq!(
            run("DequantizeLinear", Attrs::new(), &[&x, &scale]).as_slice::<f32>(),
            [0.0, 510.0, 128.0, 6.0]
        );
        let rows = Attrs::new().with_int("axis", -2);
        assert_eq!(run("DequantizeLinear", rows, &[&x, &scale]).as_slice::<f32>(), [0.0, 255.0, 256.0, 6.0]);
        let blocked = Attrs::new().with_int("axis", 0).with_int("block_size", 2);
        let y = run("DequantizeLinear", blocked, &[&x, &scale.clone().reshaped(&[1, 2])]);
        assert_eq!(y.as_slice::<f32>(), [0.0, 510.0, 128.0, 6.0]);
        assert!(try_run("DequantizeLinear", Attrs::new(), &[&x, &scale, &Tensor::scalar(1u8)]).is_err());
    }

    #[test]
    fn types() {
        let x = Tensor::scalar(i32::MIN);
        let y = run("DequantizeLinear", Attrs::new(), &[&x, &Tensor::scalar(f32::INFINITY), &x]);
        assert_eq!(y.as_slice::<f32>()[0].to_bits(), 0x7fc0_0000);
        let half = Attrs::new().with_int("output_dtype", 10);
        let y = run("DequantizeLinear", half, &[&Tensor::scalar(2049u16), &Tensor::scalar(1.0f32)]);
        assert_eq!(y.as_slice::<half::f16>()[0].to_bits(), 0x6800);
        let bad = Attrs::new().with_int("output_dtype", 7);
        assert!(try_run("DequantizeLinear", bad, &[&x, &Tensor::scalar(1.0f32)]).is_err());
    }

    proptest! {
        /// What was dequantized quantizes to itself.
        #[test]
        fn quantizing_undoes(values in prop::collection::vec(any::<u8>(), 0..20), zero in any::<u8>(), exponent in -8i32..8) {
            let x = Tensor::from_slice(&[values.len()], &values);
            let scale = Tensor::scalar(f32::from_bits(((127 + exponent) as u32) << 23));
            let zero = Tensor::scalar(zero);
            let y = run("DequantizeLinear", Attrs::new(), &[&x, &scale, &zero]);
            prop_assert_eq!(run("QuantizeLinear", Attrs::new(), &[&y, &scale, &zero]), x);
        }
    }
}
