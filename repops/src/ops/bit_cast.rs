//! BitCast: the same bytes as another type of the same size.

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};
use crate::dtype::{DType, narrow};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 171,
    name: "BitCast",
    version: 1,
    doc: "Y has the bytes of X as elements of the type `to`, which is as many bits wide; a NaN becomes the canonical one of \
          its type (SPEC.md, 2.2). A byte that is no bool (neither 0 nor 1) is fault 2. 4-bit types among themselves: the \
          low 4 bits, sign-extended for i4; 2-bit types likewise. Source: ONNX BitCast-26.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("to", AttrKind::Int, "ONNX's number of the result's type.")],
    class: OpClass::Elementwise(None),
    infer,
    eval,
};

fn bits(dtype: DType) -> usize {
    8 * dtype.size() / narrow::per_byte(dtype)
}

fn target(attrs: &Attrs) -> Result<DType, OpError> {
    let code = attrs.int("to");
    let dtype = u32::try_from(code).ok().and_then(DType::from_code);
    dtype.ok_or_else(|| OpError::attr("to", format!("{code} is no supported type")))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let (from, to) = (ctx.dtype(0)?, target(ctx.attrs)?);
    if bits(from) != bits(to) {
        return Err(OpError::attr("to", format!("{to} is not as wide as {from}")));
    }
    Ok(vec![Inferred::new(to, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, to) = (ctx.input(0), target(ctx.attrs)?);
    let per_byte = narrow::per_byte(to);
    let mut bytes = x.bytes.to_vec();
    if per_byte > 1 {
        let low = u8::MAX >> (8 - 8 / per_byte);
        bytes = x.bytes.iter().flat_map(|b| narrow::unpack(to, &[b & low], 1)).collect();
    }
    match Tensor::from_bytes(to, x.shape, &bytes) {
        Err(crate::tensor::TensorError::Element { .. }) => Err(super::Fault::IndexOutOfRange.into()),
        other => Ok(vec![other?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    #[test]
    fn bytes_stay() {
        let to = |dtype: DType| Attrs::new().with_int("to", dtype.code().into());
        let x = Tensor::from_slice(&[2], &[1.0f32, -0.0]);
        assert_eq!(run("BitCast", to(DType::U32), &[&x]).as_slice::<u32>(), [0x3f80_0000, 0x8000_0000]);
        let x = Tensor::from_slice(&[2], &[0x7f80_0001u32, 0xffff_ffff]);
        let y = run("BitCast", to(DType::F32), &[&x]);
        assert_eq!(y.as_slice::<f32>().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [0x7fc0_0000; 2]);
        let x = Tensor::from_bytes(DType::I4, &[2], &[0xff, 7]).unwrap();
        assert_eq!(run("BitCast", to(DType::U4), &[&x]).bytes(), [15, 7]);
        let x = Tensor::from_slice(&[2], &[1u8, 2]);
        assert!(try_run("BitCast", to(DType::Bool), &[&x]).is_err());
        assert!(try_run("BitCast", to(DType::F16), &[&x]).is_err());
        assert!(try_run("BitCast", to(DType::I4), &[&x]).is_err());
    }
}
