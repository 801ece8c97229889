//! Log: the natural logarithm.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 136,
    name: "Log",
    version: 1,
    doc: "Y = the natural logarithm of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). log(+-0) = -inf, NaN \
          below 0. f16 and bf16 through f32. Source: ONNX Log-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Log))),
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
            "Log",
            &Attrs::new(),
            &[
                (0x0000_0000, 0xff80_0000),
                (0x8000_0000, 0xff80_0000),
                (0x3f80_0000, 0x0000_0000),
                (0xbf80_0000, 0x7fc0_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x4000_0000, 0x3f31_7218),
                (0x3f00_0000, 0xbf31_7218),
                (0x4120_0000, 0x4013_5d8e),
                (0x0000_0001, 0xc2ce_8ed0),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
