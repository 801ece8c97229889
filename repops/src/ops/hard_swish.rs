//! HardSwish: the element times a limited line.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 130,
    name: "HardSwish",
    version: 1,
    doc: "Y = X * hardsigmoid(X) with alpha = 1/6 rounded to the type and beta = 1/2, each step rounded; \
          NaN for -inf. f16 and bf16 through f32. Source: ONNX HardSwish-14, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::HardSwish))),
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
            "HardSwish",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x0000_0000),
                (0xc040_0000, 0x8000_0000),
                (0x4040_0000, 0x4040_0000),
                (0xff80_0000, 0x7fc0_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
