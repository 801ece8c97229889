//! ReduceSum and its kin: reductions of axes by sums and products.

use super::float::{Float, Integer, NUMBER, Real, is_number, with_float, with_integer};
use super::rows::{Rows, axis_flags, reduced_axes};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::Tensor;

/// The attributes of all ONNX reductions.
pub(crate) const ATTRS: &[AttrDef] = &[
    AttrDef::default("keepdims", AttrKind::Int, || AttrValue::Int(1), "0: reduced axes are dropped."),
    AttrDef::default(
        "noop_with_empty_axes",
        AttrKind::Int,
        || AttrValue::Int(0),
        "1: without axes nothing is reduced.",
    ),
];

/// A reduction's row; the common half of the documentation is stated once.
macro_rules! reduction {
    ($def:ident, $id:literal, $name:literal, $expected:expr, $accept:expr, $eval:expr, $doc:literal) => {
        pub static $def: OpDef = OpDef {
            id: $id,
            name: $name,
            version: 1,
            doc: concat!(
                $doc,
                " The i64 input `axes` names the reduced axes; absent or empty: all, or with \
                 noop_with_empty_axes each element is a row of its own. x[0 .. n] are a row's elements in \
                 row-major order of the reduced axes, whatever order they are named in. f32 and f64 in \
                 their own precision, f16 and bf16 in f32, rounded once at y. Row sum: SPEC.md, Row \
                 reductions. Source: ONNX ",
                $name,
                ", axes as an input."
            ),
            inputs: Arity::between(1, 2),
            outputs: Arity::exactly(1),
            attrs: ATTRS,
            class: OpClass::Reduction,
            infer: |ctx| infer(ctx, $expected, $accept),
            eval: $eval,
        };
    };
}

reduction!(
    SUM,
    350,
    "ReduceSum",
    NUMBER,
    is_number,
    |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, sum)),
        dtype => with_integer!(dtype, integers(ctx, |row| Ok(row_sum(row.len(), |i| row[i])))),
    },
    "y = row sum of x; integers wrap; +0 of no elements."
);
reduction!(
    MEAN,
    351,
    "ReduceMean",
    NUMBER,
    is_number,
    |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, mean)),
        dtype => with_integer!(dtype, integers(ctx, integer_mean)),
    },
    "y = (row sum of x) / n, one division; NaN of no elements. Integers: the sum wraps, the quotient is \
     truncated; of no elements fault 1."
);
reduction!(
    PROD,
    354,
    "ReduceProd",
    NUMBER,
    is_number,
    |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, product)),
        dtype => with_integer!(dtype, integers(ctx, integer_product)),
    },
    "y = the product of x in the order of a row sum, * in place of + and 1 in place of +0; integers wrap; 1 \
     of no elements."
);
reduction!(
    L1,
    355,
    "ReduceL1",
    NUMBER,
    is_number,
    |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, l1)),
        dtype => with_integer!(dtype, integers(ctx, |row| Ok(row_sum(row.len(), |i| row[i].magnitude())))),
    },
    "y = row sum of |x|; integers wrap."
);
reduction!(
    L2,
    356,
    "ReduceL2",
    "a float",
    DType::is_float,
    |ctx| with_float!(ctx.input(0).dtype, floats(ctx, l2)),
    "y = sqrt(row sum of x * x), each square rounded."
);
reduction!(
    LOG_SUM,
    357,
    "ReduceLogSum",
    "a float",
    DType::is_float,
    |ctx| with_float!(ctx.input(0).dtype, floats(ctx, log_sum)),
    "y = log(row sum of x)."
);
reduction!(
    LOG_SUM_EXP,
    358,
    "ReduceLogSumExp",
    "a float",
    DType::is_float,
    |ctx| with_float!(ctx.input(0).dtype, floats(ctx, log_sum_exp)),
    "m = the exact maximum of x, or +0 where that is infinite or there are no elements; y = log(row sum of \
     exp(x - m)) + m, every operation rounded."
);
reduction!(
    SUM_SQUARE,
    359,
    "ReduceSumSquare",
    NUMBER,
    is_number,
    |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx, sum_square)),
        dtype => with_integer!(
            dtype,
            integers(ctx, |row| Ok(row_sum(row.len(), |i| row[i].fma(row[i], Accumulate::ZERO))))
        ),
    },
    "y = row sum of x * x, each square rounded; integers wrap."
);

/// Types of a reduction that keeps the dtype.
pub(crate) fn infer(
    ctx: &InferCtx<'_>,
    expected: &'static str,
    accept: fn(DType) -> bool,
) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, expected, accept)?;
    let shape = ctx.shape(0)?;
    let reduced = reduced_axes(ctx, shape.len())?;
    let keep = ctx.attrs.int("keepdims") != 0;
    let kept = shape.iter().zip(reduced).filter_map(|(dim, reduced)| match (reduced, keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(DimExpr::Const(1)),
        (true, false) => None,
    });
    Ok(vec![Inferred::new(dtype, kept.collect())])
}

/// The rows that a reduction takes, and its output's shape.
pub(crate) fn reduced_rows(ctx: &EvalCtx<'_>) -> Result<(Rows, Vec<usize>), OpError> {
    let shape = ctx.input(0).shape;
    let axes = ctx.optional(1).and_then(|axes| axes.to_i64s()).unwrap_or_default();
    let reduced = if axes.is_empty() {
        vec![ctx.attrs.int("noop_with_empty_axes") == 0; shape.len()]
    } else {
        axis_flags(&axes, shape.len())?
    };
    let keep = ctx.attrs.int("keepdims") != 0;
    let kept = shape.iter().zip(&reduced).filter(|(_, reduced)| keep || !**reduced);
    let out = kept.map(|(&dim, &reduced)| if reduced { 1 } else { dim }).collect();
    Ok((Rows::new(shape, &reduced), out))
}

fn floats<T: Float>(ctx: &EvalCtx<'_>, row: fn(&[T::Wide]) -> T::Wide) -> Result<Vec<Tensor>, OpError> {
    let (rows, shape) = reduced_rows(ctx)?;
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let x = ctx.input(0).as_slice::<T>();
    for (out, base) in y.as_mut_slice::<T>().iter_mut().zip(&rows.bases) {
        let elements: Vec<T::Wide> = rows.offsets.iter().map(|offset| x[base + offset].widen()).collect();
        *out = T::narrow(row(&elements));
    }
    Ok(vec![y])
}

fn integers<T: Integer>(
    ctx: &EvalCtx<'_>,
    row: fn(&[T]) -> Result<T, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let (rows, shape) = reduced_rows(ctx)?;
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let x = ctx.input(0).as_slice::<T>();
    for (out, base) in y.as_mut_slice::<T>().iter_mut().zip(&rows.bases) {
        let elements: Vec<T> = rows.offsets.iter().map(|offset| x[base + offset]).collect();
        *out = row(&elements)?;
    }
    Ok(vec![y])
}

/// A factor: `row_sum` of factors is the product in the order of row sums.
#[derive(Clone, Copy)]
struct Factor<T>(T);

impl<W: Real> Accumulate for Factor<W> {
    const ZERO: Self = Factor(W::ONE);
    fn add(self, other: Self) -> Self {
        Factor(self.0 * other.0)
    }
    fn fma(self, b: Self, c: Self) -> Self {
        Factor(self.0 * b.0 * c.0)
    }
}

/// `(row sum) / n`.
pub(crate) fn mean<W: Real>(row: &[W]) -> W {
    sum(row) / W::count(row.len())
}

pub(crate) fn sum<W: Real>(row: &[W]) -> W {
    row_sum(row.len(), |i| row[i])
}

fn product<W: Real>(row: &[W]) -> W {
    row_sum(row.len(), |i| Factor(row[i])).0
}

pub(crate) fn l1<W: Real>(row: &[W]) -> W {
    row_sum(row.len(), |i| row[i].abs())
}

pub(crate) fn sum_square<W: Real>(row: &[W]) -> W {
    row_sum(row.len(), |i| row[i] * row[i])
}

pub(crate) fn l2<W: Real>(row: &[W]) -> W {
    sum_square(row).sqrt()
}

fn log_sum<W: Real>(row: &[W]) -> W {
    sum(row).log()
}

fn log_sum_exp<W: Real>(row: &[W]) -> W {
    let max = super::softmax::row_maximum(row);
    let max = if max.abs() == W::INFINITY { W::ZERO } else { max };
    row_sum(row.len(), |i| (row[i] - max).exp()).log() + max
}

fn integer_mean<T: Integer>(row: &[T]) -> Result<T, OpError> {
    if row.is_empty() {
        return Err(Fault::DivisionByZero.into());
    }
    Ok(row_sum(row.len(), |i| row[i]).over(row.len()))
}

fn integer_product<T: Integer>(row: &[T]) -> Result<T, OpError> {
    // Wrapping products do not depend on their order.
    Ok(row.iter().fold(T::ONE, |product, &v| product.fma(v, T::ZERO)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};
    use crate::scalar;

    fn axes(list: &[i64]) -> Tensor {
        Tensor::from_slice(&[list.len()], list)
    }

    #[test]
    fn several_axes_are_one_row_in_row_major_order() {
        // Rows of 5 * 1000 elements: two blocks.
        let x = noise(&[5, 3, 1000], 1);
        let v = x.as_slice::<f32>();
        let expected: Vec<f32> =
            (0..3).map(|b| row_sum(5000, |i| v[(i / 1000 * 3 + b) * 1000 + i % 1000])).collect();
        let y = output("ReduceSum", &Attrs::new(), &[&x, &axes(&[-1, 0])]);
        assert_bits(&y, &[1, 3, 1], &expected);
        let y = output("ReduceSum", &Attrs::new().with_int("keepdims", 0), &[&x, &axes(&[0, 2])]);
        assert_bits(&y, &[3], &expected);
        let means: Vec<f32> = expected.iter().map(|s| s / 5000.0).collect();
        assert_bits(&output("ReduceMean", &Attrs::new(), &[&x, &axes(&[0, 2])]), &[1, 3, 1], &means);
    }

    #[test]
    fn every_formula() {
        let x = noise(&[201], 7);
        let v = x.as_slice::<f32>();
        let one = |name: &str| output(name, &Attrs::new().with_int("keepdims", 0), &[&x]);
        assert_bits(&one("ReduceL1"), &[], &[row_sum(201, |i| v[i].abs())]);
        assert_bits(&one("ReduceSumSquare"), &[], &[row_sum(201, |i| v[i] * v[i])]);
        assert_bits(&one("ReduceL2"), &[], &[row_sum(201, |i| v[i] * v[i]).sqrt()]);
        let max = v.iter().copied().fold(-9.0f32, |a, b| if b > a { b } else { a });
        let expected = scalar::log(row_sum(201, |i| scalar::exp(v[i] - max))) + max;
        assert_bits(&one("ReduceLogSumExp"), &[], &[expected]);
        let positive: Vec<f32> = v.iter().map(|v| v.abs()).collect();
        let y = output("ReduceLogSum", &Attrs::new(), &[&Tensor::from_slice(&[201], &positive)]);
        assert_bits(&y, &[1], &[scalar::log(row_sum(201, |i| positive[i]))]);
    }

    #[test]
    fn products_have_the_order_of_sums() {
        let v: Vec<f32> = (0..130).map(|i| 1.0 + (i as f32 * 0.618).fract() * 0.01).collect();
        let mut lanes = [1.0f32; 64];
        for (i, v) in v.iter().enumerate() {
            lanes[i % 64] *= v;
        }
        let mut width = 32;
        while width > 0 {
            for j in 0..width {
                lanes[j] *= lanes[j + width];
            }
            width /= 2;
        }
        let y = output("ReduceProd", &Attrs::new(), &[&Tensor::from_slice(&[130], &v)]);
        assert_bits(&y, &[1], &[lanes[0]]);
    }

    #[test]
    fn integers_wrap_and_truncate() {
        let x = Tensor::from_slice(&[3], &[i32::MIN, -1, -6]);
        let one = |name: &str| output(name, &Attrs::new(), &[&x]);
        assert_bits(&one("ReduceSum"), &[1], &[i32::MAX - 6]);
        assert_bits(&one("ReduceL1"), &[1], &[i32::MIN + 7]);
        assert_bits(&one("ReduceProd"), &[1], &[0i32]);
        assert_bits(&one("ReduceSumSquare"), &[1], &[37i32]);
        let mean = output("ReduceMean", &Attrs::new(), &[&Tensor::from_slice(&[2], &[-4i64, -3])]);
        assert_bits(&mean, &[1], &[-3i64]);
    }

    #[test]
    fn empty_rows_and_no_axes() {
        let empty = Tensor::zeros(DType::F32, &[2, 0]).unwrap();
        let one = |name: &str| output(name, &Attrs::new(), &[&empty, &axes(&[1])]);
        assert_bits(&one("ReduceSum"), &[2, 1], &[0.0f32; 2]);
        assert_bits(&one("ReduceProd"), &[2, 1], &[1.0f32; 2]);
        assert_bits(&one("ReduceMean"), &[2, 1], &[crate::dtype::NAN_F32; 2]);
        assert_bits(&one("ReduceLogSumExp"), &[2, 1], &[f32::NEG_INFINITY; 2]);
        let ints = Tensor::zeros(DType::I32, &[0]).unwrap();
        assert_eq!(run("ReduceMean", &Attrs::new(), &[&ints]), Err(Fault::DivisionByZero.into()));
        let x = Tensor::from_slice(&[2], &[-0.0f32, 3.0]);
        let noop = Attrs::new().with_int("noop_with_empty_axes", 1);
        assert_bits(&output("ReduceSumSquare", &noop, &[&x, &axes(&[])]), &[2], &[0.0f32, 9.0]);
        assert!(run("ReduceSum", &Attrs::new(), &[&x, &axes(&[1])]).is_err());
        assert!(run("ReduceSum", &Attrs::new(), &[&x, &axes(&[0, -1])]).is_err());
    }

    #[test]
    fn half_floats_round_once() {
        // In f16 itself 2048 + 1 + 1 would stay at 2048.
        let of = half::f16::from_f32;
        let x = Tensor::from_slice(&[3], &[of(2048.0), of(1.0), of(1.0)]);
        assert_bits(&output("ReduceSum", &Attrs::new(), &[&x]), &[1], &[of(2050.0)]);
    }
}
