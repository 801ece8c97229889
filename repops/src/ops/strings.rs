//! Strings in operators that move and compare elements: Gather, Concat, Reshape, Where, Equal, Unique ...
//!
//! Such an operator cannot tell strings from numbers that stand for them. So it is given numbers: every string of the
//! inputs is replaced by its place among all of them in the order of their bytes, the empty string being 0. What it
//! gives is turned back. Operators that take packed values by themselves see them as they are; all others refuse them.

use std::collections::{BTreeMap, BTreeSet};

use super::{EvalCtx, InferCtx, InferInput, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::{AttrValue, Attrs};
use crate::dtype::DType;
use crate::packed::{Strings, Value};
use crate::tensor::{Tensor, TensorView};

/// Operators that know packed values.
const TAKES_PACKED: [&str; 17] = [
    "Identity",
    "LabelEncoder",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "CastFromString",
    "ConcatFromSequence",
    "RegexFullMatch",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
];

/// What stands for a string.
const NUMBER: DType = DType::U64;

/// Whether the operator with these attributes compares and moves elements, and does nothing else.
fn moves(def: &OpDef, attrs: &Attrs) -> bool {
    let says = |name: &str, value: &str| attrs.get(name) == Some(&AttrValue::Str(value.to_string()));
    match def.name {
        "Where" | "Equal" | "Unique" | "Shape" | "Size" | "NonZero" | "OneHot" => true,
        "ScatterElements" | "ScatterND" => says("reduction", "none"),
        "Resize" => says("mode", "nearest") && !says("coordinate_transformation_mode", "tf_crop_and_resize"),
        _ => matches!(def.class, OpClass::Movement | OpClass::View),
    }
}

fn refused(inputs: impl Iterator<Item = Option<DType>>) -> OpError {
    let index = inputs.into_iter().position(|dtype| dtype == Some(DType::Packed)).unwrap_or(0);
    OpError::DType { index, found: DType::Packed, expected: "a tensor of numbers" }
}

/// Inference where an input is packed.
pub(super) fn infer(def: &OpDef, ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    if TAKES_PACKED.contains(&def.name) || matches!(def.class, OpClass::Control) {
        return (def.infer)(ctx);
    }
    if !moves(def, ctx.attrs) {
        return Err(refused(ctx.inputs.iter().map(|input| input.map(|input| input.ty.dtype))));
    }
    let mut views = Vec::with_capacity(ctx.inputs.len());
    for (index, input) in ctx.inputs.iter().enumerate() {
        let is_packed = input.is_some_and(|input| input.ty.dtype == DType::Packed);
        let tensor = input.and_then(|input| input.tensor).filter(|_| is_packed);
        if is_packed && tensor.is_none() {
            return Err(OpError::ValueUnknown { index });
        }
        views.push(tensor);
    }
    let (numbers, _) = numbered(&views)?;
    let types: Vec<Option<SymType>> =
        numbers.iter().map(|n| n.as_ref().map(|n| SymType::of(NUMBER, n.shape()))).collect();
    let inputs: Vec<Option<InferInput<'_>>> = ctx
        .inputs
        .iter()
        .zip(numbers.iter().zip(&types))
        .map(|(input, (number, ty))| match (number, ty) {
            (Some(number), Some(ty)) => Some(InferInput { ty, tensor: Some(number.view()), sym: None }),
            _ => *input,
        })
        .collect();
    let ctx = InferCtx { inputs: &inputs, ..*ctx };
    let mut inferred = (def.infer)(&ctx)?;
    for output in inferred.iter_mut().filter(|output| output.ty.dtype == NUMBER) {
        *output = packed(&ctx);
    }
    Ok(inferred)
}

/// Evaluation where an input is packed.
pub(super) fn evaluate(def: &OpDef, ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    if TAKES_PACKED.contains(&def.name) {
        return (def.eval)(ctx);
    }
    if !moves(def, ctx.attrs) {
        return Err(refused(ctx.inputs.iter().map(|input| input.map(|input| input.dtype))));
    }
    let packed =
        |input: &Option<TensorView<'_>>| input.filter(|input| input.dtype == DType::Packed).is_some();
    let views: Vec<_> = ctx.inputs.iter().map(|input| input.filter(|_| packed(input))).collect();
    let (numbers, strings) = numbered(&views)?;
    let inputs: Vec<Option<TensorView<'_>>> = ctx
        .inputs
        .iter()
        .zip(&numbers)
        .map(|(input, number)| number.as_ref().map(Tensor::view).or(*input))
        .collect();
    let outputs = (def.eval)(&EvalCtx { inputs: &inputs, ..*ctx })?;
    let named = |output: Tensor| {
        if output.dtype() != NUMBER {
            return output;
        }
        let values = output.as_slice::<u64>().iter().map(|&number| strings[number as usize].clone());
        Strings::new(output.shape(), values).into_tensor()
    };
    Ok(outputs.into_iter().map(named).collect())
}

/// Numbers for the strings in each input that is given, and the strings by number.
fn numbered(inputs: &[Option<TensorView<'_>>]) -> Result<(Vec<Option<Tensor>>, Vec<String>), OpError> {
    let mut decoded = Vec::with_capacity(inputs.len());
    for input in inputs {
        decoded.push(input.map(|view| strings_of(view)).transpose()?);
    }
    let all = decoded.iter().flatten().flat_map(|strings| strings.values.iter().map(String::as_str));
    let distinct: BTreeSet<&str> = all.chain([""]).collect();
    let numbers: BTreeMap<&str, u64> = distinct.iter().copied().zip(0..).collect();
    let number = |strings: &Strings| {
        let numbers: Vec<u64> = strings.values.iter().map(|value| numbers[value.as_str()]).collect();
        Tensor::from_slice(&strings.shape, &numbers)
    };
    let tensors = decoded.iter().map(|strings| strings.as_ref().map(number)).collect();
    Ok((tensors, distinct.iter().map(|value| value.to_string()).collect()))
}

/// The strings that a tensor packs.
pub(super) fn strings_of(view: TensorView<'_>) -> Result<Strings, OpError> {
    Ok(Value::of_view(view)?.strings()?)
}

/// A packed output: how long it is follows from data.
pub(super) fn packed(ctx: &InferCtx<'_>) -> Inferred {
    Inferred::new(DType::Packed, vec![ctx.fresh_dim()])
}

/// The value of an input, where inference has it.
pub(super) fn known(ctx: &InferCtx<'_>, index: usize) -> Result<Value, OpError> {
    let tensor = ctx.input(index)?.tensor.ok_or(OpError::ValueUnknown { index })?;
    Ok(Value::of_view(tensor)?)
}

/// An operator of the table on tensors, as a step of another.
pub(super) fn apply(name: &str, attrs: Attrs, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
    let def = super::by_name(name).expect("a row of the table");
    let attrs = def.check_attrs(&attrs)?;
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|tensor| Some(tensor.view())).collect();
    super::infer_known(def, &attrs, &views, 1)?;
    Ok(def.evaluate(&EvalCtx { attrs: &attrs, inputs: &views, outputs: 1 })?.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, run_outputs, try_run};

    fn strings(shape: &[usize], values: &[&str]) -> Tensor {
        Strings::new(shape, values.iter().copied()).into_tensor()
    }

    #[test]
    fn strings_are_moved_and_compared() {
        let x = strings(&[2, 2], &["b", "", "é", "b"]);
        let rows = Tensor::from_slice(&[1], &[1i64]);
        assert_eq!(run("Gather", Attrs::new(), &[&x, &rows]), strings(&[1, 2], &["é", "b"]));
        assert_eq!(run("Transpose", Attrs::new(), &[&x]), strings(&[2, 2], &["b", "é", "", "b"]));
        let flat = Tensor::from_slice(&[1], &[-1i64]);
        assert_eq!(run("Reshape", Attrs::new(), &[&x, &flat]), strings(&[4], &["b", "", "é", "b"]));
        let y = strings(&[2], &["b", "x"]);
        let joined = run("Concat", Attrs::new().with_int("axis", 0), &[&y, &y]);
        assert_eq!(joined, strings(&[4], &["b", "x", "b", "x"]));
        assert_eq!(run("Equal", Attrs::new(), &[&x, &y]).bytes(), [1, 0, 0, 0]);
        let which = Tensor::from_bools(&[2], &[true, false]);
        assert_eq!(run("Where", Attrs::new(), &[&which, &y, &x]), strings(&[2, 2], &["b", "", "b", "b"]));
        assert_eq!(run("Shape", Attrs::new(), &[&x]).as_slice::<i64>(), [2, 2]);
        let pads = Tensor::from_slice(&[2], &[0i64, 1]);
        assert_eq!(run("Pad", Attrs::new(), &[&y, &pads]), strings(&[3], &["b", "x", ""]));
        let unique = run_outputs("Unique", Attrs::new(), &[Some(&x)], 4).unwrap();
        assert_eq!(unique[0], strings(&[3], &["", "b", "é"]));
        assert_eq!(unique[3].as_slice::<i64>(), [1, 2, 1]);
        assert_eq!(run("Identity", Attrs::new(), &[&x]), x);
        let at = Tensor::from_slice(&[1, 1], &[1i64]);
        let row = strings(&[1, 2], &["n", "m"]);
        assert_eq!(run("ScatterND", Attrs::new(), &[&x, &at, &row]), strings(&[2, 2], &["b", "", "n", "m"]));
        let one = strings(&[1, 1], &["n"]);
        let scattered = run("ScatterElements", Attrs::new(), &[&x, &at, &one]);
        assert_eq!(scattered, strings(&[2, 2], &["b", "", "n", "b"]));
        assert_eq!(run("NonZero", Attrs::new(), &[&y]).as_slice::<i64>(), [0, 1]);
        assert_eq!(run("NonZero", Attrs::new(), &[&x]).as_slice::<i64>(), [0, 1, 1, 0, 0, 1]);
        let depth = Tensor::from_slice(&[], &[2i64]);
        let hot = run("OneHot", Attrs::new(), &[&rows, &depth, &y]);
        assert_eq!(hot, strings(&[1, 2], &["b", "x"]));
    }

    #[test]
    fn other_operators_refuse_them() {
        let x = strings(&[1], &["x"]);
        let refused = try_run("Add", Attrs::new(), &[&x, &x]);
        assert!(matches!(refused, Err(OpError::DType { index: 0, found: DType::Packed, .. })), "{refused:?}");
        let add = Attrs::new().with_str("reduction", "add");
        let at = Tensor::from_slice(&[1], &[0i64]);
        assert!(try_run("ScatterElements", add, &[&x, &at, &x]).is_err(), "numbers of strings are not added");
        let y = Tensor::from_slice(&[1], &[1.0f32]);
        assert!(try_run("Concat", Attrs::new().with_int("axis", 0), &[&x, &y]).is_err());
        let sequence = Value::Sequence(Vec::new()).into_tensor();
        assert!(matches!(try_run("Shape", Attrs::new(), &[&sequence]), Err(OpError::Packed(_))));
        let broken = Tensor::zeros(DType::Packed, &[3]).unwrap();
        assert!(try_run("Shape", Attrs::new(), &[&broken]).is_err());
    }
}
