//! BitwiseNot: bitwise negation of integers.

use super::elementwise::{INTS, infer_unary};
use super::integers::IntUnary;
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};

pub static DEF: OpDef = OpDef {
    id: 111,
    name: "BitwiseNot",
    version: 1,
    doc: "Y = every bit of X turned. Source: ONNX BitwiseNot-18.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(None),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &INTS),
    eval: |ctx: &EvalCtx<'_>| IntUnary::Not.eval(ctx.input(0)).map(|y| vec![y]),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = Tensor::from_slice(&[2], &[0i16, 5]);
        assert_eq!(run("BitwiseNot", Attrs::new(), &[&x]).as_slice::<i16>(), [-1, -6]);
    }
}
