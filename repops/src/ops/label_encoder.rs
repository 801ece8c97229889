//! LabelEncoder: what a table says of each element.

use std::collections::BTreeMap;

use super::strings::{apply, known, packed};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::Attrs;
use crate::dtype::DType;
use crate::packed::Value;
use crate::tensor::{Tensor, TensorView, byte_len};

pub static DEF: OpDef = OpDef {
    id: 774,
    name: "LabelEncoder",
    version: 1,
    doc: "Y[i] is the value beside the first key that equals X[i], or default where there is none. Inputs X (numbers, bools or \
          strings), keys (a vector of X's type), values (a vector as long, any type), default (one element of \
          the values' type). NaN equals NaN here, and -0 equals +0. Source: ai.onnx.ml LabelEncoder-2, -4.",
    inputs: Arity::exactly(4),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.dtype(0)?;
    ctx.require_same(1, dtype)?;
    let values = ctx.dtype(2)?;
    ctx.require_same(3, values)?;
    if values == DType::Packed {
        return Ok(vec![packed(ctx)]);
    }
    let shape = match dtype {
        DType::Packed => SymType::of(values, &known(ctx, 0)?.strings()?.shape).shape,
        _ => ctx.shape(0)?.to_vec(),
    };
    Ok(vec![Inferred::new(values, shape)])
}

/// Shape and elements, each as bytes that are equal where the elements are.
fn elements(view: TensorView<'_>) -> Result<(Vec<usize>, Vec<Vec<u8>>), OpError> {
    match Value::of_view(view)? {
        Value::Strings(strings) => {
            Ok((strings.shape, strings.values.into_iter().map(String::into_bytes).collect()))
        }
        Value::Tensor(tensor) => {
            let size = tensor.dtype().size();
            let minus_zero = match tensor.dtype().is_float() {
                true => (0..size).map(|byte| if byte + 1 == size { 0x80 } else { 0 }).collect(),
                false => Vec::new(),
            };
            let element = |bytes: &[u8]| if bytes == minus_zero { vec![0; size] } else { bytes.to_vec() };
            Ok((tensor.shape().to_vec(), tensor.bytes().chunks(size).map(element).collect()))
        }
        other => Err(OpError::shape(format!("{} has no elements to look up", other.kind()))),
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (shape, x) = elements(ctx.input(0))?;
    let (_, keys) = elements(ctx.input(1))?;
    let mut places: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (key, place) in keys.iter().zip(0..) {
        places.entry(key).or_insert(place);
    }
    let [values, default] = [2, 3].map(|index| ctx.input(index).to_tensor());
    let flat = Tensor::from_slice(&[1], &[-1i64]);
    let [values, default] =
        [values?, default?].map(|tensor| apply("Reshape", Attrs::new(), &[&tensor, &flat]));
    let table = apply("Concat", Attrs::new().with_int("axis", 0), &[&values?, &default?])?;
    let found: Vec<i64> =
        x.iter().map(|key| places.get(key.as_slice()).copied().unwrap_or(keys.len() as i64)).collect();
    // Of no elements the shape may still be one of too many bytes, had it some.
    byte_len(DType::I64, &shape)?;
    let indices = Tensor::from_slice(&shape, &found);
    // As many values as keys, and one default: else an index or a shape does not fit.
    let count = apply("Size", Attrs::new(), &[&table])?;
    if count.as_slice::<i64>() != [keys.len() as i64 + 1] {
        return Err(OpError::shape(format!("{} keys need as many values and one default", keys.len())));
    }
    Ok(vec![apply("Gather", Attrs::new(), &[&table, &indices])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};
    use crate::packed::Strings;

    #[test]
    fn elements_are_looked_up() {
        let strings = |values: &[&str]| Strings::new(&[values.len()], values.iter().copied()).into_tensor();
        let floats = |values: &[f32]| Tensor::from_slice(&[values.len()], values);
        let go =
            |x: &Tensor, k: &Tensor, v: &Tensor, d: &Tensor| run("LabelEncoder", Attrs::new(), &[x, k, v, d]);
        let numbers = Tensor::from_slice(&[3], &[1i64, 2, 3]);
        let found =
            go(&strings(&["b", "z", ""]), &strings(&["a", "b", "b"]), &numbers, &Tensor::scalar(-1i64));
        assert_eq!(found.as_slice::<i64>(), [2, -1, -1]);
        let keys = floats(&[f32::NAN, 0.0, 7.0]);
        let found =
            go(&floats(&[-0.0, f32::NAN, 1.0]), &keys, &strings(&["nan", "zero", "x"]), &strings(&["?"]));
        assert_eq!(found, strings(&["zero", "nan", "?"]));
        let wrong = [&keys, &keys, &strings(&["a"]), &strings(&["?"])];
        assert!(try_run("LabelEncoder", Attrs::new(), &wrong).is_err());
        assert!(try_run("LabelEncoder", Attrs::new(), &[&numbers, &keys, &keys, &keys]).is_err());
    }
}
