//! Div: quotients.

use super::elementwise::{NUMBERS, eval_lane_or_int2, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 120,
    name: "Div",
    version: 1,
    doc: "C = A / B, broadcast; one rounded division. Integers divide toward zero and wrap; an integer \
          divisor of 0 is fault 1. f16 and bf16 through f32. Source: ONNX Div-7, -13, -14.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Div))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int2(&DEF, ctx, IntBinary::Div),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::map2(ctx, symbolic::divide);
    Ok(infer_broadcast(ctx, &NUMBERS)?.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "Div",
            &Attrs::new(),
            &[
                (0x3f80_0000, 0x4040_0000, 0x3eaa_aaab),
                (0x3f80_0000, 0x8000_0000, 0xff80_0000),
                (0x0000_0000, 0x0000_0000, 0x7fc0_0000),
                (0x7f80_0000, 0x7f80_0000, 0x7fc0_0000),
                (0xbf80_0000, 0x7f80_0000, 0x8000_0000),
            ],
        );
    }

    #[test]
    fn integers_divide_toward_zero() {
        let a = Tensor::from_slice(&[4], &[7i64, -7, 7, i64::MIN]);
        let c = run("Div", Attrs::new(), &[&a, &Tensor::from_slice(&[4], &[2i64, 2, -2, -1])]);
        assert_eq!(c.as_slice::<i64>(), [3, -3, -3, i64::MIN]);
    }

    #[test]
    fn zero_is_a_fault() {
        use crate::ops::{Fault, OpError, check::try_run};
        let c = try_run("Div", Attrs::new(), &[&Tensor::scalar(1u8), &Tensor::scalar(0u8)]);
        assert_eq!(c, Err(OpError::Fault(Fault::DivisionByZero)));
    }
}
