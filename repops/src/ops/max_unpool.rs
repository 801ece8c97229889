//! MaxUnpool: maxima put back where they were.

use super::walk::known_shape;
use super::window::{LIMIT, unravel};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{Tensor, element_count, strides};

pub static DEF: OpDef = OpDef {
    id: 232,
    name: "MaxUnpool",
    version: 1,
    doc: "The pooled image's extent along a spatial axis is (X's - 1) * stride - pads + kernel. Element I[p] of that image, counted \
          in row-major order over all axes, is X[p], for ascending p; other elements are 0. With output_shape (i64) the image lies in the \
          first corner of a tensor of that shape, 0 elsewhere; it must fit. An index outside of the image is fault 2. \
          Source: ONNX MaxUnpool-9, -11, -22.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("kernel_shape", AttrKind::Ints, "The pooling's."),
        AttrDef::optional("pads", AttrKind::Ints, "Begins, then ends; absent: 0."),
        AttrDef::optional("strides", AttrKind::Ints, "The pooling's; absent: 1."),
    ],
    class: OpClass::Movement,
    infer,
    eval,
};

/// The extents of the pooled image.
fn image(attrs: &Attrs, x: &[DimExpr]) -> Result<Vec<DimExpr>, OpError> {
    let kernel = attrs.opt_ints("kernel_shape").unwrap_or_default();
    let spatial = kernel.len();
    if x.len() != spatial + 2 || spatial == 0 {
        return Err(OpError::shape(format!("X has {} axes, the kernel {spatial}", x.len())));
    }
    let list = |name: &str, count: usize, default: i64| {
        let values = attrs.opt_ints(name).map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let good = values.len() == count && values.iter().all(|v| (default..=LIMIT).contains(v));
        if good { Ok(values) } else { Err(OpError::attr(name, format!("{count} numbers are needed"))) }
    };
    let (strides, pads) = (list("strides", spatial, 1)?, list("pads", 2 * spatial, 0)?);
    if kernel.iter().any(|k| !(1..=LIMIT).contains(k)) {
        return Err(OpError::attr("kernel_shape", "an extent is out of range"));
    }
    let mut out = x[..2].to_vec();
    for axis in 0..spatial {
        let fixed = kernel[axis] - pads[axis] - pads[axis + spatial];
        let steps = x[axis + 2].sub(&DimExpr::Const(1)).mul(&DimExpr::Const(strides[axis]));
        let extent = steps.add(&DimExpr::Const(fixed));
        if extent.as_const().is_some_and(|d| d < 0) {
            return Err(OpError::shape(format!("the image's extent would be {extent}")));
        }
        out.push(extent);
    }
    Ok(out)
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require_same(1, DType::I64)?;
    let (x, indices) = (ctx.shape(0)?, ctx.shape(1)?);
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    if x.len() != indices.len() || x.iter().zip(indices).any(|(a, b)| differ(a, b)) {
        return Err(OpError::shape("X and its indices have different shapes"));
    }
    let image = image(ctx.attrs, x)?;
    if ctx.optional(2).is_none() {
        return Ok(vec![Inferred::new(dtype, image)]);
    }
    let shape = ctx.dims(2)?;
    let smaller = |(a, b): (&DimExpr, &DimExpr)| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a < b);
    if shape.len() != x.len() || shape.iter().zip(&image).any(smaller) {
        return Err(OpError::shape("the image does not fit output_shape"));
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, indices) = (ctx.input(0), ctx.input(1));
    let dims: Vec<DimExpr> = x.shape.iter().map(|&d| DimExpr::from(d)).collect();
    let image: Option<Vec<usize>> = image(ctx.attrs, &dims)?.iter().map(DimExpr::as_extent).collect();
    let image = image.ok_or(OpError::Fault(Fault::BadShape))?;
    let shape = known_shape(&DEF, ctx)?;
    let mut y = Tensor::zeros(x.dtype, &shape)?;
    // A tensor at least as large could be made, so the count is bounded.
    let (count, own, size) = (element_count(&image), strides(&shape), x.dtype.size());
    for (p, &index) in indices.as_slice::<i64>().iter().enumerate() {
        let index = usize::try_from(index).ok().filter(|i| *i < count).ok_or(Fault::IndexOutOfRange)?;
        let to = unravel(index, &image).iter().zip(&own).fold(0, |to, (p, stride)| to + p * stride);
        y.bytes_mut()[to * size..][..size].copy_from_slice(&x.bytes[p * size..][..size]);
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    #[test]
    fn maxima_return() {
        let x = Tensor::from_slice(&[1, 1, 2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
        let at = Tensor::from_slice(&[1, 1, 2, 2], &[5i64, 7, 13, 15]);
        let attrs = Attrs::new().with_ints("kernel_shape", &[2, 2]).with_ints("strides", &[2, 2]);
        let y = run("MaxUnpool", attrs.clone(), &[&x, &at]);
        assert_eq!(y.shape(), [1, 1, 4, 4]);
        assert_eq!((y.as_slice::<f32>()[5], y.as_slice::<f32>()[15]), (1.0, 4.0));
        let shape = Tensor::from_slice(&[4], &[1i64, 1, 5, 5]);
        let y = run("MaxUnpool", attrs.clone(), &[&x, &at, &shape]);
        assert_eq!((y.as_slice::<f32>()[6], y.as_slice::<f32>()[18]), (1.0, 4.0));
        let bad = Tensor::from_slice(&[1, 1, 2, 2], &[5i64, 7, 13, 16]);
        assert!(try_run("MaxUnpool", attrs.clone(), &[&x, &bad]).is_err());
        let shape = Tensor::from_slice(&[4], &[1i64, 1, 3, 5]);
        assert!(try_run("MaxUnpool", attrs, &[&x, &at, &shape]).is_err());
    }
}
