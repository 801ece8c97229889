//! Slice: regular parts of a tensor.

use super::walk::{Walk, known_shape, pick};
use super::{Arity, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic};
use crate::dim::DimExpr;
use crate::ops::infer::normalize_axis;
use crate::tensor::{RANK_MAX, Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 218,
    name: "Slice",
    version: 1,
    doc: "Inputs data, starts, ends, axes (absent: 0, 1, ...), steps (absent: 1). Along each named axis: the \
          elements from start on, step apart, before end. Negative starts and ends count from the back; both \
          are then limited to the axis: to 0 .. extent for a positive step, to -1 .. extent - 1 for a \
          negative one. A step of 0 is refused. Source: ONNX Slice-1 to -13.",
    inputs: Arity::between(3, 5),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Movement,
    infer,
    eval,
};

/// One axis of a slice; sizes may be symbolic.
struct Part {
    axis: usize,
    start: DimExpr,
    end: DimExpr,
    step: i64,
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.shape(0)?;
    let parts = parts(ctx, from.len())?;
    let mut shape = from.to_vec();
    for part in &parts {
        let len = length(&from[part.axis], part);
        shape[part.axis] = len.unwrap_or_else(|| ctx.fresh_dim());
    }
    let sym = match parts.as_slice() {
        [] => ctx.sym(0),
        [part] => ctx.sym(0).and_then(|x| slice_value(&x, part)),
        _ => None,
    };
    Ok(vec![symbolic::with_value(Inferred::new(ctx.dtype(0)?, shape), sym)])
}

fn parts(ctx: &InferCtx<'_>, rank: usize) -> Result<Vec<Part>, OpError> {
    let (starts, ends) = (ctx.dims(1)?, ctx.dims(2)?);
    let axes = match ctx.optional(3) {
        Some(_) => ctx.ints(3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match ctx.optional(4) {
        Some(_) => ctx.ints(4)?,
        None => vec![1; starts.len()],
    };
    if starts.len() > RANK_MAX || [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(OpError::shape("starts, ends, axes and steps of Slice differ in length"));
    }
    super::walk::axes_of(&axes, rank)?;
    let rows = axes.iter().zip(starts).zip(ends).zip(steps);
    rows.map(|(((&axis, start), end), step)| {
        if step == 0 {
            return Err(OpError::shape("a step of Slice is 0"));
        }
        let axis = normalize_axis(axis, rank).map_err(OpError::Shape)?;
        Ok(Part { axis, start, end, step })
    })
    .collect()
}

/// First index and number of elements along an axis of known extent.
pub(super) fn resolve(extent: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let from_back = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    let (start, end) = (from_back(start), from_back(end));
    let (start, end, span) = if step > 0 {
        let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
        (start, end, end - start)
    } else {
        let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
        (start, end, start - end)
    };
    debug_assert!(start >= -1 && end >= -1);
    let count = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as i64 };
    (start, count)
}

/// The number of elements along an axis, when it can be said.
fn length(extent: &DimExpr, part: &Part) -> Option<DimExpr> {
    let Part { start, end, step, .. } = part;
    if let (Some(extent), Some(start), Some(end)) = (extent.as_const(), start.as_const(), end.as_const()) {
        return Some(DimExpr::Const(resolve(extent, start, end, *step).1));
    }
    let zero = DimExpr::Const(0);
    let positive = |d: &DimExpr| if d.is_nonnegative() { d.clone() } else { d.maximum(&zero) };
    // No extent is as large as this; exporters write such ends for "all".
    let beyond = |v: &DimExpr| v.as_const().is_some_and(|v| v >= i64::from(i32::MAX));
    if *step < 0 {
        let from_last = start.as_const() == Some(-1) || beyond(start);
        let to_first = end.as_const().is_some_and(|v| v <= -i64::from(i32::MAX));
        return (from_last && to_first).then(|| extent.ceil_div(&DimExpr::Const(step.unsigned_abs() as i64)));
    }
    // Where a symbolic bound lies is certain when it is not negative, or a negative constant.
    let bound = |v: &DimExpr| match v.as_const() {
        Some(v) if v < 0 => Some(positive(&extent.add(&DimExpr::Const(v)))),
        Some(0) => Some(zero.clone()),
        _ if beyond(v) || v.provably_equals(extent) => Some(extent.clone()),
        _ if v.is_nonnegative() => Some(v.minimum(extent)),
        _ => None,
    };
    let (first, last) = (bound(start)?, bound(end)?);
    let span = match (start.as_const(), last == *extent) {
        // What is left behind a start: shorter forms of extent - min(start, extent) and its like.
        (Some(0), _) => last,
        (Some(back), true) if back < 0 => extent.minimum(&DimExpr::Const(back.checked_neg()?)),
        (_, true) if start.is_nonnegative() => positive(&extent.sub(start)),
        _ => positive(&last.sub(&first)),
    };
    Some(span.ceil_div(&DimExpr::Const(*step)))
}

/// A part of a value.
fn slice_value(x: &SymTensor, part: &Part) -> Option<SymTensor> {
    let extent = i64::try_from(x.len?).ok()?;
    let (start, count) = resolve(extent, part.start.as_const()?, part.end.as_const()?, part.step);
    let at = |i: i64| usize::try_from(start + i * part.step).ok();
    let elements = (0..count).map(|i| x.elements.get(at(i)?).cloned()).collect::<Option<Vec<_>>>()?;
    Some(SymTensor::vector(elements))
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let ints = |index| ctx.optional(index).and_then(|t| t.to_i64s());
    let (starts, ends) = (ints(1).unwrap_or_default(), ints(2).unwrap_or_default());
    let axes = ints(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = ints(4).unwrap_or_else(|| vec![1; starts.len()]);
    let mut strides: Vec<isize> = strides(x.shape).into_iter().map(|s| s as isize).collect();
    let mut offset = 0;
    for (((&axis, start), end), step) in axes.iter().zip(starts).zip(ends).zip(steps) {
        let axis = normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?;
        let (first, count) = resolve(x.shape[axis] as i64, start, end, step);
        if count as usize != shape[axis] {
            return Err(Fault::BadShape.into());
        }
        if count > 0 {
            offset += first as isize * strides[axis];
            // A single element needs no stride, however large the step is.
            strides[axis] = if count > 1 { strides[axis] * step as isize } else { 0 };
        }
    }
    Ok(vec![pick(x, &shape, Walk::new(&shape, strides, offset))?])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::attrs::Attrs;
    use crate::dtype::DType;
    use crate::ops::check::{run, run_outputs};
    use crate::ops::{InferInput, SymType, by_name};

    fn vector(values: &[i64]) -> Tensor {
        Tensor::from_slice(&[values.len()], values)
    }

    fn slice(
        x: &Tensor,
        starts: &[i64],
        ends: &[i64],
        axes: &[i64],
        steps: &[i64],
    ) -> Result<Tensor, OpError> {
        let args = [vector(starts), vector(ends), vector(axes), vector(steps)];
        let inputs = [Some(x), Some(&args[0]), Some(&args[1]), Some(&args[2]), Some(&args[3])];
        Ok(run_outputs("Slice", Attrs::new(), &inputs, 1)?.remove(0))
    }

    #[test]
    fn bounds_are_limited() {
        let x = Tensor::from_slice(&[4], &[10i64, 11, 12, 13]);
        let of =
            |start, end, step| slice(&x, &[start], &[end], &[0], &[step]).unwrap().as_slice::<i64>().to_vec();
        assert_eq!(of(1, 3, 1), [11, 12]);
        assert_eq!(of(-100, 100, 3), [10, 13]);
        assert_eq!(of(i64::MIN, i64::MAX, i64::MAX), [10]);
        assert_eq!(of(-1, i64::MIN, -1), [13, 12, 11, 10]);
        assert_eq!(of(i64::MAX, 0, -2), [13, 11]);
        assert_eq!(of(i64::MAX, i64::MIN, i64::MIN), [13]);
        assert_eq!(of(3, 1, 1), []);
        assert_eq!(of(0, 4, -1), []);
        assert!(slice(&x, &[0], &[1], &[0], &[0]).is_err());
        assert!(slice(&x, &[0], &[1], &[1], &[1]).is_err());
        assert!(slice(&x, &[0, 0], &[1, 1], &[0, -1], &[1, 1]).is_err());
        let empty = Tensor::from_slice::<u8>(&[0], &[]);
        assert_eq!(slice(&empty, &[-1], &[i64::MIN], &[0], &[-1]).unwrap().shape(), [0]);
    }

    #[test]
    fn two_axes_and_defaults() {
        let x = Tensor::from_slice(&[2, 3], &[1u8, 2, 3, 4, 5, 6]);
        let y = slice(&x, &[-1, 1], &[9, 3], &[1, 0], &[1, 1]).unwrap();
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[1, 1][..], &[6][..]));
        let y = run("Slice", Attrs::new(), &[&x, &vector(&[1]), &vector(&[2])]);
        assert_eq!(y.as_slice::<u8>(), [4, 5, 6]);
    }

    /// Lengths in terms of sizes agree with those of every binding.
    #[test]
    fn symbolic_lengths() {
        let attrs = Attrs::new();
        let s = DimExpr::sym("S");
        let ends =
            [DimExpr::Const(i64::MAX), s.clone(), s.add(&DimExpr::Const(2)), 5i64.into(), (-1i64).into()];
        for (end, start, step) in ends
            .iter()
            .flat_map(|e| (-3i64..4).flat_map(move |start| (1i64..3).map(move |step| (e, start, step))))
        {
            let part = Part { axis: 0, start: start.into(), end: end.clone(), step };
            let len = length(&s, &part).expect("these are known");
            for size in 0..9 {
                let bind = |d: &DimExpr| d.bind(&|_| Some(size)).as_const().unwrap();
                let expected = resolve(size, start, bind(end), step).1;
                assert_eq!(bind(&len), expected, "[{start}:{end}:{step}] of S = {size}: {len}");
            }
        }
        let part = |start: i64, end: DimExpr, step| Part { axis: 0, start: start.into(), end, step };
        let all = i64::MAX;
        assert_eq!(length(&s, &part(0, all.into(), 1)).unwrap().to_string(), "S");
        assert_eq!(length(&s, &part(-1, all.into(), 1)).unwrap().to_string(), "min(1, S)");
        assert_eq!(length(&s, &part(0, s.clone(), 2)).unwrap().to_string(), "-floordiv(-S, 2)");
        assert_eq!(length(&s, &part(-1, i64::MIN.into(), -1)).unwrap().to_string(), "S");
        assert!(length(&s, &part(5, s.sub(&DimExpr::Const(7)), 1)).is_none());
        // And the value of a vector of sizes.
        let ty = SymType::of(DType::I64, &[3]);
        let sym = SymTensor::vector(vec![s.clone(), 2i64.into(), s.clone()]);
        let data = InferInput { ty: &ty, tensor: None, sym: Some(&sym) };
        let (one, args) =
            (SymType::of(DType::I64, &[1]), [vector(&[-1]), vector(&[0]), vector(&[0]), vector(&[-2])]);
        let mut inputs = vec![Some(data)];
        inputs.extend(args.iter().map(|t| Some(InferInput { ty: &one, tensor: Some(t.view()), sym: None })));
        let ctx = InferCtx { attrs: &attrs, inputs: &inputs, outputs: 1, fresh: &Cell::new(0) };
        let y = by_name("Slice").unwrap().infer(&ctx).unwrap().remove(0);
        assert_eq!(y.sym, Some(SymTensor::vector(vec![s])));
    }

    proptest! {
        /// A tensor is what two slices of it say when concatenated.
        #[test]
        fn parts_concatenate(rows in 0usize..5, columns in 0usize..7, cut in -8i64..8, axis in 0i64..2) {
            let values: Vec<i64> = (0..(rows * columns) as i64).collect();
            let x = Tensor::from_slice(&[rows, columns], &values);
            let low = slice(&x, &[0], &[cut], &[axis], &[1]).unwrap();
            let high = slice(&x, &[cut], &[i64::MAX], &[axis], &[1]).unwrap();
            let y = run("Concat", Attrs::new().with_int("axis", axis), &[&low, &high]);
            prop_assert_eq!(y, x);
        }

        /// Reversing twice changes nothing, and slicing commutes with transposing.
        #[test]
        fn reverse_and_transpose(rows in 0usize..5, columns in 0usize..7, start in -6i64..6, step in 1i64..4) {
            let values: Vec<i64> = (0..(rows * columns) as i64).collect();
            let x = Tensor::from_slice(&[rows, columns], &values);
            let back = slice(&x, &[-1], &[i64::MIN], &[1], &[-1]).unwrap();
            prop_assert_eq!(&slice(&back, &[-1], &[i64::MIN], &[1], &[-1]).unwrap(), &x);
            let a = run("Transpose", Attrs::new(), &[&slice(&x, &[start], &[i64::MAX], &[0], &[step]).unwrap()]);
            let b = slice(&run("Transpose", Attrs::new(), &[&x]), &[start], &[i64::MAX], &[1], &[step]).unwrap();
            prop_assert_eq!(a, b);
        }
    }
}
