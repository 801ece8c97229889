//! QuantizeLinear: floats as small integers.

use half::{bf16, f16};

use super::convert::{Convert, Exact, convert, convert_by};
use super::elementwise::{Accepts, by_int};
use super::quantize::{Granularity, check_shapes, dtype_attr};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::narrow::{self, Rules};
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 168,
    name: "QuantizeLinear",
    version: 1,
    doc: "Y = saturate(round(X / scale) + zero_point). X and scale are converted to the type `precision` (0: the \
          scale's) and divided there with one rounding (f8e8m0: in f32) (f16 and bf16: in f32, then to the type); the quotient \
          is rounded to an integer, ties to even, saturated to i64 (NaN is 0), and the zero point (absent: 0) \
          is added exactly before the result is limited to Y's type: zero_point's, else output_dtype, else u8. \
          Where Y is an 8-bit or 4-bit float the quotient is not rounded to an integer; a zero point other than \
          zero is added to it, rounded to the type of the division, and the sum is converted as Cast does, by `saturate`. \
          One scale for all, one per position of `axis`, or one per `block_size` positions of it. Source: \
          ONNX QuantizeLinear-10 to -25.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(1), "Negative: from the back."),
        AttrDef::default("block_size", AttrKind::Int, || AttrValue::Int(0), "0: no blocks."),
        AttrDef::default("output_dtype", AttrKind::Int, || AttrValue::Int(0), "ONNX's number; 0: not given."),
        AttrDef::default("precision", AttrKind::Int, || AttrValue::Int(0), "ONNX's number; 0: the scale's."),
        AttrDef::default("saturate", AttrKind::Int, || AttrValue::Int(1), "As Cast has it."),
    ],
    class: OpClass::General,
    infer,
    eval,
};

/// The types that divide: no f64, as in ONNX.
pub(super) const WIDE: Accepts =
    Accepts { what: "f32, f16 or bf16", test: |d| d.is_float() && d != DType::F64 };

/// The types of a scale: a power of two as well.
pub(super) const SCALES: Accepts =
    Accepts { what: "f32, f16, bf16 or f8e8m0", test: |d| (WIDE.test)(d) || d == DType::F8E8M0 };

const SMALL: Accepts = Accepts {
    what: "an integer of at most 16 bits or a float of at most 8",
    test: |d| {
        matches!(d, DType::U8 | DType::I8 | DType::U16 | DType::I16) || d.is_narrow() && d != DType::F8E8M0
    },
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "f32, f16, bf16 or i32", |d| (WIDE.test)(d) || d == DType::I32)?;
    ctx.require(1, SCALES.what, SCALES.test)?;
    let given = dtype_attr(ctx.attrs, "output_dtype")?;
    let dtype = match ctx.optional(2) {
        Some(_) => ctx.require(2, SMALL.what, SMALL.test)?,
        None => given.unwrap_or(DType::U8),
    };
    if given.is_some_and(|given| given != dtype) || !(SMALL.test)(dtype) {
        return Err(OpError::attr("output_dtype", format!("is {dtype}; {} is needed", SMALL.what)));
    }
    if dtype_attr(ctx.attrs, "precision")?.is_some_and(|d| !(WIDE.test)(d)) {
        return Err(OpError::attr("precision", format!("{} is needed", WIDE.what)));
    }
    check_shapes(ctx)?;
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, scale) = (ctx.input(0), ctx.input(1));
    let dtype = super::infer_known(&DEF, ctx.attrs, ctx.inputs, 1)?[0].ty.dtype;
    let granularity = Granularity::of(ctx.attrs, x.shape, scale.shape)?;
    let precision = match dtype_attr(ctx.attrs, "precision")? {
        Some(precision) => precision,
        None if scale.dtype == DType::F8E8M0 => DType::F32,
        None => scale.dtype,
    };
    // The quotient as the f32 that holds it exactly.
    let rounded: fn(f32) -> f32 = match precision {
        DType::F16 => |q| f16::from_f32(q).to_f32(),
        DType::BF16 => |q| bf16::from_f32(q).to_f32(),
        _ => |q| q,
    };
    let as_f32 = |t| convert(convert(t, precision)?.view(), DType::F32);
    let (x, scale) = (as_f32(x)?, as_f32(scale)?);
    let quotient = |at: usize, s: usize| rounded(x.as_slice::<f32>()[at] / scale.as_slice::<f32>()[s]);
    if dtype.is_narrow_float() {
        let zero = ctx.optional(2).map(|z| convert(z, DType::F32)).transpose()?;
        let mut sums = Tensor::zeros(DType::F32, x.shape())?;
        for (at, sum) in sums.as_mut_slice::<f32>().iter_mut().enumerate() {
            let s = granularity.scale_of(at);
            let zero = zero.as_ref().map_or(0.0, |z| z.as_slice::<f32>()[s]);
            let q = quotient(at, s);
            *sum = if zero == 0.0 { q } else { rounded(q + zero) }.canonical();
        }
        let rules = Rules { saturate: ctx.attrs.int("saturate") != 0, ..Rules::default() };
        return Ok(vec![convert_by(sums.view(), dtype, rules)?]);
    }
    let zero = ctx.optional(2).map(|z| convert(z, DType::I64)).transpose()?;
    let quotients = (0..x.len()).map(|at| {
        let s = granularity.scale_of(at);
        let steps = i64::of(Exact::Float(f64::from(quotient(at, s).round_ties_even())));
        let zero = zero.as_ref().map_or(0, |z| z.as_slice::<i64>()[s]);
        i128::from(steps) + i128::from(zero)
    });
    let mut y = Tensor::zeros(dtype, x.shape())?;
    if let Some((low, high)) = narrow::integer_range(dtype) {
        for (out, value) in y.bytes_mut().iter_mut().zip(quotients) {
            *out = value.clamp(low.into(), high.into()) as u8;
        }
        return Ok(vec![y]);
    }
    by_int!(dtype, T => {
        for (out, value) in y.as_mut_slice::<T>().iter_mut().zip(quotients) {
            *out = T::of(Exact::Int(value.clamp(T::MIN.into(), T::MAX.into())));
        }
        Ok::<(), OpError>(())
    })?;
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn per_tensor_saturates_and_rounds_to_even() {
        let x = Tensor::from_slice(&[8], &[0.0f32, 1.0, 3.0, 5.0, 1e30, -1e30, f32::NAN, f32::INFINITY]);
        let (scale, zero) = (Tensor::scalar(2.0f32), Tensor::scalar(128u8));
        // 0.5 and 2.5 are ties.
        assert_eq!(
            run("QuantizeLinear", Attrs::new(), &[&x, &scale, &zero]).as_slice::<u8>(),
            [128, 128, 130, 130, 255, 0, 128, 255]
        );
        let zero = Tensor::scalar(-1i8);
        assert_eq!(
            run("QuantizeLinear", Attrs::new(), &[&x, &scale, &zero]).as_slice::<i8>(),
            [-1, -1, 1, 1, 127, -128, -1, 127]
        );
        assert_eq!(run("QuantizeLinear", Attrs::new(), &[&x, &scale]).as_slice::<u8>()[..4], [0, 0, 2, 2]);
        let attrs = Attrs::new().with_int("output_dtype", 5);
        assert_eq!(run("QuantizeLinear", attrs, &[&x, &scale]).as_slice::<i16>()[4..6], [32767, -32768]);
    }

    #[test]
    fn per_axis_and_blocked() {
        let x = Tensor::from_slice(&[2, 3], &[2.0f32, 4.0, 6.0, 8.0, 10.0, 12.0]);
        let scale = Tensor::from_slice(&[3], &[1.0f32, 2.0, 3.0]);
        assert_eq!(run("QuantizeLinear", Attrs::new(), &[&x, &scale]).as_slice::<u8>(), [2, 2, 2, 8, 5, 4]);
        let scale = Tensor::from_slice(&[2], &[1.0f32, 2.0]);
        let attrs = Attrs::new().with_int("axis", 0);
        assert_eq!(run("QuantizeLinear", attrs.clone(), &[&x, &scale]).as_slice::<u8>(), [2, 4, 6, 4, 5, 6]);
        assert!(try_run("QuantizeLinear", Attrs::new(), &[&x, &scale]).is_err());
        let scale = Tensor::from_slice(&[2, 2], &[1.0f32, 2.0, 4.0, 1.0]);
        let blocked = Attrs::new().with_int("block_size", 2);
        assert_eq!(
            run("QuantizeLinear", blocked.clone(), &[&x, &scale]).as_slice::<u8>(),
            [2, 4, 3, 2, 2, 12]
        );
        assert!(try_run("QuantizeLinear", blocked.with_int("block_size", 3), &[&x, &scale]).is_err());
        assert!(try_run("QuantizeLinear", attrs.with_int("block_size", -1), &[&x, &scale]).is_err());
    }

    #[test]
    fn the_quotient_has_the_scales_precision() {
        // 1000.5 / 1 is 1000.5 in f16 too; 3000 / 0.7 differs between f16 and f32.
        let x = Tensor::scalar(f16::from_f32(3000.0));
        let scale = Tensor::scalar(f16::from_f32(0.7));
        let zero = Tensor::scalar(0u16);
        let half = run("QuantizeLinear", Attrs::new(), &[&x, &scale, &zero]).as_slice::<u16>()[0];
        let full = run("QuantizeLinear", Attrs::new().with_int("precision", 1), &[&x, &scale, &zero])
            .as_slice::<u16>()[0];
        assert_eq!((half, full), (4284, 4285));
    }
}
