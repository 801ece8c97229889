//! Shape: the extents of a tensor.

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 216,
    name: "Shape",
    version: 1,
    doc: "The extents of X's axes `start` to `end` (not included) as i64; negative ones count from the back, \
          and both are limited to the rank. Source: ONNX Shape-1 and later.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::optional("end", AttrKind::Int, "Absent: the rank."),
        AttrDef::default("start", AttrKind::Int, || AttrValue::Int(0), "The first axis."),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let shape = ctx.shape(0)?;
    let sizes = shape[range(ctx.attrs, shape.len())].to_vec();
    Ok(vec![Inferred::with_sym(DType::I64, SymTensor::vector(sizes))])
}

fn range(attrs: &Attrs, rank: usize) -> std::ops::Range<usize> {
    let limit = |axis: i64| {
        let axis = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        axis.clamp(0, rank as i64) as usize
    };
    let start = limit(attrs.int("start"));
    start..attrs.opt_int("end").map_or(rank, limit).max(start)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = ctx.input(0).shape;
    let sizes: Vec<i64> = shape[range(ctx.attrs, shape.len())].iter().map(|&d| d as i64).collect();
    Ok(vec![Tensor::from_slice(&[sizes.len()], &sizes)])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn parts() {
        let x = Tensor::from_slice(&[2, 0, 3], &[0u8; 0]);
        let part = |start, end| {
            let attrs = Attrs::new().with_int("start", start).with_int("end", end);
            run("Shape", attrs, &[&x]).as_slice::<i64>().to_vec()
        };
        assert_eq!(run("Shape", Attrs::new(), &[&x]).as_slice::<i64>(), [2, 0, 3]);
        assert_eq!(part(1, 3), [0, 3]);
        assert_eq!(part(-1, 100), [3]);
        assert_eq!(part(i64::MIN, -2), [2]);
        assert_eq!(part(2, 1), []);
        assert_eq!(run("Shape", Attrs::new(), &[&Tensor::scalar(1u8)]).shape(), [0]);
    }
}
