//! MatMul: the matrix product with numpy's broadcasting of leading axes.

use half::{bf16, f16};

use super::float::wide_elements;
use super::infer::broadcast;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::reduce::{Accumulate, contract};
use crate::tensor::{Tensor, TensorView, strides};

pub static DEF: OpDef = OpDef {
    id: 300,
    name: "MatMul",
    version: 1,
    doc: "Y[.., m, n] = contraction over k of A[.., m, k] * B[.., k, n]; leading axes broadcast. A one-axis A \
          is a row, a one-axis B a column, and that axis is dropped from Y. f32 and f64 in their own \
          precision, f16 and bf16 widened to f32, contracted there and rounded once; with an f32 A, B may be f16 or bf16, \
          which is widened; integers wrap. \
          Order: SPEC.md, Contractions. Source: ONNX MatMul-1, -9, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Contraction,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float, i32, i64, u32 or u64", |d| {
        d.is_float() || matches!(d, DType::I32 | DType::I64 | DType::U32 | DType::U64)
    })?;
    right_type(ctx, dtype)?;
    Ok(vec![Inferred::new(dtype, product_shape(ctx.shape(0)?, ctx.shape(1)?)?)])
}

/// The right operand has the left one's type, or is narrower than an f32 left one.
pub(crate) fn right_type(ctx: &InferCtx<'_>, left: DType) -> Result<(), OpError> {
    match (left, ctx.dtype(1)?) {
        (DType::F32, DType::F16 | DType::BF16) => Ok(()),
        _ => ctx.require_same(1, left),
    }
}

/// An operand of a product in f32, widened where it is of another type.
pub(crate) fn widened(b: TensorView<'_>) -> Result<Tensor, OpError> {
    let mut wide = Tensor::zeros(DType::F32, b.shape)?;
    wide.as_mut_slice::<f32>().copy_from_slice(&wide_elements::<f32>(b));
    Ok(wide)
}

/// The shape of the product of `a` and `b`.
pub(crate) fn product_shape(a: &[DimExpr], b: &[DimExpr]) -> Result<Vec<DimExpr>, OpError> {
    if a.is_empty() || b.is_empty() {
        return Err(OpError::shape("a scalar has no matrix product"));
    }
    let (row, column) = (a.len() == 1, b.len() == 1);
    let ka = &a[a.len() - 1];
    let kb = if column { &b[0] } else { &b[b.len() - 2] };
    if let (Some(x), Some(y)) = (ka.as_const(), kb.as_const())
        && x != y
    {
        return Err(OpError::shape(format!("A has {x} columns, B has {y} rows")));
    }
    let leading = |s: &'_ [DimExpr]| s[..s.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast(&[&leading(a), &leading(b)])?;
    if !row {
        shape.push(a[a.len() - 2].clone());
    }
    if !column {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(shape)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (ctx.input(0), ctx.input(1));
    let y = match a.dtype {
        DType::F32 if b.dtype != DType::F32 => product(a, widened(b)?.view(), |v: f32| v, |v: f32| v),
        DType::F32 => product(a, b, |v: f32| v, |v: f32| v),
        DType::F64 => product(a, b, |v: f64| v, |v: f64| v),
        DType::F16 => product(a, b, f16::to_f32, f16::from_f32),
        DType::BF16 => product(a, b, bf16::to_f32, bf16::from_f32),
        DType::I32 => product(a, b, |v: i32| v, |v: i32| v),
        DType::I64 => product(a, b, |v: i64| v, |v: i64| v),
        DType::U32 => product(a, b, |v: u32| v, |v: u32| v),
        DType::U64 => product(a, b, |v: u64| v, |v: u64| v),
        found => Err(OpError::DType { index: 0, found, expected: "a type that MatMul takes" }),
    };
    Ok(vec![y?])
}

/// The product of tensors of `T`, accumulated in `A`.
pub(crate) fn product<T: Element, A: Accumulate>(
    a: TensorView<'_>,
    b: TensorView<'_>,
    widen: fn(T) -> A,
    narrow: fn(A) -> T,
) -> Result<Tensor, OpError> {
    // One-axis operands become matrices; the axis is dropped again at the end.
    let a_shape = if a.shape.len() == 1 { vec![1, a.shape[0]] } else { a.shape.to_vec() };
    let b_shape = if b.shape.len() == 1 { vec![b.shape[0], 1] } else { b.shape.to_vec() };
    let (m, k, n) = (a_shape[a_shape.len() - 2], a_shape[a_shape.len() - 1], b_shape[b_shape.len() - 1]);
    let (a_lead, b_lead) = (&a_shape[..a_shape.len() - 2], &b_shape[..b_shape.len() - 2]);
    let rank = a_lead.len().max(b_lead.len());
    let extent = |lead: &[usize], axis: usize| (axis + lead.len()).checked_sub(rank).map_or(1, |at| lead[at]);
    let lead: Vec<usize> = (0..rank)
        .map(|axis| match (extent(a_lead, axis), extent(b_lead, axis)) {
            (1, other) => other,
            (one, _) => one,
        })
        .collect();
    let mut shape = lead.clone();
    if a.shape.len() > 1 {
        shape.push(m);
    }
    if b.shape.len() > 1 {
        shape.push(n);
    }
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let (a, b) = (a.as_slice::<T>(), b.as_slice::<T>());
    let lead_strides = strides(&lead);
    // The matrix of an operand that a position in the leading axes reads: extents of 1 repeat.
    let matrix = |operand_lead: &[usize], batch: usize| {
        let own = strides(operand_lead);
        let skip = rank - operand_lead.len();
        (0..operand_lead.len()).fold(0, |at, axis| {
            let position = batch / lead_strides[axis + skip] % lead[axis + skip];
            at + if operand_lead[axis] == 1 { 0 } else { position * own[axis] }
        })
    };
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let (batch, row, column) = (at / (m * n), at / n % m, at % n);
        let a = &a[matrix(a_lead, batch) * m * k..][row * k..][..k];
        let b = &b[matrix(b_lead, batch) * k * n..];
        *out = narrow(contract(k, |p| Some((widen(a[p]), widen(b[p * n + column]))))).canonical();
    }
    Ok(y)
}
