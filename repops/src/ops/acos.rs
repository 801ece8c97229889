//! Acos: the arc cosine.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 101,
    name: "Acos",
    version: 1,
    doc: "Y = the arc cosine of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). In radians; acos(1) = +0, \
          NaN outside of [-1, 1]. f16 and bf16 through f32. Source: ONNX Acos-7, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Acos))),
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
            "Acos",
            &Attrs::new(),
            &[
                (0x3f80_0000, 0x0000_0000),
                (0xbfc0_0000, 0x7fc0_0000),
                (0xbf80_0000, 0x4049_0fdb),
                (0x3f00_0000, 0x3f86_0a92),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
