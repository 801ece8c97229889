//! BitShift: shifts of integers.

use super::elementwise::{INTS, infer_broadcast};
use super::integers::IntBinary;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};

pub static DEF: OpDef = OpDef {
    id: 109,
    name: "BitShift",
    version: 1,
    doc: "Z = X shifted by Y bits, broadcast; zeros come in, from the left of negative numbers ones; counts of the width or more, and negative ones, \
          give what a shift by as many bits as the number has would: 0, or -1 for a negative number to the right. Source: ONNX BitShift-11, -28.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("direction", AttrKind::Str, "LEFT (toward the high bits) or RIGHT.")],
    class: OpClass::Elementwise(None),
    infer,
    eval: |ctx: &EvalCtx<'_>| Ok(vec![direction(ctx.attrs)?.eval(ctx.input(0), ctx.input(1))?]),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    direction(ctx.attrs)?;
    infer_broadcast(ctx, &INTS)
}

fn direction(attrs: &Attrs) -> Result<IntBinary, OpError> {
    match attrs.str("direction") {
        "LEFT" => Ok(IntBinary::ShiftLeft),
        "RIGHT" => Ok(IntBinary::ShiftRight),
        other => Err(OpError::attr("direction", format!("is {other:?}; LEFT or RIGHT is needed"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn both_ways() {
        let (x, y) =
            (Tensor::from_slice(&[3], &[0x81u8, 0x81, 0x81]), Tensor::from_slice(&[3], &[1u8, 7, 8]));
        let shift = |way: &str| try_run("BitShift", Attrs::new().with_str("direction", way), &[&x, &y]);
        assert_eq!(shift("LEFT").unwrap().as_slice::<u8>(), [0x02, 0x80, 0]);
        assert_eq!(shift("RIGHT").unwrap().as_slice::<u8>(), [0x40, 1, 0]);
        assert!(shift("UP").is_err());
        let signed = Tensor::scalar(1i8);
        let attrs = Attrs::new().with_str("direction", "LEFT");
        assert!(try_run("BitShift", attrs.clone(), &[&signed, &Tensor::scalar(1i16)]).is_err());
        let x = Tensor::from_slice(&[4], &[-8i8, -8, 8, 8]);
        let y = Tensor::from_slice(&[4], &[1i8, 9, -1, 2]);
        let right = Attrs::new().with_str("direction", "RIGHT");
        assert_eq!(run("BitShift", right, &[&x, &y]).as_slice::<i8>(), [-4, -1, 0, 2]);
        assert_eq!(run("BitShift", attrs.clone(), &[&x, &y]).as_slice::<i8>(), [-16, 0, 0, 32]);
        let wide = Tensor::scalar(1u64);
        assert_eq!(run("BitShift", attrs, &[&wide, &Tensor::scalar(63u64)]).as_slice::<u64>(), [1 << 63]);
    }
}
