//! Attention: scaled products of queries and keys, softmax, products with values.
//!
//! Invariant: it is MatMul, Softmax and MatMul as those operators state them, with the exact maximum and
//! no rescaling, so that positions of weight zero change nothing.

use super::float::{Float, Real, wide_elements, with_float};
use super::softmax::softmax;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, contract};
use crate::tensor::{Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 309,
    name: "Attention",
    version: 2,
    doc: "Inputs Q [batch, heads, queries, d], K [batch, kv_heads, new, d], V [batch, kv_heads, new, dv] (or three axes \
          [batch, sequence, heads * d] with q_num_heads and kv_num_heads), attn_mask, past_key, past_value, \
          nonpad_kv_seqlen (i64 [batch]). present_key and present_value are past and new along the \
          sequence. Query head h reads head h / (heads / kv_heads). f = sqrt(scale), scale being 1 / sqrt(d) when \
          absent; s[i, j] = contraction over d of (Q[i] * f) * (K[j] * f), those products rounded; with \
          softcap > 0 s = tanh(s / softcap) * softcap; s + attn_mask for a float mask; -infinity in its place \
          where a bool mask is false, where the mask has no column j, where is_causal and j > i + before, where left_window_size >= 0 and j < i + before - \
          left_window_size, where right_window_size >= 0 and j > i + before + right_window_size, or where j \
          >= nonpad_kv_seqlen (before is the extent of past_key; without past_key nonpad_kv_seqlen less the number of queries, if that input is there, else 0; attn_mask is not \
          added there); p = Softmax of s over j; Y[i] = contraction over j of p[i, j] * V[j]; where every s[i, j] is -infinity \
          p[i, j] and Y[i] are +0. f and softcap: each operation rounded in the wide type. The \
          fourth output holds s: 0 as contracted, 1 after softcap, 2 masked, 3 p. f64 in f64, f16 and bf16 \
          in f32 throughout, rounded at the outputs. Orders: SPEC.md, Contractions, Row reductions. Source: \
          ONNX Attention-23, -24, -25.",
    inputs: Arity::between(3, 7),
    outputs: Arity::between(1, 4),
    attrs: &[
        AttrDef::default("is_causal", AttrKind::Int, || AttrValue::Int(0), "1: no key after the query."),
        AttrDef::default("kv_num_heads", AttrKind::Int, || AttrValue::Int(0), "Heads of K; for three axes."),
        AttrDef::default(
            "left_window_size",
            AttrKind::Int,
            || AttrValue::Int(-1),
            "Keys before a query; -1: all.",
        ),
        AttrDef::default("q_num_heads", AttrKind::Int, || AttrValue::Int(0), "Heads of Q; for three axes."),
        AttrDef::default("qk_matmul_output_mode", AttrKind::Int, || AttrValue::Int(0), "0 to 3."),
        AttrDef::default(
            "right_window_size",
            AttrKind::Int,
            || AttrValue::Int(-1),
            "Keys after a query; -1: all.",
        ),
        AttrDef::optional("scale", AttrKind::Float, "Factor of the products; 1 / sqrt(d) when absent."),
        AttrDef::default("softcap", AttrKind::Float, || AttrValue::Float(0.0), "Limit; 0: none."),
        AttrDef::optional("softmax_precision", AttrKind::Int, "Without effect: softmax is in the wide type."),
    ],
    class: OpClass::Contraction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, attend(ctx)),
};

/// A tensor's axes as [batch, heads, sequence, size].
fn four(attrs: &Attrs, name: &str, shape: &[DimExpr]) -> Result<[DimExpr; 4], OpError> {
    match shape {
        [batch, heads, sequence, size] => Ok([batch.clone(), heads.clone(), sequence.clone(), size.clone()]),
        [batch, sequence, hidden] => {
            let heads = attrs.int(name);
            if heads < 1 || hidden.as_const().is_some_and(|h| h % heads != 0) {
                return Err(OpError::attr(name, format!("{heads} heads of {hidden} elements")));
            }
            let heads = DimExpr::Const(heads);
            Ok([batch.clone(), heads.clone(), sequence.clone(), hidden.floor_div(&heads)])
        }
        _ => Err(OpError::shape("Q, K and V need three or four axes")),
    }
}

fn differ(a: &DimExpr, b: &DimExpr) -> bool {
    matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b)
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    for index in [1, 2, 4, 5].into_iter().filter(|&i| ctx.optional(i).is_some()) {
        ctx.require_same(index, dtype)?;
    }
    let rank = ctx.shape(0)?.len();
    if ctx.shape(1)?.len() != rank || ctx.shape(2)?.len() != rank {
        return Err(OpError::shape("Q, K and V have different numbers of axes"));
    }
    let [batch, heads, queries, d] = four(ctx.attrs, "q_num_heads", ctx.shape(0)?)?;
    let [batch_k, kv_heads, new, d_k] = four(ctx.attrs, "kv_num_heads", ctx.shape(1)?)?;
    let [batch_v, heads_v, new_v, dv] = four(ctx.attrs, "kv_num_heads", ctx.shape(2)?)?;
    let pairs = [(&batch, &batch_k), (&batch, &batch_v), (&kv_heads, &heads_v), (&new, &new_v), (&d, &d_k)];
    if pairs.iter().any(|(a, b)| differ(a, b)) {
        return Err(OpError::shape("Q, K and V do not fit each other"));
    }
    if let (Some(h), Some(kv)) = (heads.as_const(), kv_heads.as_const())
        && (kv == 0 || h % kv != 0)
    {
        return Err(OpError::shape(format!("{h} heads cannot share {kv}")));
    }
    if ctx.optional(4).is_some() != ctx.optional(5).is_some() {
        return Err(OpError::shape("past_key and past_value come together"));
    }
    let mut total = new.clone();
    if ctx.optional(4).is_some() {
        let ([b, h, past, size], [b_v, h_v, past_v, size_v]) = (ctx.shape(4)?, ctx.shape(5)?) else {
            return Err(OpError::shape("the past needs four axes"));
        };
        let pairs = [
            (b, &batch),
            (b_v, &batch),
            (h, &kv_heads),
            (h_v, &kv_heads),
            (past, past_v),
            (size, &d),
            (size_v, &dv),
        ];
        if pairs.iter().any(|(a, b)| differ(a, b)) {
            return Err(OpError::shape("the past does not fit K and V"));
        }
        total = total.add(past);
    }
    if ctx.optional(3).is_some() {
        ctx.require(3, "bool or Q's type", |t| t == DType::Bool || t == dtype)?;
        let mask = ctx.shape(3)?;
        let (columns, leading) = mask.split_last().ok_or_else(|| OpError::shape("attn_mask has no axes"))?;
        if matches!((columns.as_const(), total.as_const()), (Some(c), Some(t)) if c > t) {
            return Err(OpError::shape("attn_mask has more columns than there are keys"));
        }
        super::rows::check_broadcast(3, leading, &[batch.clone(), heads.clone(), queries.clone()])?;
    }
    if ctx.optional(6).is_some() {
        ctx.require_same(6, DType::I64)?;
        super::conv::check_bias(ctx.shape(6)?, &batch)?;
    }
    if !(0..=3).contains(&ctx.attrs.int("qk_matmul_output_mode")) {
        return Err(OpError::attr("qk_matmul_output_mode", "is not in 0 ..= 3"));
    }
    for name in ["left_window_size", "right_window_size"] {
        if ctx.attrs.int(name) < -1 {
            return Err(OpError::attr(name, "is below -1"));
        }
    }
    let y = match rank {
        3 => vec![batch.clone(), queries.clone(), heads.mul(&dv)],
        _ => vec![batch.clone(), heads.clone(), queries.clone(), dv.clone()],
    };
    let outputs = [
        y,
        vec![batch.clone(), kv_heads.clone(), total.clone(), d],
        vec![batch.clone(), kv_heads, total.clone(), dv],
        vec![batch, heads, queries, total],
    ];
    Ok(outputs.into_iter().map(|shape| Inferred::new(dtype, shape)).collect())
}

/// Rows of one head: where a tensor of three or four axes holds them.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub three: bool,
    pub heads: usize,
    pub sequence: usize,
    pub size: usize,
}

impl Heads {
    /// Of a shape that has passed inference.
    pub fn of(shape: &[usize], heads: i64) -> Heads {
        match *shape {
            [_, sequence, hidden] => {
                let heads = heads as usize;
                Heads { three: true, heads, sequence, size: hidden / heads }
            }
            _ => {
                let [heads, sequence, size] = [1, 2, 3].map(|axis| shape[axis]);
                Heads { three: false, heads, sequence, size }
            }
        }
    }

    pub fn row(&self, batch: usize, head: usize, at: usize) -> usize {
        let row = match self.three {
            true => (batch * self.sequence + at) * self.heads + head,
            false => (batch * self.heads + head) * self.sequence + at,
        };
        row * self.size
    }
}

/// Past and new along the sequence, as [batch, heads, sequence, size].
fn present<T: Float>(
    new: TensorView<'_>,
    layout: Heads,
    past: Option<TensorView<'_>>,
) -> Result<Tensor, OpError> {
    let (batch, before) = (new.shape[0], past.map_or(0, |past| past.shape[2]));
    let total = before + layout.sequence;
    let mut out = Tensor::zeros(T::DTYPE, &[batch, layout.heads, total, layout.size])?;
    if out.is_empty() {
        return Ok(out);
    }
    let (values, size) = (new.as_slice::<T>(), layout.size);
    for (row, to) in out.as_mut_slice::<T>().chunks_exact_mut(size).enumerate() {
        let (pair, at) = (row / total, row % total);
        to.copy_from_slice(match past {
            Some(past) if at < before => &past.as_slice::<T>()[(pair * before + at) * size..][..size],
            _ => &values[layout.row(pair / layout.heads, pair % layout.heads, at - before)..][..size],
        });
    }
    Ok(out)
}

/// What is added to, or put in place of, a product.
struct Mask<'a, W> {
    shape: &'a [usize],
    elements: Vec<W>,
    boolean: bool,
}

/// Where a mask holds the element for a batch, head, query and key; `None` past its columns.
pub(super) fn mask_at(shape: &[usize], at: [usize; 4]) -> Option<usize> {
    let columns = shape.last().copied().unwrap_or(0);
    let skip = 4usize.checked_sub(shape.len())?;
    (at[3] < columns).then(|| {
        (0..shape.len()).fold(0, |offset, axis| {
            let extent = shape[axis];
            let repeats = extent == 1 && axis + 1 < shape.len();
            offset * extent + if repeats { 0 } else { at[axis + skip] }
        })
    })
}

/// Which keys a query may see.
pub(super) struct Sight {
    queries: usize,
    past: Option<usize>,
    causal: bool,
    left: Option<i128>,
    right: Option<i128>,
}

impl Sight {
    pub fn new(attrs: &Attrs, queries: usize, past: Option<usize>) -> Sight {
        let side = |name: &str| Some(i128::from(attrs.int(name))).filter(|size| *size >= 0);
        let (left, right) = (side("left_window_size"), side("right_window_size"));
        Sight { queries, past, causal: attrs.int("is_causal") != 0, left, right }
    }

    /// `length`: keys of the sample, where they are counted. A causal query sees none after its own position.
    pub fn sees(&self, length: Option<i64>, i: usize, j: usize) -> bool {
        let length = length.map(i128::from);
        let past = self.past.map(|past| past as i128);
        let before = past.or(length.map(|length| length - self.queries as i128)).unwrap_or(0);
        let (at, j) = (i as i128 + before, j as i128);
        length.is_none_or(|length| j < length)
            && !(self.causal && j > at)
            && self.left.is_none_or(|left| j >= at - left)
            && self.right.is_none_or(|right| j <= at + right)
    }
}

impl<W: Real> Mask<'_, W> {
    fn apply(&self, value: W, at: [usize; 4]) -> W {
        let Some(offset) = mask_at(self.shape, at) else { return -W::INFINITY };
        match self.boolean {
            true if self.elements[offset] == W::ZERO => -W::INFINITY,
            true => value,
            false => value + self.elements[offset],
        }
    }
}

fn attend<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let attrs = ctx.attrs;
    let q_layout = Heads::of(ctx.input(0).shape, attrs.int("q_num_heads"));
    let keys = present::<T>(
        ctx.input(1),
        Heads::of(ctx.input(1).shape, attrs.int("kv_num_heads")),
        ctx.optional(4),
    )?;
    let values = present::<T>(
        ctx.input(2),
        Heads::of(ctx.input(2).shape, attrs.int("kv_num_heads")),
        ctx.optional(5),
    )?;
    let (batches, kv_heads, total) = (keys.shape()[0], keys.shape()[1], keys.shape()[2]);
    let (heads, queries, d, dv) = (q_layout.heads, q_layout.sequence, q_layout.size, values.shape()[3]);
    let constant = |v: f32| T::Wide::from_f64(f64::from(v));
    let scale = attrs.opt_float("scale").map_or(T::Wide::ONE / T::Wide::count(d).sqrt(), constant);
    let factor = scale.sqrt();
    let softcap = Some(constant(attrs.float("softcap"))).filter(|cap| *cap > T::Wide::ZERO);
    let mode = attrs.int("qk_matmul_output_mode");
    let lengths = ctx.optional(6).map(|lengths| lengths.as_slice::<i64>());
    let sight = Sight::new(attrs, queries, ctx.optional(4).map(|past| past.shape[2]));
    let mask = ctx.optional(3).map(|mask| Mask {
        shape: mask.shape,
        boolean: mask.dtype == DType::Bool,
        elements: match mask.dtype {
            DType::Bool => mask.bytes.iter().map(|b| constant(f32::from(*b))).collect(),
            _ => wide_elements::<T::Wide>(mask),
        },
    });
    let scaled = |values: &[T]| values.iter().map(|v| v.widen() * factor).collect::<Vec<T::Wide>>();
    let (q, k) = (scaled(ctx.input(0).as_slice::<T>()), scaled(keys.as_slice::<T>()));
    let v: Vec<T::Wide> = values.as_slice::<T>().iter().map(|v| v.widen()).collect();
    let y_layout = Heads { size: dv, ..q_layout };
    let y_shape = match q_layout.three {
        true => vec![batches, queries, heads * dv],
        false => vec![batches, heads, queries, dv],
    };
    let mut y = Tensor::zeros(T::DTYPE, &y_shape)?;
    let shown = ctx.outputs > 3;
    let mut products = Tensor::zeros(T::DTYPE, &[batches, heads, queries, if shown { total } else { 0 }])?;
    for row in 0..batches * heads * queries {
        let (batch, head, i) = (row / (heads * queries), row / queries % heads, row % queries);
        let pair = batch * kv_heads + head / (heads / kv_heads);
        let q = &q[q_layout.row(batch, head, i)..][..d];
        let mut p = vec![T::Wide::ZERO; total];
        let mut show = |stage: i64, p: &[T::Wide]| {
            if shown && stage == mode {
                let out = &mut products.as_mut_slice::<T>()[row * total..][..total];
                out.iter_mut().zip(p).for_each(|(out, p)| *out = T::narrow(*p));
            }
        };
        for (j, p) in p.iter_mut().enumerate() {
            let k = &k[(pair * total + j) * d..][..d];
            *p = contract(d, |at| Some((q[at], k[at])));
        }
        show(0, &p);
        if let Some(cap) = softcap {
            p.iter_mut().for_each(|p| *p = (*p / cap).tanh() * cap);
        }
        show(1, &p);
        for (j, p) in p.iter_mut().enumerate() {
            if !sight.sees(lengths.map(|lengths| lengths[batch]), i, j) {
                *p = -T::Wide::INFINITY;
            } else if let Some(mask) = &mask {
                *p = mask.apply(*p, [batch, head, i, j]);
            }
        }
        show(2, &p);
        if p.iter().all(|p| *p == -T::Wide::INFINITY) {
            // Y is zero already.
            p.fill(T::Wide::ZERO);
            show(3, &p);
            continue;
        }
        softmax(&mut p);
        show(3, &p);
        let to = y_layout.row(batch, head, i);
        for (column, out) in y.as_mut_slice::<T>()[to..][..dv].iter_mut().enumerate() {
            *out = T::narrow(contract(total, |j| Some((p[j], v[(pair * total + j) * dv + column]))));
        }
    }
    Ok(vec![y, keys, values, products])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run, run_optional};

    #[test]
    fn is_matmul_softmax_matmul() {
        // 300 keys: two chunks of the second contraction.
        let (q, k, v) = (noise(&[1, 1, 3, 16], 1), noise(&[1, 1, 300, 16], 2), noise(&[1, 1, 300, 5], 3));
        let y = output("Attention", &Attrs::new().with_float("scale", 0.25), &[&q, &k, &v]);
        let half = |t: &Tensor| t.as_slice::<f32>().iter().map(|v| v * 0.5).collect::<Vec<f32>>();
        let turned: Vec<f32> = (0..4800).map(|i| half(&k)[i % 300 * 16 + i / 300]).collect();
        let s = output(
            "MatMul",
            &Attrs::new(),
            &[&Tensor::from_slice(&[3, 16], &half(&q)), &Tensor::from_slice(&[16, 300], &turned)],
        );
        let p = output("Softmax", &Attrs::new(), &[&s]);
        let expected = output("MatMul", &Attrs::new(), &[&p, &v.reshaped(&[300, 5])]);
        assert_bits(&y, &[1, 1, 3, 5], expected.as_slice::<f32>());
    }

    #[test]
    fn masked_positions_and_the_cut_change_nothing() {
        let (q, k, v) = (noise(&[1, 4, 6, 8], 1), noise(&[1, 2, 6, 8], 2), noise(&[1, 2, 6, 3], 3));
        let causal = Attrs::new().with_int("is_causal", 1);
        let whole = output("Attention", &causal, &[&q, &k, &v]);
        let cut = |t: &Tensor, size: usize, rows: std::ops::Range<usize>| {
            let heads = t.shape()[1];
            let v: Vec<f32> = (0..heads)
                .flat_map(|h| {
                    t.as_slice::<f32>()[(h * 6 + rows.start) * size..(h * 6 + rows.end) * size].to_vec()
                })
                .collect();
            Tensor::from_slice(&[1, heads, rows.len(), size], &v)
        };
        // The last two queries alone, with the first four positions as the past.
        let (q2, k2, v2) = (cut(&q, 8, 4..6), cut(&k, 8, 4..6), cut(&v, 3, 4..6));
        let (pk, pv) = (cut(&k, 8, 0..4), cut(&v, 3, 0..4));
        let inputs = [Some(&q2), Some(&k2), Some(&v2), None, Some(&pk), Some(&pv)];
        let out = run_optional("Attention", &causal, &inputs, 4).unwrap();
        assert_bits(&out[0], &[1, 4, 2, 3], cut(&whole, 3, 4..6).as_slice::<f32>());
        assert_bits(&out[1], &[1, 2, 6, 8], k.as_slice::<f32>());
        // A mask that says the same.
        let mask: Vec<bool> = (0..36).map(|i| i % 6 <= i / 6).collect();
        let y = output("Attention", &Attrs::new(), &[&q, &k, &v, &Tensor::from_bools(&[6, 6], &mask)]);
        assert_bits(&y, &[1, 4, 6, 3], whole.as_slice::<f32>());
    }

    #[test]
    fn windows_and_empty_rows() {
        let (q, k, v) = (noise(&[1, 1, 4, 8], 1), noise(&[1, 1, 4, 8], 2), noise(&[1, 1, 4, 3], 3));
        let windows = Attrs::new().with_int("left_window_size", 1).with_int("right_window_size", 0);
        let mask: Vec<bool> = (0..16).map(|i| (i / 4 - 1..=i / 4).contains(&(i % 4))).collect();
        let mask = Tensor::from_bools(&[4, 4], &mask);
        let by_mask = output("Attention", &Attrs::new(), &[&q, &k, &v, &mask]);
        assert_bits(&output("Attention", &windows, &[&q, &k, &v]), &[1, 1, 4, 3], by_mask.as_slice::<f32>());
        // Two keys of four queries: the first two see none, the others end with the last key.
        let length = Tensor::from_slice(&[1], &[2i64]);
        let inputs = [Some(&q), Some(&k), Some(&v), None, None, None, Some(&length)];
        let y = run_optional("Attention", &Attrs::new().with_int("is_causal", 1), &inputs, 1).unwrap();
        let y = y[0].as_slice::<f32>();
        assert_eq!(y[..6], [0.0; 6]);
        assert_eq!(y[6..9], v.as_slice::<f32>()[..3]);
    }

    #[test]
    fn misfits_are_errors() {
        let x = |shape: &[usize]| noise(shape, 1);
        let go =
            |q: &[usize], k: &[usize], v: &[usize]| run("Attention", &Attrs::new(), &[&x(q), &x(k), &x(v)]);
        assert!(go(&[1, 2, 3, 4], &[1, 2, 5, 4], &[1, 2, 5, 6]).is_ok());
        assert!(go(&[1, 3, 3, 4], &[1, 2, 5, 4], &[1, 2, 5, 6]).is_err());
        assert!(go(&[1, 2, 3, 4], &[1, 2, 5, 3], &[1, 2, 5, 6]).is_err());
        assert!(go(&[1, 2, 3, 4], &[1, 2, 5, 4], &[1, 2, 4, 6]).is_err());
        assert!(go(&[1, 2, 3, 4], &[1, 0, 5, 4], &[1, 0, 5, 6]).is_err());
        assert!(go(&[1, 3, 8], &[1, 3, 8], &[1, 3, 8]).is_err());
    }
}
