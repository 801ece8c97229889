//! LinearAttention: attention as a recurrence over positions with a matrix as its state.

use super::float::{Float, Real, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, contract};
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 311,
    name: "LinearAttention",
    version: 1,
    doc: "query is [B, T, q_num_heads * K], key [B, T, kv_num_heads * K], value [B, T, kv_num_heads * V], past_state [B, kv_num_heads, K, V] (absent: +0), decay [B, T, \
          kv_num_heads * K] or [B, T, kv_num_heads], beta [B, T, kv_num_heads] or [B, T, 1]. For each sample and key head, with state S, for ascending t: where update_rule is gated \
          or gated_delta S[i, j] = exp(decay[i]) * S[i, j]; u = value; where it is delta or gated_delta u[j] = beta * (value[j] - the contraction over i of (S[i, j], key[i])); \
          S[i, j] = S[i, j] + (key[i] * u[j]). Then for each query head h with floor(h / (q_num_heads / kv_num_heads)) this key head: Y[t, h, j] = the contraction over i of (query[i], \
          S[i, j]) * scale, scale 0 being 1 / sqrt(K). All in f32, each operation rounded; Y is rounded to query's type and the last state to present_state's, which is past_state's, else \
          query's. chunk_size changes nothing. Source: ONNX LinearAttention-27.",
    inputs: Arity::between(3, 6),
    outputs: Arity::between(1, 2),
    attrs: &[
        AttrDef::default("chunk_size", AttrKind::Int, || AttrValue::Int(64), "A hint to others."),
        AttrDef::required("kv_num_heads", AttrKind::Int, "Heads of key and value."),
        AttrDef::required("q_num_heads", AttrKind::Int, "Heads of query; a multiple of kv_num_heads."),
        AttrDef::default("scale", AttrKind::Float, || AttrValue::Float(0.0), "0: 1 / sqrt(K)."),
        AttrDef::default(
            "update_rule",
            AttrKind::Str,
            || AttrValue::Str("gated_delta".to_string()),
            "linear, gated, delta or gated_delta.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| {
        let state = ctx.optional(PAST).map_or(ctx.input(0).dtype, |past| past.dtype);
        let (y, present) = attend(ctx)?;
        Ok(vec![
            with_float!(ctx.input(0).dtype, stored(&y.0, &y.1))?,
            with_float!(state, stored(&present.0, &present.1))?,
        ])
    },
};

const PAST: usize = 3;
const DECAY: usize = 4;
const BETA: usize = 5;
/// No more heads: shapes are multiplied by them.
const HEADS_MAX: i64 = 1 << 20;

struct Rule {
    gated: bool,
    delta: bool,
}

fn rule(attrs: &Attrs) -> Result<Rule, OpError> {
    let (gated, delta) = match attrs.str("update_rule") {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(OpError::attr("update_rule", format!("{other:?} is unknown"))),
    };
    Ok(Rule { gated, delta })
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let narrow = |d: DType| d.is_float() && d != DType::F64;
    let dtype = ctx.require(0, "f32, f16 or bf16", narrow)?;
    for index in [1, 2, DECAY, BETA] {
        if ctx.optional(index).is_some() {
            ctx.require_same(index, dtype)?;
        }
    }
    let rule = rule(ctx.attrs)?;
    let (q_heads, kv_heads) = (ctx.attrs.int("q_num_heads"), ctx.attrs.int("kv_num_heads"));
    if !(1..=HEADS_MAX).contains(&kv_heads) || !(1..=HEADS_MAX).contains(&q_heads) || q_heads % kv_heads != 0
    {
        return Err(OpError::attr("q_num_heads", format!("{q_heads} is no multiple of {kv_heads}")));
    }
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let query = ctx.shape(0)?;
    let split = |index: usize, heads: i64| -> Result<DimExpr, OpError> {
        let shape = ctx.shape(index)?;
        let fits = shape.len() == 3
            && !differ(&shape[0], &query[0])
            && !differ(&shape[1], &query[1])
            && shape[2].as_const().is_none_or(|d| d % heads == 0);
        if !fits {
            let ty = ctx.input(index)?.ty;
            return Err(OpError::shape(format!("input {index} is {ty}, which is not {heads} heads")));
        }
        Ok(shape[2].floor_div(&DimExpr::Const(heads)))
    };
    let size = split(0, q_heads)?;
    if differ(&size, &split(1, kv_heads)?) {
        return Err(OpError::shape("the vectors of query and key have different lengths"));
    }
    let values = split(2, kv_heads)?;
    if rule.gated {
        let width = split(DECAY, kv_heads)?;
        if differ(&width, &size) && differ(&width, &DimExpr::Const(1)) {
            return Err(OpError::shape("decay is neither a number a head nor one an element of key"));
        }
    }
    if rule.delta {
        split(BETA, 1)?;
        let width = &ctx.shape(BETA)?[2];
        if differ(width, &DimExpr::Const(kv_heads)) && differ(width, &DimExpr::Const(1)) {
            return Err(OpError::shape("beta is no number a head"));
        }
    }
    let state = vec![query[0].clone(), DimExpr::Const(kv_heads), size, values.clone()];
    let state_type = match ctx.optional(PAST) {
        None => dtype,
        Some(past) => {
            if past.ty.shape.len() != 4 || past.ty.shape.iter().zip(&state).any(|(a, b)| differ(a, b)) {
                return Err(OpError::shape(format!("past_state is {}", past.ty)));
            }
            ctx.require(PAST, "f32, f16 or bf16", narrow)?
        }
    };
    let y = vec![query[0].clone(), query[1].clone(), values.mul(&DimExpr::Const(q_heads))];
    Ok(vec![Inferred::new(dtype, y), Inferred::new(state_type, state)])
}

/// Shape and elements.
type Values = (Vec<usize>, Vec<f32>);

fn stored<T: Float>(shape: &[usize], values: &[f32]) -> Result<Tensor, OpError> {
    let mut y = Tensor::zeros(T::DTYPE, shape)?;
    for (out, &value) in y.as_mut_slice::<T>().iter_mut().zip(values) {
        *out = T::narrow(T::Wide::from_f64(f64::from(value)));
    }
    Ok(y)
}

fn attend(ctx: &EvalCtx<'_>) -> Result<(Values, Values), OpError> {
    let rule = rule(ctx.attrs)?;
    let (q_heads, kv_heads) = (ctx.attrs.int("q_num_heads") as usize, ctx.attrs.int("kv_num_heads") as usize);
    let shape = ctx.input(0).shape;
    let (batch, steps, size) = (shape[0], shape[1], shape[2] / q_heads);
    let width = ctx.input(2).shape[2] / kv_heads;
    let elements = |index: usize| ctx.optional(index).map(wide_elements::<f32>).unwrap_or_default();
    let [query, key, value, past, decay, beta] = [0, 1, 2, PAST, DECAY, BETA].map(elements);
    let per_head = |index: usize| ctx.optional(index).map_or(0, |t| t.shape[2]);
    let (decays, betas) = (per_head(DECAY), per_head(BETA));
    let scale = match ctx.attrs.float("scale") {
        0.0 => 1.0 / f32::count(size).sqrt(),
        scale => scale,
    };
    // Sizes are checked by making the outputs first.
    let y_shape = vec![batch, steps, q_heads * width];
    let state_shape = vec![batch, kv_heads, size, width];
    let mut y = Tensor::zeros(DType::F32, &y_shape)?;
    let mut states = Tensor::zeros(DType::F32, &state_shape)?;
    if !past.is_empty() {
        states.as_mut_slice::<f32>().copy_from_slice(&past);
    }
    let group = q_heads / kv_heads;
    for (at, s) in states.as_mut_slice::<f32>().chunks_exact_mut((size * width).max(1)).enumerate() {
        let (b, head) = (at / kv_heads, at % kv_heads);
        for t in 0..steps {
            let row = b * steps + t;
            let k = &key[(row * kv_heads + head) * size..][..size];
            let v = &value[(row * kv_heads + head) * width..][..width];
            if rule.gated {
                let each = decays / kv_heads;
                for i in 0..size {
                    let g = decay[row * decays + head * each + if each == 1 { 0 } else { i }];
                    let factor = Real::exp(g);
                    s[i * width..][..width].iter_mut().for_each(|s| *s *= factor);
                }
            }
            let mut u = v.to_vec();
            if rule.delta {
                let rate = beta[row * betas + if betas == 1 { 0 } else { head }];
                for (j, u) in u.iter_mut().enumerate() {
                    *u = rate * (*u - contract(size, |i| Some((s[i * width + j], k[i]))));
                }
            }
            for i in 0..size {
                for j in 0..width {
                    s[i * width + j] = s[i * width + j].add(k[i] * u[j]);
                }
            }
            for h in head * group..(head + 1) * group {
                let q = &query[(row * q_heads + h) * size..][..size];
                let out = &mut y.as_mut_slice::<f32>()[(row * q_heads + h) * width..][..width];
                for (j, out) in out.iter_mut().enumerate() {
                    *out = contract(size, |i| Some((q[i], s[i * width + j]))) * scale;
                }
            }
        }
    }
    let list = |t: &Tensor| t.as_slice::<f32>().to_vec();
    Ok(((y_shape, list(&y)), (state_shape, list(&states))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::run_outputs;
    use crate::ops::testing::noise;

    fn attrs(rule: &str) -> Attrs {
        Attrs::new().with_int("q_num_heads", 4).with_int("kv_num_heads", 2).with_str("update_rule", rule)
    }

    fn part(x: &Tensor, from: usize, to: usize) -> Tensor {
        let width = x.shape()[2];
        Tensor::from_slice(&[1, to - from, width], &x.as_slice::<f32>()[from * width..to * width])
    }

    #[test]
    fn positions_may_come_in_pieces() {
        let (q, k, v) = (noise(&[1, 5, 12], 1), noise(&[1, 5, 6], 2), noise(&[1, 5, 8], 3));
        let (decay, beta) = (noise(&[1, 5, 6], 4), noise(&[1, 5, 2], 5));
        let go = |from, to, past: Option<&Tensor>| {
            let [q, k, v, decay, beta] = [&q, &k, &v, &decay, &beta].map(|x| part(x, from, to));
            let inputs = [Some(&q), Some(&k), Some(&v), past, Some(&decay), Some(&beta)];
            run_outputs("LinearAttention", attrs("gated_delta"), &inputs, 2).unwrap()
        };
        let whole = go(0, 5, None);
        let first = go(0, 2, None);
        let second = go(2, 5, Some(&first[1]));
        assert_eq!(second[1], whole[1]);
        assert_eq!(part(&whole[0], 2, 5), second[0]);
        assert_eq!(part(&whole[0], 0, 2), first[0]);
    }

    #[test]
    fn linear_is_a_sum_of_products() {
        let one = |v: &[f32]| Tensor::from_slice(&[1, 2, 1], v);
        let (q, k, v) = (one(&[1.0, 2.0]), one(&[3.0, 4.0]), one(&[5.0, 6.0]));
        let attrs = Attrs::new()
            .with_int("q_num_heads", 1)
            .with_int("kv_num_heads", 1)
            .with_str("update_rule", "linear");
        let y = run_outputs("LinearAttention", attrs, &[Some(&q), Some(&k), Some(&v)], 2).unwrap();
        assert_eq!((y[0].as_slice::<f32>(), y[1].as_slice::<f32>()), (&[15.0, 78.0][..], &[39.0][..]));
        let missing =
            run_outputs("LinearAttention", super::tests::attrs("gated"), &[Some(&q), Some(&k), Some(&v)], 1);
        assert!(missing.is_err());
    }
}
