//! Round: the nearest integer.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 150,
    name: "Round",
    version: 1,
    doc: "Y = the integer nearest to X, ties to even; the sign of zero is kept. Source: ONNX Round-11, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Round))),
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
            "Round",
            &Attrs::new(),
            &[
                (0x3f00_0000, 0x0000_0000),
                (0xbf00_0000, 0x8000_0000),
                (0x3fc0_0000, 0x4000_0000),
                (0x4020_0000, 0x4000_0000),
                (0xc020_0000, 0xc000_0000),
                (0x4b00_0001, 0x4b00_0001),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
