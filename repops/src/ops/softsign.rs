//! Softsign: a squashing by division.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 158,
    name: "Softsign",
    version: 1,
    doc: "Y = X / (1 + |X|), sum and quotient rounded; NaN for infinities. f16 and bf16 through f32. \
          Source: ONNX Softsign-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Softsign))),
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
            "Softsign",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x3f80_0000, 0x3f00_0000),
                (0xc040_0000, 0xbf40_0000),
                (0x7f80_0000, 0x7fc0_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
