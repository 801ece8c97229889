//! Where: elements of one tensor or another.

use super::elementwise::map3;
use super::infer::broadcast;
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic};
use crate::dtype::DType;
use crate::lane_op::LaneOp;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 166,
    name: "Where",
    version: 1,
    doc: "Z = X where condition is true, else Y, broadcast over the three; X and Y of any one type. Source: \
          ONNX Where-9, -16.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Where)),
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::Bool)?;
    let dtype = ctx.dtype(1)?;
    ctx.require_same(2, dtype)?;
    let shape = broadcast(&[ctx.shape(0)?, ctx.shape(1)?, ctx.shape(2)?])?;
    Ok(vec![symbolic::with_value(Inferred::new(dtype, shape), choose(ctx))])
}

/// The value, when the condition is known and small.
fn choose(ctx: &InferCtx<'_>) -> Option<SymTensor> {
    let condition = ctx.optional(0)?.tensor?;
    if condition.shape.len() > 1 || condition.len() > super::infer::SYM_ELEMENTS_MAX {
        return None;
    }
    let (x, y) = (ctx.sym(1)?, ctx.sym(2)?);
    let flags = condition.bytes.iter().map(|&b| i64::from(b).into()).collect();
    let flags = SymTensor { len: condition.shape.first().copied(), elements: flags };
    // Each side over the broadcast of the three, then the choice between them.
    let x = symbolic::zip(&symbolic::zip(&x, &y, |x, _| Some(x.clone()))?, &flags, |x, _| Some(x.clone()))?;
    let y = symbolic::zip(&y, &x, |y, _| Some(y.clone()))?;
    let flags = symbolic::zip(&flags, &x, |f, _| Some(f.clone()))?;
    let elements = flags.elements.iter().zip(x.elements.iter().zip(y.elements));
    let elements = elements.map(|(f, (x, y))| if f.as_const() == Some(0) { y } else { x.clone() }).collect();
    Some(SymTensor { len: x.len, elements })
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (c, x, y) = (ctx.input(0), ctx.input(1), ctx.input(2));
    // Elements are copied as bits of their size.
    let z = match x.dtype.size() {
        1 => map3(x.dtype, c, x, y, |c: u8, x: u8, y: u8| if c != 0 { x } else { y }),
        2 => map3(x.dtype, c, x, y, |c: u8, x: u16, y: u16| if c != 0 { x } else { y }),
        4 => map3(x.dtype, c, x, y, |c: u8, x: u32, y: u32| if c != 0 { x } else { y }),
        _ => map3(x.dtype, c, x, y, |c: u8, x: u64, y: u64| if c != 0 { x } else { y }),
    };
    Ok(vec![z?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn broadcasts_three_ways() {
        let c = Tensor::from_bools(&[2, 1], &[true, false]);
        let z =
            run("Where", Attrs::new(), &[&c, &Tensor::from_slice(&[2], &[1i64, 2]), &Tensor::scalar(9i64)]);
        assert_eq!((z.shape(), z.as_slice::<i64>()), (&[2, 2][..], &[1, 2, 9, 9][..]));
    }

    #[test]
    fn known_conditions_give_known_values() {
        // The harness compares the value that inference promises with the result.
        let c = Tensor::from_bools(&[3], &[true, false, true]);
        let z = run(
            "Where",
            Attrs::new(),
            &[&c, &Tensor::scalar(1i64), &Tensor::from_slice(&[3], &[7i64, 8, 9])],
        );
        assert_eq!(z.as_slice::<i64>(), [1, 8, 1]);
        let z = run("Where", Attrs::new(), &[&c, &Tensor::scalar(1i64), &Tensor::scalar(2i64)]);
        assert_eq!(z.as_slice::<i64>(), [1, 2, 1]);
    }

    #[test]
    fn every_size_of_element() {
        let c = Tensor::from_bools(&[2], &[false, true]);
        let z = run("Where", Attrs::new(), &[&c, &Tensor::scalar(1u8), &Tensor::scalar(2u8)]);
        assert_eq!(z.as_slice::<u8>(), [2, 1]);
        let z = run("Where", Attrs::new(), &[&c, &Tensor::scalar(-0.0f32), &Tensor::scalar(f32::NAN)]);
        assert_eq!(
            z.as_slice::<f32>().iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [0x7fc0_0000, 0x8000_0000]
        );
        let z = run(
            "Where",
            Attrs::new(),
            &[&c, &Tensor::from_bools(&[], &[true]), &Tensor::from_bools(&[], &[false])],
        );
        assert_eq!(z.bytes(), [0, 1]);
    }
}
