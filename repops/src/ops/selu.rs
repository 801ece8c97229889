//! Selu: the scaled exponential linear unit.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 151,
    name: "Selu",
    version: 1,
    doc: "Y = gamma * (alpha * exp(X) - alpha) below 0, else gamma * X, each step rounded. f16 and bf16 \
          through f32. Source: ONNX Selu-6, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "alpha",
            AttrKind::Float,
            || AttrValue::Float(1.673_263_2),
            "the factor of the exponential part",
        ),
        AttrDef::default("gamma", AttrKind::Float, || AttrValue::Float(1.050_701), "the factor of the whole"),
    ],
    class: OpClass::Elementwise(Some(|a| {
        LaneOp::Unary(UnaryOp::Selu { alpha: a.float("alpha"), gamma: a.float("gamma") })
    })),
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
            "Selu",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x3f80_0000, 0x3f86_7d5f),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0xbfe1_0966),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
