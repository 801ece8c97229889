//! BitShift: shifts of unsigned integers.

use super::elementwise::{UNSIGNED, infer_broadcast};
use super::integers::IntBinary;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};

pub static DEF: OpDef = OpDef {
    id: 109,
    name: "BitShift",
    version: 1,
    doc: "Z = X shifted by Y bits, broadcast; zeros come in, and a count of the width or more gives 0. \
          Source: ONNX BitShift-11.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("direction", AttrKind::Str, "LEFT (toward the high bits) or RIGHT.")],
    class: OpClass::Elementwise(None),
    infer,
    eval: |ctx: &EvalCtx<'_>| Ok(vec![direction(ctx.attrs)?.eval(ctx.input(0), ctx.input(1))?]),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    direction(ctx.attrs)?;
    infer_broadcast(ctx, &UNSIGNED)
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
        assert!(try_run("BitShift", attrs.clone(), &[&signed, &signed]).is_err());
        let wide = Tensor::scalar(1u64);
        assert_eq!(run("BitShift", attrs, &[&wide, &Tensor::scalar(63u64)]).as_slice::<u64>(), [1 << 63]);
    }
}
