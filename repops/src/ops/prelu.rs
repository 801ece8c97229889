//! PRelu: negative elements are scaled by a tensor.

use super::elementwise::{Accepts, eval_lane_or_int2, infer_broadcast};
use super::integers::IntBinary;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::lane_op::{BinaryOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 146,
    name: "PRelu",
    version: 1,
    doc: "Y = slope * X below 0, else X; slope broadcasts to X. Integers wrap. f16 and bf16 through f32. \
          Source: ONNX PRelu-7, -9, -16.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::PRelu))),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane_or_int2(&DEF, ctx, IntBinary::PRelu),
};

const TYPES: Accepts = Accepts {
    what: "a float, i32, i64, u32 or u64",
    test: |d| d.is_float() || matches!(d, DType::I32 | DType::I64 | DType::U32 | DType::U64),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let inferred = infer_broadcast(ctx, &TYPES)?;
    if inferred[0].ty.shape.len() != ctx.shape(0)?.len() {
        return Err(OpError::shape("slope has more axes than X"));
    }
    Ok(inferred)
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        check_binary(
            "PRelu",
            &Attrs::new(),
            &[
                (0x8000_0000, 0x4000_0000, 0x8000_0000),
                (0xbf80_0000, 0x3e80_0000, 0xbe80_0000),
                (0x3f80_0000, 0x7fc0_0000, 0x3f80_0000),
                (0x7fc0_0000, 0x3f80_0000, 0x7fc0_0000),
                (0xff80_0000, 0x0000_0000, 0x7fc0_0000),
            ],
        );
    }

    #[test]
    fn slopes_broadcast_one_way() {
        let x = Tensor::from_slice(&[2, 2], &[-1i64, 2, -3, 4]);
        let slope = Tensor::from_slice(&[2, 1], &[10i64, 20]);
        assert_eq!(run("PRelu", Attrs::new(), &[&x, &slope]).as_slice::<i64>(), [-10, 2, -60, 4]);
        assert!(try_run("PRelu", Attrs::new(), &[&slope.reshaped(&[2]), &x]).is_err());
    }
}
