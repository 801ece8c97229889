//! Col2Im: columns of blocks added back into an image.

use super::float::{Float, NUMBER, is_number, with_float, with_integer};
use super::walk::known_shape;
use super::window::{Window, unravel};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::AttrKind;
use crate::dim::DimExpr;
use crate::dtype::Element;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 421,
    name: "Col2Im",
    version: 1,
    doc: "X is [N, C * B, L], B the number of elements of a block (block_shape, i64), L that of the block's places over the padded \
          image (image_shape, i64), both counted in row-major order. Y[n, c, p] is the row sum of X[n, c * B + k, l] over all k and l for which \
          element k of the block at place l lies on p, in ascending order of k (there is at most one l for each). Integers wrap. Source: ONNX Col2Im-18.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints, "Absent: 1."),
        AttrDef::optional("pads", AttrKind::Ints, "Begins, then ends; absent: 0."),
        AttrDef::optional("strides", AttrKind::Ints, "Absent: 1."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx)),
        dtype => with_integer!(dtype, integers(ctx)),
    },
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, NUMBER, is_number)?;
    let [n, columns, places] = ctx.shape(0)? else {
        return Err(OpError::shape(format!("{} has not three axes", ctx.input(0)?.ty)));
    };
    let (image, block) = (ctx.dims(1)?, ctx.ints(2)?);
    if image.len() != block.len() || image.is_empty() {
        return Err(OpError::shape(format!("a block of {} axes, an image of {}", block.len(), image.len())));
    }
    if image.iter().any(|d| d.as_const().is_some_and(|d| d < 0)) {
        return Err(OpError::shape("a negative extent"));
    }
    let window = Window::new(ctx.attrs, &block)?;
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let product = |list: &[DimExpr]| list.iter().fold(DimExpr::Const(1), |p, d| p.mul(d));
    let expected = product(&window.output_dims(&image)?);
    // At most 2^28 each, so a few of them may be multiplied.
    let elements = block.iter().try_fold(1i64, |p, k| p.checked_mul(*k));
    let elements = elements.ok_or_else(|| OpError::shape("the block is too large"))?;
    if differ(places, &expected) || columns.as_const().is_some_and(|c| c % elements != 0) {
        return Err(OpError::shape(format!("{} does not hold such blocks", ctx.input(0)?.ty)));
    }
    let mut shape = vec![n.clone(), columns.floor_div(&DimExpr::Const(elements))];
    shape.extend(image);
    Ok(vec![Inferred::new(dtype, shape)])
}

fn floats<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    add(ctx, |x: T| x.widen(), |sum| T::narrow(sum))
}

fn integers<T: Element + Accumulate>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    add(ctx, |x: T| x, |sum| sum)
}

fn add<T: Element, W: Accumulate>(
    ctx: &EvalCtx<'_>,
    widen: fn(T) -> W,
    narrow: fn(W) -> T,
) -> Result<Vec<Tensor>, OpError> {
    let shape = known_shape(&DEF, ctx)?;
    let block = ctx.input(2).to_i64s().unwrap_or_default();
    let (axes, counts) = Window::new(ctx.attrs, &block)?.placed(&shape[2..])?;
    let extents: Vec<usize> = block.iter().map(|&k| k as usize).collect();
    let (elements, places, pixels) =
        (element_count(&extents), element_count(&counts), element_count(&shape[2..]));
    let values = ctx.input(0).as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let (plane, position) = (at / pixels, unravel(at % pixels, &shape[2..]));
        let mut terms = Vec::new();
        for k in 0..elements {
            let tap = unravel(k, &extents);
            // The place along each axis whose element `tap` lies on `position`.
            let place = axes.iter().enumerate().try_fold(0usize, |place, (axis, window)| {
                let start = position[axis] as i64 + window.pad_begin - tap[axis] as i64 * window.dilation;
                let index = usize::try_from(start.div_euclid(window.stride)).ok()?;
                let hit = start.rem_euclid(window.stride) == 0 && index < counts[axis];
                hit.then(|| place * counts[axis] + index)
            });
            if let Some(place) = place {
                terms.push(widen(values[(plane * elements + k) * places + place]));
            }
        }
        *out = narrow(row_sum(terms.len(), |i| terms[i]));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn blocks_overlap() {
        let ints = |list: &[i64]| Tensor::from_slice(&[list.len()], list);
        // Two places of a block of two on an image of three.
        let x = Tensor::from_slice(&[1, 2, 2], &[1.0f32, 2.0, 10.0, 20.0]);
        let y = run("Col2Im", Attrs::new(), &[&x, &ints(&[3]), &ints(&[2])]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[1, 1, 3][..], &[1.0, 12.0, 20.0][..]));
        let attrs = Attrs::new().with_ints("pads", &[1, 0]).with_ints("strides", &[2]);
        let y = run("Col2Im", attrs, &[&x, &ints(&[3]), &ints(&[2])]);
        assert_eq!(y.as_slice::<f32>(), [10.0, 2.0, 20.0]);
        assert!(try_run("Col2Im", Attrs::new(), &[&x, &ints(&[4]), &ints(&[2])]).is_err());
        assert!(try_run("Col2Im", Attrs::new(), &[&x, &ints(&[-1]), &ints(&[2])]).is_err());
        assert!(try_run("Col2Im", Attrs::new(), &[&x, &ints(&[3]), &ints(&[1 << 40])]).is_err());
    }
}
