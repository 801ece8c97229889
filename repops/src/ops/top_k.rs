//! TopK: the k largest or smallest elements along an axis.

use super::infer::normalize_axis;
use super::reduce_max::with_extremes;
use super::rows::Rows;
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 406,
    name: "TopK",
    version: 1,
    doc: "Along `axis` the K (i64, one number) largest elements in descending order, or with largest 0 the \
          smallest in ascending order, and their i64 indices. NaN counts as larger than any number; of \
          equal elements (+0 equals -0, NaN equals NaN) the lower index comes first. sorted 0 gives the \
          same. A K below 0 or above the extent is fault 3. Source: ONNX TopK-11, -24.",
    inputs: Arity::exactly(2),
    outputs: Arity::between(1, 2),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(-1), "The axis; negative from the back."),
        AttrDef::default("largest", AttrKind::Int, || AttrValue::Int(1), "0: the smallest."),
        AttrDef::default("sorted", AttrKind::Int, || AttrValue::Int(1), "Without effect."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_extremes!(ctx.input(0).dtype, top(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a number", DType::is_number)?;
    let mut shape = ctx.shape(0)?.to_vec();
    let axis = ctx.axis_attr("axis", shape.len())?;
    let k = ctx.dims(1)?;
    let [k] = k.as_slice() else { return Err(OpError::shape("K is not one number")) };
    if let Some(k) = k.as_const()
        && (k < 0 || shape[axis].as_const().is_some_and(|extent| k > extent))
    {
        return Err(Fault::BadSize.into());
    }
    shape[axis] = k.clone();
    Ok(vec![Inferred::new(dtype, shape.clone()), Inferred::new(DType::I64, shape)])
}

fn top<T: Element + PartialOrd>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let k = ctx.input(1).to_i64s().and_then(|k| k.first().copied()).unwrap_or(-1);
    let k = usize::try_from(k).ok().filter(|k| *k <= x.shape[axis]).ok_or(Fault::BadSize)?;
    let largest = ctx.attrs.int("largest") != 0;
    let mut shape = x.shape.to_vec();
    shape[axis] = k;
    let mut values = Tensor::zeros(T::DTYPE, &shape)?;
    let mut indices = Tensor::zeros(DType::I64, &shape)?;
    if values.is_empty() {
        return Ok(vec![values, indices]);
    }
    let (from, to) = (Rows::along(x.shape, axis), Rows::along(&shape, axis));
    let elements = x.as_slice::<T>();
    for (from_base, to_base) in from.bases.iter().zip(&to.bases) {
        let row: Vec<T> = from.offsets.iter().map(|offset| elements[from_base + offset]).collect();
        for (&index, offset) in ordered(&row, largest).iter().zip(&to.offsets) {
            values.as_mut_slice::<T>()[to_base + offset] = row[index];
            indices.as_mut_slice::<i64>()[to_base + offset] = index as i64;
        }
    }
    Ok(vec![values, indices])
}

/// The indices of a row in the order of its elements, NaN being the largest; the sort is stable.
pub(crate) fn ordered<T: PartialOrd>(row: &[T], descending: bool) -> Vec<usize> {
    use std::cmp::Ordering;
    let is_nan = |v: &T| v.partial_cmp(v).is_none();
    let ascending = |a: &T, b: &T| {
        a.partial_cmp(b).unwrap_or_else(|| match (is_nan(a), is_nan(b)) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        })
    };
    let mut indices: Vec<usize> = (0..row.len()).collect();
    indices.sort_by(|&a, &b| {
        let order = ascending(&row[a], &row[b]);
        if descending { order.reverse() } else { order }
    });
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, run, run_optional};

    fn top(attrs: Attrs, x: &Tensor, k: i64) -> Result<Vec<Tensor>, OpError> {
        run_optional("TopK", &attrs, &[Some(x), Some(&Tensor::from_slice(&[1], &[k]))], 2)
    }

    #[test]
    fn ties_zeros_and_nan() {
        let nan = crate::dtype::NAN_F32;
        let x = Tensor::from_slice(&[7], &[1.0, 3.0, nan, 3.0, -0.0, 0.0, nan]);
        let out = top(Attrs::new(), &x, 6).unwrap();
        assert_bits(&out[0], &[6], &[nan, nan, 3.0, 3.0, 1.0, -0.0]);
        assert_bits(&out[1], &[6], &[2i64, 6, 1, 3, 0, 4]);
        let out = top(Attrs::new().with_int("largest", 0), &x, 7).unwrap();
        assert_bits(&out[1], &[7], &[4i64, 5, 0, 1, 3, 2, 6]);
    }

    #[test]
    fn along_an_axis_and_bad_k() {
        let x = Tensor::from_slice(&[3, 2], &[5u8, 1, 7, 9, 6, 2]);
        let out = top(Attrs::new().with_int("axis", 0), &x, 2).unwrap();
        assert_bits(&out[0], &[2, 2], &[7u8, 9, 6, 2]);
        assert_bits(&out[1], &[2, 2], &[1i64, 1, 2, 2]);
        assert_eq!(top(Attrs::new(), &x, 3), Err(Fault::BadSize.into()));
        assert_eq!(top(Attrs::new(), &x, -1), Err(Fault::BadSize.into()));
        assert_eq!(top(Attrs::new(), &x, 0).unwrap()[0].shape(), [3, 0]);
        assert!(run("TopK", &Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[1i64, 1])]).is_err());
    }
}
