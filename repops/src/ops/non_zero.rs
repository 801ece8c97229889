//! NonZero: where a tensor is not zero.

use super::convert::convert;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView, strides};

pub static DEF: OpDef = OpDef {
    id: 228,
    name: "NonZero",
    version: 1,
    doc: "Y[axis, i], i64: the position along each axis of the i-th element, in row-major order, that is not \
          zero (-0 is, NaN is not). Y has as many rows as X axes. Source: ONNX NonZero-9, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let x = ctx.input(0)?;
    let count = match x.tensor {
        Some(tensor) => DimExpr::from(found(tensor)?.len()),
        None => ctx.fresh_dim(),
    };
    Ok(vec![Inferred::new(DType::I64, vec![DimExpr::from(x.ty.shape.len()), count])])
}

fn found(x: TensorView<'_>) -> Result<Vec<usize>, OpError> {
    let truth = convert(x, DType::Bool)?;
    Ok(truth.bytes().iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at).collect())
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let found = found(x)?;
    let mut y = Tensor::zeros(DType::I64, &[x.shape.len(), found.len()])?;
    if !found.is_empty() {
        let own = strides(x.shape);
        for (axis, row) in y.as_mut_slice::<i64>().chunks_exact_mut(found.len()).enumerate() {
            for (out, at) in row.iter_mut().zip(&found) {
                *out = (at / own[axis] % x.shape[axis]) as i64;
            }
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn positions() {
        let x = Tensor::from_slice(&[2, 3], &[0.0f32, 1.0, -0.0, f32::NAN, 0.0, -1e-45]);
        let y = run("NonZero", Attrs::new(), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<i64>()), (&[2, 3][..], &[0, 1, 1, 1, 0, 2][..]));
        assert_eq!(run("NonZero", Attrs::new(), &[&Tensor::from_bools(&[2], &[false; 2])]).shape(), [1, 0]);
        assert_eq!(run("NonZero", Attrs::new(), &[&Tensor::scalar(3u8)]).shape(), [0, 1]);
        assert_eq!(run("NonZero", Attrs::new(), &[&Tensor::from_slice::<i64>(&[0, 2], &[])]).shape(), [2, 0]);
    }
}
