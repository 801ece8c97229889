//! Sign: -1, 0 or 1.

use super::elementwise::{NUMBERS, eval_lane_or_int1, infer_unary};
use super::integers::IntUnary;
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 154,
    name: "Sign",
    version: 1,
    doc: "Y = 1 above 0, -1 below 0, +0 for both zeros, NaN for NaN. Source: ONNX Sign-9, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Sign))),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &NUMBERS),
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int1(&DEF, ctx, IntUnary::Sign),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Sign",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x0000_0000),
                (0x8000_0000, 0x0000_0000),
                (0x0000_0001, 0x3f80_0000),
                (0xff80_0000, 0xbf80_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
