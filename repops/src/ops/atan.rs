//! Atan: the arc tangent.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 107,
    name: "Atan",
    version: 1,
    doc: "Y = the arc tangent of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). In radians; atan(+-0) = \
          +-0, atan(+-inf) = +-pi/2. f16 and bf16 through f32. Source: ONNX Atan-7, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Atan))),
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
            "Atan",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x3fc9_0fdb),
                (0x3f80_0000, 0x3f49_0fdb),
                (0xbf00_0000, 0xbeed_6338),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
