//! Mul: products.

use super::elementwise::{NUMBERS, eval_lane_or_int2, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 142,
    name: "Mul",
    version: 1,
    doc: "C = A * B, broadcast; one rounded multiplication, integers wrap. f16 and bf16 through f32. \
          Source: ONNX Mul-7, -13, -14.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Mul))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int2(&DEF, ctx, IntBinary::Mul),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::map2(ctx, |a, b| Some(a.mul(b)));
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
            "Mul",
            &Attrs::new(),
            &[
                (0x3dcc_cccd, 0x4040_0000, 0x3e99_999a),
                (0x8000_0000, 0x40a0_0000, 0x8000_0000),
                (0x7f80_0000, 0x0000_0000, 0x7fc0_0000),
                (0x0da2_4260, 0x2690_1d7d, 0x0000_0001),
                (0x0da2_4260, 0x24e6_9595, 0x0000_0000),
                (0x7f7f_ffff, 0x4000_0000, 0x7f80_0000),
            ],
        );
    }

    #[test]
    fn integers_wrap() {
        let c = run("Mul", Attrs::new(), &[&Tensor::scalar(1i32 << 20), &Tensor::scalar(1i32 << 12)]);
        assert_eq!(c.as_slice::<i32>(), [0]);
    }
}
