//! Optional, OptionalHasElement and OptionalGetElement: values that may be absent.

use super::strings::{known, packed};
use super::{Arity, Fault, Inferred, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::packed::Value;
use crate::tensor::Tensor;

pub static OPTIONAL: OpDef = OpDef {
    id: 768,
    name: "Optional",
    version: 1,
    doc: "The input as a value that may be absent; absent without an input. Source: ONNX Optional-15.",
    inputs: Arity::between(0, 1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| Ok(vec![packed(ctx)]),
    eval: |ctx| {
        let value = ctx.optional(0).map(|view| Value::of_view(view).map(Box::new)).transpose()?;
        Ok(vec![Value::Optional(value).into_tensor()])
    },
};

pub static HAS_ELEMENT: OpDef = OpDef {
    id: 769,
    name: "OptionalHasElement",
    version: 1,
    doc: "Whether there is a value: false without an input and for an absent value. Source: ONNX \
          OptionalHasElement-15, -18.",
    inputs: Arity::between(0, 1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |_| Ok(vec![Inferred::new(DType::Bool, Vec::new())]),
    eval: |ctx| {
        let has = match ctx.optional(0).map(Value::of_view).transpose()? {
            None | Some(Value::Optional(None)) => false,
            Some(_) => true,
        };
        Ok(vec![Tensor::from_bools(&[], &[has])])
    },
};

pub static GET_ELEMENT: OpDef = OpDef {
    id: 770,
    name: "OptionalGetElement",
    version: 1,
    doc: "The value that an optional one holds, fault 2 where it is absent; any other input as it is. Source: ONNX \
          OptionalGetElement-15, -18.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| match ctx.dtype(0)? {
        DType::Packed => Ok(vec![super::sequences::of_value(ctx, &held(known(ctx, 0)?)?)]),
        _ => Ok(vec![Inferred { ty: ctx.input(0)?.ty.clone(), sym: ctx.sym(0) }]),
    },
    eval: |ctx| Ok(vec![held(Value::of_view(ctx.input(0))?)?.into_tensor()]),
};

fn held(value: Value) -> Result<Value, OpError> {
    match value {
        Value::Optional(held) => held.map(|held| *held).ok_or(OpError::Fault(Fault::IndexOutOfRange)),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::check::{run, run_outputs, try_run};

    #[test]
    fn values_are_there_or_not() {
        let x = Tensor::from_slice(&[2], &[1.0f32, 2.0]);
        let some = run("Optional", Attrs::new(), &[&x]);
        let none = run_outputs("Optional", Attrs::new(), &[], 1).unwrap().remove(0);
        let has = |x: &Tensor| run("OptionalHasElement", Attrs::new(), &[x]).bytes() == [1];
        assert!(has(&some) && has(&x) && !has(&none));
        assert_eq!(run_outputs("OptionalHasElement", Attrs::new(), &[], 1).unwrap()[0].bytes(), [0]);
        assert_eq!(run("OptionalGetElement", Attrs::new(), &[&some]), x);
        assert_eq!(run("OptionalGetElement", Attrs::new(), &[&x]), x);
        let absent = try_run("OptionalGetElement", Attrs::new(), &[&none]);
        assert_eq!(absent, Err(OpError::Fault(Fault::IndexOutOfRange)));
        let sequence = run("SequenceConstruct", Attrs::new(), &[&x]);
        assert_eq!(run("OptionalGetElement", Attrs::new(), &[&sequence]), sequence);
        let nested = run("Optional", Attrs::new(), &[&sequence]);
        assert_eq!(run("OptionalGetElement", Attrs::new(), &[&nested]), sequence);
    }
}
