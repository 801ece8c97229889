//! Sequences: SequenceConstruct, SequenceEmpty, SequenceInsert, SequenceErase, SequenceAt, SequenceLength,
//! SplitToSequence and ConcatFromSequence.
//!
//! A sequence is a packed value (SPEC.md, 1.2). Positions count from the back when negative; one out of range is fault 2.

use super::strings::{apply, known, packed};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::packed::Value;
use crate::tensor::{Tensor, TensorView};

pub static CONSTRUCT: OpDef = OpDef {
    id: 760,
    name: "SequenceConstruct",
    version: 1,
    doc: "The sequence of the inputs. Source: ONNX SequenceConstruct-11.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| {
        (0..ctx.inputs.len()).try_for_each(|index| ctx.input(index).map(|_| ()))?;
        Ok(vec![packed(ctx)])
    },
    eval: |ctx| {
        let values = (0..ctx.inputs.len()).map(|index| Ok(Value::of_view(ctx.input(index))?));
        Ok(vec![Value::Sequence(values.collect::<Result<_, OpError>>()?).into_tensor()])
    },
};

pub static EMPTY: OpDef = OpDef {
    id: 761,
    name: "SequenceEmpty",
    version: 1,
    doc: "The sequence of nothing. Source: ONNX SequenceEmpty-11.",
    inputs: Arity::exactly(0),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "dtype",
        AttrKind::Int,
        || AttrValue::Int(1),
        "The elements' type, which an empty sequence does not hold.",
    )],
    class: OpClass::General,
    infer: |ctx| Ok(vec![packed(ctx)]),
    eval: |_| Ok(vec![Value::Sequence(Vec::new()).into_tensor()]),
};

pub static INSERT: OpDef = OpDef {
    id: 762,
    name: "SequenceInsert",
    version: 1,
    doc: "The sequence with a value put in before the position, -n to n of n values; at the end without one. Source: \
          ONNX SequenceInsert-11.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: infer_sequence,
    eval: |ctx| {
        let mut values = sequence(ctx)?;
        let at = position(ctx.optional(2), values.len(), values.len(), values.len() + 1)?;
        values.insert(at, Value::of_view(ctx.input(1))?);
        Ok(vec![Value::Sequence(values).into_tensor()])
    },
};

pub static ERASE: OpDef = OpDef {
    id: 763,
    name: "SequenceErase",
    version: 1,
    doc: "The sequence without the value at the position, -n to n - 1; without the last when it is not given. Source: \
          ONNX SequenceErase-11.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: infer_sequence,
    eval: |ctx| {
        let mut values = sequence(ctx)?;
        let last = values.len().checked_sub(1).ok_or(Fault::IndexOutOfRange)?;
        values.remove(position(ctx.optional(1), last, values.len(), values.len())?);
        Ok(vec![Value::Sequence(values).into_tensor()])
    },
};

pub static AT: OpDef = OpDef {
    id: 764,
    name: "SequenceAt",
    version: 1,
    doc: "The value at the position, -n to n - 1. Source: ONNX SequenceAt-11.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| {
        let values = known(ctx, 0)?.sequence()?;
        let at = position(Some(tensor(ctx, 1)?), 0, values.len(), values.len())?;
        Ok(vec![of_value(ctx, &values[at])])
    },
    eval: |ctx| {
        let mut values = sequence(ctx)?;
        let at = position(Some(ctx.input(1)), 0, values.len(), values.len())?;
        Ok(vec![values.swap_remove(at).into_tensor()])
    },
};

pub static LENGTH: OpDef = OpDef {
    id: 765,
    name: "SequenceLength",
    version: 1,
    doc: "The number of values, an i64 scalar. Source: ONNX SequenceLength-11.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| {
        ctx.require_same(0, DType::Packed)?;
        Ok(vec![Inferred::new(DType::I64, Vec::new())])
    },
    eval: |ctx| Ok(vec![Tensor::scalar(sequence(ctx)?.len() as i64)]),
};

pub static SPLIT: OpDef = OpDef {
    id: 766,
    name: "SplitToSequence",
    version: 1,
    doc: "X cut along axis: into pieces of extent 1 without split, which lose the axis where keepdims is 0; of the \
          extent that a scalar split says, the last perhaps smaller; or of the extents that a vector says, whose sum is \
          the axis's. Extents above 0, in a vector 0 as well. Source: ONNX SplitToSequence-11, -24.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "The axis."),
        AttrDef::default(
            "keepdims",
            AttrKind::Int,
            || AttrValue::Int(1),
            "Whether pieces of extent 1 keep it.",
        ),
    ],
    class: OpClass::General,
    infer: |ctx| Ok(vec![packed(ctx)]),
    eval: split,
};

pub static CONCAT: OpDef = OpDef {
    id: 767,
    name: "ConcatFromSequence",
    version: 1,
    doc: "The values of a sequence, one at least, as Concat along axis; with new_axis 1 along an axis put in there. \
          Source: ONNX ConcatFromSequence-11.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("axis", AttrKind::Int, "The axis."),
        AttrDef::default("new_axis", AttrKind::Int, || AttrValue::Int(0), "Whether it is a new one."),
    ],
    class: OpClass::General,
    infer: |ctx| {
        let joined = join(known(ctx, 0)?.sequence()?, ctx.attrs)?;
        Ok(vec![of_value(ctx, &Value::of(&joined)?)])
    },
    eval: |ctx| Ok(vec![join(sequence(ctx)?, ctx.attrs)?]),
};

fn infer_sequence(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::Packed)?;
    Ok(vec![packed(ctx)])
}

/// The type of a value.
pub(super) fn of_value(ctx: &InferCtx<'_>, value: &Value) -> Inferred {
    match value {
        Value::Tensor(tensor) => Inferred { ty: SymType::of(tensor.dtype(), tensor.shape()), sym: None },
        _ => packed(ctx),
    }
}

fn tensor<'a>(ctx: &InferCtx<'a>, index: usize) -> Result<TensorView<'a>, OpError> {
    ctx.input(index)?.tensor.ok_or(OpError::ValueUnknown { index })
}

fn sequence(ctx: &EvalCtx<'_>) -> Result<Vec<Value>, OpError> {
    Ok(Value::of_view(ctx.input(0))?.sequence()?)
}

/// A position below `end`, negative ones counted from the end of `len` values; `absent` when it is not given.
fn position(given: Option<TensorView<'_>>, absent: usize, len: usize, end: usize) -> Result<usize, OpError> {
    let Some(given) = given else { return Ok(absent) };
    let values = given.to_i64s().filter(|values| values.len() == 1);
    let at = values.ok_or_else(|| OpError::shape("a position is one integer"))?[0];
    let at = if at < 0 { at.saturating_add(len as i64) } else { at };
    usize::try_from(at).ok().filter(|at| *at < end).ok_or(OpError::Fault(Fault::IndexOutOfRange))
}

fn split(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0).to_tensor()?;
    let shape = match Value::of(&x)? {
        Value::Strings(strings) => strings.shape,
        Value::Tensor(tensor) => tensor.shape().to_vec(),
        other => return Err(OpError::shape(format!("{} cannot be split", other.kind()))),
    };
    let axis = super::infer::normalize_axis(ctx.attrs.int("axis"), shape.len()).map_err(OpError::shape)?;
    let extent = shape[axis];
    let sizes: Vec<usize> = match ctx.optional(1) {
        None => vec![1; extent],
        Some(split) => {
            let values = split.to_i64s().ok_or_else(|| OpError::shape("split is of integers"))?;
            let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
            match (split.shape, sizes.as_deref()) {
                ([], Some(&[size])) if size > 0 => {
                    (0..extent.div_ceil(size)).map(|piece| size.min(extent - piece * size)).collect()
                }
                ([_], Some(sizes))
                    if sizes.iter().try_fold(0, |a: usize, b| a.checked_add(*b)) == Some(extent) =>
                {
                    sizes.to_vec()
                }
                _ => {
                    return Err(OpError::shape(format!(
                        "split {values:?} does not fit an extent of {extent}"
                    )));
                }
            }
        }
    };
    let squeeze = ctx.optional(1).is_none() && ctx.attrs.int("keepdims") == 0;
    let axes = Tensor::from_slice(&[1], &[axis as i64]);
    let mut values = Vec::new();
    let mut start = 0;
    for size in sizes {
        let [from, to] = [start, start + size].map(|at| Tensor::from_slice(&[1], &[at as i64]));
        let mut piece = apply("Slice", Attrs::new(), &[&x, &from, &to, &axes])?;
        if squeeze {
            piece = apply("Squeeze", Attrs::new(), &[&piece, &axes])?;
        }
        values.push(Value::of(&piece)?);
        start += size;
    }
    Ok(vec![Value::Sequence(values).into_tensor()])
}

fn join(values: Vec<Value>, attrs: &Attrs) -> Result<Tensor, OpError> {
    let axis = attrs.int("axis");
    let mut parts = Vec::with_capacity(values.len());
    for value in values {
        let mut part = value.into_tensor();
        if attrs.int("new_axis") != 0 {
            part = apply("Unsqueeze", Attrs::new(), &[&part, &Tensor::from_slice(&[1], &[axis])])?;
        }
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(OpError::Fault(Fault::BadShape));
    }
    apply("Concat", Attrs::new().with_int("axis", axis), &parts.iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, run_outputs, try_run};
    use crate::packed::Strings;

    fn vector(values: &[f32]) -> Tensor {
        Tensor::from_slice(&[values.len()], values)
    }

    fn at(position: i64) -> Tensor {
        Tensor::scalar(position)
    }

    #[test]
    fn values_are_put_in_and_taken_out() {
        let (a, b, c) = (vector(&[1.0]), vector(&[2.0, 3.0]), vector(&[]));
        let two = run("SequenceConstruct", Attrs::new(), &[&a, &b]);
        let length = |s: &Tensor| run("SequenceLength", Attrs::new(), &[s]).as_slice::<i64>()[0];
        assert_eq!(length(&two), 2);
        assert!(run_outputs("SequenceConstruct", Attrs::new(), &[Some(&a), None, Some(&b)], 1).is_err());
        let empty = run_outputs("SequenceEmpty", Attrs::new(), &[], 1).unwrap().remove(0);
        assert_eq!(length(&empty), 0);
        assert_eq!(
            run("SequenceInsert", Attrs::new(), &[&run("SequenceInsert", Attrs::new(), &[&empty, &a]), &b]),
            two
        );
        for (position, index) in [(0, 0), (1, 1), (2, 2), (-1, 1), (-2, 0)] {
            let three = run("SequenceInsert", Attrs::new(), &[&two, &c, &at(position)]);
            assert_eq!(run("SequenceAt", Attrs::new(), &[&three, &at(index)]), c, "{position}");
            assert_eq!(run("SequenceErase", Attrs::new(), &[&three, &at(index)]), two);
        }
        assert_eq!(run("SequenceAt", Attrs::new(), &[&two, &at(-1)]), b);
        assert_eq!(length(&run("SequenceErase", Attrs::new(), &[&two])), 1);
        let out_of_range = Err(OpError::Fault(Fault::IndexOutOfRange));
        assert_eq!(try_run("SequenceAt", Attrs::new(), &[&two, &at(2)]), out_of_range);
        assert_eq!(try_run("SequenceAt", Attrs::new(), &[&two, &at(i64::MIN)]), out_of_range);
        assert_eq!(try_run("SequenceInsert", Attrs::new(), &[&two, &a, &at(3)]), out_of_range);
        assert_eq!(try_run("SequenceInsert", Attrs::new(), &[&two, &a, &at(-3)]), out_of_range);
        assert_eq!(try_run("SequenceErase", Attrs::new(), &[&empty]), out_of_range);
        assert!(try_run("SequenceLength", Attrs::new(), &[&a]).is_err());
    }

    #[test]
    fn tensors_are_cut_and_joined() {
        let x = Tensor::from_slice(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        let axis = |axis: i64| Attrs::new().with_int("axis", axis);
        let join = |s: &Tensor, attrs: Attrs| run("ConcatFromSequence", attrs, &[s]);
        let pieces = run("SplitToSequence", axis(1), &[&x, &at(2)]);
        assert_eq!(run("SequenceAt", Attrs::new(), &[&pieces, &at(1)]).as_slice::<i32>(), [3, 6]);
        assert_eq!(join(&pieces, axis(1)), x);
        let sizes = Tensor::from_slice(&[3], &[0i64, 1, 2]);
        assert_eq!(join(&run("SplitToSequence", axis(-1), &[&x, &sizes]), axis(1)), x);
        let rows = run("SplitToSequence", axis(0).with_int("keepdims", 0), &[&x]);
        assert_eq!(run("SequenceAt", Attrs::new(), &[&rows, &at(0)]).shape(), [3]);
        assert_eq!(join(&rows, axis(0).with_int("new_axis", 1)), x);
        assert_eq!(join(&rows, axis(-1).with_int("new_axis", 1)), run("Transpose", Attrs::new(), &[&x]));
        for wrong in [at(0), at(-1), Tensor::from_slice(&[2], &[1i64, 1])] {
            assert!(try_run("SplitToSequence", axis(1), &[&x, &wrong]).is_err());
        }
        let text = Strings::new(&[2], ["a", "b"]).into_tensor();
        assert_eq!(join(&run("SplitToSequence", axis(0), &[&text]), axis(0)), text);
        let empty = Value::Sequence(Vec::new()).into_tensor();
        assert!(try_run("ConcatFromSequence", axis(0), &[&empty]).is_err());
    }
}
