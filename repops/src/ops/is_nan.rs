//! IsNaN: whether elements are NaN.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::lane_op::{ClassifyOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 132,
    name: "IsNaN",
    version: 1,
    doc: "Y = whether X is NaN, as bool. Source: ONNX IsNaN-9, -13, -20.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Classify(ClassifyOp::IsNaN))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let mut inferred = infer_unary(ctx, &FLOATS)?;
    inferred[0].ty.dtype = DType::Bool;
    Ok(inferred)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn of_every_width() {
        let x = Tensor::from_slice(&[3], &[f32::NAN, f32::INFINITY, 0.0]);
        assert_eq!(run("IsNaN", Attrs::new(), &[&x]).bytes(), [1, 0, 0]);
        let x = Tensor::from_slice(&[2], &[bf16::NAN, bf16::MAX]);
        assert_eq!(run("IsNaN", Attrs::new(), &[&x]).bytes(), [1, 0]);
        let x = Tensor::from_slice(&[2], &[f64::MAX, f64::NAN]);
        assert_eq!(run("IsNaN", Attrs::new(), &[&x]).bytes(), [0, 1]);
    }
}
