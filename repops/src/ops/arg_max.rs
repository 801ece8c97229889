//! ArgMax, ArgMin and Hardmax: where the largest or smallest element of a row is.

use super::float::{Float, Real, with_float};
use super::infer::normalize_axis;
use super::reduce_max::with_extremes;
use super::rows::Rows;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

const ATTRS: &[AttrDef] = &[
    AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "The axis; negative from the back."),
    AttrDef::default("keepdims", AttrKind::Int, || AttrValue::Int(1), "0: the axis is dropped."),
    AttrDef::default(
        "select_last_index",
        AttrKind::Int,
        || AttrValue::Int(0),
        "1: of equal elements the last, not the first.",
    ),
];

pub static MAX: OpDef = OpDef {
    id: 360,
    name: "ArgMax",
    version: 1,
    doc: "The i64 index along `axis` of the largest element; of equal ones (+0 equals -0) the first, or the \
          last with select_last_index. NaN counts as larger than any number and equal to itself. Source: \
          ONNX ArgMax-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_extremes!(ctx.input(0).dtype, index(ctx, Which::Largest)),
};

pub static MIN: OpDef = OpDef {
    id: 361,
    name: "ArgMin",
    version: 1,
    doc: "The i64 index along `axis` of the smallest element; of equal ones (+0 equals -0) the first, or the \
          last with select_last_index. NaN counts as smaller than any number and equal to itself. Source: \
          ONNX ArgMin-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_extremes!(ctx.input(0).dtype, index(ctx, Which::Smallest)),
};

pub static HARDMAX: OpDef = OpDef {
    id: 362,
    name: "Hardmax",
    version: 1,
    doc: "1 at the element along `axis` that ArgMax finds (the first of equal ones), +0 at all others. \
          Source: ONNX Hardmax-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(-1), "The axis.")],
    class: OpClass::Reduction,
    infer: |ctx| {
        let dtype = ctx.require(0, "a float", DType::is_float)?;
        let shape = ctx.shape(0)?;
        ctx.axis_attr("axis", shape.len())?;
        Ok(vec![Inferred::new(dtype, shape.to_vec())])
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, hardmax(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "a number", DType::is_number)?;
    let mut shape = ctx.shape(0)?.to_vec();
    let axis = ctx.axis_attr("axis", shape.len())?;
    if shape[axis].as_const() == Some(0) {
        return Err(OpError::shape("an empty axis has no largest or smallest element"));
    }
    if ctx.attrs.int("keepdims") != 0 {
        shape[axis] = DimExpr::Const(1);
    } else {
        shape.remove(axis);
    }
    Ok(vec![Inferred::new(DType::I64, shape)])
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Largest,
    Smallest,
}

/// Whether `a` goes before `b`: NaN goes before any number.
fn precedes<T: Element + PartialOrd>(a: T, b: T, which: Which) -> bool {
    let nan = |v: T| v.partial_cmp(&v).is_none();
    match which {
        _ if nan(a) => !nan(b),
        Which::Largest => a > b,
        Which::Smallest => a < b,
    }
}

/// The first (or last) position of what no other element precedes. The row is not empty.
fn position<T: Element + PartialOrd>(row: &[T], which: Which, last: bool) -> usize {
    (1..row.len()).fold(0, |best, i| {
        let replaces =
            if last { !precedes(row[best], row[i], which) } else { precedes(row[i], row[best], which) };
        if replaces { i } else { best }
    })
}

fn index<T: Element + PartialOrd>(ctx: &EvalCtx<'_>, which: Which) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let mut shape = x.shape.to_vec();
    if ctx.attrs.int("keepdims") != 0 {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    let last = ctx.attrs.int("select_last_index") != 0;
    let rows = Rows::along(x.shape, axis);
    let elements = x.as_slice::<T>();
    let mut y = Tensor::zeros(DType::I64, &shape)?;
    for (out, base) in y.as_mut_slice::<i64>().iter_mut().zip(&rows.bases) {
        let row: Vec<T> = rows.offsets.iter().map(|offset| elements[base + offset]).collect();
        *out = position(&row, which, last) as i64;
    }
    Ok(vec![y])
}

fn hardmax<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let rows = Rows::along(x.shape, axis);
    let elements = x.as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, x.shape)?;
    for base in rows.bases.iter().filter(|_| rows.len() > 0) {
        let row: Vec<T::Wide> = rows.offsets.iter().map(|offset| elements[base + offset].widen()).collect();
        let at = position(&row, Which::Largest, false);
        y.as_mut_slice::<T>()[base + rows.offsets[at]] = T::narrow(T::Wide::ONE);
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, output, run};

    #[test]
    fn ties_zeros_and_nan() {
        let nan = crate::dtype::NAN_F32;
        let find = |name: &str, row: &[f32], last: i64| {
            let attrs = Attrs::new().with_int("select_last_index", last).with_int("keepdims", 0);
            output(name, &attrs, &[&Tensor::from_slice(&[row.len()], row)]).as_slice::<i64>()[0]
        };
        assert_eq!(find("ArgMax", &[1.0, 3.0, 3.0, 2.0], 0), 1);
        assert_eq!(find("ArgMax", &[1.0, 3.0, 3.0, 2.0], 1), 2);
        assert_eq!(find("ArgMin", &[1.0, 3.0, 1.0], 1), 2);
        assert_eq!(find("ArgMax", &[-0.0, 0.0], 0), 0);
        assert_eq!(find("ArgMin", &[0.0, -0.0], 0), 0);
        assert_eq!(find("ArgMax", &[9.0, nan, f32::INFINITY, nan], 0), 1);
        assert_eq!(find("ArgMax", &[9.0, nan, f32::INFINITY, nan], 1), 3);
        assert_eq!(find("ArgMin", &[9.0, nan, f32::NEG_INFINITY], 0), 1);
        assert_eq!(find("ArgMax", &[f32::NEG_INFINITY], 0), 0);
    }

    #[test]
    fn along_an_axis() {
        let x = Tensor::from_slice(&[2, 3], &[5u8, 1, 9, 2, 8, 9]);
        assert_bits(&output("ArgMax", &Attrs::new(), &[&x]), &[1, 3], &[0i64, 1, 0]);
        let attrs = Attrs::new().with_int("axis", -1).with_int("keepdims", 0);
        assert_bits(&output("ArgMin", &attrs, &[&x]), &[2], &[1i64, 0]);
        assert!(run("ArgMax", &Attrs::new(), &[&Tensor::zeros(DType::F32, &[0, 2]).unwrap()]).is_err());
        let x = Tensor::from_slice(&[2, 2], &[1.0f32, 1.0, -2.0, 4.0]);
        assert_bits(&output("Hardmax", &Attrs::new(), &[&x]), &[2, 2], &[1.0f32, 0.0, 0.0, 1.0]);
    }
}
