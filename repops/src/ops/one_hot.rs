//! OneHot: indices as vectors with one element on.

use super::convert::{Convert, convert, exact_of};
use super::elementwise::NUMBERS;
use super::infer::{may_be_single, normalize_axis};
use super::walk::{known_shape, position, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{RANK_MAX, Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 226,
    name: "OneHot",
    version: 1,
    doc: "Inputs indices, depth, values = [off, on]. Y has a further axis of extent depth at `axis`: on where \
          the position there is the index (negative ones count from the end), else off; an index out of range \
          gives off alone. Indices and depth of any number type, floats truncated as by Cast. A negative depth \
          is fault 3. Source: ONNX OneHot-9, -11.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "axis",
        AttrKind::Int,
        || AttrValue::Int(-1),
        "Of Y; negative: from Y's back.",
    )],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, NUMBERS.what, NUMBERS.test)?;
    ctx.require(1, NUMBERS.what, NUMBERS.test)?;
    let (indices, depth, values) = (ctx.shape(0)?, ctx.input(1)?, ctx.shape(2)?);
    let single = depth.ty.shape.len() <= 1 && may_be_single(&depth.ty.shape);
    let two = values.len() == 1 && values[0].as_const().is_none_or(|n| n == 2);
    if !single || !two || indices.len() == RANK_MAX {
        return Err(OpError::shape(format!(
            "indices are {}, depth {}, values {}",
            ctx.input(0)?.ty,
            depth.ty,
            ctx.input(2)?.ty
        )));
    }
    let axis = ctx.axis_attr("axis", indices.len() + 1)?;
    let extent = match (depth.tensor, ctx.sym(1)) {
        (Some(tensor), _) => DimExpr::from(depth_of(tensor)?),
        (None, Some(sym)) if sym.elements.len() == 1 => sym.elements[0].clone(),
        _ => ctx.fresh_dim(),
    };
    let mut shape = indices.to_vec();
    shape.insert(axis, extent);
    Ok(vec![Inferred::new(ctx.dtype(2)?, shape)])
}

fn depth_of(tensor: TensorView<'_>) -> Result<usize, Fault> {
    let depth = exact_of(tensor, 0).map(i64::of);
    depth.and_then(|depth| usize::try_from(depth).ok()).ok_or(Fault::BadSize)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let values = ctx.input(2);
    let shape = known_shape(&DEF, ctx)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), shape.len()).map_err(OpError::Shape)?;
    let mut y = Tensor::zeros(values.dtype, &shape)?;
    let (_, depth, inner) = split_at_axis(&shape, axis);
    let indices = match ctx.input(0).dtype {
        // Above i64 nothing is in range; `convert` would wrap.
        DType::U64 => {
            ctx.input(0).as_slice::<u64>().iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect()
        }
        _ => convert(ctx.input(0), DType::I64)?.as_slice::<i64>().to_vec(),
    };
    let size = values.dtype.size();
    let (off, on) = values.bytes.split_at(size);
    for (at, element) in y.bytes_mut().chunks_exact_mut(size).enumerate() {
        let index = indices[at / (depth * inner) * inner + at % inner];
        let hit = position(index, depth).is_ok_and(|named| named == at / inner % depth);
        element.copy_from_slice(if hit { on } else { off });
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};

    #[test]
    fn axes_and_ranges() {
        let values = Tensor::from_slice(&[2], &[0.5f32, 2.0]);
        let indices = Tensor::from_slice(&[3], &[1i64, -1, 3]);
        let y = run("OneHot", Attrs::new(), &[&indices, &Tensor::scalar(3i64), &values]);
        assert_eq!(
            (y.shape(), y.as_slice::<f32>()),
            (&[3, 3][..], &[0.5, 2.0, 0.5, 0.5, 0.5, 2.0, 0.5, 0.5, 0.5][..])
        );
        let y = run(
            "OneHot",
            Attrs::new().with_int("axis", 0),
            &[&indices, &Tensor::from_slice(&[1], &[2.0f32]), &values],
        );
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[2, 3][..], &[0.5, 0.5, 0.5, 2.0, 2.0, 0.5][..]));
        let y = run("OneHot", Attrs::new(), &[&Tensor::scalar(u64::MAX), &Tensor::scalar(2i32), &values]);
        assert_eq!(y.as_slice::<f32>(), [0.5, 0.5]);
    }

    #[test]
    fn hostile_depths() {
        let (indices, values) = (Tensor::scalar(0i64), Tensor::from_slice(&[2], &[0u8, 1]));
        let of = |depth: i64| try_run("OneHot", Attrs::new(), &[&indices, &Tensor::scalar(depth), &values]);
        assert_eq!(of(-1), Err(OpError::Fault(Fault::BadSize)));
        assert!(of(i64::MAX).is_err() && of(1 << 50).is_err());
        assert_eq!(of(0).map(|y| y.shape().to_vec()), Ok(vec![0]));
        let nan = try_run("OneHot", Attrs::new(), &[&indices, &Tensor::scalar(f32::NAN), &values]);
        assert_eq!(nan.map(|y| y.shape().to_vec()), Ok(vec![0]));
    }
}
