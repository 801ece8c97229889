//! Expand: a tensor broadcast with a shape.

use super::infer::{SYM_ELEMENTS_MAX, broadcast};
use super::walk::{Walk, checked_sizes, known_shape, pick};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic};
use crate::dim::DimExpr;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 205,
    name: "Expand",
    version: 1,
    doc: "Y = X over the broadcast of X's shape with the i64 input `shape`; both may have the longer axis. \
          Source: ONNX Expand-8, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = broadcast(&[ctx.shape(0)?, &checked_sizes(ctx.dims(1)?)?])?;
    let sym = ctx.sym(0).and_then(|x| match shape.as_slice() {
        [] => Some(x),
        [len] => repeat(x, len),
        _ => None,
    });
    Ok(vec![symbolic::with_value(Inferred::new(ctx.dtype(0)?, shape), sym)])
}

/// A value over a vector of `len` elements.
fn repeat(x: SymTensor, len: &DimExpr) -> Option<SymTensor> {
    let len = len.as_extent().filter(|&len| len <= SYM_ELEMENTS_MAX)?;
    match x.elements.as_slice() {
        [one] => Some(SymTensor::vector(vec![one.clone(); len])),
        many if many.len() == len => Some(x),
        _ => None,
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    Ok(vec![pick(x, &shape, Walk::broadcast(x.shape, &shape))?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    fn to(x: &Tensor, shape: &[i64]) -> Result<Tensor, crate::ops::OpError> {
        try_run("Expand", Attrs::new(), &[x, &Tensor::from_slice(&[shape.len()], shape)])
    }

    #[test]
    fn both_sides_broadcast() {
        let x = Tensor::from_slice(&[2, 1], &[1.0f32, 2.0]);
        let y = to(&x, &[3, 1, 2]).unwrap();
        assert_eq!(y.shape(), [3, 2, 2]);
        assert_eq!(y.as_slice::<f32>()[..4], [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(to(&x, &[1]).unwrap().shape(), [2, 1]);
        assert_eq!(to(&x, &[0]).unwrap().shape(), [2, 0]);
        assert!(to(&x, &[3, 4]).is_err());
        assert!(to(&x, &[-1]).is_err());
        assert_eq!(
            run("Expand", Attrs::new(), &[&Tensor::scalar(7i64), &Tensor::from_slice(&[1], &[3i64])])
                .as_slice::<i64>(),
            [7; 3]
        );
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let x = Tensor::scalar(1u8);
        assert!(to(&x, &[1 << 62]).is_err());
        assert!(to(&x, &[1 << 40, 1 << 40, 1 << 40]).is_err());
        assert!(to(&x, &[i64::MAX, i64::MAX, 0]).is_err());
        assert!(to(&x, &[1; 17]).is_err());
    }
}
