//! Softplus: a smooth maximum with 0.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 157,
    name: "Softplus",
    version: 1,
    doc: "Y = maximum(X, +0) + log1p(exp(-|X|)), each step rounded: log(exp(X) + 1) without its overflow. \
          f16 and bf16 through f32. Source: ONNX Softplus-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Softplus))),
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
            "Softplus",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x3f31_7218),
                (0x8000_0000, 0x3f31_7218),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0x0000_0000),
                (0x447a_0000, 0x447a_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
