//! TensorScatter: a cache with new positions written into it.

use super::walk::split_at_axis;
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 231,
    name: "TensorScatter",
    version: 1,
    doc: "Y = past_cache, in which for each sample b of the first axis position write_indices[b] + s of `axis` (with mode \
          circular modulo its extent) is update's position s, for ascending s. write_indices (i64) are 0 when absent. A position \
          outside of the cache is fault 2. Source: ONNX TensorScatter-24.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "axis",
            AttrKind::Int,
            || AttrValue::Int(-2),
            "The axis of positions; not the first.",
        ),
        AttrDef::default(
            "mode",
            AttrKind::Str,
            || AttrValue::Str("linear".to_string()),
            "linear or circular.",
        ),
    ],
    class: OpClass::Movement,
    infer,
    eval,
};

fn is_circular(attrs: &Attrs) -> Result<bool, OpError> {
    match attrs.str("mode") {
        "linear" => Ok(false),
        "circular" => Ok(true),
        other => Err(OpError::attr("mode", format!("{other:?} is unknown"))),
    }
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.dtype(0)?;
    ctx.require_same(1, dtype)?;
    is_circular(ctx.attrs)?;
    let (cache, update) = (ctx.shape(0)?, ctx.shape(1)?);
    let axis = ctx.axis_attr("axis", cache.len())?;
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let misfit = |(at, (a, b)): (usize, (&DimExpr, &DimExpr))| at != axis && differ(a, b);
    if axis == 0 || cache.len() != update.len() || cache.iter().zip(update).enumerate().any(misfit) {
        let (cache, update) = (ctx.input(0)?.ty, ctx.input(1)?.ty);
        return Err(OpError::shape(format!("{update} cannot be written along axis {axis} of {cache}")));
    }
    if ctx.optional(2).is_some() {
        ctx.require_same(2, DType::I64)?;
        let indices = ctx.shape(2)?;
        if indices.len() != 1 || differ(&indices[0], &cache[0]) {
            return Err(OpError::shape("write_indices is not one index a sample"));
        }
    }
    Ok(vec![Inferred::new(dtype, cache.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (cache, update) = (ctx.input(0), ctx.input(1));
    let rank = cache.shape.len() as i64;
    let axis = ctx.attrs.int("axis").rem_euclid(rank) as usize;
    let circular = is_circular(ctx.attrs)?;
    let (outer, extent, inner) = split_at_axis(cache.shape, axis);
    let positions = update.shape[axis];
    let per_sample = element_count(&cache.shape[1..axis]);
    let bytes = inner * cache.dtype.size();
    let mut y = cache.to_tensor()?;
    if bytes == 0 {
        return Ok(vec![y]);
    }
    for prefix in 0..outer {
        let start = ctx.optional(2).map_or(0, |indices| indices.as_slice::<i64>()[prefix / per_sample]);
        for s in 0..positions {
            let mut at = i128::from(start) + s as i128;
            if circular && extent > 0 {
                at = at.rem_euclid(extent as i128);
            }
            let at = usize::try_from(at).ok().filter(|at| *at < extent).ok_or(Fault::IndexOutOfRange)?;
            let from = &update.bytes[(prefix * positions + s) * bytes..][..bytes];
            y.bytes_mut()[(prefix * extent + at) * bytes..][..bytes].copy_from_slice(from);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    #[test]
    fn positions_are_written() {
        let cache = Tensor::from_slice(&[2, 3, 2], &[0i32; 12]);
        let update = Tensor::from_slice(&[2, 2, 2], &[1i32, 2, 3, 4, 5, 6, 7, 8]);
        let at = |list: &[i64]| Tensor::from_slice(&[2], list);
        let y = run("TensorScatter", Attrs::new(), &[&cache, &update, &at(&[1, 0])]);
        assert_eq!(y.as_slice::<i32>(), [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
        let circular = Attrs::new().with_str("mode", "circular");
        let y = run("TensorScatter", circular, &[&cache, &update, &at(&[2, -1])]);
        assert_eq!(y.as_slice::<i32>(), [3, 4, 0, 0, 1, 2, 7, 8, 0, 0, 5, 6]);
        for bad in [[2, 0], [-1, 0], [i64::MAX, 0]] {
            let error = try_run("TensorScatter", Attrs::new(), &[&cache, &update, &at(&bad)]).unwrap_err();
            assert_eq!(error, OpError::Fault(Fault::IndexOutOfRange));
        }
        assert!(try_run("TensorScatter", Attrs::new().with_int("axis", 0), &[&cache, &update]).is_err());
    }
}
