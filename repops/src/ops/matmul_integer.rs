//! MatMulInteger and QLinearMatMul: products of quantized matrices, exact in integers.

use super::float::wide_elements;
use super::matmul::{product, product_shape};
use super::rows::{BroadcastTo, check_broadcast};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView};

pub static INTEGER: OpDef = OpDef {
    id: 304,
    name: "MatMulInteger",
    version: 1,
    doc: "Y = (A - a_zero_point) * (B - b_zero_point), the matrix product in i32: exact, wrapping on overflow. \
          A and B are u8 or i8, the zero points (0 when absent) of A's and B's type. a_zero_point: one \
          number, one a row [M], or what broadcasts to A with extent 1 at K; b_zero_point: one number, one a \
          column [N], or what broadcasts to B with extent 1 at K. Source: ONNX MatMulInteger-10.",
    inputs: Arity::between(2, 4),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Contraction,
    infer: |ctx| {
        let shape = check_matrices(ctx, 0, 1)?;
        for index in [2, 3] {
            // Of floats are scales only, and this has none.
            if ctx.optional(index).is_some() {
                quantized(ctx, index)?;
            }
        }
        check_parameter(ctx, 0, 2, Side::Row)?;
        check_parameter(ctx, 1, 3, Side::Column)?;
        Ok(vec![Inferred::new(DType::I32, shape)])
    },
    eval: |ctx| {
        let a = centered(ctx.input(0), ctx.optional(2), Side::Row)?;
        let b = centered(ctx.input(1), ctx.optional(3), Side::Column)?;
        Ok(vec![product(a.view(), b.view(), |v: i32| v, |v: i32| v)?])
    },
};

pub static QLINEAR: OpDef = OpDef {
    id: 306,
    name: "QLinearMatMul",
    version: 1,
    doc: "Inputs a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point. s = (a - \
          a_zero_point) * (b - b_zero_point), the matrix product in i32: exact, wrapping. f = (a_scale * \
          b_scale) / y_scale, in f32, each operation rounded (f16 and bf16 scales widened). y = s rounded to \
          f32, times f (rounded), rounded to an integer (ties to even; NaN is 0), plus y_zero_point, \
          saturated to y_zero_point's type. Parameters of a and y: one number, one a row [M], or what \
          broadcasts to a (y) with extent 1 at the last axis; of b: one number, one a column [N], or what \
          broadcasts to b with extent 1 at K. Source: ONNX QLinearMatMul-10, -21.",
    inputs: Arity::exactly(8),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Contraction,
    infer: infer_qlinear,
    eval: eval_qlinear,
};

/// Which axis of a matrix a parameter of one axis belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Row,
    Column,
}

impl Side {
    /// The shape of a parameter against its matrix.
    fn aligned<D: Clone>(self, shape: &[D], one: D, rank: usize) -> Vec<D> {
        match (self, shape) {
            (Side::Row, [rows]) if rank > 1 => vec![rows.clone(), one],
            _ => shape.to_vec(),
        }
    }
}

fn quantized(ctx: &InferCtx<'_>, index: usize) -> Result<DType, OpError> {
    ctx.require(index, "u8 or i8", |d| matches!(d, DType::U8 | DType::I8))
}

fn check_matrices(ctx: &InferCtx<'_>, a: usize, b: usize) -> Result<Vec<DimExpr>, OpError> {
    quantized(ctx, a)?;
    quantized(ctx, b)?;
    product_shape(ctx.shape(a)?, ctx.shape(b)?)
}

/// A zero point or scale, if it is there, is constant along K and broadcasts to its matrix.
fn check_parameter(ctx: &InferCtx<'_>, matrix: usize, index: usize, side: Side) -> Result<(), OpError> {
    if ctx.optional(index).is_none() {
        return Ok(());
    }
    let found = ctx.dtype(index)?;
    if !found.is_float() {
        ctx.require_same(index, ctx.dtype(matrix)?)?;
    }
    let mut to = ctx.shape(matrix)?.to_vec();
    let k = if side == Side::Row || to.len() == 1 { to.len() - 1 } else { to.len() - 2 };
    to[k] = DimExpr::Const(1);
    check_broadcast(index, &side.aligned(ctx.shape(index)?, DimExpr::Const(1), to.len()), &to)
}

fn check_scale(ctx: &InferCtx<'_>, index: usize) -> Result<(), OpError> {
    ctx.require(index, "f32, f16 or bf16", |d| d.is_float() && d != DType::F64).map(|_| ())
}

fn infer_qlinear(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = check_matrices(ctx, 0, 3)?;
    for (matrix, scale, side) in [(0, 1, Side::Row), (3, 4, Side::Column)] {
        check_scale(ctx, scale)?;
        check_parameter(ctx, matrix, scale, side)?;
        quantized(ctx, scale + 1)?;
        check_parameter(ctx, matrix, scale + 1, side)?;
    }
    check_scale(ctx, 6)?;
    let dtype = quantized(ctx, 7)?;
    let mut rows = shape.clone();
    if let Some(last) = rows.last_mut() {
        *last = DimExpr::Const(1);
    }
    for index in [6, 7] {
        check_broadcast(index, &Side::Row.aligned(ctx.shape(index)?, DimExpr::Const(1), rows.len()), &rows)?;
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

/// The elements of a u8 or i8 tensor.
pub(crate) fn integers(tensor: TensorView<'_>) -> Vec<i32> {
    match tensor.dtype {
        DType::I8 => tensor.as_slice::<i8>().iter().map(|&v| i32::from(v)).collect(),
        _ => tensor.bytes.iter().map(|&v| i32::from(v)).collect(),
    }
}

/// A matrix less its zero points.
fn centered(matrix: TensorView<'_>, zero: Option<TensorView<'_>>, side: Side) -> Result<Tensor, OpError> {
    let mut out = Tensor::zeros(DType::I32, matrix.shape)?;
    let values = integers(matrix);
    let zeros = zero.map(|z| {
        let shape = side.aligned(z.shape, 1, matrix.shape.len());
        (integers(z), BroadcastTo::new(&shape, matrix.shape))
    });
    for (at, (out, value)) in out.as_mut_slice::<i32>().iter_mut().zip(values).enumerate() {
        *out = value - zeros.as_ref().map_or(0, |(zeros, to)| zeros[to.offset(at)]);
    }
    Ok(out)
}

/// `sum * factor + zero` as SPEC states requantization: one rounding to f32, one product, one rounding
/// to an integer; the caller saturates.
pub(crate) fn requantized(sum: i32, factor: f32, zero: i32) -> i64 {
    // The conversion of a float to an integer saturates, and is 0 for NaN.
    ((sum as f32 * factor).round_ties_even() as i64).saturating_add(i64::from(zero))
}

/// Stores integers saturated to u8 or i8.
pub(crate) fn saturated(out: &mut Tensor, at: usize, value: i64) {
    match out.dtype() {
        DType::I8 => out.as_mut_slice::<i8>()[at] = value.clamp(-128, 127) as i8,
        _ => out.bytes_mut()[at] = value.clamp(0, 255) as u8,
    }
}

fn eval_qlinear(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (ctx.input(0), ctx.input(3));
    let left = centered(a, ctx.optional(2), Side::Row)?;
    let right = centered(b, ctx.optional(5), Side::Column)?;
    let sums = product(left.view(), right.view(), |v: i32| v, |v: i32| v)?;
    let mut y = Tensor::zeros(ctx.input(7).dtype, sums.shape())?;
    // A parameter of a matrix has extent 1 at K, so it broadcasts to the product as it does to the
    // matrix; only the axes of one-axis operands are missing there.
    let shape = sums.shape();
    let read = |index: usize, side: Side, rank: usize| {
        let parameter = ctx.input(index);
        let mut own = side.aligned(parameter.shape, 1, rank);
        if rank == 1 {
            own.clear();
        } else if own.len() > 1 && side == Side::Row && b.shape.len() == 1 {
            own.pop();
        } else if own.len() > 1 && side == Side::Column && a.shape.len() == 1 {
            own.remove(own.len() - 2);
        }
        BroadcastTo::new(&own, shape)
    };
    let (a_to, b_to) = (read(1, Side::Row, a.shape.len()), read(4, Side::Column, b.shape.len()));
    let y_shape =
        |index: usize| BroadcastTo::new(&Side::Row.aligned(ctx.input(index).shape, 1, shape.len()), shape);
    let (scale_to, zero_to) = (y_shape(6), y_shape(7));
    let [a_scale, b_scale, y_scale] = [1, 4, 6].map(|i| wide_elements::<f32>(ctx.input(i)));
    let zeros = integers(ctx.input(7));
    for (at, &sum) in sums.as_slice::<i32>().iter().enumerate() {
        let factor = a_scale[a_to.offset(at)] * b_scale[b_to.offset(at)] / y_scale[scale_to.offset(at)];
        saturated(&mut y, at, requantized(sum, factor, zeros[zero_to.offset(at)]));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, output, run};

    fn bytes(shape: &[usize], seed: usize) -> Tensor {
        let v: Vec<u8> =
            (0..shape.iter().product()).map(|i: usize| (i * 37 + seed * 91 + i * i) as u8).collect();
        Tensor::from_slice(shape, &v)
    }

    #[test]
    fn sums_are_exact_with_zero_points_by_row_and_column() {
        let (a, b) = (bytes(&[3, 700], 1), bytes(&[700, 4], 2));
        let signed = Tensor::from_slice(&[700, 4], &b.bytes().iter().map(|&v| v as i8).collect::<Vec<_>>());
        let (az, bz) =
            (Tensor::from_slice(&[3], &[0u8, 128, 255]), Tensor::from_slice(&[4], &[-3i8, 0, 5, 127]));
        let y = output("MatMulInteger", &Attrs::new(), &[&a, &signed, &az, &bz]);
        let expected: Vec<i32> = (0..12)
            .map(|at| {
                let (m, n) = (at / 4, at % 4);
                (0..700)
                    .map(|k| {
                        let left = i32::from(a.bytes()[m * 700 + k]) - i32::from(az.bytes()[m]);
                        left * (i32::from(b.bytes()[k * 4 + n] as i8) - i32::from(bz.bytes()[n] as i8))
                    })
                    .sum()
            })
            .collect();
        assert_bits(&y, &[3, 4], &expected);
        assert!(run("MatMulInteger", &Attrs::new(), &[&a, &b, &bytes(&[700], 1)]).is_err());
        assert!(run("MatMulInteger", &Attrs::new(), &[&a, &b, &az, &bytes(&[3], 1)]).is_err());
    }

    #[test]
    fn zero_points_are_no_floats() {
        let (a, b, zero) = (bytes(&[2, 3], 3), bytes(&[3, 2], 4), Tensor::scalar(1.0f32));
        let found = crate::ops::check::try_run("MatMulInteger", Attrs::new(), &[&a, &b, &zero]);
        assert!(matches!(found, Err(OpError::DType { index: 2, .. })), "{found:?}");
    }

    #[test]
    fn requantization_rounds_ties_to_even_and_saturates() {
        let one = |v: f32| Tensor::scalar(v);
        let zero = Tensor::scalar(0u8);
        let go = |a: &[u8], scale: f32, zero_y: u8| {
            let a = Tensor::from_slice(&[a.len(), 1], a);
            let b = Tensor::from_slice(&[1, 1], &[1u8]);
            let inputs = [&a, &one(scale), &zero, &b, &one(1.0), &zero, &one(2.0), &Tensor::scalar(zero_y)];
            output("QLinearMatMul", &Attrs::new(), &inputs).bytes().to_vec()
        };
        assert_eq!(go(&[1, 3, 5, 255], 1.0, 0), [0, 2, 2, 128]);
        assert_eq!(go(&[1, 3, 255], 4.0, 7), [9, 13, 255]);
        assert_eq!(go(&[1, 3], -100.0, 7), [0, 0]);
        assert_eq!(go(&[1, 0], f32::NAN, 7), [7, 7]);
        assert_eq!(go(&[1, 2], f32::INFINITY, 7), [255, 255]);
    }

    #[test]
    fn scales_by_row_and_column() {
        let (a, b) = (bytes(&[2, 2, 3], 3), bytes(&[3, 2], 4));
        let zero = Tensor::scalar(9u8);
        let (rows, columns) =
            (Tensor::from_slice(&[2], &[0.01f32, 0.02]), Tensor::from_slice(&[2], &[0.5f32, 0.3]));
        let y_scale = Tensor::from_slice(&[2, 2, 1], &[0.1f32, 0.2, 0.3, 0.4]);
        let y =
            output("QLinearMatMul", &Attrs::new(), &[&a, &rows, &zero, &b, &columns, &zero, &y_scale, &zero]);
        for at in 0..8 {
            let (batch, m, n) = (at / 4, at / 2 % 2, at % 2);
            let sum: i32 = (0..3)
                .map(|k| {
                    let left = i32::from(a.bytes()[(batch * 2 + m) * 3 + k]) - 9;
                    left * (i32::from(b.bytes()[k * 2 + n]) - 9)
                })
                .sum();
            let factor = [0.01f32, 0.02][m] * [0.5f32, 0.3][n] / [0.1f32, 0.2, 0.3, 0.4][batch * 2 + m];
            let expected = ((sum as f32 * factor).round_ties_even() as i64 + 9).clamp(0, 255);
            assert_eq!(i64::from(y.bytes()[at]), expected, "{at}");
        }
    }
}
