//! Pad: axes made longer or shorter at their ends.

use super::infer::{may_be_single, normalize_axis};
use super::walk::{axes_of, checked_sizes, known_shape};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 211,
    name: "Pad",
    version: 1,
    doc: "Inputs data, pads (i64: a begin for each axis, then an end for each), constant_value (absent: 0), \
          axes (absent: all). Position p of an axis of extent n reads q = p - begin of data; outside of \
          0 .. n: constant_value (constant), the nearest element (edge), -q or 2(n - 1) - q (reflect, which \
          needs pads below n), q mod n (wrap). Negative pads cut off. Source: ONNX Pad-2 and later.",
    inputs: Arity::between(2, 4),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "mode",
        AttrKind::Str,
        || AttrValue::Str("constant".to_string()),
        "constant, edge, reflect or wrap.",
    )],
    class: OpClass::Movement,
    infer,
    eval,
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

pub(super) fn mode(attrs: &Attrs) -> Result<Mode, OpError> {
    match attrs.str("mode") {
        "constant" => Ok(Mode::Constant),
        "edge" => Ok(Mode::Edge),
        "reflect" => Ok(Mode::Reflect),
        "wrap" => Ok(Mode::Wrap),
        other => Err(OpError::attr("mode", format!("{other:?} is unknown"))),
    }
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let (dtype, from) = (ctx.dtype(0)?, ctx.shape(0)?);
    let mode = mode(ctx.attrs)?;
    if let Some(value) = ctx.optional(2) {
        ctx.require_same(2, dtype)?;
        if !may_be_single(&value.ty.shape) {
            return Err(OpError::shape(format!("constant_value is {}, not a scalar", value.ty)));
        }
    }
    let list = match ctx.optional(3) {
        Some(_) => ctx.ints(3)?,
        None => (0..from.len() as i64).collect(),
    };
    axes_of(&list, from.len())?;
    let pads = ctx.dims(1)?;
    if pads.len() != 2 * list.len() {
        return Err(OpError::shape(format!("{} pads for {} axes", pads.len(), list.len())));
    }
    let mut shape = from.to_vec();
    for (at, &axis) in list.iter().enumerate() {
        let axis = normalize_axis(axis, from.len()).map_err(OpError::Shape)?;
        let (begin, end) = (&pads[at], &pads[at + list.len()]);
        if let (Some(extent), Some(begin), Some(end)) =
            (from[axis].as_const(), begin.as_const(), end.as_const())
        {
            let most = begin.max(end);
            let fits = match mode {
                Mode::Constant => true,
                Mode::Edge | Mode::Wrap => most <= 0 || extent > 0,
                Mode::Reflect => most <= 0 || most < extent,
            };
            if !fits {
                return Err(OpError::shape(format!(
                    "axis {axis} of extent {extent} cannot be padded by {begin} and {end} in this mode"
                )));
            }
        }
        shape[axis] = from[axis].add(begin).add(end);
    }
    Ok(vec![Inferred::new(dtype, checked_sizes(shape)?)])
}

/// What position `q` relative to an axis of `extent` reads.
pub(super) fn source(mode: Mode, q: i128, extent: i128) -> Option<usize> {
    let inside = (0..extent).contains(&q);
    let at = match mode {
        _ if inside => q,
        Mode::Constant => return None,
        Mode::Edge => q.clamp(0, (extent - 1).max(0)),
        Mode::Reflect if q < 0 => -q,
        Mode::Reflect => 2 * (extent - 1) - q,
        Mode::Wrap => q.rem_euclid(extent.max(1)),
    };
    // Inference has refused what would still be outside.
    usize::try_from(at).ok().filter(|_| (0..extent).contains(&at))
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let mode = mode(ctx.attrs)?;
    let shape = known_shape(&DEF, ctx)?;
    let mut y = Tensor::zeros(x.dtype, &shape)?;
    let pads = ctx.input(1).to_i64s().unwrap_or_default();
    let list =
        ctx.optional(3).and_then(|t| t.to_i64s()).unwrap_or_else(|| (0..x.shape.len() as i64).collect());
    let mut begins = vec![0; x.shape.len()];
    for (at, &axis) in list.iter().enumerate() {
        begins[normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?] = pads[at];
    }
    let (own, full) = (strides(x.shape), strides(&shape));
    let size = x.dtype.size();
    for (at, element) in y.bytes_mut().chunks_exact_mut(size).enumerate() {
        let from = (0..shape.len()).try_fold(0, |from, axis| {
            let q = (at / full[axis] % shape[axis]) as i128 - i128::from(begins[axis]);
            Some(from + source(mode, q, x.shape[axis] as i128)? * own[axis])
        });
        match (from, ctx.optional(2)) {
            (Some(from), _) => element.copy_from_slice(&x.bytes[from * size..][..size]),
            (None, Some(value)) => element.copy_from_slice(&value.bytes[..size]),
            (None, None) => {}
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::attrs::Attrs;
    use crate::ops::OpError;
    use crate::ops::check::{run, run_outputs};
    use crate::tensor::Tensor;

    fn pad(mode: &str, x: &Tensor, pads: &[i64]) -> Result<Tensor, OpError> {
        let pads = Tensor::from_slice(&[pads.len()], pads);
        Ok(run_outputs("Pad", Attrs::new().with_str("mode", mode), &[Some(x), Some(&pads)], 1)?.remove(0))
    }

    #[test]
    fn modes() {
        let x = Tensor::from_slice(&[3], &[1u8, 2, 3]);
        let of = |mode, begin, end| pad(mode, &x, &[begin, end]).unwrap().as_slice::<u8>().to_vec();
        assert_eq!(of("constant", 2, 1), [0, 0, 1, 2, 3, 0]);
        assert_eq!(of("edge", 2, 1), [1, 1, 1, 2, 3, 3]);
        assert_eq!(of("reflect", 2, 1), [3, 2, 1, 2, 3, 2]);
        assert_eq!(of("wrap", 4, 2), [3, 1, 2, 3, 1, 2, 3, 1, 2]);
        for mode in ["constant", "edge", "reflect", "wrap"] {
            assert_eq!(of(mode, -1, -1), [2]);
            assert_eq!(of(mode, -3, 0), []);
            assert!(pad(mode, &x, &[-3, -1]).is_err());
            assert!(pad(mode, &x, &[1 << 62, 1 << 62]).is_err());
            assert!(pad(mode, &x, &[1]).is_err());
        }
        assert!(pad("reflect", &x, &[3, 0]).is_err());
        assert!(pad("mirror", &x, &[0, 0]).is_err());
        let empty = Tensor::from_slice::<u8>(&[0], &[]);
        assert!(pad("edge", &empty, &[1, 0]).is_err() && pad("wrap", &empty, &[0, 1]).is_err());
        assert_eq!(pad("constant", &empty, &[1, 1]).unwrap().as_slice::<u8>(), [0, 0]);
    }

    #[test]
    fn values_and_axes() {
        let x = Tensor::from_slice(&[1, 2], &[1.0f32, 2.0]);
        let pads = Tensor::from_slice(&[2], &[1i64, 0]);
        let (value, axes) = (Tensor::scalar(-0.0f32), Tensor::from_slice(&[1], &[-1i64]));
        let inputs = [Some(&x), Some(&pads), Some(&value), Some(&axes)];
        let y = run_outputs("Pad", Attrs::new(), &inputs, 1).unwrap().remove(0);
        assert_eq!(y.shape(), [1, 3]);
        assert_eq!(y.as_slice::<f32>()[0].to_bits(), 0x8000_0000);
    }

    proptest! {
        /// Cutting off what was padded gives the tensor again.
        #[test]
        fn negative_pads_undo(rows in 1usize..4, columns in 1usize..5, pads in prop::array::uniform4(0i64..4), mode in 0usize..3) {
            let mode = ["constant", "edge", "wrap"][mode];
            let values: Vec<u32> = (0..(rows * columns) as u32).collect();
            let x = Tensor::from_slice(&[rows, columns], &values);
            let y = pad(mode, &x, &pads).unwrap();
            prop_assert_eq!(pad("constant", &y, &pads.map(|p| -p)).unwrap(), x);
        }
    }

    #[test]
    fn scalars_have_no_ends() {
        let none = Tensor::from_slice::<i64>(&[0], &[]);
        assert_eq!(run("Pad", Attrs::new(), &[&Tensor::scalar(3u8), &none]).as_slice::<u8>(), [3]);
    }
}
