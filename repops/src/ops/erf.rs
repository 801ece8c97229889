//! Erf: the error function.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 123,
    name: "Erf",
    version: 1,
    doc: "Y = the error function of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). erf(+-0) = +-0, \
          erf(+-inf) = +-1. f16 and bf16 through f32. Source: ONNX Erf-9, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Erf))),
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
            "Erf",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x3f80_0000),
                (0xff80_0000, 0xbf80_0000),
                (0x3f80_0000, 0x3f57_bb3d),
                (0xbf00_0000, 0xbf05_3f7b),
                (0x4000_0000, 0x3f7e_cd71),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
