//! ScatterND: slices replaced or combined by tuples of indices.

use super::scatter::{reduction, scatter};
use super::walk::position;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView, element_count};

pub static DEF: OpDef = OpDef {
    id: 215,
    name: "ScatterND",
    version: 1,
    doc: "The last axis of indices (i64 or i32) holds tuples, each naming a slice of data by its first axes; \
          Y is data with each named slice combined with its slice of updates, in row-major order: replaced \
          (the last one stays), or old op update with op add, mul, max (as Max) or min, each step rounded to \
          the type; integers wrap. Negative indices count from the end; others out of range are fault 2. \
          Source: ONNX ScatterND-11 to -18.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "reduction",
        AttrKind::Str,
        || AttrValue::Str("none".to_string()),
        "none, add, mul, max or min.",
    )],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.dtype(0)?;
    reduction(ctx.attrs, dtype)?;
    ctx.require(1, "i64 or i32", |d| matches!(d, DType::I64 | DType::I32))?;
    ctx.require_same(2, dtype)?;
    let (data, indices, updates) = (ctx.shape(0)?, ctx.shape(1)?, ctx.shape(2)?);
    let Some((tuple, leading)) = indices.split_last() else {
        return Err(OpError::shape("indices is a scalar"));
    };
    if let Some(tuple) = tuple.as_extent() {
        if tuple == 0 || tuple > data.len() {
            return Err(OpError::shape(format!("tuples of {tuple} for data of {} axes", data.len())));
        }
        let expected = [leading, &data[tuple..]].concat();
        let differ = |(a, b): (&crate::DimExpr, &crate::DimExpr)| {
            a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b)
        };
        if expected.len() != updates.len() || expected.iter().zip(updates).any(differ) {
            return Err(OpError::shape(format!("updates are {}", ctx.input(2)?.ty)));
        }
    }
    Ok(vec![Inferred::new(dtype, data.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (data, indices) = (ctx.input(0), ctx.input(1));
    let tuple = indices.shape[indices.shape.len() - 1];
    let inner = element_count(&data.shape[tuple..]);
    let starts = starts(data.shape, indices)?;
    let mut y = data.to_tensor()?;
    let targets = starts.into_iter().flat_map(|start| start..start + inner);
    scatter(&mut y, ctx.input(2), targets, reduction(ctx.attrs, data.dtype)?)?;
    Ok(vec![y])
}

/// Where the slice that each tuple names begins.
pub(super) fn starts(data: &[usize], indices: TensorView<'_>) -> Result<Vec<usize>, OpError> {
    let tuple = indices.shape.last().copied().unwrap_or(0);
    let rest = data.get(tuple..).ok_or_else(|| OpError::shape("tuples are longer than data's shape"))?;
    let inner = element_count(rest);
    let start = |tuple: &[i64]| {
        let slice = tuple.iter().zip(data).try_fold(0, |from, (&index, &extent)| {
            Ok::<usize, OpError>(from * extent + position(index, extent)?)
        })?;
        Ok(slice * inner)
    };
    indices.to_i64s().unwrap_or_default().chunks_exact(tuple.max(1)).map(start).collect()
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn slices_and_elements() {
        let data = Tensor::from_slice(&[3, 2], &[1i64, 2, 3, 4, 5, 6]);
        let rows = Tensor::from_slice(&[2, 1], &[-1i64, -1]);
        let updates = Tensor::from_slice(&[2, 2], &[10i64, 20, 30, 40]);
        let y = run("ScatterND", Attrs::new(), &[&data, &rows, &updates]);
        assert_eq!(y.as_slice::<i64>(), [1, 2, 3, 4, 30, 40]);
        let y = run("ScatterND", Attrs::new().with_str("reduction", "add"), &[&data, &rows, &updates]);
        assert_eq!(y.as_slice::<i64>(), [1, 2, 3, 4, 45, 66]);
        let one = Tensor::from_slice(&[1, 2], &[1i32, 0]);
        let y = run("ScatterND", Attrs::new(), &[&data, &one, &Tensor::from_slice(&[1], &[9i64])]);
        assert_eq!(y.as_slice::<i64>(), [1, 2, 9, 4, 5, 6]);
    }

    #[test]
    fn bad_inputs() {
        let data = Tensor::from_slice(&[2, 2], &[1u8, 2, 3, 4]);
        let update = Tensor::from_slice(&[1], &[9u8]);
        let at = |values: &[i64]| {
            let indices = Tensor::from_slice(&[1, values.len()], values);
            try_run("ScatterND", Attrs::new(), &[&data, &indices, &update])
        };
        assert_eq!(at(&[0, 2]), Err(OpError::Fault(Fault::IndexOutOfRange)));
        assert!(at(&[0]).is_err() && at(&[0, 0, 0]).is_err() && at(&[]).is_err());
        assert!(at(&[0, -2]).is_ok());
    }
}
