//! Reshape: the same elements under another shape.

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 201,
    name: "Reshape",
    version: 1,
    doc: "Y has X's elements in row-major order and the shape given by the i64 input `shape`: an entry of \
          -1 (one at most) is what remains, an entry of 0 is X's extent at that axis unless `allowzero` \
          is 1. Source: ONNX Reshape-5 and later.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "allowzero",
        AttrKind::Int,
        || AttrValue::Int(0),
        "1: a 0 in shape is an extent of 0.",
    )],
    class: OpClass::View,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let (dtype, from) = (ctx.dtype(0)?, ctx.shape(0)?);
    let allow_zero = ctx.attrs.int("allowzero") != 0;
    let mut shape = ctx.dims(1)?;
    let mut rest = None;
    for (axis, dim) in shape.iter_mut().enumerate() {
        match dim.as_const() {
            Some(0) if !allow_zero => {
                let kept =
                    from.get(axis).ok_or_else(|| OpError::shape(format!("entry {axis} of shape is 0")))?;
                *dim = kept.clone();
            }
            Some(-1) if rest.replace(axis).is_some() => return Err(OpError::shape("shape has -1 twice")),
            Some(-1) => *dim = DimExpr::Const(1),
            Some(negative) if negative < -1 => {
                return Err(OpError::shape(format!("entry {axis} of shape is {negative}")));
            }
            _ => {}
        }
    }
    let product = |dims: &[DimExpr]| dims.iter().fold(DimExpr::Const(1), |p, d| p.mul(d));
    let (total, known) = (product(from), product(&shape));
    if let Some(axis) = rest {
        if known.as_const() == Some(0) {
            return Err(OpError::shape("-1 beside an extent of 0"));
        }
        shape[axis] = total.floor_div(&known);
    }
    // With symbolic sizes this is checked when a run binds them.
    if let (Some(a), Some(b)) = (total.as_const(), product(&shape).as_const())
        && a != b
    {
        return Err(OpError::shape(format!("{a} elements cannot become {b}")));
    }
    let sym = ctx.sym(0).and_then(|s| match shape.len() {
        0 => Some(SymTensor { len: None, ..s }),
        1 => Some(SymTensor { len: Some(s.elements.len()), ..s }),
        _ => None,
    });
    Ok(vec![Inferred { sym, ..Inferred::new(dtype, shape) }])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    super::eval_view(&DEF, ctx)
}
