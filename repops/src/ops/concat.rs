//! Concat: tensors one after the other along an axis.

use super::infer::SymTensor;
use super::walk::{known_shape, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, symbolic};
use crate::attrs::AttrKind;
use crate::dim::DimExpr;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 202,
    name: "Concat",
    version: 1,
    doc: "The inputs, of one type and rank and equal in all other axes, one after the other along `axis`. \
          Source: ONNX Concat-4 and later.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("axis", AttrKind::Int, "Negative: from the back.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.dtype(0)?;
    let mut shape = ctx.shape(0)?.to_vec();
    let axis = ctx.axis_attr("axis", shape.len())?;
    for index in 1..ctx.inputs.len() {
        ctx.require_same(index, dtype)?;
        let other = ctx.shape(index)?;
        if other.len() != shape.len() {
            return Err(OpError::shape(format!(
                "input {index} has {} axes, not {}",
                other.len(),
                shape.len()
            )));
        }
        for (at, (dim, found)) in shape.iter_mut().zip(other).enumerate() {
            if at == axis {
                *dim = dim.add(found);
            } else {
                *dim = same(dim, found).ok_or_else(|| {
                    OpError::shape(format!("axis {at} of input {index} is {found}, not {dim}"))
                })?;
            }
        }
    }
    let vectors = (0..ctx.inputs.len()).map(|i| ctx.sym(i).filter(|s| s.len.is_some()));
    let sym = vectors
        .collect::<Option<Vec<_>>>()
        .map(|all| SymTensor::vector(all.into_iter().flat_map(|s| s.elements).collect()));
    Ok(vec![symbolic::with_value(Inferred::new(dtype, shape), sym)])
}

/// Two extents that must be equal, as the one that says more; `None` when they cannot be.
fn same(a: &DimExpr, b: &DimExpr) -> Option<DimExpr> {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) if x != y => None,
        (None, Some(_)) => Some(b.clone()),
        _ => Some(a.clone()),
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = known_shape(&DEF, ctx)?;
    let axis = super::infer::normalize_axis(ctx.attrs.int("axis"), shape.len()).map_err(OpError::Shape)?;
    let mut y = Tensor::zeros(ctx.input(0).dtype, &shape)?;
    let (outer, extent, inner) = split_at_axis(&shape, axis);
    let size = ctx.input(0).dtype.size();
    let mut start = 0;
    for index in 0..ctx.inputs.len() {
        let x = ctx.input(index);
        // What one outer position contributes.
        let run = x.shape[axis] * inner * size;
        for at in 0..outer {
            y.bytes_mut()[at * extent * inner * size + start..][..run]
                .copy_from_slice(&x.bytes[at * run..][..run]);
        }
        start += run;
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn along_either_axis() {
        let a = Tensor::from_slice(&[2, 1], &[1u8, 2]);
        let b = Tensor::from_slice(&[2, 2], &[3u8, 4, 5, 6]);
        let y = run("Concat", Attrs::new().with_int("axis", -1), &[&a, &b, &a]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 4][..], &[1, 3, 4, 1, 2, 5, 6, 2][..]));
        assert!(try_run("Concat", Attrs::new().with_int("axis", 0), &[&a, &b]).is_err());
        assert!(try_run("Concat", Attrs::new().with_int("axis", 2), &[&a, &b]).is_err());
        let y = run("Concat", Attrs::new().with_int("axis", 0), &[&b, &b]);
        assert_eq!(y.shape(), [4, 2]);
    }

    #[test]
    fn empty_inputs_and_shape_vectors() {
        let a = Tensor::from_slice::<i64>(&[0], &[]);
        let b = Tensor::from_slice(&[2], &[7i64, 8]);
        // The harness checks the promised value too.
        assert_eq!(
            run("Concat", Attrs::new().with_int("axis", 0), &[&b, &a, &b]).as_slice::<i64>(),
            [7, 8, 7, 8]
        );
        assert!(try_run("Concat", Attrs::new().with_int("axis", 0), &[&Tensor::scalar(1i64)]).is_err());
    }
}
