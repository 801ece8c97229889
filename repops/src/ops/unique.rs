//! Unique: each value or slice once.

use super::infer::normalize_axis;
use super::walk::{pick, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 229,
    name: "Unique",
    version: 1,
    doc: "The different slices of X along `axis`, or without it the different elements; then, as i64, where \
          each first occurs, which of them each of X's is, and how often each occurs. sorted 1: ascending, \
          slices by their first elements that differ in row-major order; 0: by first occurrence. Zeros of both \
          signs are equal (the first one stays), NaNs are equal and above all numbers. Source: ONNX Unique-11.",
    inputs: Arity::exactly(1),
    outputs: Arity::between(1, 4),
    attrs: &[
        AttrDef::optional("axis", AttrKind::Int, "Negative: from the back. Absent: X as one axis."),
        AttrDef::default("sorted", AttrKind::Int, || AttrValue::Int(1), "0: by first occurrence."),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "bool or a number", |d| !d.is_narrow())?;
    let from = ctx.shape(0)?;
    let found = ctx.fresh_dim();
    let (shape, count) = match ctx.attrs.get("axis") {
        None => {
            let product = from.iter().fold(crate::DimExpr::Const(1), |p, d| p.mul(d));
            (vec![found.clone()], product)
        }
        Some(_) => {
            let axis = ctx.axis_attr("axis", from.len())?;
            let mut shape = from.to_vec();
            let count = std::mem::replace(&mut shape[axis], found.clone());
            (shape, count)
        }
    };
    let list = |n| Inferred::new(DType::I64, vec![n]);
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape), list(found.clone()), list(count), list(found)])
}

/// Numbers that order and compare as the elements do.
fn keys(x: TensorView<'_>) -> Vec<u64> {
    let size = x.dtype.size();
    let top = 1u64 << (8 * size - 1);
    let mask = top | (top - 1);
    let key = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(word);
        match x.dtype {
            // The sign of zero does not count; the canonical NaN is above infinity.
            dtype if dtype.is_float() && bits == top => top,
            dtype if dtype.is_float() && bits & top != 0 => !bits & mask,
            dtype if dtype.is_float() || dtype.is_signed_int() => bits ^ top,
            _ => bits,
        }
    };
    x.bytes.chunks_exact(size).map(key).collect()
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let (mut shape, axis) = match ctx.attrs.opt_int("axis") {
        None => (vec![x.len()], 0),
        Some(axis) => (x.shape.to_vec(), normalize_axis(axis, x.shape.len()).map_err(OpError::Shape)?),
    };
    let (outer, extent, inner) = split_at_axis(&shape, axis);
    let keys = keys(x);
    let slice = |at: usize| {
        let keys = &keys;
        (0..outer).flat_map(move |a| keys[(a * extent + at) * inner..][..inner].iter())
    };
    // Slices in ascending order, equal ones in the order of their occurrence.
    let mut order: Vec<usize> = (0..extent).collect();
    order.sort_by(|&a, &b| slice(a).cmp(slice(b)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in order {
        match groups.last_mut() {
            Some(group) if slice(group[0]).eq(slice(at)) => group.push(at),
            _ => groups.push(vec![at]),
        }
    }
    if ctx.attrs.int("sorted") == 0 {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0i64; extent];
    for (number, group) in groups.iter().enumerate() {
        for &at in group {
            inverse[at] = number as i64;
        }
    }
    let firsts: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    shape[axis] = groups.len();
    let slices = (0..outer).flat_map(|a| groups.iter().map(move |group| a * extent + group[0]));
    let y = pick(x, &shape, slices.flat_map(|slice| slice * inner..(slice + 1) * inner))?;
    let list = |values: &[i64]| Tensor::from_slice(&[values.len()], values);
    Ok(vec![y, list(&firsts), list(&inverse), list(&counts)])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run_outputs;
    use crate::tensor::Tensor;

    fn unique(x: &Tensor, attrs: Attrs) -> Vec<Tensor> {
        run_outputs("Unique", attrs, &[Some(x)], 4).unwrap()
    }

    fn lists(outputs: &[Tensor]) -> Vec<Vec<i64>> {
        outputs[1..].iter().map(|t| t.as_slice::<i64>().to_vec()).collect()
    }

    #[test]
    fn elements() {
        let x = Tensor::from_slice(&[6], &[2i8, 1, 1, -3, 4, -3]);
        let y = unique(&x, Attrs::new());
        assert_eq!(y[0].as_slice::<i8>(), [-3, 1, 2, 4]);
        assert_eq!(lists(&y), [vec![3, 1, 0, 4], vec![2, 1, 1, 0, 3, 0], vec![2, 2, 1, 1]]);
        let y = unique(&x, Attrs::new().with_int("sorted", 0));
        assert_eq!(y[0].as_slice::<i8>(), [2, 1, -3, 4]);
        assert_eq!(lists(&y), [vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
    }

    #[test]
    fn slices() {
        let x = Tensor::from_slice(
            &[2, 4, 2],
            &[1.0f32, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0],
        );
        let y = unique(&x, Attrs::new().with_int("axis", 1));
        assert_eq!(y[0].shape(), [2, 3, 2]);
        assert_eq!(y[0].as_slice::<f32>()[..6], [0.0, 1.0, 1.0, 1.0, 2.0, 1.0]);
        assert_eq!(lists(&y), [vec![1, 0, 2], vec![1, 0, 2, 0], vec![2, 1, 1]]);
    }

    #[test]
    fn zeros_and_nans() {
        let x = Tensor::from_slice(
            &[7],
            &[f32::NAN, -0.0, f32::INFINITY, 0.0, f32::NAN, -1.0, f32::NEG_INFINITY],
        );
        let y = unique(&x, Attrs::new());
        let bits: Vec<u32> = y[0].as_slice::<f32>().iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0xff80_0000, 0xbf80_0000, 0x8000_0000, 0x7f80_0000, 0x7fc0_0000]);
        assert_eq!(lists(&y)[2], [1, 1, 2, 1, 2]);
        let none = unique(&Tensor::from_slice::<u64>(&[0], &[]), Attrs::new());
        assert!(none.iter().all(|t| t.shape() == [0]));
        let empty = unique(&Tensor::from_slice::<u8>(&[3, 0], &[]), Attrs::new().with_int("axis", 0));
        assert_eq!((empty[0].shape(), empty[3].as_slice::<i64>()), (&[1, 0][..], &[3][..]));
    }
}
