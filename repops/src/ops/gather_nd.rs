//! GatherND: slices of a tensor by tuples of indices.

use super::walk::{pick, position};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::{RANK_MAX, Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 210,
    name: "GatherND",
    version: 1,
    doc: "The last axis of indices (i64 or i32) holds tuples; each names a slice of data by its first axes \
          after the `batch_dims` axes that both share. Y has the shape of indices without the last axis, then \
          that of a slice. Negative indices count from the end; others out of range are fault 2. Source: ONNX \
          GatherND-11, -12, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("batch_dims", AttrKind::Int, || AttrValue::Int(0), "Axes that both share.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(1, "i64 or i32", |d| matches!(d, DType::I64 | DType::I32))?;
    let (data, indices) = (ctx.shape(0)?, ctx.shape(1)?);
    let batch = usize::try_from(ctx.attrs.int("batch_dims")).unwrap_or(usize::MAX);
    let Some((tuple, leading)) = indices.split_last() else {
        return Err(OpError::shape("indices is a scalar"));
    };
    if batch >= data.len() || batch > leading.len() {
        return Err(OpError::attr("batch_dims", format!("is {batch} for data of {} axes", data.len())));
    }
    for (axis, (d, i)) in data.iter().zip(indices).take(batch).enumerate() {
        if d.as_const().zip(i.as_const()).is_some_and(|(d, i)| d != i) {
            return Err(OpError::shape(format!("axis {axis} is {d} in data, {i} in indices")));
        }
    }
    // The rank of Y depends on this.
    let tuple = tuple.as_extent().ok_or(OpError::ValueUnknown { index: 1 })?;
    if tuple == 0 || tuple > data.len() - batch {
        return Err(OpError::shape(format!("tuples of {tuple} for data of {} axes", data.len())));
    }
    let shape = [leading, &data[batch + tuple..]].concat();
    if shape.len() > RANK_MAX {
        return Err(OpError::shape(format!("rank {} is above {RANK_MAX}", shape.len())));
    }
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (data, indices) = (ctx.input(0), ctx.input(1));
    let shape = super::walk::known_shape(&DEF, ctx)?;
    let batch = ctx.attrs.int("batch_dims") as usize;
    let tuple = indices.shape[indices.shape.len() - 1];
    let named = &data.shape[batch..batch + tuple];
    let inner = element_count(&data.shape[batch + tuple..]);
    // Tuples in each batch.
    let per_batch = element_count(&indices.shape[batch..indices.shape.len() - 1]);
    let values = indices.to_i64s().unwrap_or_default();
    let mut offsets = Vec::new();
    for (at, tuple) in values.chunks_exact(tuple).enumerate() {
        let slice = tuple.iter().zip(named).try_fold(at / per_batch, |from, (&index, &extent)| {
            Ok::<usize, OpError>(from * extent + position(index, extent)?)
        })?;
        offsets.push(slice * inner);
    }
    let elements = offsets.into_iter().flat_map(|start| start..start + inner);
    Ok(vec![pick(data, &shape, elements)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn tuples_and_slices() {
        let data = Tensor::from_slice(&[2, 2, 2], &[0u8, 1, 2, 3, 4, 5, 6, 7]);
        let indices = Tensor::from_slice(&[2, 2], &[0i64, 1, -1, 0]);
        let y = run("GatherND", Attrs::new(), &[&data, &indices]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 2][..], &[2, 3, 4, 5][..]));
        let y = run("GatherND", Attrs::new(), &[&data, &Tensor::from_slice(&[1, 3], &[1i64, 1, 1])]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[1][..], &[7][..]));
        // One index in each batch.
        let indices = Tensor::from_slice(&[2, 1], &[1i64, 0]);
        let y = run("GatherND", Attrs::new().with_int("batch_dims", 1), &[&data, &indices]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 2][..], &[2, 3, 4, 5][..]));
    }

    #[test]
    fn bad_indices() {
        let data = Tensor::from_slice(&[2, 2], &[0u8, 1, 2, 3]);
        let y = try_run("GatherND", Attrs::new(), &[&data, &Tensor::from_slice(&[1, 2], &[0i64, 2])]);
        assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        for (shape, batch) in [(&[1, 3][..], 0), (&[1, 0], 0), (&[1, 1], 2), (&[1, 1], -1), (&[1, 1], 1)] {
            let indices = Tensor::zeros(crate::DType::I64, shape).unwrap();
            let y = try_run("GatherND", Attrs::new().with_int("batch_dims", batch), &[&data, &indices]);
            assert!(y.is_err(), "{shape:?} {batch}");
        }
    }
}
