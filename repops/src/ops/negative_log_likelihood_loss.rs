//! NegativeLogLikelihoodLoss.

use super::float::{Float, Real, with_float};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 380,
    name: "NegativeLogLikelihoodLoss",
    version: 1,
    doc: "X is [N, C, d..], target (i32 or i64) [N, d..], weight [C] or absent. For each element t of target: weight w = weight[t] (1 \
          when absent) and loss l = -X[n, t, d..], multiplied by w if weight is there; where t = ignore_index both are +0. reduction none: \
          Y = l; sum: the row sum of all l; mean: the row sum of all l divided by that of all w, or, without weight and ignore_index, \
          by the number of elements. Computed in the wide type, rounded once. A t outside of 0 .. C - 1 that is not ignored is fault 2. \
          Source: ONNX NegativeLogLikelihoodLoss-12, -13, -22.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::optional("ignore_index", AttrKind::Int, "The target that does not count."),
        AttrDef::default(
            "reduction",
            AttrKind::Str,
            || AttrValue::Str("mean".to_string()),
            "none, sum or mean.",
        ),
    ],
    class: OpClass::Reduction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, loss(ctx)),
};

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

fn reduction(attrs: &Attrs) -> Result<Reduction, OpError> {
    match attrs.str("reduction") {
        "none" => Ok(Reduction::None),
        "sum" => Ok(Reduction::Sum),
        "mean" => Ok(Reduction::Mean),
        other => Err(OpError::attr("reduction", format!("{other:?} is unknown"))),
    }
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require(1, "i32 or i64", |d| matches!(d, DType::I32 | DType::I64))?;
    let (x, target) = (ctx.shape(0)?, ctx.shape(1)?);
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let rest = |x: &[DimExpr]| x.iter().take(1).chain(x.iter().skip(2)).cloned().collect::<Vec<_>>();
    if x.len() < 2 || target.len() + 1 != x.len() || rest(x).iter().zip(target).any(|(a, b)| differ(a, b)) {
        let tys = (ctx.input(0)?.ty, ctx.input(1)?.ty);
        return Err(OpError::shape(format!("X is {}, target {}", tys.0, tys.1)));
    }
    if ctx.optional(2).is_some() {
        ctx.require_same(2, dtype)?;
        let weight = ctx.shape(2)?;
        if weight.len() != 1 || differ(&weight[0], &x[1]) {
            return Err(OpError::shape("weight has not one element a class"));
        }
    }
    let shape = if reduction(ctx.attrs)? == Reduction::None { target.to_vec() } else { Vec::new() };
    Ok(vec![Inferred::new(dtype, shape)])
}

fn loss<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, target) = (ctx.input(0), ctx.input(1));
    let (classes, inner) = (x.shape[1], element_count(&x.shape[2..]));
    let values = x.as_slice::<T>();
    let weight = ctx.optional(2).map(|w| w.as_slice::<T>());
    let ignored = ctx.attrs.opt_int("ignore_index");
    let targets = target.to_i64s().ok_or(OpError::MissingInput { index: 1 })?;
    let (mut losses, mut weights) = (Vec::new(), Vec::new());
    for (at, &t) in targets.iter().enumerate() {
        if ignored == Some(t) {
            losses.push(T::Wide::ZERO);
            weights.push(T::Wide::ZERO);
            continue;
        }
        let class = usize::try_from(t).ok().filter(|c| *c < classes).ok_or(Fault::IndexOutOfRange)?;
        let (n, d) = (at / inner, at % inner);
        let l = -values[(n * classes + class) * inner + d].widen();
        losses.push(weight.map_or(l, |w| l * w[class].widen()));
        weights.push(weight.map_or(T::Wide::ONE, |w| w[class].widen()));
    }
    let sum = |list: &[T::Wide]| row_sum(list.len(), |i| list[i]);
    let reduced = match reduction(ctx.attrs)? {
        Reduction::None => {
            let losses: Vec<T> = losses.into_iter().map(T::narrow).collect();
            return Ok(vec![Tensor::from_slice(target.shape, &losses)]);
        }
        Reduction::Sum => sum(&losses),
        Reduction::Mean if weight.is_none() && ignored.is_none() => {
            sum(&losses) / T::Wide::count(losses.len())
        }
        Reduction::Mean => sum(&losses) / sum(&weights),
    };
    Ok(vec![Tensor::scalar(T::narrow(reduced))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    #[test]
    fn reductions() {
        let x = Tensor::from_slice(&[3, 2], &[-1.0f32, -2.0, -3.0, -4.0, -5.0, -6.0]);
        let target = Tensor::from_slice(&[3], &[0i64, 1, 7]);
        let attrs = |name: &str| Attrs::new().with_str("reduction", name).with_int("ignore_index", 7);
        let none = run("NegativeLogLikelihoodLoss", attrs("none"), &[&x, &target]);
        assert_eq!(none.as_slice::<f32>(), [1.0, 4.0, 0.0]);
        let weight = Tensor::from_slice(&[2], &[0.5f32, 1.5]);
        let of = |name: &str, inputs: &[&Tensor]| {
            run("NegativeLogLikelihoodLoss", attrs(name), inputs).as_slice::<f32>()[0]
        };
        assert_eq!(of("sum", &[&x, &target, &weight]), 6.5);
        assert_eq!(of("mean", &[&x, &target, &weight]), 3.25);
        assert_eq!(of("mean", &[&x, &target]), 2.5);
        let bad = try_run("NegativeLogLikelihoodLoss", Attrs::new(), &[&x, &target]).unwrap_err();
        assert_eq!(bad, OpError::Fault(Fault::IndexOutOfRange));
        assert!(try_run("NegativeLogLikelihoodLoss", attrs("all"), &[&x, &target]).is_err());
    }
}
