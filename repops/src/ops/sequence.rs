//! SequenceAttention and SequenceRotary: attention and rotary positions on rows, one for each position of a sequence.
//!
//! Invariant: a row depends on rows at its own and earlier positions only, so a sequence can be computed
//! in one piece, in pieces, or row by row. SequenceAttention is the only operator of sequence programs that
//! reads other rows than its own.

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::lane_op::UnaryOp;
use crate::reduce::{contract, row_sum};
use crate::scalar;
use crate::tensor::Tensor;

use super::softmax::row_maximum;

pub static ATTENTION: OpDef = OpDef {
    id: 720,
    name: "SequenceAttention",
    version: 2,
    doc: "Q [S, heads * d], K [S, kv_heads * d], V [S, kv_heads * e], f32; Y [S, heads * e]. Query head h reads \
          head h / (heads / kv_heads) of K and V. For row i and each j in 0 ..= i that is in the window (all, or j > i - window \
          where window > 0): s[j] = (contraction over d of Q[i] * K[j]) * scale; with softcap > 0 s[j] = tanh(s[j] / softcap) \
          * softcap; m = the exact maximum of s (NaN if there is one); e[j] = softmax_exp(s[j] - m) (docs/SCALAR.md, S.3). Elsewhere e[j] = +0. t = row sum of e[0 ..= i]; p[j] = e[j] * (1 / t); Y[i] = \
          contraction over j in 0 ..= i of p[j] * V[j], positions outside of the window skipped. Every operation \
          rounds. Orders: SPEC.md, Contractions, Row reductions.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("heads", AttrKind::Int, "Heads of Q."),
        AttrDef::required("kv_heads", AttrKind::Int, "Heads of K and V; divides heads."),
        AttrDef::required("scale", AttrKind::Float, "Factor of the products."),
        AttrDef::default("softcap", AttrKind::Float, || AttrValue::Float(0.0), "Limit; 0: none."),
        AttrDef::default("window", AttrKind::Int, || AttrValue::Int(0), "Positions seen; 0: all."),
    ],
    class: OpClass::Contraction,
    infer,
    eval,
};

pub static ROTARY: OpDef = OpDef {
    id: 721,
    name: "SequenceRotary",
    version: 1,
    doc: "X [S, heads * d], cos and sin [S, r/2], f32; Y like X. In each head the first r elements form pairs (a, b): element t and \
          t + r/2, or 2t and 2t + 1 if interleaved. a' = (cos[t] * a) - (sin[t] * b), b' = (sin[t] * a) + (cos[t] * b), \
          each operation rounded; other elements are copied.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("heads", AttrKind::Int, "Heads of X."),
        AttrDef::default("interleaved", AttrKind::Int, || AttrValue::Int(0), "1: pairs are neighbours."),
    ],
    class: OpClass::General,
    infer: infer_rotary,
    eval: rotate,
};

/// An attribute that counts heads and must divide the columns of a matrix.
fn heads(attrs: &Attrs, name: &str, columns: &DimExpr) -> Result<i64, OpError> {
    let heads = attrs.int(name);
    if !(1..=1 << 20).contains(&heads) || columns.as_const().is_some_and(|c| c % heads != 0) {
        return Err(OpError::attr(name, format!("{heads} heads of {columns} columns")));
    }
    Ok(heads)
}

fn matrix<'a>(ctx: &InferCtx<'a>, index: usize) -> Result<(&'a DimExpr, &'a DimExpr), OpError> {
    ctx.require(index, "f32", |d| d == DType::F32)?;
    match ctx.shape(index)? {
        [rows, columns] => Ok((rows, columns)),
        other => Err(OpError::shape(format!("input {index} has {} axes, not 2", other.len()))),
    }
}

fn differ(a: &DimExpr, b: &DimExpr) -> bool {
    matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b)
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let ((rows, q), (rows_k, k), (rows_v, v)) = (matrix(ctx, 0)?, matrix(ctx, 1)?, matrix(ctx, 2)?);
    let (count, kv_count) = (heads(ctx.attrs, "heads", q)?, heads(ctx.attrs, "kv_heads", k)?);
    heads(ctx.attrs, "kv_heads", v)?;
    if count % kv_count != 0 {
        return Err(OpError::attr("kv_heads", format!("{kv_count} do not divide {count} heads")));
    }
    let (heads, kv_heads) = (DimExpr::Const(count), DimExpr::Const(kv_count));
    if differ(rows, rows_k) || differ(rows, rows_v) || differ(&q.floor_div(&heads), &k.floor_div(&kv_heads)) {
        return Err(OpError::shape("Q, K and V do not fit each other"));
    }
    if ctx.attrs.int("window") < 0 {
        return Err(OpError::attr("window", "is negative"));
    }
    let softcap = ctx.attrs.float("softcap");
    if softcap.is_nan() || softcap < 0.0 {
        return Err(OpError::attr("softcap", "is not 0 or more"));
    }
    let columns = v.floor_div(&kv_heads).mul(&heads);
    Ok(vec![Inferred::new(DType::F32, vec![rows.clone(), columns])])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (q, k, v) = (ctx.input(0), ctx.input(1), ctx.input(2));
    let (heads, kv_heads) = (ctx.attrs.int("heads") as usize, ctx.attrs.int("kv_heads") as usize);
    let (scale, softcap) = (ctx.attrs.float("scale"), ctx.attrs.float("softcap"));
    let window = ctx.attrs.int("window") as usize;
    let (rows, d, e) = (q.shape[0], k.shape[1] / kv_heads, v.shape[1] / kv_heads);
    let mut y = Tensor::zeros(DType::F32, &[rows, heads * e])?;
    let (q, k, v) = (q.as_slice::<f32>(), k.as_slice::<f32>(), v.as_slice::<f32>());
    let out = y.as_mut_slice::<f32>();
    let mut weights = Vec::new();
    for row in 0..rows {
        let first = if window == 0 { 0 } else { (row + 1).saturating_sub(window) };
        for head in 0..heads {
            let group = head / (heads / kv_heads);
            let q = &q[(row * heads + head) * d..][..d];
            weights.clear();
            weights.extend((first..=row).map(|j| {
                let k = &k[(j * kv_heads + group) * d..][..d];
                let s = contract(d, |p| Some((q[p], k[p]))) * scale;
                if softcap > 0.0 { UnaryOp::Tanh.apply(s / softcap) * softcap } else { s }
            }));
            let maximum = row_maximum(&weights);
            for weight in &mut weights {
                *weight = scalar::softmax_exp(*weight - maximum);
            }
            let sum = row_sum(row + 1, |j| if j < first { 0.0 } else { weights[j - first] });
            let factor = 1.0 / sum;
            for weight in &mut weights {
                *weight *= factor;
            }
            for column in 0..e {
                let v = |j: usize| v[(j * kv_heads + group) * e + column];
                let term = |j: usize| (j >= first).then(|| (weights[j - first], v(j)));
                out[(row * heads + head) * e + column] = contract(row + 1, term).canonical();
            }
        }
    }
    Ok(vec![y])
}

fn infer_rotary(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let ((rows, columns), (rows_c, cos), (rows_s, sin)) = (matrix(ctx, 0)?, matrix(ctx, 1)?, matrix(ctx, 2)?);
    let heads = heads(ctx.attrs, "heads", columns)?;
    let d = columns.floor_div(&DimExpr::Const(heads));
    let too_many =
        |half: &DimExpr| matches!((half.as_const(), d.as_const()), (Some(half), Some(d)) if 2 * half > d);
    if differ(rows, rows_c) || differ(rows, rows_s) || differ(cos, sin) || too_many(cos) || too_many(sin) {
        return Err(OpError::shape("cos and sin do not fit X"));
    }
    Ok(vec![Inferred::new(DType::F32, vec![rows.clone(), columns.clone()])])
}

fn rotate(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, cos, sin) = (ctx.input(0), ctx.input(1), ctx.input(2));
    let d = x.shape[1] / ctx.attrs.int("heads") as usize;
    let (half, interleaved) = (cos.shape[1], ctx.attrs.int("interleaved") != 0);
    let mut y = x.to_tensor()?;
    if half == 0 || d == 0 {
        return Ok(vec![y]);
    }
    let angles = cos.as_slice::<f32>().chunks_exact(half).zip(sin.as_slice::<f32>().chunks_exact(half));
    let rows = y.as_mut_slice::<f32>().chunks_exact_mut(x.shape[1]);
    for (row, (cos, sin)) in rows.zip(angles) {
        for head in row.chunks_exact_mut(d) {
            for t in 0..half {
                let (first, second) = if interleaved { (2 * t, 2 * t + 1) } else { (t, t + half) };
                let (a, b) = (head[first], head[second]);
                head[first] = (cos[t] * a - sin[t] * b).canonical();
                head[second] = (sin[t] * a + cos[t] * b).canonical();
            }
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    fn attrs(heads: i64, kv_heads: i64) -> Attrs {
        Attrs::new().with_int("heads", heads).with_int("kv_heads", kv_heads).with_float("scale", 0.25)
    }

    fn rows(t: &Tensor, first: usize, count: usize) -> Tensor {
        let c = t.shape()[1];
        Tensor::from_slice(&[count, c], &t.as_slice::<f32>()[first * c..][..count * c])
    }

    #[test]
    fn it_is_attention_by_its_parts() {
        // Rows past a chunk of the second contraction.
        let (s, d) = (300, 8);
        let (q, k, v) = (noise(&[s, 2 * d], 1), noise(&[s, d], 2), noise(&[s, d], 3));
        let y = output("SequenceAttention", &attrs(2, 1), &[&q, &k, &v]);
        for row in [0, 1, 255, 256, 299] {
            for head in 0..2 {
                let query = &rows(&q, row, 1).as_slice::<f32>()[head * d..][..d].to_vec();
                let query = Tensor::from_slice(&[1, d], query);
                let keys = rows(&k, 0, row + 1);
                let scores = output("Gemm", &Attrs::new().with_int("transB", 1), &[&query, &keys]);
                let scaled = output("Mul", &Attrs::new(), &[&scores, &Tensor::scalar(0.25f32)]);
                let weights = output("Softmax", &Attrs::new(), &[&scaled]);
                let expected = output("MatMul", &Attrs::new(), &[&weights, &rows(&v, 0, row + 1)]);
                let found = &y.as_slice::<f32>()[(row * 2 + head) * d..][..d];
                assert_bits(&expected, &[1, d], found);
            }
        }
    }

    #[test]
    fn later_rows_change_nothing_and_windows_look_back() {
        let (s, d) = (70, 4);
        let (q, k, v) = (noise(&[s, d], 1), noise(&[s, d], 2), noise(&[s, d], 3));
        for attrs in [attrs(1, 1), attrs(1, 1).with_int("window", 5).with_float("softcap", 3.0)] {
            let whole = output("SequenceAttention", &attrs, &[&q, &k, &v]);
            for n in [1, 17, 64] {
                let part =
                    output("SequenceAttention", &attrs, &[&rows(&q, 0, n), &rows(&k, 0, n), &rows(&v, 0, n)]);
                assert_bits(&part, &[n, d], &whole.as_slice::<f32>()[..n * d]);
            }
        }
        // A row before the window may hold anything.
        let mut infinite = v.clone();
        infinite.as_mut_slice::<f32>()[..d].fill(f32::INFINITY);
        let attrs = attrs(1, 1).with_int("window", 5);
        let a = output("SequenceAttention", &attrs, &[&q, &k, &v]);
        let b = output("SequenceAttention", &attrs, &[&q, &k, &infinite]);
        assert_eq!(a.as_slice::<f32>()[5 * d..], b.as_slice::<f32>()[5 * d..]);
        assert_ne!(a.as_slice::<f32>()[4 * d..5 * d], b.as_slice::<f32>()[4 * d..5 * d]);
    }

    #[test]
    fn rotary_is_that_of_onnx_on_rows() {
        let (x, cos, sin) = (noise(&[4, 3 * 6], 1), noise(&[4, 2], 2), noise(&[4, 2], 3));
        for interleaved in [0, 1] {
            let own = Attrs::new().with_int("heads", 3).with_int("interleaved", interleaved);
            let y = output("SequenceRotary", &own, &[&x, &cos, &sin]);
            let onnx = Attrs::new()
                .with_int("num_heads", 3)
                .with_int("rotary_embedding_dim", 4)
                .with_int("interleaved", interleaved);
            let batch = |t: &Tensor| Tensor::from_slice(&[1, 4, t.shape()[1]], t.as_slice::<f32>());
            let expected = output("RotaryEmbedding", &onnx, &[&batch(&x), &batch(&cos), &batch(&sin)]);
            assert_bits(&y, &[4, 18], expected.as_slice::<f32>());
        }
    }

    #[test]
    fn misfits_are_errors() {
        let (q, k) = (noise(&[3, 8], 1), noise(&[3, 4], 2));
        assert!(run("SequenceAttention", &attrs(2, 1), &[&q, &k, &k]).is_ok());
        assert!(run("SequenceAttention", &attrs(3, 1), &[&q, &k, &k]).is_err());
        assert!(run("SequenceAttention", &attrs(2, 0), &[&q, &k, &k]).is_err());
        assert!(run("SequenceAttention", &attrs(2, 2), &[&q, &k, &k]).is_err());
        assert!(run("SequenceAttention", &attrs(2, 1).with_int("window", -1), &[&q, &k, &k]).is_err());
        assert!(run("SequenceAttention", &attrs(2, 1), &[&q, &k, &noise(&[2, 4], 3)]).is_err());
        let cache = noise(&[3, 5], 3);
        assert!(run("SequenceRotary", &Attrs::new().with_int("heads", 1), &[&q, &cache, &cache]).is_err());
    }
}
