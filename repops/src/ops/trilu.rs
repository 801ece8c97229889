//! Trilu: the upper or lower triangle of matrices.

use super::infer::may_be_single;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 224,
    name: "Trilu",
    version: 1,
    doc: "Y = X in the matrices of the last two axes where column - row >= k (upper) or <= k (lower), else 0. \
          k is an i64 scalar, 0 when absent. Source: ONNX Trilu-14.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("upper", AttrKind::Int, || AttrValue::Int(1), "0: the lower triangle.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    if ctx.shape(0)?.len() < 2 {
        return Err(OpError::shape(format!("{} has no matrices", ctx.input(0)?.ty)));
    }
    if let Some(k) = ctx.optional(1) {
        ctx.require_same(1, DType::I64)?;
        if !may_be_single(&k.ty.shape) {
            return Err(OpError::shape(format!("k is {}, not a scalar", k.ty)));
        }
    }
    Ok(vec![Inferred::new(ctx.dtype(0)?, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let mut y = ctx.input(0).to_tensor()?;
    let k = ctx.optional(1).and_then(|k| k.as_slice::<i64>().first().copied()).unwrap_or(0);
    let upper = ctx.attrs.int("upper") != 0;
    let shape = ctx.input(0).shape;
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let size = y.dtype().size();
    for (at, element) in y.bytes_mut().chunks_exact_mut(size).enumerate() {
        let diagonal = (at % columns) as i128 - (at / columns % rows) as i128;
        let kept = if upper { diagonal >= i128::from(k) } else { diagonal <= i128::from(k) };
        if !kept {
            element.fill(0);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn triangles() {
        let x = Tensor::from_slice(&[1, 2, 3], &[1u8, 2, 3, 4, 5, 6]);
        let of = |upper, k| {
            run("Trilu", Attrs::new().with_int("upper", upper), &[&x, &Tensor::scalar(k)])
                .as_slice::<u8>()
                .to_vec()
        };
        assert_eq!(run("Trilu", Attrs::new(), &[&x]).as_slice::<u8>(), [1, 2, 3, 0, 5, 6]);
        assert_eq!(of(1, 1i64), [0, 2, 3, 0, 0, 6]);
        assert_eq!(of(0, 0), [1, 0, 0, 4, 5, 0]);
        assert_eq!(of(0, -1), [0, 0, 0, 4, 0, 0]);
        assert_eq!((of(1, i64::MAX), of(1, i64::MIN)), (vec![0; 6], vec![1, 2, 3, 4, 5, 6]));
        assert!(try_run("Trilu", Attrs::new(), &[&Tensor::scalar(1u8)]).is_err());
    }

    #[test]
    fn what_is_left_out_is_plus_zero() {
        let x = Tensor::from_slice(&[2, 2], &[-0.0f32, -1.0, f32::NAN, -0.0]);
        let bits: Vec<u32> =
            run("Trilu", Attrs::new(), &[&x]).as_slice::<f32>().iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x8000_0000, 0xbf80_0000, 0, 0x8000_0000]);
    }
}
