//! Neg: the sign turned.

use super::elementwise::{SIGNED, eval_lane_or_int1, infer_unary};
use super::integers::IntUnary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 143,
    name: "Neg",
    version: 1,
    doc: "Y = -X: floats turn their sign bit; integers wrap. Source: ONNX Neg-6, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Neg))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int1(&DEF, ctx, IntUnary::Neg),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::map1(ctx, |x| Some(x.mul(&DimExpr::Const(-1))));
    Ok(infer_unary(ctx, &SIGNED)?.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Neg",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x8000_0000),
                (0xff80_0000, 0x7f80_0000),
                (0x3fc0_0000, 0xbfc0_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }
}
