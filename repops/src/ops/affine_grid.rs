//! AffineGrid: the coordinates that affine maps read an image at.

use super::float::{Float, Real, with_float};
use super::walk::known_shape;
use super::window::unravel;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 422,
    name: "AffineGrid",
    version: 1,
    doc: "theta is [N, k, k + 1] for k = 2 or 3 spatial axes, size (i64) [N, C, d..]. Y[n, d.., j] is the contraction of theta[n, j, :] with the \
          position's coordinates, last axis first, and 1. The coordinate of index i on an axis of extent L: with align_corners 2 i / \
          (L - 1) - 1, and 0 where L is 1; else (2 i + 1) / L - 1. In the wide type, quotient and difference rounded. Source: ONNX \
          AffineGrid-20.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "align_corners",
        AttrKind::Int,
        || AttrValue::Int(0),
        "1: -1 and 1 are centres.",
    )],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, grid(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require_same(1, DType::I64)?;
    let (theta, size) = (ctx.shape(0)?, ctx.dims(1)?);
    let spatial = size.len().saturating_sub(2);
    let is =
        |dim: Option<&DimExpr>, n: usize| dim.is_some_and(|d| d.as_const().is_none_or(|d| d == n as i64));
    if !(2..=3).contains(&spatial)
        || theta.len() != 3
        || !is(theta.get(1), spatial)
        || !is(theta.get(2), spatial + 1)
        || size.iter().any(|d| d.as_const().is_some_and(|d| d < 0))
    {
        return Err(OpError::shape(format!("theta is {}, size has {} axes", ctx.input(0)?.ty, size.len())));
    }
    if size[0].as_const().zip(theta[0].as_const()).is_some_and(|(a, b)| a != b) {
        return Err(OpError::shape("theta and size have another number of samples"));
    }
    let mut shape = vec![theta[0].clone()];
    shape.extend_from_slice(&size[2..]);
    shape.push(DimExpr::from(spatial));
    Ok(vec![Inferred::new(dtype, shape)])
}

fn grid<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = known_shape(&DEF, ctx)?;
    let spatial = shape.len() - 2;
    let extents = &shape[1..=spatial];
    let pixels = element_count(extents);
    let align = ctx.attrs.int("align_corners") != 0;
    let theta = ctx.input(0).as_slice::<T>();
    let coordinate = |i: usize, extent: usize| match align {
        true if extent == 1 => T::Wide::from_f64(0.0),
        true => T::Wide::count(2 * i) / T::Wide::count(extent - 1) - T::Wide::ONE,
        false => T::Wide::count(2 * i + 1) / T::Wide::count(extent) - T::Wide::ONE,
    };
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    for (at, vector) in y.as_mut_slice::<T>().chunks_exact_mut(spatial).enumerate() {
        let (n, position) = (at / pixels, unravel(at % pixels, extents));
        let mut point: Vec<T::Wide> =
            position.iter().zip(extents).rev().map(|(&i, &extent)| coordinate(i, extent)).collect();
        point.push(T::Wide::ONE);
        for (j, out) in vector.iter_mut().enumerate() {
            let row = &theta[(n * spatial + j) * (spatial + 1)..][..spatial + 1];
            *out = T::narrow(contract(spatial + 1, |p| Some((row[p].widen(), point[p]))));
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
    fn the_identity_gives_the_coordinates() {
        let theta = Tensor::from_slice(&[1, 2, 3], &[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let size = Tensor::from_slice(&[4], &[1i64, 1, 1, 2]);
        let y = run("AffineGrid", Attrs::new(), &[&theta, &size]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[1, 1, 2, 2][..], &[-0.5, 0.0, 0.5, 0.0][..]));
        let y = run("AffineGrid", Attrs::new().with_int("align_corners", 1), &[&theta, &size]);
        assert_eq!(y.as_slice::<f32>(), [-1.0, 0.0, 1.0, 0.0]);
        let bad = Tensor::from_slice(&[5], &[1i64, 1, 1, 2, 2]);
        assert!(try_run("AffineGrid", Attrs::new(), &[&theta, &bad]).is_err());
    }
}
