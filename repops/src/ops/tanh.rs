//! Tanh: the hyperbolic tangent.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 164,
    name: "Tanh",
    version: 1,
    doc: "Y = the hyperbolic tangent of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). tanh(+-0) = +-0, \
          tanh(+-inf) = +-1. f16 and bf16 through f32. Source: ONNX Tanh-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Tanh))),
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
            "Tanh",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x3f80_0000),
                (0xff80_0000, 0xbf80_0000),
                (0x3f80_0000, 0x3f42_f7d6),
                (0xbf00_0000, 0xbeec_9a9f),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
