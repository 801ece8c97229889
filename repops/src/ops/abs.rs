//! Abs: the magnitude.

use super::elementwise::{NUMBERS, eval_lane_or_int1, infer_unary};
use super::integers::IntUnary;
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 100,
    name: "Abs",
    version: 1,
    doc: "Y = |X|: floats lose their sign bit; the least signed integer stays itself. Source: ONNX Abs-6, \
          -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Unary(UnaryOp::Abs))),
    infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &NUMBERS),
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int1(&DEF, ctx, IntUnary::Abs),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Abs",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x0000_0000),
                (0xff80_0000, 0x7f80_0000),
                (0x8000_0001, 0x0000_0001),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }

    #[test]
    fn the_least_integer_stays() {
        use crate::tensor::Tensor;
        let y = crate::ops::check::run("Abs", Attrs::new(), &[&Tensor::from_slice(&[3], &[i8::MIN, -1, 5])]);
        assert_eq!(y.as_slice::<i8>(), [i8::MIN, 1, 5]);
    }
}
