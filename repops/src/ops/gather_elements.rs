//! GatherElements: elements by an index each.

use super::infer::normalize_axis;
use super::walk::{position, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 209,
    name: "GatherElements",
    version: 1,
    doc: "Y[.., i, ..] = data[.., indices[.., i, ..], ..]: Y has the shape of indices (i32 or i64), which is \
          within data's in the other axes. Negative indices count from the end; others are fault 2. Source: \
          ONNX GatherElements-11, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "Negative: from the back.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    check_indices(ctx)?;
    Ok(vec![Inferred::new(ctx.dtype(0)?, ctx.shape(1)?.to_vec())])
}

/// Indices (input 1) along `axis` of data (input 0), within it in the other axes.
pub(super) fn check_indices(ctx: &InferCtx<'_>) -> Result<(), OpError> {
    ctx.require(1, "i64 or i32", |d| matches!(d, DType::I64 | DType::I32))?;
    let (data, indices) = (ctx.shape(0)?, ctx.shape(1)?);
    let axis = ctx.axis_attr("axis", data.len())?;
    if data.len() != indices.len() {
        return Err(OpError::shape(format!("indices have {} axes, data {}", indices.len(), data.len())));
    }
    for (at, (d, i)) in data.iter().zip(indices).enumerate() {
        let outside = d.as_const().zip(i.as_const()).is_some_and(|(d, i)| i > d);
        if at != axis && outside {
            return Err(OpError::shape(format!("axis {at} of indices is {i}, of data {d}")));
        }
    }
    Ok(())
}

/// For each index in order, the offset in data of the element that it names.
pub(super) fn named_elements(data: &[usize], ctx: &EvalCtx<'_>) -> Result<Vec<usize>, OpError> {
    let indices = ctx.input(1);
    let axis = normalize_axis(ctx.attrs.int("axis"), data.len()).map_err(OpError::Shape)?;
    let own = strides(data);
    let full = strides(indices.shape);
    let (_, extent, _) = split_at_axis(data, axis);
    let offset = |(at, index): (usize, i64)| {
        let named = position(index, extent)?;
        let coordinate = |a: usize| if a == axis { named } else { at / full[a] % indices.shape[a] };
        Ok((0..data.len()).fold(0, |from, a| from + coordinate(a) * own[a]))
    };
    indices.to_i64s().unwrap_or_default().into_iter().enumerate().map(offset).collect()
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let data = ctx.input(0);
    let offsets = named_elements(data.shape, ctx)?;
    Ok(vec![super::walk::pick(data, ctx.input(1).shape, offsets.into_iter())?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn along_either_axis() {
        let data = Tensor::from_slice(&[3, 3], &[1u8, 2, 3, 4, 5, 6, 7, 8, 9]);
        let indices = Tensor::from_slice(&[2, 3], &[1i64, 2, 0, -1, 0, 0]);
        let y = run("GatherElements", Attrs::new(), &[&data, &indices]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 3][..], &[4, 8, 3, 7, 2, 3][..]));
        let indices = Tensor::from_slice(&[2, 1], &[2i32, 0]);
        let y = run("GatherElements", Attrs::new().with_int("axis", 1), &[&data, &indices]);
        assert_eq!(y.as_slice::<u8>(), [3, 4]);
    }

    #[test]
    fn bad_indices() {
        let data = Tensor::from_slice(&[2], &[1u8, 2]);
        let y = try_run("GatherElements", Attrs::new(), &[&data, &Tensor::from_slice(&[1], &[2i64])]);
        assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        let wide = Tensor::from_slice(&[1, 3], &[0i64; 3]);
        assert!(try_run("GatherElements", Attrs::new(), &[&data.reshaped(&[1, 2]), &wide]).is_err());
    }
}
