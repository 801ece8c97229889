//! Cast: elements converted to another type.

use super::convert::convert;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, symbolic};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::lane_op::LaneOp;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 114,
    name: "Cast",
    version: 1,
    doc: "Y = X converted to the type `to`, for every pair of types. Float to integer truncates and \
          saturates, NaN becomes 0; integer to integer wraps; to a float rounds once to nearest, ties to \
          even, also from f64 to f16 and bf16; to bool is X != 0, true for NaN; from bool 0 or 1. \
          Source: ONNX Cast-6 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "round_mode",
            AttrKind::Str,
            || AttrValue::Str("up".to_string()),
            "Concerns float8 alone.",
        ),
        AttrDef::default("saturate", AttrKind::Int, || AttrValue::Int(1), "Concerns float8 alone."),
        AttrDef::required("to", AttrKind::Int, "ONNX's number of the result's type."),
    ],
    class: OpClass::Elementwise(Some(lane)),
    infer,
    eval: |ctx: &EvalCtx<'_>| -> Result<Vec<Tensor>, OpError> {
        Ok(vec![convert(ctx.input(0), target(ctx.attrs)?)?])
    },
};

fn lane(attrs: &Attrs) -> LaneOp {
    match target(attrs) {
        Ok(DType::F32) => LaneOp::BoolToF32,
        Ok(DType::Bool) => LaneOp::F32ToBool,
        _ => LaneOp::Unfusable,
    }
}

fn target(attrs: &Attrs) -> Result<DType, OpError> {
    let code = attrs.int("to");
    let dtype = u32::try_from(code).ok().and_then(DType::from_code);
    dtype.ok_or_else(|| OpError::attr("to", format!("{code} is no supported type")))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let to = target(ctx.attrs)?;
    // A value that does not fit i32 wraps; `with_value` drops it then.
    let sym = symbolic::map1(ctx, |x| Some(x.clone()));
    Ok(vec![symbolic::with_value(Inferred::new(to, ctx.shape(0)?.to_vec()), sym)])
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::dtype::Element;
    use crate::ops::check::{run, try_run};

    fn cast<T: Element>(x: &Tensor) -> Vec<T> {
        let y = run("Cast", Attrs::new().with_int("to", i64::from(T::DTYPE.code())), &[x]);
        y.as_slice::<T>().to_vec()
    }

    #[test]
    fn floats_to_integers_saturate() {
        let x = Tensor::from_slice(&[6], &[-1.9f32, 1.9, f32::NAN, f32::INFINITY, -1e30, 255.9]);
        assert_eq!(cast::<i8>(&x), [-1, 1, 0, 127, -128, 127]);
        assert_eq!(cast::<u8>(&x), [0, 1, 0, 255, 0, 255]);
        assert_eq!(cast::<i64>(&x), [-1, 1, 0, i64::MAX, i64::MIN, 255]);
        let x = Tensor::from_slice(&[2], &[f16::from_f32(-2.5), f16::NEG_INFINITY]);
        assert_eq!(cast::<i32>(&x), [-2, i32::MIN]);
    }

    #[test]
    fn integers_wrap() {
        let x = Tensor::from_slice(&[3], &[300i64, -1, 1 << 40]);
        assert_eq!(cast::<u8>(&x), [44, 255, 0]);
        assert_eq!(cast::<i32>(&x), [300, -1, 0]);
        assert_eq!(cast::<u64>(&x), [300, u64::MAX, 1 << 40]);
    }

    #[test]
    fn to_floats_rounds_to_even() {
        let x = Tensor::from_slice(&[3], &[16_777_217i32, 16_777_219, -1]);
        assert_eq!(cast::<f32>(&x), [16_777_216.0, 16_777_220.0, -1.0]);
        let x =
            Tensor::from_slice(&[3], &[1.0 + f64::EPSILON, 1.0 + f64::from(f32::EPSILON) / 2.0, f64::NAN]);
        assert_eq!(
            cast::<f32>(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [0x3f80_0000, 0x3f80_0000, 0x7fc0_0000]
        );
        let x = Tensor::from_slice(&[2], &[f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000)]);
        assert_eq!(cast::<bf16>(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [0x3f80, 0x3f82]);
        let x = Tensor::from_slice(&[2], &[65519.996f32, 65520.0]);
        assert_eq!(cast::<f16>(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [0x7bff, 0x7c00]);
    }

    #[test]
    fn bools() {
        let to_bool = Attrs::new().with_int("to", 9);
        let x = Tensor::from_slice(&[4], &[-0.0f32, 1e-45, f32::NAN, 2.0]);
        assert_eq!(run("Cast", to_bool.clone(), &[&x]).bytes(), [0, 1, 1, 1]);
        assert_eq!(run("Cast", to_bool, &[&Tensor::from_slice(&[2], &[0u64, 1 << 63])]).bytes(), [0, 1]);
        assert_eq!(cast::<f32>(&Tensor::from_bools(&[2], &[false, true])), [0.0, 1.0]);
        assert_eq!(cast::<i16>(&Tensor::from_bools(&[2], &[false, true])), [0, 1]);
    }

    #[test]
    fn every_pair_is_total() {
        for from in DType::ALL {
            for to in DType::ALL {
                let x = run(
                    "Cast",
                    Attrs::new().with_int("to", from.code().into()),
                    &[&Tensor::from_slice(&[3], &[0.0f32, 1.0, 3.0])],
                );
                let y = run("Cast", Attrs::new().with_int("to", to.code().into()), &[&x]);
                let back = cast::<f32>(&y);
                let three = if from == DType::Bool || to == DType::Bool { 1.0 } else { 3.0 };
                assert_eq!(back, [0.0, 1.0, three], "{from} to {to}");
            }
        }
        for code in [0, 8, 14, 17, -1, i64::MAX] {
            assert!(try_run("Cast", Attrs::new().with_int("to", code), &[&Tensor::scalar(1.0f32)]).is_err());
        }
    }
}
