//! Identity: the input, unchanged.

use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 200,
    name: "Identity",
    version: 1,
    doc: "Y = X, any type and shape. Source: ONNX Identity-1 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::View,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    Ok(vec![Inferred { ty: ctx.input(0)?.ty.clone(), sym: ctx.sym(0) }])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![ctx.input(0).to_tensor()?])
}
