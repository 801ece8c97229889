//! Add: sums.

use super::elementwise::{NUMBERS, eval_lane_or_int2, infer_broadcast};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 103,
    name: "Add",
    version: 1,
    doc: "C = A + B, broadcast; one rounded addition, integers wrap. f16 and bf16 through f32. Source: ONNX \
          Add-7, -13, -14.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Add))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int2(&DEF, ctx, IntBinary::Add),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let sym = symbolic::map2(ctx, |a, b| Some(a.add(b)));
    Ok(infer_broadcast(ctx, &NUMBERS)?.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "Add",
            &Attrs::new(),
            &[
                (0x3dcc_cccd, 0x3e4c_cccd, 0x3e99_999a),
                (0x8000_0000, 0x8000_0000, 0x8000_0000),
                (0x8000_0000, 0x0000_0000, 0x0000_0000),
                (0x7f80_0000, 0xff80_0000, 0x7fc0_0000),
                (0x7f7f_ffff, 0x7f7f_ffff, 0x7f80_0000),
                (0x0000_0001, 0x0000_0001, 0x0000_0002),
                (0x7fc0_0000, 0x3f80_0000, 0x7fc0_0000),
            ],
        );
    }

    #[test]
    fn shapes_broadcast_and_integers_wrap() {
        let a = Tensor::from_slice(&[2, 1], &[250u8, 1]);
        let b = Tensor::from_slice(&[3], &[5u8, 6, 7]);
        let c = run("Add", Attrs::new(), &[&a, &b]);
        assert_eq!((c.shape(), c.as_slice::<u8>()), (&[2, 3][..], &[255, 0, 1, 6, 7, 8][..]));
    }

    #[test]
    fn half_precision_rounds_once() {
        // 2048 + 1 is a tie, which goes to the even 2048.
        let x = |v: f32| Tensor::scalar(half::f16::from_f32(v));
        let c = run("Add", Attrs::new(), &[&x(2048.0), &x(1.0)]);
        assert_eq!(c.as_slice::<half::f16>()[0].to_bits(), 0x6800);
        let c = run("Add", Attrs::new(), &[&Tensor::scalar(1e308f64), &Tensor::scalar(1e308f64)]);
        assert_eq!(c.as_slice::<f64>()[0].to_bits(), 0x7ff0_0000_0000_0000);
    }
}
