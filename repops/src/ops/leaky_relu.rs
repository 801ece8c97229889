//! LeakyRelu: negative elements are scaled.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 133,
    name: "LeakyRelu",
    version: 1,
    doc: "Y = alpha * X below 0, else X. f16 and bf16 through f32. Source: ONNX LeakyRelu-6, -16.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("alpha", AttrKind::Float, || AttrValue::Float(0.01), "the slope below 0")],
    class: OpClass::Elementwise(Some(|a| LaneOp::Unary(UnaryOp::LeakyRelu { alpha: a.float("alpha") }))),
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
            "LeakyRelu",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0xbf80_0000, 0xbc23_d70a),
                (0x4040_0000, 0x4040_0000),
                (0xff80_0000, 0xff80_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
