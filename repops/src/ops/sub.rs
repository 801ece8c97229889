//! Sub: differences.

use super::elementwise::{NUMBERS, eval_lane_or_int2, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 160,
    name: "Sub",
    version: 1,
    doc: "C = A - B, broadcast; one rounded subtraction, integers wrap. f16 and bf16 through f32. Source: \
          ONNX Sub-7, -13, -14.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Sub))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int2(&DEF, ctx, IntBinary::Sub),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::map2(ctx, |a, b| Some(a.sub(b)));
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
            "Sub",
            &Attrs::new(),
            &[
                (0x3f80_0000, 0x3f80_0000, 0x0000_0000),
                (0x8000_0000, 0x0000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7f80_0000, 0x7fc0_0000),
                (0x7fc0_0000, 0x3f80_0000, 0x7fc0_0000),
            ],
        );
    }

    #[test]
    fn integers_wrap() {
        let c = run("Sub", Attrs::new(), &[&Tensor::scalar(i64::MIN), &Tensor::scalar(1i64)]);
        assert_eq!(c.as_slice::<i64>(), [i64::MAX]);
    }
}
