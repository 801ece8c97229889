//! Split: a tensor cut along an axis.

use super::walk::split_at_axis;
use super::{
    Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, infer_known,
    symbolic,
};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 220,
    name: "Split",
    version: 1,
    doc: "Consecutive parts of X along `axis`. Their extents are the i64 input `split`, whose sum is X's \
          extent; without it each has ceil(extent / number of outputs), and the last what remains. \
          `num_outputs`, if given, is the number of outputs. Source: ONNX Split-1 to -18.",
    inputs: Arity::between(1, 2),
    outputs: Arity::at_least(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "Negative: from the back."),
        AttrDef::optional("num_outputs", AttrKind::Int, "Checked against the number of outputs."),
    ],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let (dtype, from) = (ctx.dtype(0)?, ctx.shape(0)?);
    let axis = ctx.axis_attr("axis", from.len())?;
    if ctx.attrs.opt_int("num_outputs").is_some_and(|n| n != ctx.outputs as i64) {
        return Err(OpError::attr("num_outputs", format!("there are {} outputs", ctx.outputs)));
    }
    let sizes = match ctx.optional(1) {
        Some(_) => super::walk::checked_sizes(ctx.dims(1)?)?,
        None => equal_sizes(&from[axis], ctx.outputs)?,
    };
    let total = sizes.iter().fold(DimExpr::Const(0), |sum, d| sum.add(d));
    let fits = match (total.as_const(), from[axis].as_const()) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    if sizes.len() != ctx.outputs || !fits {
        return Err(OpError::shape(format!(
            "an axis of {} cannot be split into {} outputs of {total} together",
            from[axis], ctx.outputs
        )));
    }
    let value = ctx.sym(0).filter(|x| x.len.is_some());
    // Where the next part begins; unknown past a part of unknown length.
    let mut start = Some(0usize);
    let outputs = sizes.into_iter().map(|size| {
        let range = start.zip(size.as_extent()).and_then(|(at, len)| Some(at..at.checked_add(len)?));
        start = range.as_ref().map(|r| r.end);
        let part = range.and_then(|r| Some(SymTensor::vector(value.as_ref()?.elements.get(r)?.to_vec())));
        let mut shape = from.to_vec();
        shape[axis] = size;
        symbolic::with_value(Inferred::new(dtype, shape), part)
    });
    Ok(outputs.collect())
}

/// All parts ceil(extent / count), the last what remains.
fn equal_sizes(extent: &DimExpr, count: usize) -> Result<Vec<DimExpr>, OpError> {
    let part = extent.ceil_div(&DimExpr::from(count));
    let last = extent.sub(&part.mul(&DimExpr::from(count - 1)));
    if last.as_const().is_some_and(|d| d < 0) {
        return Err(OpError::shape(format!(
            "{extent} elements cannot be split into {count} parts of {part}"
        )));
    }
    let mut sizes = vec![part; count - 1];
    sizes.push(last);
    Ok(sizes)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let axis = super::infer::normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::Shape)?;
    let (outer, extent, inner) = split_at_axis(x.shape, axis);
    let row = inner * x.dtype.size();
    let mut start = 0;
    let mut outputs = Vec::with_capacity(ctx.outputs);
    for inferred in infer_known(&DEF, ctx.attrs, ctx.inputs, ctx.outputs)? {
        let shape = inferred.ty.extents().ok_or(Fault::BadShape)?;
        let mut y = Tensor::zeros(x.dtype, &shape)?;
        let run = shape[axis] * row;
        for at in 0..outer {
            y.bytes_mut()[at * run..][..run]
                .copy_from_slice(&x.bytes[at * extent * row + start * row..][..run]);
        }
        start += shape[axis];
        outputs.push(y);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::attrs::Attrs;
    use crate::ops::OpError;
    use crate::ops::check::{run, run_outputs};
    use crate::tensor::Tensor;

    fn split(x: &Tensor, axis: i64, sizes: Option<&[i64]>, outputs: usize) -> Result<Vec<Tensor>, OpError> {
        let sizes = sizes.map(|s| Tensor::from_slice(&[s.len()], s));
        run_outputs("Split", Attrs::new().with_int("axis", axis), &[Some(x), sizes.as_ref()], outputs)
    }

    #[test]
    fn given_sizes() {
        let x = Tensor::from_slice(&[2, 3], &[1u8, 2, 3, 4, 5, 6]);
        let parts = split(&x, -1, Some(&[1, 0, 2]), 3).unwrap();
        assert_eq!(parts[0].as_slice::<u8>(), [1, 4]);
        assert_eq!(parts[1].shape(), [2, 0]);
        assert_eq!(parts[2].as_slice::<u8>(), [2, 3, 5, 6]);
        for bad in [&[1, 1][..], &[4, -1], &[3], &[i64::MAX, 3]] {
            assert!(split(&x, 1, Some(bad), 2).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn equal_parts_with_a_rest() {
        let x = Tensor::from_slice(&[7], &[0i64, 1, 2, 3, 4, 5, 6]);
        let parts = split(&x, 0, None, 3).unwrap();
        assert_eq!(
            parts.iter().map(|p| p.as_slice::<i64>().to_vec()).collect::<Vec<_>>(),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6]]
        );
        // Parts of two leave -1 for the last.
        assert!(split(&x, 0, None, 6).is_err());
        let attrs = Attrs::new().with_int("num_outputs", 3);
        assert!(run_outputs("Split", attrs, &[Some(&x)], 2).is_err());
    }

    proptest! {
        #[test]
        fn parts_concatenate(a in 0usize..4, b in 0usize..4, c in 0usize..4, other in 0usize..4, axis in 0i64..2) {
            let sum = a + b + c;
            let shape = if axis == 0 { [sum, other] } else { [other, sum] };
            let values: Vec<i16> = (0..(sum * other) as i16).collect();
            let x = Tensor::from_slice(&shape, &values);
            let sizes = [a as i64, b as i64, c as i64];
            let parts = split(&x, axis, Some(&sizes), 3).unwrap();
            let y = run("Concat", Attrs::new().with_int("axis", axis), &[&parts[0], &parts[1], &parts[2]]);
            prop_assert_eq!(y, x);
        }
    }
}
