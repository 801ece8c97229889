//! HardSigmoid: a line limited to [0, 1].

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 129,
    name: "HardSigmoid",
    version: 1,
    doc: "Y = maximum(minimum(X * alpha + beta, 1), +0), product and sum rounded one after the other. f16 \
          and bf16 through f32. Source: ONNX HardSigmoid-6, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("alpha", AttrKind::Float, || AttrValue::Float(0.2), "the slope"),
        AttrDef::default("beta", AttrKind::Float, || AttrValue::Float(0.5), "the value at 0"),
    ],
    class: OpClass::Elementwise(Some(|a| {
        LaneOp::Unary(UnaryOp::HardSigmoid { alpha: a.float("alpha"), beta: a.float("beta") })
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
            "HardSigmoid",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x3f00_0000),
                (0xff80_0000, 0x0000_0000),
                (0x7f80_0000, 0x3f80_0000),
                (0x3f80_0000, 0x3f33_3333),
                (0xc020_0000, 0x0000_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
