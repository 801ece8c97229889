//! Shrink: elements move toward 0.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, OpClass, OpDef};
use crate::attrs::{AttrKind, AttrValue};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 152,
    name: "Shrink",
    version: 1,
    doc: "Y = X + bias below -lambd, X - bias above lambd, else +0; +0 for NaN. f16 and bf16 through f32. \
          Source: ONNX Shrink-9.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("bias", AttrKind::Float, || AttrValue::Float(0.0), "how far the others move"),
        AttrDef::default(
            "lambd",
            AttrKind::Float,
            || AttrValue::Float(0.5),
            "how far from 0 elements become 0",
        ),
    ],
    class: OpClass::Elementwise(Some(|a| {
        LaneOp::Unary(UnaryOp::Shrink { lambd: a.float("lambd"), bias: a.float("bias") })
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
            "Shrink",
            &Attrs::new(),
            &[
                (0x3f00_0000, 0x0000_0000),
                (0xbf00_0000, 0x0000_0000),
                (0x3f40_0000, 0x3f40_0000),
                (0xc000_0000, 0xc000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0x7fc0_0000, 0x0000_0000),
            ],
        );
    }
}
