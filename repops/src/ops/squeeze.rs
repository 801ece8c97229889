//! Squeeze: axes of extent 1 left out.

use super::walk::axes_of;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor};
use crate::dim::DimExpr;

pub static DEF: OpDef = OpDef {
    id: 221,
    name: "Squeeze",
    version: 1,
    doc: "Y is X without the axes `axes`, which have extent 1; without `axes`, without all such. Source: ONNX \
          Squeeze-1 and later.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::View,
    infer,
    eval: |ctx: &EvalCtx<'_>| super::eval_view(&DEF, ctx),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.shape(0)?;
    let axes = match ctx.optional(1) {
        Some(_) => axes_of(&ctx.ints(1)?, from.len())?,
        None => {
            // Which axes go is known once every extent is.
            let known: Option<Vec<i64>> = from.iter().map(DimExpr::as_const).collect();
            let known = known.ok_or(OpError::ValueUnknown { index: 0 })?;
            (0..from.len()).filter(|&axis| known[axis] == 1).collect()
        }
    };
    if let Some(&axis) = axes.iter().find(|&&axis| from[axis].as_const().is_some_and(|d| d != 1)) {
        return Err(OpError::shape(format!("axis {axis} has extent {}, not 1", from[axis])));
    }
    let kept = (0..from.len()).filter(|axis| !axes.contains(axis));
    let shape: Vec<DimExpr> = kept.map(|axis| from[axis].clone()).collect();
    let sym = ctx.sym(0).map(|s| if shape.is_empty() { SymTensor { len: None, ..s } } else { s });
    Ok(vec![Inferred { sym, ..Inferred::new(ctx.dtype(0)?, shape) }])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn named_axes_and_all() {
        let x = Tensor::from_slice(&[1, 2, 1, 3], &[0u8; 6]);
        let shape = |axes: &[i64]| {
            try_run("Squeeze", Attrs::new(), &[&x, &Tensor::from_slice(&[axes.len()], axes)])
                .map(|y| y.shape().to_vec())
        };
        assert_eq!(shape(&[0]), Ok(vec![2, 1, 3]));
        assert_eq!(shape(&[-2, 0]), Ok(vec![2, 3]));
        assert!(shape(&[1]).is_err());
        assert!(shape(&[4]).is_err());
        assert_eq!(run("Squeeze", Attrs::new(), &[&x]).shape(), [2, 3]);
        assert_eq!(run("Squeeze", Attrs::new(), &[&Tensor::from_slice(&[1], &[4i64])]).shape(), []);
    }
}
