//! Mish: the element times tanh of its softplus.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 140,
    name: "Mish",
    version: 1,
    doc: "Y = X * tanh(softplus(X)), each step rounded, softplus as in Softplus; NaN for -inf. f16 and bf16 \
          through f32. Source: ONNX Mish-18, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Mish))),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &FLOATS),
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Mish",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x0000_0000),
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0x7fc0_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
