//! ConstantOfShape: one value everywhere.

use super::infer::{SYM_ELEMENTS_MAX, may_be_single};
use super::walk::{Walk, checked_sizes, known_shape, pick};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 203,
    name: "ConstantOfShape",
    version: 1,
    doc: "A tensor of the shape that the i64 input 0 gives, every element the single element of input 1; \
          without it, f32 zeros. (ONNX's attribute `value` is input 1 here.) Source: ONNX ConstantOfShape-9 \
          and later.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = checked_sizes(ctx.dims(0)?)?;
    let Some(value) = ctx.optional(1) else { return Ok(vec![Inferred::new(DType::F32, shape)]) };
    if !may_be_single(&value.ty.shape) {
        return Err(OpError::shape(format!("the value is {}, not a single element", value.ty)));
    }
    let sym = ctx.sym(1).and_then(|v| match shape.as_slice() {
        [] => Some(SymTensor::scalar(v.elements.first()?.clone())),
        [len] => {
            let len = len.as_extent().filter(|&len| len <= SYM_ELEMENTS_MAX)?;
            Some(SymTensor::vector(vec![v.elements.first()?.clone(); len]))
        }
        _ => None,
    });
    Ok(vec![symbolic::with_value(Inferred::new(value.ty.dtype, shape), sym)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = known_shape(&DEF, ctx)?;
    let y = match ctx.optional(1) {
        None => Tensor::zeros(DType::F32, &shape)?,
        Some(value) => pick(value, &shape, Walk::new(&shape, vec![0; shape.len()], 0))?,
    };
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn values_and_shapes() {
        let shape = Tensor::from_slice(&[2], &[2i64, 3]);
        let y = run("ConstantOfShape", Attrs::new(), &[&shape]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[2, 3][..], &[0.0; 6][..]));
        let y = run("ConstantOfShape", Attrs::new(), &[&shape, &Tensor::from_slice(&[1], &[7i64])]);
        assert_eq!(y.as_slice::<i64>(), [7; 6]);
        let none = Tensor::from_slice::<i64>(&[0], &[]);
        assert_eq!(run("ConstantOfShape", Attrs::new(), &[&none, &Tensor::scalar(7i64)]).shape(), []);
        let y = run(
            "ConstantOfShape",
            Attrs::new(),
            &[&Tensor::from_slice(&[1], &[3i64]), &Tensor::scalar(7i64)],
        );
        assert_eq!(y.as_slice::<i64>(), [7; 3]);
        let y = run("ConstantOfShape", Attrs::new(), &[&none, &Tensor::from_bools(&[1], &[true])]);
        assert_eq!(y.bytes(), [1]);
    }

    #[test]
    fn bad_shapes_are_refused() {
        for bad in [&[-1i64][..], &[1 << 62], &[1 << 35, 1 << 35], &[i64::MAX, 0], &[1; 17]] {
            let shape = Tensor::from_slice(&[bad.len()], bad);
            assert!(try_run("ConstantOfShape", Attrs::new(), &[&shape]).is_err(), "{bad:?}");
        }
    }
}
