//! Cast: elements converted to another type.

use super::convert::convert_by;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, symbolic};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::dtype::narrow::{RoundMode, Rules};
use crate::lane_op::LaneOp;
use crate::tensor::Tensor;

pub(super) const ROUND_MODE: AttrDef = AttrDef::default(
    "round_mode",
    AttrKind::Str,
    || AttrValue::Str("up".to_string()),
    "How f8e8m0 rounds: up, down or nearest (ties up).",
);

pub(super) const SATURATE: AttrDef = AttrDef::default(
    "saturate",
    AttrKind::Int,
    || AttrValue::Int(1),
    "What becomes of numbers too large for an 8-bit float: not 0, the largest; 0, infinity or NaN.",
);

pub static DEF: OpDef = OpDef {
    id: 114,
    name: "Cast",
    version: 1,
    doc: "Y = X converted to the type `to`, for every pair of types. Float to integer truncates and \
          saturates, NaN becomes 0; integer to integer wraps; to a float rounds once to nearest, ties to \
          even, also from f64 to f16 and bf16; to bool is X != 0, true for NaN; from bool 0 or 1. To 4-bit and 2-bit integers floats go by way \
          of i64; to 8-bit and \
          4-bit floats and to f8e8m0 as SPEC.md, 2.4, says, by `saturate` and `round_mode`. \
          Source: ONNX Cast-6 to -25.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        ROUND_MODE,
        SATURATE,
        AttrDef::required("to", AttrKind::Int, "ONNX's number of the result's type."),
    ],
    class: OpClass::Elementwise(Some(lane)),
    infer,
    eval: |ctx: &EvalCtx<'_>| -> Result<Vec<Tensor>, OpError> {
        Ok(vec![convert_by(ctx.input(0), target(ctx.attrs)?, rules(ctx.attrs)?)?])
    },
};

fn lane(attrs: &Attrs) -> LaneOp {
    match target(attrs) {
        Ok(DType::F32) => LaneOp::BoolToF32,
        Ok(DType::Bool) => LaneOp::F32ToBool,
        _ => LaneOp::Unfusable,
    }
}

pub(super) fn target(attrs: &Attrs) -> Result<DType, OpError> {
    let code = attrs.int("to");
    let dtype = u32::try_from(code).ok().and_then(DType::from_code);
    dtype.ok_or_else(|| OpError::attr("to", format!("{code} is no supported type")))
}

pub(super) fn rules(attrs: &Attrs) -> Result<Rules, OpError> {
    let round_mode = match attrs.str("round_mode") {
        "up" => RoundMode::Up,
        "down" => RoundMode::Down,
        "nearest" => RoundMode::Nearest,
        other => return Err(OpError::attr("round_mode", format!("{other:?} is unknown"))),
    };
    Ok(Rules { saturate: attrs.int("saturate") != 0, round_mode })
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let to = target(ctx.attrs)?;
    rules(ctx.attrs)?;
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
    fn narrow_types() {
        let cast =
            |x: &Tensor, to: DType, attrs: Attrs| run("Cast", attrs.with_int("to", to.code().into()), &[x]);
        let x = Tensor::from_slice(&[6], &[-1.9f32, 1.9, f32::NAN, f32::INFINITY, -1e30, 2.5]);
        assert_eq!(cast(&x, DType::I4, Attrs::new()).bytes(), [0xff, 1, 0, 0xff, 0, 2]);
        assert_eq!(cast(&x, DType::U2, Attrs::new()).bytes(), [3, 1, 0, 3, 0, 2]);
        assert_eq!(cast(&x, DType::F8E4M3FN, Attrs::new()).bytes(), [0xbf, 0x3f, 0x7f, 0x7e, 0xfe, 0x42]);
        let infinite = cast(&x, DType::F8E5M2, Attrs::new().with_int("saturate", 0));
        assert_eq!(infinite.bytes(), [0xc0, 0x40, 0x7e, 0x7c, 0xfc, 0x41]);
        assert_eq!(cast(&infinite, DType::I8, Attrs::new()).bytes(), [0xfe, 2, 0, 127, 128, 2]);
        let x = Tensor::from_slice(&[4], &[17i64, -9, i64::MAX, 3]);
        assert_eq!(cast(&x, DType::I4, Attrs::new()).bytes(), [1, 7, 0xff, 3]);
        assert_eq!(cast(&x, DType::U4, Attrs::new()).bytes(), [1, 7, 15, 3]);
        assert_eq!(cast(&x, DType::I2, Attrs::new()).bytes(), [1, 0xff, 0xff, 0xff]);
        let down = Attrs::new().with_str("round_mode", "down");
        assert_eq!(cast(&x, DType::F8E8M0, down).bytes(), [131, 0xff, 189, 128]);
        let odd = Attrs::new().with_int("to", 24).with_str("round_mode", "odd");
        assert!(try_run("Cast", odd, &[&x]).is_err());
    }

    #[test]
    fn every_pair_is_total() {
        let wide = || DType::ALL.into_iter().filter(|d| !d.is_narrow());
        for from in wide() {
            for to in wide() {
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
        for code in [0, 8, 14, 27, -1, i64::MAX] {
            assert!(try_run("Cast", Attrs::new().with_int("to", code), &[&Tensor::scalar(1.0f32)]).is_err());
        }
    }
}
