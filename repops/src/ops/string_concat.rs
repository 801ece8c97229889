//! StringConcat: strings joined pairwise.

use super::infer::broadcast_extents;
use super::strings::{packed, strings_of};
use super::walk::Walk;
use super::{Arity, EvalCtx, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::packed::Strings;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 771,
    name: "StringConcat",
    version: 1,
    doc: "Z = X followed by Y, strings, broadcast. Source: ONNX StringConcat-20.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| {
        ctx.require_same(0, DType::Packed)?;
        ctx.require_same(1, DType::Packed)?;
        Ok(vec![packed(ctx)])
    },
    eval,
};

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, y) = (strings_of(ctx.input(0))?, strings_of(ctx.input(1))?);
    let shape = broadcast_extents(&[&x.shape, &y.shape])?;
    // What is asked of memory before it is taken: a few bytes may broadcast to any number of strings.
    Strings::check_shape(&shape)?;
    let (left, right) = (Walk::broadcast(&x.shape, &shape), Walk::broadcast(&y.shape, &shape));
    let values =
        left.zip(right).take(element_count(&shape)).map(|(p, q)| format!("{}{}", x.values[p], y.values[q]));
    Ok(vec![Strings::new(&shape, values).into_tensor()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};

    #[test]
    fn strings_are_joined() {
        let strings =
            |shape: &[usize], values: &[&str]| Strings::new(shape, values.iter().copied()).into_tensor();
        let (x, y) = (strings(&[2, 1], &["a", "é"]), strings(&[2], &["", "x"]));
        assert_eq!(run("StringConcat", Attrs::new(), &[&x, &y]), strings(&[2, 2], &["a", "ax", "é", "éx"]));
        assert!(try_run("StringConcat", Attrs::new(), &[&y, &strings(&[3], &["", "", ""])]).is_err());
        assert!(try_run("StringConcat", Attrs::new(), &[&x, &Tensor::scalar(1.0f32)]).is_err());
    }
}
