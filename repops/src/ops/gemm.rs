//! Gemm: the general matrix product of the BLAS.

use super::float::{Float, Real, with_float};
use super::infer::broadcast;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::{DType, Element};
use crate::reduce::{Accumulate, contract};
use crate::tensor::{Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 301,
    name: "Gemm",
    version: 1,
    doc: "Y[m, n] = alpha * A'B' + beta * C, A' = A[m, k] or with transA the transpose of A[k, m], B' \
          likewise; C broadcasts to [m, n]. Order: s = contraction over k of A'[m, k] * B'[k, n] (SPEC.md, \
          Contractions); t = s if alpha = 1, else alpha * s; Y = t without C, t + C if beta = 1, else \
          fma(beta, C, t). f16 and bf16 in f32, rounded once at Y; with an f32 A, B may be f16 or bf16, which is widened. Integers wrap; alpha and beta must then \
          be integers. Source: ONNX Gemm-7 to -13.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("alpha", AttrKind::Float, || AttrValue::Float(1.0), "Factor of the product."),
        AttrDef::default("beta", AttrKind::Float, || AttrValue::Float(1.0), "Factor of C."),
        AttrDef::default("transA", AttrKind::Int, || AttrValue::Int(0), "1: A is given transposed."),
        AttrDef::default("transB", AttrKind::Int, || AttrValue::Int(0), "1: B is given transposed."),
    ],
    class: OpClass::Contraction,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float, i32, i64, u32 or u64", |d| {
        d.is_float() || matches!(d, DType::I32 | DType::I64 | DType::U32 | DType::U64)
    })?;
    super::matmul::right_type(ctx, dtype)?;
    let matrix = |index: usize, flag: &str| {
        let shape = ctx.shape(index)?;
        let [rows, columns] = shape else {
            return Err(OpError::shape(format!("input {index} has {} axes, not 2", shape.len())));
        };
        let transposed = ctx.attrs.int(flag) != 0;
        Ok(if transposed { (columns.clone(), rows.clone()) } else { (rows.clone(), columns.clone()) })
    };
    let ((m, ka), (kb, n)) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if let (Some(x), Some(y)) = (ka.as_const(), kb.as_const())
        && x != y
    {
        return Err(OpError::shape(format!("A has {x} columns, B has {y} rows")));
    }
    if dtype.is_int() {
        for name in ["alpha", "beta"] {
            integer_factor(ctx.attrs.float(name)).ok_or_else(|| OpError::attr(name, "is no integer"))?;
        }
    }
    let shape = vec![m, n];
    if ctx.optional(2).is_some() {
        ctx.require_same(2, dtype)?;
        let full = broadcast(&[&shape, ctx.shape(2)?])?;
        let grown = |(a, b): (&crate::DimExpr, &crate::DimExpr)| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
        if full.len() != 2 || shape.iter().zip(&full).any(grown) {
            return Err(OpError::shape("C does not broadcast to the product's shape"));
        }
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

/// A factor for integer matrices.
fn integer_factor(value: f32) -> Option<i64> {
    (value.trunc() == value && value.abs() < 9.0e18).then_some(value as i64)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    fn integers<T: Element + Accumulate>(ctx: &EvalCtx<'_>, of: fn(i64) -> T) -> Result<Tensor, OpError> {
        let factor = |name: &str| of(integer_factor(ctx.attrs.float(name)).unwrap_or(0));
        let (alpha, beta) = (factor("alpha"), factor("beta"));
        product(ctx, |v: T| v, |s: T| s.fma(alpha, T::ZERO), |t, c| beta.fma(c, t), |y| y)
    }
    let y = match ctx.input(0).dtype {
        DType::I32 => integers::<i32>(ctx, |v| v as i32),
        DType::I64 => integers::<i64>(ctx, |v| v),
        DType::U32 => integers::<u32>(ctx, |v| v as u32),
        DType::U64 => integers::<u64>(ctx, |v| v as u64),
        DType::F32 if ctx.input(1).dtype != DType::F32 => {
            let wide = super::matmul::widened(ctx.input(1))?;
            let inputs = [Some(ctx.input(0)), Some(wide.view()), ctx.optional(2)];
            floats::<f32>(&EvalCtx { inputs: &inputs, ..*ctx })
        }
        dtype => with_float!(dtype, floats(ctx)),
    };
    Ok(vec![y?])
}

fn floats<T: Float>(ctx: &EvalCtx<'_>) -> Result<Tensor, OpError>
where
    T::Wide: Real,
{
    let factor = |name: &str| T::Wide::from_f64(f64::from(ctx.attrs.float(name)));
    let (alpha, beta) = (factor("alpha"), factor("beta"));
    let one = T::Wide::ONE;
    product(
        ctx,
        T::widen,
        |s| if alpha == one { s } else { alpha * s },
        |t, c| if beta == one { t + c } else { beta.fma(c, t) },
        T::narrow,
    )
}

fn product<T: Element, W: Accumulate>(
    ctx: &EvalCtx<'_>,
    widen: fn(T) -> W,
    scaled: impl Fn(W) -> W,
    biased: impl Fn(W, W) -> W,
    narrow: fn(W) -> T,
) -> Result<Tensor, OpError> {
    let (a, b) = (ctx.input(0), ctx.input(1));
    let (trans_a, trans_b) = (ctx.attrs.int("transA") != 0, ctx.attrs.int("transB") != 0);
    let (m, k) = if trans_a { (a.shape[1], a.shape[0]) } else { (a.shape[0], a.shape[1]) };
    let n = if trans_b { b.shape[0] } else { b.shape[1] };
    let mut y = Tensor::zeros(T::DTYPE, &[m, n])?;
    let (a, b) = (a.as_slice::<T>(), b.as_slice::<T>());
    let c = ctx.optional(2).map(|c| (c, c.as_slice::<T>()));
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let (row, column) = (at / n, at % n);
        let sum = contract(k, |p| {
            let left = a[if trans_a { p * m + row } else { row * k + p }];
            let right = b[if trans_b { column * k + p } else { p * n + column }];
            Some((widen(left), widen(right)))
        });
        let mut value = scaled(sum);
        if let Some((c, elements)) = c {
            value = biased(value, widen(elements[broadcast_offset(c, row, column)]));
        }
        *out = narrow(value);
    }
    Ok(y)
}

/// Where C, broadcast to a matrix, holds the element of a row and column.
fn broadcast_offset(c: TensorView<'_>, row: usize, column: usize) -> usize {
    let pick = |extent: usize, at: usize| if extent == 1 { 0 } else { at };
    match *c.shape {
        [] => 0,
        [n] => pick(n, column),
        [rows, n, ..] => pick(rows, row) * n + pick(n, column),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn plain_is_the_matrix_product_and_transposes_change_nothing() {
        // Spans three chunks of the contraction with an odd remainder.
        let (a, b) = (noise(&[3, 601], 1), noise(&[601, 5], 2));
        let expected = output("MatMul", &Attrs::new(), &[&a, &b]);
        let transpose = |t: &Tensor| {
            let (rows, columns) = (t.shape()[0], t.shape()[1]);
            let from = t.as_slice::<f32>();
            let swapped: Vec<f32> =
                (0..rows * columns).map(|i| from[i % rows * columns + i / rows]).collect();
            Tensor::from_slice(&[columns, rows], &swapped)
        };
        let plain = output("Gemm", &Attrs::new(), &[&a, &b]);
        assert_bits(&plain, &[3, 5], expected.as_slice::<f32>());
        let attrs = Attrs::new().with_int("transA", 1).with_int("transB", 1);
        let swapped = output("Gemm", &attrs, &[&transpose(&a), &transpose(&b)]);
        assert_bits(&swapped, &[3, 5], expected.as_slice::<f32>());
    }

    #[test]
    fn factors_round_as_stated() {
        let (a, b) = (noise(&[1, 300], 3), noise(&[300, 2], 4));
        let s = output("MatMul", &Attrs::new(), &[&a, &b]);
        let c = Tensor::from_slice(&[1, 1], &[0.3f32]);
        let attrs = Attrs::new().with_float("alpha", 0.7).with_float("beta", 0.9);
        let y = output("Gemm", &attrs, &[&a, &b, &c]);
        let expected: Vec<f32> =
            s.as_slice::<f32>().iter().map(|&s| 0.9f32.mul_add(0.3, 0.7f32 * s)).collect();
        assert_bits(&y, &[1, 2], &expected);
        let y = output("Gemm", &Attrs::new(), &[&a, &b, &Tensor::from_slice(&[2], &[0.5f32, -0.25])]);
        let s = s.as_slice::<f32>();
        assert_bits(&y, &[1, 2], &[s[0] + 0.5, s[1] - 0.25]);
    }

    #[test]
    fn integers_wrap_and_misfits_are_errors() {
        let a = Tensor::from_slice(&[1, 2], &[i32::MAX, 1]);
        let b = Tensor::from_slice(&[2, 1], &[2, 5]);
        let y = output("Gemm", &Attrs::new().with_float("alpha", 2.0), &[&a, &b]);
        assert_bits(&y, &[1, 1], &[6i32]);
        assert!(run("Gemm", &Attrs::new().with_float("alpha", 0.5), &[&a, &b]).is_err());
        assert!(run("Gemm", &Attrs::new(), &[&a, &a]).is_err());
        let c = Tensor::from_slice(&[2, 1], &[1, 2]);
        assert!(run("Gemm", &Attrs::new(), &[&a, &b, &c]).is_err());
    }
}
