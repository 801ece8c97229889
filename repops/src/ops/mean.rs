//! Mean: the mean of the inputs.

use super::elementwise::{FLOATS, float_fold, infer_broadcast};

use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::BinaryOp;

pub static DEF: OpDef = OpDef {
    id: 138,
    name: "Mean",
    version: 1,
    doc: "The inputs' sum as in Sum, divided by their number with one rounded division; f16 and bf16 in \
          f32, rounded once. Source: ONNX Mean-6, -8, -13.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(None),
    infer: |ctx: &InferCtx<'_>| infer_broadcast(ctx, &FLOATS),
    eval: |ctx: &EvalCtx<'_>| float_fold(ctx, BinaryOp::Add, Some(ctx.inputs.len())),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "Mean",
            &Attrs::new(),
            &[
                (0x3f80_0000, 0x4000_0000, 0x3fc0_0000),
                (0x7f80_0000, 0xff80_0000, 0x7fc0_0000),
                (0x8000_0000, 0x8000_0000, 0x8000_0000),
                (0x7f7f_ffff, 0x7f7f_ffff, 0x7f80_0000),
            ],
        );
    }

    #[test]
    fn of_three() {
        let x = |v: f32| Tensor::scalar(v);
        let y = run("Mean", Attrs::new(), &[&x(1.0), &x(0.0), &x(0.0)]);
        assert_eq!(y.as_slice::<f32>()[0].to_bits(), 0x3eaa_aaab);
    }
}
