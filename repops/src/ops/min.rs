//! Min: the smallest.

use super::elementwise::{NUMBERS, float_fold, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dim::DimExpr;
use crate::lane_op::{BinaryOp, LaneOp};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 139,
    name: "Min",
    version: 1,
    doc: "The smallest of the inputs, broadcast, folded from the left: IEEE 754-2019 minimum, so NaN if any \
          is NaN, and -0 is below +0. Source: ONNX Min-6 to -13.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Min))),
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::fold(ctx, DimExpr::minimum);
    Ok(infer_broadcast(ctx, &NUMBERS)?.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    if ctx.input(0).dtype.is_float() {
        return float_fold(ctx, BinaryOp::Min, None);
    }
    let first = ctx.input(0).to_tensor()?;
    let fold = |y: Tensor, i| IntBinary::Min.eval(y.view(), ctx.input(i));
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
            "Min",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x0000_0000, 0x8000_0000),
                (0x0000_0000, 0x8000_0000, 0x8000_0000),
                (0x0000_0000, 0x0000_0000, 0x0000_0000),
                (0x7fc0_0000, 0x3f80_0000, 0x7fc0_0000),
                (0x3f80_0000, 0x7fc0_0000, 0x7fc0_0000),
                (0x7f80_0000, 0xff80_0000, 0xff80_0000),
                (0x3f80_0000, 0x4000_0000, 0x3f80_0000),
            ],
        );
    }

    #[test]
    fn doubles() {
        let y = run("Min", Attrs::new(), &[&Tensor::scalar(0.0f64), &Tensor::scalar(-0.0f64)]);
        assert_eq!(y.as_slice::<f64>()[0].to_bits(), 1 << 63);
    }
}
