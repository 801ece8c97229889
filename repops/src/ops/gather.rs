//! Gather: slices of a tensor by their indices along an axis.

use super::infer::SymTensor;
use super::walk::{known_shape, position, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, symbolic};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 208,
    name: "Gather",
    version: 1,
    doc: "Y[a.., i.., b..] = data[a.., indices[i..], b..] with the index at `axis`. Indices are i32 or i64, \
          negative ones count from the end; any other is fault 2. Source: ONNX Gather-1, -11, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "Negative: from the back.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let (dtype, data) = (ctx.dtype(0)?, ctx.shape(0)?);
    ctx.require(1, "i64 or i32", |d| matches!(d, DType::I64 | DType::I32))?;
    let axis = ctx.axis_attr("axis", data.len())?;
    let shape = [&data[..axis], ctx.shape(1)?, &data[axis + 1..]].concat();
    Ok(vec![symbolic::with_value(Inferred::new(dtype, shape), choose(ctx))])
}

/// Elements of a known vector at constant indices.
fn choose(ctx: &InferCtx<'_>) -> Option<SymTensor> {
    let (data, indices) = (ctx.sym(0)?, ctx.sym(1)?);
    let pick = |index: &crate::DimExpr| {
        let at = position(index.as_const()?, data.len?).ok()?;
        Some(data.elements[at].clone())
    };
    let elements = indices.elements.iter().map(pick).collect::<Option<_>>()?;
    Some(SymTensor { len: indices.len, elements })
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let data = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let axis =
        super::infer::normalize_axis(ctx.attrs.int("axis"), data.shape.len()).map_err(OpError::Shape)?;
    let (outer, extent, inner) = split_at_axis(data.shape, axis);
    let indices = ctx.input(1).to_i64s().unwrap_or_default();
    let indices = indices.into_iter().map(|i| position(i, extent)).collect::<Result<Vec<usize>, _>>()?;
    let mut y = Tensor::zeros(data.dtype, &shape)?;
    let run = inner * data.dtype.size();
    if run > 0 {
        let slices = (0..outer).flat_map(|a| indices.iter().map(move |i| a * extent + i));
        for (out, from) in y.bytes_mut().chunks_exact_mut(run).zip(slices) {
            out.copy_from_slice(&data.bytes[from * run..][..run]);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn rows_and_columns() {
        let data = Tensor::from_slice(&[3, 2], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = run("Gather", Attrs::new(), &[&data, &Tensor::from_slice(&[2, 1], &[-1i64, 0])]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[2, 1, 2][..], &[5.0, 6.0, 1.0, 2.0][..]));
        let y = run("Gather", Attrs::new().with_int("axis", 1), &[&data, &Tensor::scalar(1i32)]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[3][..], &[2.0, 4.0, 6.0][..]));
    }

    #[test]
    fn bad_indices_are_faults() {
        let data = Tensor::from_slice(&[3], &[1i64, 2, 3]);
        for index in [3, -4, i64::MIN, i64::MAX] {
            let y = try_run("Gather", Attrs::new(), &[&data, &Tensor::scalar(index)]);
            assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        }
        assert_eq!(run("Gather", Attrs::new(), &[&data, &Tensor::scalar(-3i64)]).as_slice::<i64>(), [1]);
        assert!(try_run("Gather", Attrs::new(), &[&Tensor::scalar(1u8), &Tensor::scalar(0i64)]).is_err());
    }

    #[test]
    fn nothing_to_gather() {
        let data = Tensor::from_slice::<u8>(&[2, 0], &[]);
        let y = run("Gather", Attrs::new(), &[&data, &Tensor::from_slice(&[3], &[0i64, 1, 0])]);
        assert_eq!(y.shape(), [3, 0]);
        let none = Tensor::from_slice::<i64>(&[0], &[]);
        assert_eq!(run("Gather", Attrs::new(), &[&data, &none]).shape(), [0, 0]);
    }
}
