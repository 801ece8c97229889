//! Sigmoid: the logistic function.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 153,
    name: "Sigmoid",
    version: 1,
    doc: "With e = exp(-|X|): Y = 1 / (1 + e) where X >= 0, else e / (1 + e), each step rounded; it never \
          overflows and keeps its relative accuracy for large negative X. f16 and bf16 through f32. Source: \
          ONNX Sigmoid-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Sigmoid))),
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
            "Sigmoid",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x3f00_0000),
                (0x8000_0000, 0x3f00_0000),
                (0x7f80_0000, 0x3f80_0000),
                (0xff80_0000, 0x0000_0000),
                (0x3f80_0000, 0x3f3b_26a8),
                (0xc2c8_0000, 0x0000_001b),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
