//! Exp: e to the power.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 124,
    name: "Exp",
    version: 1,
    doc: "Y = e to the power of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). exp(-inf) = +0. f16 and bf16 \
          through f32. Source: ONNX Exp-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Exp))),
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
            "Exp",
            &Attrs::new(),
            &[
                (0xff80_0000, 0x0000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x8000_0000, 0x3f80_0000),
                (0x42b2_0000, 0x7f80_0000),
                (0xc2d0_0000, 0x0000_0000),
                (0x3f80_0000, 0x402d_f854),
                (0xbf80_0000, 0x3ebc_5ab2),
                (0x3f00_0000, 0x3fd3_094c),
                (0x42b1_0000, 0x7f4c_dcc4),
                (0xc2ce_0000, 0x0000_0001),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
