//! CenterCropPad: the middle of a tensor, or a tensor in the middle of zeros.

use super::rows::axis_flags;
use super::walk::known_shape;
use super::window::unravel;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::AttrKind;
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 230,
    name: "CenterCropPad",
    version: 1,
    doc: "Along each axis that has an extent s in `shape` (i32 or i64; one for each of `axes`, which are all axes when absent): \
          of an extent d above s the positions from floor((d - s) / 2) on; below s they start at floor((s - d) / 2), and the \
          rest is 0. Source: ONNX CenterCropPad-18.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::optional("axes", AttrKind::Ints, "The axes that `shape` speaks of; absent: all.")],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let mut shape = ctx.shape(0)?.to_vec();
    let rank = shape.len() as i64;
    let axes = ctx.attrs.opt_ints("axes").map_or_else(|| (0..rank).collect(), <[i64]>::to_vec);
    axis_flags(&axes, shape.len())?;
    let extents = ctx.dims(1)?;
    if extents.len() != axes.len() {
        return Err(OpError::shape(format!("{} extents for {} axes", extents.len(), axes.len())));
    }
    for (axis, extent) in axes.iter().zip(extents) {
        if extent.as_const().is_some_and(|d| d < 0) {
            return Err(OpError::shape(format!("an extent of {extent}")));
        }
        shape[axis.rem_euclid(rank) as usize] = extent;
    }
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let mut y = Tensor::zeros(x.dtype, &shape)?;
    let (own, size) = (strides(x.shape), x.dtype.size());
    for (at, element) in y.bytes_mut().chunks_exact_mut(size).enumerate() {
        let source = unravel(at, &shape).into_iter().enumerate().try_fold(0, |offset, (axis, p)| {
            let (from, to) = (x.shape[axis], shape[axis]);
            let p = if from >= to { p + (from - to) / 2 } else { p.checked_sub((to - from) / 2)? };
            (p < from).then(|| offset + p * own[axis])
        });
        if let Some(from) = source {
            element.copy_from_slice(&x.bytes[from * size..][..size]);
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
    fn crops_and_pads() {
        let x = Tensor::from_slice(&[2, 4], &[1i32, 2, 3, 4, 5, 6, 7, 8]);
        let y = run("CenterCropPad", Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[3i64, 1])]);
        assert_eq!((y.shape(), y.as_slice::<i32>()), (&[3, 1][..], &[2, 6, 0][..]));
        let y = run(
            "CenterCropPad",
            Attrs::new().with_ints("axes", &[-1]),
            &[&x, &Tensor::from_slice(&[1], &[7i32])],
        );
        assert_eq!(y.as_slice::<i32>()[..7], [0, 1, 2, 3, 4, 0, 0]);
        let bad = Tensor::from_slice(&[2], &[1i64, -1]);
        assert!(try_run("CenterCropPad", Attrs::new(), &[&x, &bad]).is_err());
        let twice = Attrs::new().with_ints("axes", &[1, -1]);
        assert!(try_run("CenterCropPad", twice, &[&x, &Tensor::from_slice(&[2], &[1i64, 1])]).is_err());
    }
}
