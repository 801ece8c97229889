//! And: logical and.

use super::elementwise::{BOOL, eval_lane, infer_broadcast};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};

use crate::lane_op::{LaneOp, LogicOp};

pub static DEF: OpDef = OpDef {
    id: 104,
    name: "And",
    version: 1,
    doc: "C = A and B of bools, broadcast. Source: ONNX And-7.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Logic(LogicOp::And))),
    infer: |ctx: &InferCtx<'_>| infer_broadcast(ctx, &BOOL),
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let a = Tensor::from_bools(&[2, 1], &[false, true]);
        let b = Tensor::from_bools(&[2], &[false, true]);
        assert_eq!(run("And", Attrs::new(), &[&a, &b]).bytes(), [0, 0, 0, 1]);
    }
}
