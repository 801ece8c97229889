//! ScatterElements: elements replaced or combined by an index each.

use super::gather_elements::{check_indices, named_elements};
use super::scatter::{reduction, scatter};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 214,
    name: "ScatterElements",
    version: 1,
    doc: "Y is data with element [.., indices[.., i, ..], ..] combined with updates[.., i, ..] for every i in \
          row-major order: replaced (the last one stays), or old op update with op add, mul, max (as Max) or \
          min, each step rounded to the type; integers wrap. Indices as in GatherElements. Source: ONNX \
          ScatterElements-11 to -18.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("axis", AttrKind::Int, || AttrValue::Int(0), "Negative: from the back."),
        AttrDef::default(
            "reduction",
            AttrKind::Str,
            || AttrValue::Str("none".to_string()),
            "none, add, mul, max or min.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.dtype(0)?;
    reduction(ctx.attrs, dtype)?;
    check_indices(ctx)?;
    ctx.require_same(2, dtype)?;
    let (indices, updates) = (ctx.shape(1)?, ctx.shape(2)?);
    let differ = |(a, b): (&crate::DimExpr, &crate::DimExpr)| {
        a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b)
    };
    if indices.len() != updates.len() || indices.iter().zip(updates).any(differ) {
        return Err(OpError::shape(format!(
            "indices are {}, updates {}",
            ctx.input(1)?.ty,
            ctx.input(2)?.ty
        )));
    }
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let data = ctx.input(0);
    let targets = targets(data.shape, ctx)?;
    let mut y = data.to_tensor()?;
    scatter(&mut y, ctx.input(2), targets.into_iter(), reduction(ctx.attrs, data.dtype)?)?;
    Ok(vec![y])
}

/// The element of data that each update meets; of the inputs, indices alone are read.
pub(super) fn targets(data: &[usize], ctx: &EvalCtx<'_>) -> Result<Vec<usize>, OpError> {
    named_elements(data, ctx)
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    fn reduce(name: &str) -> Attrs {
        Attrs::new().with_str("reduction", name)
    }

    #[test]
    fn replaces_and_combines() {
        let data = Tensor::from_slice(&[2, 2], &[1i32, 2, 3, 4]);
        let indices = Tensor::from_slice(&[2, 2], &[1i64, 0, -1, 0]);
        let updates = Tensor::from_slice(&[2, 2], &[10i32, 20, 30, 40]);
        let of = |name| {
            run("ScatterElements", reduce(name), &[&data, &indices, &updates]).as_slice::<i32>().to_vec()
        };
        // Two updates meet element [1, 0] and two meet [0, 1]: the last one stays.
        assert_eq!(of("none"), [1, 40, 30, 4]);
        assert_eq!(of("add"), [1, 62, 43, 4]);
        assert_eq!(of("mul"), [1, 1600, 900, 4]);
        assert_eq!(of("max"), [1, 40, 30, 4]);
        assert_eq!(of("min"), [1, 2, 3, 4]);
        assert!(try_run("ScatterElements", reduce("xor"), &[&data, &indices, &updates]).is_err());
    }

    #[test]
    fn sums_follow_the_order_of_updates() {
        let data = Tensor::from_slice(&[1], &[1e8f32]);
        let indices = Tensor::from_slice(&[2], &[0i64, 0]);
        let y = |a: f32, b: f32| {
            run("ScatterElements", reduce("add"), &[&data, &indices, &Tensor::from_slice(&[2], &[a, b])])
        };
        assert_eq!(y(-1e8, 1.0).as_slice::<f32>(), [1.0]);
        assert_eq!(y(1.0, -1e8).as_slice::<f32>(), [0.0]);
        let nan = run(
            "ScatterElements",
            reduce("max"),
            &[&data, &indices, &Tensor::from_slice(&[2], &[f32::NAN, 1.0])],
        );
        assert_eq!(nan.as_slice::<f32>()[0].to_bits(), 0x7fc0_0000);
    }

    #[test]
    fn bad_inputs() {
        let data = Tensor::from_slice(&[2], &[1u8, 2]);
        let index = Tensor::from_slice(&[1], &[-3i64]);
        let y = try_run("ScatterElements", Attrs::new(), &[&data, &index, &Tensor::from_slice(&[1], &[0u8])]);
        assert_eq!(y, Err(OpError::Fault(Fault::IndexOutOfRange)));
        assert!(try_run("ScatterElements", Attrs::new(), &[&data, &index, &data]).is_err());
        let bools = Tensor::from_bools(&[1], &[true]);
        assert!(
            try_run("ScatterElements", reduce("add"), &[&bools, &Tensor::from_slice(&[1], &[0i64]), &bools])
                .is_err()
        );
    }
}
