//! Asin: the arc sine.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 105,
    name: "Asin",
    version: 1,
    doc: "Y = the arc sine of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). In radians; asin(+-0) = +-0, \
          NaN outside of [-1, 1]. f16 and bf16 through f32. Source: ONNX Asin-7, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Asin))),
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
            "Asin",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x3fc0_0000, 0x7fc0_0000),
                (0x3f80_0000, 0x3fc9_0fdb),
                (0xbf00_0000, 0xbf06_0a92),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
