//! LpNormalization and MeanVarianceNormalization.

use super::float::{Float, Real, with_float};
use super::infer::normalize_axis;
use super::reduce_sum::{l2, mean, sum_square};
use super::rows::{Rows, axis_flags};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::Tensor;

pub static LP: OpDef = OpDef {
    id: 377,
    name: "LpNormalization",
    version: 1,
    doc: "Along `axis`: norm = row sum of |x| (p = 1) or sqrt(row sum of x * x), each square rounded (p = 2); \
          y[i] = x[i] / norm, or +0 where norm is 0. f64 in f64, f16 and bf16 in f32, rounded once. Row \
          sum: SPEC.md, Row reductions. Source: ONNX LpNormalization-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(-1), "The axis."),
        AttrDef::default("p", AttrKind::Int, || AttrValue::Int(2), "1 or 2."),
    ],
    class: OpClass::Reduction,
    infer: |ctx| {
        ctx.axis_attr("axis", ctx.shape(0)?.len())?;
        if !matches!(ctx.attrs.int("p"), 1 | 2) {
            return Err(OpError::attr("p", "is neither 1 nor 2"));
        }
        infer(ctx)
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, lp(ctx)),
};

pub static MEAN_VARIANCE: OpDef = OpDef {
    id: 378,
    name: "MeanVarianceNormalization",
    version: 1,
    doc: "x[0 .. n] are the elements of `axes` in row-major order. mean = (row sum of x) / n; var = (row sum \
          of x * x) / n - mean * mean, each product rounded; y[i] = (x[i] - mean) / (sqrt(var) + 1e-9), \
          each operation rounded. f64 in f64, f16 and bf16 in f32, rounded once. Row sum: SPEC.md, Row \
          reductions. Source: the function body of ONNX MeanVarianceNormalization-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "axes",
        AttrKind::Ints,
        || AttrValue::Ints(vec![0, 2, 3]),
        "The axes of a row.",
    )],
    class: OpClass::Reduction,
    infer: |ctx| {
        axis_flags(ctx.attrs.ints("axes"), ctx.shape(0)?.len())?;
        infer(ctx)
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, mean_variance(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn lp<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = ctx.input(0).shape;
    let axis = normalize_axis(ctx.attrs.int("axis"), shape.len()).map_err(OpError::shape)?;
    let one = ctx.attrs.int("p") == 1;
    each_row::<T>(ctx, &Rows::along(shape, axis), |row| {
        let norm = if one { row_sum(row.len(), |i| row[i].abs()) } else { l2(row) };
        for value in row {
            *value = if norm == T::Wide::ZERO { T::Wide::ZERO } else { *value / norm };
        }
    })
}

fn mean_variance<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = ctx.input(0).shape;
    let rows = Rows::new(shape, &axis_flags(ctx.attrs.ints("axes"), shape.len())?);
    each_row::<T>(ctx, &rows, |row| {
        let mean = mean(row);
        let variance = sum_square(row) / T::Wide::count(row.len()) - mean * mean;
        let deviation = variance.sqrt() + T::Wide::from_f64(1e-9);
        for value in row {
            *value = (*value - mean) / deviation;
        }
    })
}

/// Replaces every row in the wide type and rounds.
fn each_row<T: Float>(
    ctx: &EvalCtx<'_>,
    rows: &Rows,
    replace: impl Fn(&mut [T::Wide]),
) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0).as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, ctx.input(0).shape)?;
    let out = y.as_mut_slice::<T>();
    for base in &rows.bases {
        let mut row: Vec<T::Wide> = rows.offsets.iter().map(|offset| x[base + offset].widen()).collect();
        replace(&mut row);
        for (value, offset) in row.into_iter().zip(&rows.offsets) {
            out[base + offset] = T::narrow(value);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn lp_follows_the_formula() {
        let x = noise(&[5000, 2], 1);
        let v = x.as_slice::<f32>();
        for p in [1, 2] {
            let y = output("LpNormalization", &Attrs::new().with_int("axis", 0).with_int("p", p), &[&x]);
            let expected: Vec<f32> = (0..10_000)
                .map(|at| {
                    let norm = match p {
                        1 => row_sum(5000, |i| v[i * 2 + at % 2].abs()),
                        _ => row_sum(5000, |i| v[i * 2 + at % 2] * v[i * 2 + at % 2]).sqrt(),
                    };
                    v[at] / norm
                })
                .collect();
            assert_bits(&y, &[5000, 2], &expected);
        }
        let zeros = Tensor::from_slice(&[2], &[-0.0f32, 0.0]);
        assert_bits(&output("LpNormalization", &Attrs::new(), &[&zeros]), &[2], &[0.0f32; 2]);
        assert!(run("LpNormalization", &Attrs::new().with_int("p", 3), &[&zeros]).is_err());
    }

    #[test]
    fn mean_variance_follows_the_body() {
        let x = noise(&[2, 3, 4, 5], 2);
        let v = x.as_slice::<f32>();
        let y = output("MeanVarianceNormalization", &Attrs::new(), &[&x]);
        let expected: Vec<f32> = (0..120)
            .map(|at| {
                let element = |i: usize| v[i / 20 * 60 + at / 20 % 3 * 20 + i % 20];
                let mean = row_sum(40, element) / 40.0;
                let variance = row_sum(40, |i| element(i) * element(i)) / 40.0 - mean * mean;
                (v[at] - mean) / (variance.sqrt() + 1e-9)
            })
            .collect();
        assert_bits(&y, &[2, 3, 4, 5], &expected);
        assert!(run("MeanVarianceNormalization", &Attrs::new(), &[&noise(&[2, 3], 1)]).is_err());
    }
}
