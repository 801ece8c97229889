//! Floor: the integer below.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 125,
    name: "Floor",
    version: 1,
    doc: "Y = the largest integer that is not above X; the sign of zero is kept. Source: ONNX Floor-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Floor))),
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
            "Floor",
            &Attrs::new(),
            &[
                (0xbf00_0000, 0xbf80_0000),
                (0x3f40_0000, 0x0000_0000),
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x4b80_0000, 0x4b80_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
