//! Max: the largest.

use super::elementwise::{NUMBERS, float_fold, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::lane_op::{BinaryOp, LaneOp};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 137,
    name: "Max",
    version: 1,
    doc: "The largest of the inputs, broadcast, folded from the left: IEEE 754-2019 maximum, so NaN if any \
          is NaN, and +0 is above -0. Source: ONNX Max-6 to -13.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Max))),
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::fold(ctx, DimExpr::maximum);
    Ok(infer_broadcast(ctx, &NUMBERS)?.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    if ctx.input(0).dtype.is_float() {
        return float_fold(ctx, BinaryOp::Max, None);
    }
    let first = ctx.input(0).to_tensor()?;
    let fold = |y: Tensor, i| IntBinary::Max.eval(y.view(), ctx.input(i));
    Ok(vec![(1..ctx.inputs.len()).try_fold(first, fold)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "Max",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x0000_0000, 0x0000_0000),
                (0x0000_0000, 0x8000_0000, 0x0000_0000),
                (0x8000_0000, 0x8000_0000, 0x8000_0000),
                (0x7fc0_0000, 0x3f80_0000, 0x7fc0_0000),
                (0x3f80_0000, 0x7fc0_0000, 0x7fc0_0000),
                (0x7f80_0000, 0xff80_0000, 0x7f80_0000),
                (0x3f80_0000, 0x4000_0000, 0x4000_0000),
            ],
        );
    }

    #[test]
    fn many_integers_broadcast() {
        let inputs = [
            Tensor::scalar(3i8),
            Tensor::from_slice(&[2, 1], &[-1i8, 7]),
            Tensor::from_slice(&[2], &[4i8, 2]),
        ];
        let y = run("Max", Attrs::new(), &[&inputs[0], &inputs[1], &inputs[2]]);
        assert_eq!((y.shape(), y.as_slice::<i8>()), (&[2, 2][..], &[4, 3, 7, 7][..]));
        assert_eq!(run("Max", Attrs::new(), &[&inputs[2]]).as_slice::<i8>(), [4, 2]);
    }
}
