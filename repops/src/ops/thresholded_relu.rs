//! ThresholdedRelu: elements up to a threshold become 0.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 165,
    name: "ThresholdedRelu",
    version: 1,
    doc: "Y = X above alpha, else +0; +0 for NaN. f16 and bf16 through f32. Source: ONNX \
          ThresholdedRelu-10, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("alpha", AttrKind::Float, || AttrValue::Float(1.0), "the threshold")],
    class: OpClass::Elementwise(Some(|a| {
        LaneOp::Unary(UnaryOp::ThresholdedRelu { alpha: a.float("alpha") })
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
            "ThresholdedRelu",
            &Attrs::new(),
            &[
                (0x3f80_0000, 0x0000_0000),
                (0x3fc0_0000, 0x3fc0_0000),
                (0xff80_0000, 0x0000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x7fc0_0000, 0x0000_0000),
            ],
        );
    }
}
