//! Swish: the element times its logistic function.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 162,
    name: "Swish",
    version: 1,
    doc: "Y = X * sigmoid(alpha * X), each step rounded, sigmoid as in Sigmoid; with alpha = 1 this is \
          SiLU. NaN for the infinity where sigmoid is 0. f16 and bf16 through f32. Source: ONNX Swish-24.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "alpha",
        AttrKind::Float,
        || AttrValue::Float(1.0),
        "the factor inside of sigmoid",
    )],
    class: OpClass::Elementwise(Some(|a| LaneOp::Unary(UnaryOp::Swish { alpha: a.float("alpha") }))),
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
            "Swish",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x0000_0000),
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0x7fc0_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
