//! Relu: negative elements become 0.

use super::elementwise::{SIGNED, eval_lane_or_int1, infer_unary};
use super::integers::IntUnary;
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 149,
    name: "Relu",
    version: 1,
    doc: "Y = X above 0, else +0 (also for -0); NaN stays NaN. Integers alike. Source: ONNX Relu-6, -13, \
          -14.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Relu))),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &SIGNED),
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int1(&DEF, ctx, IntUnary::Relu),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Relu",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x0000_0000),
                (0xbf80_0000, 0x0000_0000),
                (0x0000_0001, 0x0000_0001),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0x0000_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
