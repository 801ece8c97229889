//! ReverseSequence: the beginnings of sequences reversed.

use super::walk::{pick, position};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 213,
    name: "ReverseSequence",
    version: 1,
    doc: "For each position b of the batch axis, the first sequence_lens[b] (i64) elements along the time axis \
          in reverse, the others as they are. The axes are 0 and 1 in either order. A length outside of 0 .. \
          extent is fault 2. Source: ONNX ReverseSequence-10.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("batch_axis", AttrKind::Int, || AttrValue::Int(1), "0 or 1."),
        AttrDef::default("time_axis", AttrKind::Int, || AttrValue::Int(0), "The other of both."),
    ],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let batch = batch_axis(ctx.attrs)?;
    ctx.require_same(1, DType::I64)?;
    let (shape, lens) = (ctx.shape(0)?, ctx.shape(1)?);
    let fits = shape.len() >= 2
        && lens.len() == 1
        && shape[batch].as_const().zip(lens[0].as_const()).is_none_or(|(a, b)| a == b);
    if !fits {
        return Err(OpError::shape(format!("lengths are {} for {}", ctx.input(1)?.ty, ctx.input(0)?.ty)));
    }
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape.to_vec())])
}

fn batch_axis(attrs: &Attrs) -> Result<usize, OpError> {
    match (attrs.int("batch_axis"), attrs.int("time_axis")) {
        (0, 1) => Ok(0),
        (1, 0) => Ok(1),
        (b, t) => Err(OpError::attr("batch_axis", format!("{b} and time_axis {t} are not 0 and 1"))),
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let batch = batch_axis(ctx.attrs)?;
    let (rows, columns, inner) = (x.shape[0], x.shape[1], element_count(&x.shape[2..]));
    let steps = x.shape[1 - batch];
    let lens = ctx.input(1).as_slice::<i64>().iter().map(|&len| {
        // A length names the position past its last element.
        usize::try_from(len).ok().filter(|&len| len == 0 || position(len as i64 - 1, steps).is_ok())
    });
    let lens: Vec<usize> = lens.collect::<Option<_>>().ok_or(Fault::IndexOutOfRange)?;
    let reversed = |time: usize, len: usize| if time < len { len - 1 - time } else { time };
    let slices = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let from = slices.map(|(row, column)| match batch {
        0 => row * columns + reversed(column, lens[row]),
        _ => reversed(row, lens[column]) * columns + column,
    });
    let elements = from.flat_map(|slice| slice * inner..(slice + 1) * inner);
    Ok(vec![pick(x, x.shape, elements)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn both_orders_of_axes() {
        let x = Tensor::from_slice(&[3, 2], &[0u8, 1, 2, 3, 4, 5]);
        let y = run("ReverseSequence", Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[3i64, 2])]);
        assert_eq!(y.as_slice::<u8>(), [4, 3, 2, 1, 0, 5]);
        let batch_first = Attrs::new().with_int("batch_axis", 0).with_int("time_axis", 1);
        let lens = Tensor::from_slice(&[3], &[2i64, 1, 0]);
        assert_eq!(run("ReverseSequence", batch_first, &[&x, &lens]).as_slice::<u8>(), [1, 0, 2, 3, 4, 5]);
    }

    #[test]
    fn bad_inputs() {
        let x = Tensor::from_slice(&[3, 2], &[0u8, 1, 2, 3, 4, 5]);
        for len in [4, -1, i64::MIN, i64::MAX] {
            let y = try_run("ReverseSequence", Attrs::new(), &[&x, &Tensor::from_slice(&[2], &[1, len])]);
            assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        }
        assert!(try_run("ReverseSequence", Attrs::new(), &[&x, &Tensor::from_slice(&[1], &[1i64])]).is_err());
        let same = Attrs::new().with_int("batch_axis", 0);
        assert!(try_run("ReverseSequence", same, &[&x, &Tensor::from_slice(&[2], &[1i64, 1])]).is_err());
    }
}
