//! BitwiseAnd: bitwise and of integers.

use super::elementwise::{INTS, infer_broadcast};
use super::integers::IntBinary;
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};

pub static DEF: OpDef = OpDef {
    id: 110,
    name: "BitwiseAnd",
    version: 1,
    doc: "C = the bitwise and of A and B, broadcast. Source: ONNX BitwiseAnd-18.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(None),
    infer: |ctx: &InferCtx<'_>| infer_broadcast(ctx, &INTS),
    eval: |ctx: &EvalCtx<'_>| IntBinary::And.eval(ctx.input(0), ctx.input(1)).map(|y| vec![y]),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let (a, b) = (Tensor::scalar(0xccu8), Tensor::scalar(0xaau8));
        assert_eq!(run("BitwiseAnd", Attrs::new(), &[&a, &b]).as_slice::<u8>(), [0x88]);
    }
}
