//! Sum: the sum of the inputs.

use super::elementwise::{FLOATS, float_fold, infer_broadcast};

use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef};
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 161,
    name: "Sum",
    version: 1,
    doc: "The inputs' sum, broadcast: ((input 0 + input 1) + input 2) ..., each step rounded; f16 and bf16 \
          are summed in f32 and rounded once. Source: ONNX Sum-6, -8, -13.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Add))),
    infer: |ctx: &InferCtx<'_>| infer_broadcast(ctx, &FLOATS),
    eval: |ctx: &EvalCtx<'_>| float_fold(ctx, BinaryOp::Add, None),
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "Sum",
            &Attrs::new(),
            &[
                (0x3dcc_cccd, 0x3e4c_cccd, 0x3e99_999a),
                (0x7f80_0000, 0xff80_0000, 0x7fc0_0000),
                (0x8000_0000, 0x8000_0000, 0x8000_0000),
            ],
        );
    }

    #[test]
    fn from_the_left() {
        let x = |v: f32| Tensor::scalar(v);
        let y = run("Sum", Attrs::new(), &[&x(1e8), &x(-1e8), &x(1.0)]);
        assert_eq!(y.as_slice::<f32>()[0], 1.0);
        let y = run("Sum", Attrs::new(), &[&x(1.0), &x(1e8), &x(-1e8)]);
        assert_eq!(y.as_slice::<f32>()[0], 0.0);
        // 2048 + 1 + 1 is 2050 in f32; rounding each step to f16 would lose both ones.
        let h = |v: f32| Tensor::scalar(half::f16::from_f32(v));
        let y = run("Sum", Attrs::new(), &[&h(2048.0), &h(1.0), &h(1.0)]);
        assert_eq!(y.as_slice::<half::f16>()[0].to_f32(), 2050.0);
    }
}
