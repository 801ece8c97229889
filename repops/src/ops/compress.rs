//! Compress: the slices that a condition selects.

use super::infer::normalize_axis;
use super::walk::{pick, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::AttrKind;
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 227,
    name: "Compress",
    version: 1,
    doc: "The slices of X along `axis`, or without it the elements, where the one-axis bool condition is true. \
          A shorter condition is false from its end on; one that is true past X's end is fault 2. Source: \
          ONNX Compress-9, -11.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::optional("axis", AttrKind::Int, "Negative: from the back. Absent: X as one axis.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(1, DType::Bool)?;
    if ctx.shape(1)?.len() != 1 {
        return Err(OpError::shape(format!("the condition is {}", ctx.input(1)?.ty)));
    }
    let count = match ctx.input(1)?.tensor {
        Some(condition) => DimExpr::from(selected(condition).count()),
        None => ctx.fresh_dim(),
    };
    let mut shape = ctx.shape(0)?.to_vec();
    match ctx.attrs.get("axis") {
        None => shape = vec![count],
        Some(_) => {
            let axis = ctx.axis_attr("axis", shape.len())?;
            shape[axis] = count;
        }
    }
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape)])
}

fn selected(condition: TensorView<'_>) -> impl Iterator<Item = usize> {
    condition.bytes.iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let kept: Vec<usize> = selected(ctx.input(1)).collect();
    let (mut shape, axis) = match ctx.attrs.opt_int("axis") {
        None => (vec![x.len()], 0),
        Some(axis) => (x.shape.to_vec(), normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?),
    };
    let (outer, extent, inner) = split_at_axis(&shape, axis);
    if kept.last().is_some_and(|&last| last >= extent) {
        return Err(Fault::IndexOutOfRange.into());
    }
    shape[axis] = kept.len();
    let slices = (0..outer).flat_map(|a| kept.iter().map(move |at| a * extent + at));
    Ok(vec![pick(x, &shape, slices.flat_map(|slice| slice * inner..(slice + 1) * inner))?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn axes_and_elements() {
        let x = Tensor::from_slice(&[3, 2], &[1u8, 2, 3, 4, 5, 6]);
        let c = |flags: &[bool]| Tensor::from_bools(&[flags.len()], flags);
        let y = run("Compress", Attrs::new().with_int("axis", 0), &[&x, &c(&[false, true, true])]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 2][..], &[3, 4, 5, 6][..]));
        let y = run("Compress", Attrs::new().with_int("axis", -1), &[&x, &c(&[false, true])]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[3, 1][..], &[2, 4, 6][..]));
        let y = run("Compress", Attrs::new(), &[&x, &c(&[true, false, false, true])]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2][..], &[1, 4][..]));
        assert_eq!(run("Compress", Attrs::new(), &[&x, &c(&[])]).shape(), [0]);
        let y = try_run("Compress", Attrs::new().with_int("axis", 1), &[&x, &c(&[true, true, true])]);
        assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        assert!(try_run("Compress", Attrs::new(), &[&x, &x]).is_err());
    }
}
