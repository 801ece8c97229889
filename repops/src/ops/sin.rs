//! Sin: the sine.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 155,
    name: "Sin",
    version: 1,
    doc: "Y = the sine of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). X in radians; sin(+-0) = +-0, NaN \
          for infinities. f16 and bf16 through f32. Source: ONNX Sin-7, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Sin))),
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
            "Sin",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7fc0_0000),
                (0x3f80_0000, 0x3f57_6aa4),
                (0xc000_0000, 0xbf68_c7b7),
                (0x3f00_0000, 0x3ef5_7744),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
