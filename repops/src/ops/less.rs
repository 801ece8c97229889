//! Less: whether the first is smaller.

use super::elementwise::{NUMBERS, eval_compare, infer_compare};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{CompareOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 134,
    name: "Less",
    version: 1,
    doc: "C = A < B as bool, broadcast; false when either is NaN, and -0 equals +0. Source: ONNX Less-7 to \
          -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Compare(CompareOp::Less))),
    infer: |ctx: &InferCtx<'_>| infer_compare(ctx, &NUMBERS),
    eval: |ctx: &EvalCtx<'_>| eval_compare(&DEF, ctx, CompareOp::Less),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        let nan = f32::NAN;
        let a = Tensor::from_slice(&[6], &[1.0, 2.0, 0.0, nan, 1.0, nan]);
        let b = Tensor::from_slice(&[6], &[2.0, 1.0, -0.0, 1.0, nan, nan]);
        let expected = [1, 0, 0, 0, 0, 0];
        assert_eq!(run("Less", Attrs::new(), &[&a, &b]).bytes(), expected);
        let a = Tensor::from_slice(&[3], &[i64::MIN, 5, u32::MAX as i64]);
        let b = Tensor::from_slice(&[3], &[i64::MAX, 5, 0]);
        assert_eq!(run("Less", Attrs::new(), &[&a, &b]).bytes(), [1, 0, 0]);
    }
}
