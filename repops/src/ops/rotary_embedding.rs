//! RotaryEmbedding: pairs of elements turned by an angle that depends on the position.

use super::float::{Float, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 417,
    name: "RotaryEmbedding",
    version: 1,
    doc: "X is [batch, heads, sequence, size] or [batch, sequence, heads * size] with num_heads. The first r \
          = rotary_embedding_dim (0: all) of the `size` elements form pairs (a, b): element i and i + r/2, \
          or 2i and 2i + 1 if interleaved. With cos and sin of the pair and position: a' = (cos * a) - (sin \
          * b), b' = (sin * a) + (cos * b), each operation rounded; other elements are copied. cos_cache \
          and sin_cache are [positions, r/2] with position_ids (i64 [batch, sequence]), else [batch, \
          sequence, r/2]. A position outside of the cache is fault 2. f64 in f64, f16 and bf16 in f32, \
          rounded once. Source: ONNX RotaryEmbedding-23.",
    inputs: Arity::between(3, 4),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("interleaved", AttrKind::Int, || AttrValue::Int(0), "1: pairs are neighbours."),
        AttrDef::default("num_heads", AttrKind::Int, || AttrValue::Int(0), "Heads; for three axes."),
        AttrDef::default("rotary_embedding_dim", AttrKind::Int, || AttrValue::Int(0), "Elements turned."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, rotate(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    let heads = ctx.attrs.int("num_heads");
    let (sequence, size) = match shape {
        [_, _, sequence, size] => (sequence, size.clone()),
        [_, sequence, hidden] if heads > 0 => {
            if hidden.as_const().is_some_and(|h| h % heads != 0) {
                return Err(OpError::attr("num_heads", format!("{heads} does not divide {hidden}")));
            }
            (sequence, hidden.floor_div(&DimExpr::Const(heads)))
        }
        _ => return Err(OpError::shape("X needs four axes, or three and num_heads")),
    };
    let turned = match ctx.attrs.int("rotary_embedding_dim") {
        0 => size.clone(),
        r => DimExpr::Const(r),
    };
    if let Some(r) = turned.as_const()
        && (r < 0 || r % 2 != 0 || size.as_const().is_some_and(|s| r > s))
    {
        return Err(OpError::shape(format!("{r} elements of {size} cannot be turned")));
    }
    let half = turned.floor_div(&DimExpr::Const(2));
    let by_id = ctx.optional(3).is_some();
    let positions = [shape[0].clone(), sequence.clone()];
    let differ =
        |a: &DimExpr, b: &DimExpr| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
    let fits = |found: &[DimExpr], wanted: &[DimExpr]| {
        found.len() == wanted.len() && !found.iter().zip(wanted).any(|(a, b)| differ(a, b))
    };
    if by_id {
        ctx.require_same(3, DType::I64)?;
        if !fits(ctx.shape(3)?, &positions) {
            return Err(OpError::shape("position_ids is not [batch, sequence]"));
        }
    }
    for index in [1, 2] {
        ctx.require_same(index, dtype)?;
        let cache = ctx.shape(index)?;
        let fits = match cache {
            [_, width] if by_id => !differ(width, &half),
            _ => !by_id && fits(cache, &[positions[0].clone(), positions[1].clone(), half.clone()]),
        };
        if !fits || (by_id && differ(&cache[0], &ctx.shape(1)?[0])) {
            return Err(OpError::shape(format!("input {index} is no cache of {half} angles a position")));
        }
    }
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

fn rotate<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let four = x.shape.len() == 4;
    let heads = if four { x.shape[1] } else { ctx.attrs.int("num_heads") as usize };
    let sequence = if four { x.shape[2] } else { x.shape[1] };
    let size = if four { x.shape[3] } else { x.shape[2] / heads };
    let turned = match ctx.attrs.int("rotary_embedding_dim") {
        0 => size,
        r => r as usize,
    };
    let (half, interleaved) = (turned / 2, ctx.attrs.int("interleaved") != 0);
    let (cos, sin) = (wide_elements::<T::Wide>(ctx.input(1)), wide_elements::<T::Wide>(ctx.input(2)));
    let ids = ctx.optional(3).map(|ids| ids.as_slice::<i64>());
    let positions = ctx.input(1).shape[0];
    let mut y = x.to_tensor()?;
    let values = y.as_mut_slice::<T>();
    for (vector, elements) in values.chunks_exact_mut(size.max(1)).enumerate() {
        let (batch, at) = match four {
            true => (vector / (heads * sequence), vector % sequence),
            false => (vector / (sequence * heads), vector / heads % sequence),
        };
        let row = match ids {
            None => batch * sequence + at,
            Some(ids) => {
                let id = usize::try_from(ids[batch * sequence + at]).ok();
                id.filter(|id| *id < positions).ok_or(Fault::IndexOutOfRange)?
            }
        };
        for i in 0..half {
            let (first, second) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
            let (cos, sin) = (cos[row * half + i], sin[row * half + i]);
            let (a, b) = (elements[first].widen(), elements[second].widen());
            elements[first] = T::narrow(cos * a - sin * b);
            elements[second] = T::narrow(sin * a + cos * b);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{noise, output, run};

    #[test]
    fn pairs_turn() {
        // [batch 2, heads 3, sequence 4, size 6], four elements turned.
        let (x, cos, sin) = (noise(&[2, 3, 4, 6], 1), noise(&[9, 2], 2), noise(&[9, 2], 3));
        let ids: Vec<i64> = vec![0, 3, 8, 1, 2, 2, 7, 4];
        let ids = Tensor::from_slice(&[2, 4], &ids);
        for interleaved in [0, 1] {
            let attrs = Attrs::new().with_int("rotary_embedding_dim", 4).with_int("interleaved", interleaved);
            let y = output("RotaryEmbedding", &attrs, &[&x, &cos, &sin, &ids]);
            for at in 0..144 {
                let (batch, s, e) = (at / 72, at / 6 % 4, at % 6);
                let v = |e: usize| x.as_slice::<f32>()[at / 6 * 6 + e];
                let (pair, other) = if interleaved == 1 { (e / 2, e ^ 1) } else { (e % 2, (e + 2) % 4) };
                let row = ids.as_slice::<i64>()[batch * 4 + s] as usize;
                let expected = if e >= 4 {
                    v(e)
                } else {
                    let (c, s) =
                        (cos.as_slice::<f32>()[row * 2 + pair], sin.as_slice::<f32>()[row * 2 + pair]);
                    let first = e < other;
                    if first { c * v(e) - s * v(other) } else { s * v(other) + c * v(e) }
                };
                assert_eq!(y.as_slice::<f32>()[at].to_bits(), expected.to_bits(), "{at}");
            }
        }
    }

    #[test]
    fn bad_positions_and_shapes() {
        let (x, cache) = (noise(&[1, 2, 4], 1), noise(&[3, 1], 2));
        let attrs = Attrs::new().with_int("num_heads", 2);
        let go = |id: i64| {
            run("RotaryEmbedding", &attrs, &[&x, &cache, &cache, &Tensor::from_slice(&[1, 2], &[0, id])])
        };
        assert!(go(2).is_ok());
        assert_eq!(go(3), Err(Fault::IndexOutOfRange.into()));
        assert_eq!(go(-1), Err(Fault::IndexOutOfRange.into()));
        assert!(run("RotaryEmbedding", &Attrs::new(), &[&x, &cache, &cache]).is_err());
        assert!(run("RotaryEmbedding", &attrs, &[&x, &cache, &cache]).is_err());
    }
}
