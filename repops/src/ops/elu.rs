//! Elu: the exponential linear unit.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 121,
    name: "Elu",
    version: 1,
    doc: "Y = alpha * (exp(X) - 1) below 0, else X, each step rounded. f16 and bf16 through f32. Source: \
          ONNX Elu-6, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "alpha",
        AttrKind::Float,
        || AttrValue::Float(1.0),
        "the limit toward -inf, negated",
    )],
    class: OpClass::Elementwise(Some(|a| LaneOp::Unary(UnaryOp::Elu { alpha: a.float("alpha") }))),
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
            "Elu",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0xff80_0000, 0xbf80_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x4000_0000, 0x4000_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
