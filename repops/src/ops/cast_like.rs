//! CastLike: elements converted to the type of another tensor.

use super::cast::{ROUND_MODE, SATURATE, rules};
use super::convert::convert_by;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};

pub static DEF: OpDef = OpDef {
    id: 170,
    name: "CastLike",
    version: 1,
    doc: "Y = input 0 converted to input 1's type, as Cast does; input 1's elements are not read. Source: ONNX CastLike-15 \
          to -25.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[ROUND_MODE, SATURATE],
    class: OpClass::General,
    infer: |ctx: &InferCtx<'_>| {
        rules(ctx.attrs)?;
        Ok(vec![Inferred::new(ctx.dtype(1)?, ctx.shape(0)?.to_vec())])
    },
    eval: |ctx: &EvalCtx<'_>| -> Result<_, OpError> {
        Ok(vec![convert_by(ctx.input(0), ctx.input(1).dtype, rules(ctx.attrs)?)?])
    },
};

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn the_second_input_names_the_type() {
        let x = Tensor::from_slice(&[3], &[1.5f32, -2.5, 300.0]);
        let y = run("CastLike", Attrs::new(), &[&x, &Tensor::from_slice::<u8>(&[0], &[])]);
        assert_eq!(y.as_slice::<u8>(), [1, 0, 255]);
    }
}
