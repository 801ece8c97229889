//! Unsqueeze: axes of extent 1 put in.

use super::walk::axes_of;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor};
use crate::dim::DimExpr;
use crate::tensor::RANK_MAX;

pub static DEF: OpDef = OpDef {
    id: 225,
    name: "Unsqueeze",
    version: 1,
    doc: "Y is X with axes of extent 1 at the positions `axes` of Y; negative ones count from Y's back. \
          Source: ONNX Unsqueeze-1 and later.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::View,
    infer,
    eval: |ctx: &EvalCtx<'_>| super::eval_view(&DEF, ctx),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.shape(0)?;
    let list = ctx.ints(1)?;
    let rank = from.len() + list.len();
    if rank > RANK_MAX {
        return Err(OpError::shape(format!("rank {rank} is above {RANK_MAX}")));
    }
    let axes = axes_of(&list, rank)?;
    let mut own = from.iter().cloned();
    let shape: Vec<DimExpr> = (0..rank)
        .filter_map(|axis| if axes.contains(&axis) { Some(DimExpr::Const(1)) } else { own.next() })
        .collect();
    let sym = ctx.sym(0).and_then(|s| match rank {
        0 => Some(s),
        1 => Some(SymTensor { len: Some(s.elements.len()), ..s }),
        _ => None,
    });
    Ok(vec![Inferred { sym, ..Inferred::new(ctx.dtype(0)?, shape) }])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn positions_are_of_the_result() {
        let x = Tensor::from_slice(&[2, 3], &[0u8; 6]);
        let shape = |axes: &[i64]| {
            try_run("Unsqueeze", Attrs::new(), &[&x, &Tensor::from_slice(&[axes.len()], axes)])
                .map(|y| y.shape().to_vec())
        };
        assert_eq!(shape(&[0, 3]), Ok(vec![1, 2, 3, 1]));
        assert_eq!(shape(&[-1, 1]), Ok(vec![2, 1, 3, 1]));
        assert_eq!(shape(&[]), Ok(vec![2, 3]));
        assert!(shape(&[0, 0]).is_err());
        assert!(shape(&[3]).is_err());
        assert!(shape(&[0; 15]).is_err());
        assert_eq!(
            run("Unsqueeze", Attrs::new(), &[&Tensor::scalar(4i64), &Tensor::from_slice(&[1], &[0i64])])
                .shape(),
            [1]
        );
    }
}
