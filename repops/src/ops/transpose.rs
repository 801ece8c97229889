//! Transpose: axes in another order.

use super::walk::{Walk, axes_of, pick};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 223,
    name: "Transpose",
    version: 1,
    doc: "Axis i of Y is axis perm[i] of X. Source: ONNX Transpose-1 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::optional("perm", AttrKind::Ints, "Each axis of X once; absent: in reverse.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.shape(0)?;
    let shape = perm(ctx.attrs, from.len())?.into_iter().map(|axis| from[axis].clone()).collect();
    Ok(vec![Inferred { sym: ctx.sym(0), ..Inferred::new(ctx.dtype(0)?, shape) }])
}

/// The order of axes, checked.
fn perm(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, OpError> {
    let Some(perm) = attrs.opt_ints("perm") else { return Ok((0..rank).rev().collect()) };
    if perm.len() != rank || perm.iter().any(|&axis| axis < 0) {
        return Err(OpError::attr("perm", format!("{perm:?} is no order of {rank} axes")));
    }
    axes_of(perm, rank).map_err(|problem| OpError::attr("perm", problem.to_string()))?;
    Ok(perm.iter().map(|&axis| axis as usize).collect())
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let own = strides(x.shape);
    let perm = perm(ctx.attrs, x.shape.len())?;
    let shape: Vec<usize> = perm.iter().map(|&axis| x.shape[axis]).collect();
    let walk = Walk::new(&shape, perm.iter().map(|&axis| own[axis] as isize).collect(), 0);
    Ok(vec![pick(x, &shape, walk)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn orders() {
        let x = Tensor::from_slice(&[1, 2, 3], &[1u16, 2, 3, 4, 5, 6]);
        let y = run("Transpose", Attrs::new(), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<u16>()), (&[3, 2, 1][..], &[1, 4, 2, 5, 3, 6][..]));
        let y = run("Transpose", Attrs::new().with_ints("perm", &[1, 0, 2]), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<u16>()), (&[2, 1, 3][..], &[1, 2, 3, 4, 5, 6][..]));
        for bad in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, -1]] {
            assert!(try_run("Transpose", Attrs::new().with_ints("perm", bad), &[&x]).is_err(), "{bad:?}");
        }
        assert_eq!(run("Transpose", Attrs::new(), &[&Tensor::scalar(5i64)]).as_slice::<i64>(), [5]);
    }
}
