//! Flatten: a matrix of the axes before and from an axis on.

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;

pub static DEF: OpDef = OpDef {
    id: 207,
    name: "Flatten",
    version: 1,
    doc: "Y is X as a matrix: the product of the extents before `axis` by that of the others. Source: ONNX \
          Flatten-1 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "axis",
        AttrKind::Int,
        || AttrValue::Int(1),
        "From -rank to rank; negative: from the back.",
    )],
    class: OpClass::View,
    infer,
    eval: |ctx: &EvalCtx<'_>| super::eval_view(&DEF, ctx),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = ctx.shape(0)?;
    let axis = ctx.attrs.int("axis");
    let at = if axis == shape.len() as i64 { shape.len() } else { ctx.axis_attr("axis", shape.len())? };
    let product = |dims: &[DimExpr]| dims.iter().fold(DimExpr::Const(1), |p, d| p.mul(d));
    Ok(vec![Inferred::new(ctx.dtype(0)?, vec![product(&shape[..at]), product(&shape[at..])])])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn every_axis() {
        let x = Tensor::from_slice(&[2, 3, 4], &[0u8; 24]);
        let shape =
            |axis| try_run("Flatten", Attrs::new().with_int("axis", axis), &[&x]).map(|y| y.shape().to_vec());
        assert_eq!(shape(0), Ok(vec![1, 24]));
        assert_eq!(shape(2), Ok(vec![6, 4]));
        assert_eq!(shape(3), Ok(vec![24, 1]));
        assert_eq!(shape(-3), Ok(vec![1, 24]));
        assert!(shape(4).is_err() && shape(-4).is_err());
        assert_eq!(run("Flatten", Attrs::new(), &[&x]).shape(), [2, 12]);
        assert_eq!(run("Flatten", Attrs::new().with_int("axis", 0), &[&Tensor::scalar(1u8)]).shape(), [1, 1]);
    }
}
