//! Sqrt: the square root.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 159,
    name: "Sqrt",
    version: 1,
    doc: "Y = the square root of X, correctly rounded; NaN below 0, and -0 for -0. f16 and bf16 through \
          f32. Source: ONNX Sqrt-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Sqrt))),
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
            "Sqrt",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x4080_0000, 0x4000_0000),
                (0x4000_0000, 0x3fb5_04f3),
                (0xbf80_0000, 0x7fc0_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x0000_0001, 0x1a35_04f3),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
