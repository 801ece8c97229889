//! Tile: a tensor repeated along its axes.

use super::walk::{Walk, checked_sizes, known_shape, pick};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic};
use crate::dim::DimExpr;
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 222,
    name: "Tile",
    version: 1,
    doc: "Y[.., i, ..] = X[.., i mod extent, ..]: axis a repeated repeats[a] times. Source: ONNX Tile-6, -13.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let from = ctx.shape(0)?;
    let repeats = checked_sizes(ctx.dims(1)?)?;
    if repeats.len() != from.len() {
        return Err(OpError::shape(format!("{} repeats for {} axes", repeats.len(), from.len())));
    }
    let shape: Vec<DimExpr> = from.iter().zip(&repeats).map(|(d, n)| d.mul(n)).collect();
    let sym = match repeats.as_slice() {
        [] => ctx.sym(0),
        [n] => ctx.sym(0).zip(n.as_extent()).and_then(|(x, n)| repeat(&x, n)),
        _ => None,
    };
    Ok(vec![symbolic::with_value(Inferred::new(ctx.dtype(0)?, shape), sym)])
}

/// A value n times over, if that stays small.
fn repeat(x: &SymTensor, n: usize) -> Option<SymTensor> {
    let len = x.elements.len().checked_mul(n).filter(|&len| len <= super::infer::SYM_ELEMENTS_MAX)?;
    Some(SymTensor::vector(x.elements.iter().cycle().take(len).cloned().collect()))
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let repeats = ctx.input(1).to_i64s().unwrap_or_default();
    // Each axis becomes two: the repetition, which moves nothing, and the axis itself.
    let (mut extents, mut steps) = (Vec::new(), Vec::new());
    for ((&extent, &repeat), stride) in x.shape.iter().zip(&repeats).zip(strides(x.shape)) {
        extents.extend([repeat as usize, extent]);
        steps.extend([0, stride as isize]);
    }
    Ok(vec![pick(x, &shape, Walk::new(&extents, steps, 0))?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn both_axes() {
        let x = Tensor::from_slice(&[1, 2], &[1u8, 2]);
        let y = run("Tile", Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[2i64, 2])]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[2, 4][..], &[1, 2, 1, 2, 1, 2, 1, 2][..]));
        let y = run("Tile", Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[2i64, 0])]);
        assert_eq!(y.shape(), [2, 0]);
    }

    #[test]
    fn bad_repeats_are_refused() {
        let x = Tensor::from_slice(&[1, 2], &[1u8, 2]);
        for bad in [&[1i64][..], &[1, -1], &[1 << 62, 1 << 62], &[1 << 30, 1 << 30]] {
            let bad = Tensor::from_slice(&[bad.len()], bad);
            assert!(try_run("Tile", Attrs::new(), &[&x, &bad]).is_err());
        }
        let y = run(
            "Tile",
            Attrs::new(),
            &[&Tensor::from_slice(&[2], &[3i64, 4]), &Tensor::from_slice(&[1], &[2i64])],
        );
        assert_eq!(y.as_slice::<i64>(), [3, 4, 3, 4]);
    }
}
