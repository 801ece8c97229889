//! Not: logical negation.

use super::elementwise::{BOOL, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};

use crate::lane_op::LaneOp;

pub static DEF: OpDef = OpDef {
    id: 144,
    name: "Not",
    version: 1,
    doc: "Y = not X of bools. Source: ONNX Not-1.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Not)),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &BOOL),
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = Tensor::from_bools(&[2], &[false, true]);
        assert_eq!(run("Not", Attrs::new(), &[&x]).bytes(), [1, 0]);
    }
}
