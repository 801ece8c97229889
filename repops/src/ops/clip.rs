//! Clip: elements limited to a range.

use super::elementwise::{NUMBERS, eval_lane, infer_unary};
use super::infer::may_be_single;
use super::integers::IntBinary;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::lane_op::LaneOp;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 117,
    name: "Clip",
    version: 1,
    doc: "Y = minimum(maximum(X, min), max); an absent limit limits nothing, and max wins where it is below \
          min. The limits are single elements. NaN if X or a limit is NaN; zeros as in Max and Min. Source: \
          ONNX Clip-6 to -13.",
    inputs: Arity::between(1, 3),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Clip)),
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let inferred = infer_unary(ctx, &NUMBERS)?;
    for index in 1..ctx.inputs.len() {
        let Some(limit) = ctx.optional(index) else { continue };
        ctx.require_same(index, inferred[0].ty.dtype)?;
        if !may_be_single(&limit.ty.shape) || limit.ty.shape.len() > inferred[0].ty.shape.len() {
            return Err(OpError::shape(format!("limit {index} of Clip is {}, not a scalar", limit.ty)));
        }
    }
    Ok(inferred)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    if ctx.input(0).dtype.is_float() {
        return eval_lane(&DEF, ctx);
    }
    let mut y = ctx.input(0).to_tensor()?;
    for (index, op) in [(1, IntBinary::Max), (2, IntBinary::Min)] {
        if let Some(limit) = ctx.optional(index) {
            y = op.eval(y.view(), limit)?;
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, run_outputs, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        let x = Tensor::from_slice(&[5], &[-1.0f32, -0.0, 0.5, 9.0, f32::NAN]);
        let (low, high) = (Tensor::scalar(0.0f32), Tensor::scalar(1.0f32));
        let bits = |y: &Tensor| y.as_slice::<f32>().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let y = run("Clip", Attrs::new(), &[&x, &low, &high]);
        assert_eq!(bits(&y), [0, 0, 0x3f00_0000, 0x3f80_0000, 0x7fc0_0000]);
        // The upper limit wins.
        let y = run("Clip", Attrs::new(), &[&x, &high, &low]);
        assert_eq!(bits(&y), [0, 0, 0, 0, 0x7fc0_0000]);
        let y = run_outputs("Clip", Attrs::new(), &[Some(&x), None, Some(&low)], 1).unwrap().remove(0);
        assert_eq!(bits(&y), [0xbf80_0000, 0x8000_0000, 0, 0, 0x7fc0_0000]);
    }

    #[test]
    fn integers_and_shapes() {
        let x = Tensor::from_slice(&[3], &[-5i8, 0, 5]);
        let y = run("Clip", Attrs::new(), &[&x, &Tensor::scalar(-1i8), &Tensor::from_slice(&[1], &[2i8])]);
        assert_eq!(y.as_slice::<i8>(), [-1, 0, 2]);
        assert!(try_run("Clip", Attrs::new(), &[&x, &x]).is_err());
        assert_eq!(run("Clip", Attrs::new(), &[&x]).as_slice::<i8>(), [-5, 0, 5]);
    }
}
