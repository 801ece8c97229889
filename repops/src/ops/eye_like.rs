//! EyeLike: ones on a diagonal.

use super::convert::convert;
use super::walk::known_shape;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 206,
    name: "EyeLike",
    version: 1,
    doc: "A matrix of X's shape: 1 where column - row = k, else 0. Source: ONNX EyeLike-9, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int, "ONNX's number of the result's type; absent: X's type."),
        AttrDef::default("k", AttrKind::Int, || AttrValue::Int(0), "The diagonal; positive: above the main."),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = match ctx.attrs.opt_int("dtype") {
        None => ctx.dtype(0)?,
        Some(code) => u32::try_from(code)
            .ok()
            .and_then(DType::from_code)
            .filter(|dtype| !dtype.is_narrow())
            .ok_or_else(|| OpError::attr("dtype", format!("{code} is no supported type")))?,
    };
    if dtype.is_narrow() || ctx.shape(0)?.len() != 2 {
        return Err(OpError::shape(format!("{} is no matrix of numbers", ctx.input(0)?.ty)));
    }
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let inferred = super::infer_known(&DEF, ctx.attrs, ctx.inputs, 1)?;
    let dtype = inferred[0].ty.dtype;
    let shape = known_shape(&DEF, ctx)?;
    let one = convert(Tensor::scalar(1u8).view(), dtype)?;
    let mut y = Tensor::zeros(dtype, &shape)?;
    let size = dtype.size();
    for row in 0..shape[0] {
        let column = row as i128 + i128::from(ctx.attrs.int("k"));
        if let Some(column) = usize::try_from(column).ok().filter(|&c| c < shape[1]) {
            y.bytes_mut()[(row * shape[1] + column) * size..][..size].copy_from_slice(one.bytes());
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::DType;
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn diagonals() {
        let x = Tensor::zeros(DType::I8, &[2, 3]).unwrap();
        assert_eq!(run("EyeLike", Attrs::new(), &[&x]).as_slice::<i8>(), [1, 0, 0, 0, 1, 0]);
        let y = run("EyeLike", Attrs::new().with_int("k", 2).with_int("dtype", 1), &[&x]);
        assert_eq!(y.as_slice::<f32>(), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let y = run("EyeLike", Attrs::new().with_int("k", -1).with_int("dtype", 9), &[&x]);
        assert_eq!(y.bytes(), [0, 0, 0, 1, 0, 0]);
        for k in [i64::MIN, i64::MAX] {
            assert_eq!(run("EyeLike", Attrs::new().with_int("k", k), &[&x]).as_slice::<i8>(), [0; 6]);
        }
        assert!(try_run("EyeLike", Attrs::new(), &[&x.reshaped(&[6])]).is_err());
    }
}
