//! Ceil: the integer above.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 115,
    name: "Ceil",
    version: 1,
    doc: "Y = the smallest integer that is not below X; from (-1, -0] it is -0. Source: ONNX Ceil-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Ceil))),
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
            "Ceil",
            &Attrs::new(),
            &[
                (0xbf00_0000, 0x8000_0000),
                (0x3e80_0000, 0x3f80_0000),
                (0x8000_0000, 0x8000_0000),
                (0xff80_0000, 0xff80_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
