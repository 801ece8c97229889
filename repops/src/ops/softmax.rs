//! Softmax and LogSoftmax along an axis.

use super::float::{Float, Real, with_float};
use super::rows::Rows;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::Tensor;

const AXIS: &[AttrDef] =
    &[AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(-1), "The axis; negative from the back.")];

pub static DEF: OpDef = OpDef {
    id: 370,
    name: "Softmax",
    version: 2,
    doc: "Along `axis`: m = the exact maximum (NaN if there is one), e[i] = softmax_exp(x[i] - m), s = row sum of e, \
          y[i] = e[i] * (1 / s); every operation rounds. f64 in f64, f16 and bf16 in f32, \
          rounded once at y. softmax_exp: docs/SCALAR.md, S.3. Order: SPEC.md, Row reductions. Source: ONNX Softmax-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: AXIS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, along_axis(ctx, softmax)),
};

pub static LOG_DEF: OpDef = OpDef {
    id: 371,
    name: "LogSoftmax",
    version: 2,
    doc: "Along `axis`: m = the exact maximum (NaN if there is one), d[i] = x[i] - m, s = row sum of \
          softmax_exp(d[i]), y[i] = d[i] - log(s); every operation rounds. f16 and bf16 in f32, rounded once at y. softmax_exp: docs/SCALAR.md, S.3; log: SPEC.md, 2.5. Order: SPEC.md, Row reductions. Source: ONNX \
          LogSoftmax-13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: AXIS,
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, along_axis(ctx, log_softmax)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    ctx.axis_attr("axis", shape.len())?;
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

/// Replaces every row along `axis` by `row` of it.
fn along_axis<T: Float>(ctx: &EvalCtx<'_>, row: fn(&mut [T::Wide])) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = super::infer::normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let rows = Rows::along(x.shape, axis);
    let mut y = x.to_tensor()?;
    let y_values = y.as_mut_slice::<T>();
    let mut buffer = vec![T::Wide::ZERO; rows.len()];
    for base in &rows.bases {
        for (value, offset) in buffer.iter_mut().zip(&rows.offsets) {
            *value = y_values[base + offset].widen();
        }
        row(&mut buffer);
        for (value, offset) in buffer.iter().zip(&rows.offsets) {
            y_values[base + offset] = T::narrow(*value);
        }
    }
    Ok(vec![y])
}

/// The exact maximum; -inf of no elements.
pub(crate) fn row_maximum<W: Real>(row: &[W]) -> W {
    row.iter().fold(-W::INFINITY, |m, v| m.larger(*v))
}

/// Softmax of a row, in place.
pub(crate) fn softmax<W: Real>(row: &mut [W]) {
    let max = row_maximum(row);
    for value in row.iter_mut() {
        *value = (*value - max).softmax_exp();
    }
    let factor = W::ONE / row_sum(row.len(), |i| row[i]);
    for value in row {
        *value = *value * factor;
    }
}

fn log_softmax<W: Real>(row: &mut [W]) {
    let max = row_maximum(row);
    for value in row.iter_mut() {
        *value = *value - max;
    }
    let log = row_sum(row.len(), |i| row[i].softmax_exp()).log();
    for value in row {
        *value = *value - log;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};
    use crate::scalar;

    #[test]
    fn rows_follow_the_formula() {
        // Two blocks of a row reduction and a remainder.
        let x = noise(&[2, 8195], 1);
        let y = output("Softmax", &Attrs::new(), &[&x]);
        let log = output("LogSoftmax", &Attrs::new(), &[&x]);
        for row in 0..2 {
            let x = &x.as_slice::<f32>()[row * 8195..][..8195];
            let max = x.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
            let sum = row_sum(8195, |i| scalar::softmax_exp(x[i] - max));
            for (i, &x) in x.iter().enumerate() {
                let e = scalar::softmax_exp(x - max) * (1.0 / sum);
                assert_eq!(y.as_slice::<f32>()[row * 8195 + i].to_bits(), e.to_bits());
                let l = (x - max) - scalar::log(sum);
                assert_eq!(log.as_slice::<f32>()[row * 8195 + i].to_bits(), l.to_bits());
            }
        }
    }

    #[test]
    fn the_axis_does_not_change_bits() {
        let x = noise(&[3, 5, 2], 2);
        let y = output("Softmax", &Attrs::new().with_int("axis", 1), &[&x]);
        for (a, c) in [(0, 0), (1, 1), (2, 0)] {
            let at = |i: usize| a * 10 + i * 2 + c;
            let row: Vec<f32> = (0..5).map(|i| x.as_slice::<f32>()[at(i)]).collect();
            let row = output("Softmax", &Attrs::new(), &[&Tensor::from_slice(&[5], &row)]);
            for i in 0..5 {
                assert_eq!(y.as_slice::<f32>()[at(i)].to_bits(), row.as_slice::<f32>()[i].to_bits());
            }
        }
    }

    #[test]
    fn edges() {
        let inf = f32::INFINITY;
        let soft = |row: &[f32]| output("Softmax", &Attrs::new(), &[&Tensor::from_slice(&[row.len()], row)]);
        assert_bits(&soft(&[0.0, -inf]), &[2], &[1.0f32, 0.0]);
        assert_bits(&soft(&[-inf, -inf]), &[2], &[crate::dtype::NAN_F32; 2]);
        assert_bits(&soft(&[1.0, f32::from_bits(0xffff_ffff)]), &[2], &[crate::dtype::NAN_F32; 2]);
        assert_bits::<f32>(&soft(&[]), &[0], &[]);
        let half = Tensor::from_slice(&[2], &[half::f16::ONE; 2]);
        assert_bits(&output("Softmax", &Attrs::new(), &[&half]), &[2], &[half::f16::from_f32(0.5); 2]);
        assert!(run("Softmax", &Attrs::new().with_int("axis", 1), &[&half]).is_err());
        assert!(run("Softmax", &Attrs::new(), &[&Tensor::scalar(1i32)]).is_err());
    }
}
