//! Size: the number of elements of a tensor.

use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 217,
    name: "Size",
    version: 1,
    doc: "The number of X's elements, as an i64 scalar. Source: ONNX Size-1 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer,
    eval: |ctx: &EvalCtx<'_>| Ok(vec![Tensor::scalar(ctx.input(0).len() as i64)]),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let size = ctx.shape(0)?.iter().fold(DimExpr::Const(1), |product, d| product.mul(d));
    Ok(vec![Inferred::with_sym(DType::I64, SymTensor::scalar(size))])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn counts() {
        for (shape, size) in [(&[2, 3][..], 6), (&[2, 0], 0), (&[], 1)] {
            let x = Tensor::zeros(crate::DType::F16, shape).unwrap();
            let y = run("Size", Attrs::new(), &[&x]);
            assert_eq!((y.shape(), y.as_slice::<i64>()), (&[][..], &[size][..]));
        }
    }
}
