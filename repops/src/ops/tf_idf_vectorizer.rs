//! TfIdfVectorizer: counts of n-grams.

use std::collections::BTreeMap;

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 432,
    name: "TfIdfVectorizer",
    version: 2,
    doc: "X is [C] or [N, C], i32 or i64; Y (f32) is [M] or [N, M], M = the greatest of ngram_indexes + 1. pool_int64s holds the n-grams of length 1, then 2 ..., those of length n from \
          position ngram_counts[n - 1] on; the i-th of all has coordinate ngram_indexes[i]; of equal ones only the last is counted. In each row every sequence x[p], x[p + s], .. of n elements \
          inside of the row that is such an n-gram, min_gram_length <= n <= max_gram_length, s = 1 .. max_skip_count + 1 (only 1 for n = 1), counts once for it. A coordinate has the sum over its \
          n-grams i, in their order: mode TF: of their counts, rounded once; added to +0 one by one, IDF: weights[i] (1 without weights) of those whose count is above 0; TFIDF: weights[i] * count, rounded. Source: ONNX \
          TfIdfVectorizer-9, on integers.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("max_gram_length", AttrKind::Int, "The longest n-grams."),
        AttrDef::required(
            "max_skip_count",
            AttrKind::Int,
            "Elements left out between two of an n-gram, at most.",
        ),
        AttrDef::required("min_gram_length", AttrKind::Int, "The shortest n-grams."),
        AttrDef::required("mode", AttrKind::Str, "TF, IDF or TFIDF."),
        AttrDef::required("ngram_counts", AttrKind::Ints, "Where the n-grams of each length start."),
        AttrDef::required("ngram_indexes", AttrKind::Ints, "The coordinate of each n-gram."),
        AttrDef::required("pool_int64s", AttrKind::Ints, "The n-grams' elements."),
        AttrDef::optional("weights", AttrKind::Floats, "One for each n-gram at least; absent: 1."),
    ],
    class: OpClass::General,
    infer,
    eval,
};

/// No coordinate is larger.
const COORDINATE_MAX: i64 = 1 << 28;

struct Vocabulary<'a> {
    /// The number of each n-gram.
    grams: BTreeMap<&'a [i64], usize>,
    /// The coordinate of each.
    places: Vec<usize>,
    steps: usize,
    coordinates: usize,
    weights: Option<&'a [f32]>,
}

fn vocabulary(attrs: &Attrs) -> Result<Vocabulary<'_>, OpError> {
    let list = |name: &str| attrs.opt_ints(name).unwrap_or_default();
    let (pool, starts, indexes) = (list("pool_int64s"), list("ngram_counts"), list("ngram_indexes"));
    let size = |name: &str, least: i64| {
        let value = attrs.int(name);
        let fits = (least..=COORDINATE_MAX).contains(&value);
        if fits { Ok(value as usize) } else { Err(OpError::attr(name, format!("{value} is out of range"))) }
    };
    let lengths = size("min_gram_length", 1)?..=size("max_gram_length", 1)?;
    if indexes.is_empty() || indexes.iter().any(|i| !(0..COORDINATE_MAX).contains(i)) {
        return Err(OpError::attr("ngram_indexes", "is empty or holds something out of range"));
    }
    let coordinates = indexes.iter().fold(0, |most, &i| most.max(i as usize)) + 1;
    let mut grams = BTreeMap::new();
    let mut numbers = 0..indexes.len();
    let bad = || OpError::attr("ngram_counts", "does not divide the pool into n-grams");
    for (at, &start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(pool.len() as i64);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let part = range.and_then(|(start, end)| pool.get(start..end)).ok_or_else(bad)?;
        for gram in part.chunks(at + 1) {
            let number = numbers.next().ok_or_else(bad)?;
            if gram.len() != at + 1 {
                return Err(bad());
            }
            if lengths.contains(&gram.len()) {
                grams.insert(gram, number);
            }
        }
    }
    let weights = match attrs.get("weights") {
        Some(crate::attrs::AttrValue::Floats(weights)) => Some(weights.as_slice()),
        _ => None,
    };
    let places: Vec<usize> = indexes.iter().map(|&i| i as usize).collect();
    if weights.is_some_and(|w| w.len() < places.len()) {
        return Err(OpError::attr("weights", format!("there are {} n-grams", places.len())));
    }
    Ok(Vocabulary { grams, places, steps: size("max_skip_count", 0)? + 1, coordinates, weights })
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "i32 or i64", |d| matches!(d, DType::I32 | DType::I64))?;
    let mode = ctx.attrs.str("mode");
    if !["TF", "IDF", "TFIDF"].contains(&mode) {
        return Err(OpError::attr("mode", format!("{mode:?} is unknown")));
    }
    let coordinates = DimExpr::from(vocabulary(ctx.attrs)?.coordinates);
    let shape = match ctx.shape(0)? {
        [_] => vec![coordinates],
        [rows, _] => vec![rows.clone(), coordinates],
        _ => return Err(OpError::shape(format!("{} has not one or two axes", ctx.input(0)?.ty))),
    };
    Ok(vec![Inferred::new(DType::F32, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let (known, mode) = (vocabulary(ctx.attrs)?, ctx.attrs.str("mode"));
    let values = x.to_i64s().ok_or(OpError::MissingInput { index: 0 })?;
    let shape = match *x.shape {
        [rows, _] => vec![rows, known.coordinates],
        _ => vec![known.coordinates],
    };
    let mut y = Tensor::zeros(DType::F32, &shape)?;
    let columns = x.shape[x.shape.len() - 1];
    let longest = known.grams.keys().map(|gram| gram.len()).max().unwrap_or(0);
    for (row, out) in y.as_mut_slice::<f32>().chunks_exact_mut(known.coordinates).enumerate() {
        let row = &values[row * columns..][..columns];
        let mut counts = vec![0u64; known.places.len()];
        // A step as long as the row leaves single elements only.
        for step in 1..=known.steps.min(columns.max(1)) {
            for start in 0..columns {
                let mut gram = Vec::new();
                for at in (start..columns).step_by(step).take(longest) {
                    gram.push(row[at]);
                    if gram.len() == 1 && step > 1 {
                        continue;
                    }
                    if let Some(&number) = known.grams.get(gram.as_slice()) {
                        counts[number] += 1;
                    }
                }
            }
        }
        if mode == "TF" {
            // Exact, whatever the order.
            let mut sums = vec![0u64; known.coordinates];
            counts.iter().zip(&known.places).for_each(|(count, &place)| sums[place] += count);
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
            continue;
        }
        for (number, (&count, &place)) in counts.iter().zip(&known.places).enumerate() {
            let weight = known.weights.map_or(1.0, |w| w[number]);
            out[place] += match mode {
                "IDF" if count == 0 => 0.0,
                "IDF" => weight,
                _ => weight * count as f32,
            };
        }
    }
    y.canonicalize();
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    fn attrs(mode: &str, skip: i64) -> Attrs {
        Attrs::new()
            .with_int("max_gram_length", 2)
            .with_int("min_gram_length", 1)
            .with_int("max_skip_count", skip)
            .with_str("mode", mode)
            .with_ints("ngram_counts", &[0, 2])
            .with_ints("ngram_indexes", &[0, 1, 2])
            .with_ints("pool_int64s", &[2, 3, 2, 3])
    }

    #[test]
    fn grams_are_counted() {
        let x = Tensor::from_slice(&[2, 4], &[2i32, 3, 3, 2, 2, 9, 3, 9]);
        let y = run("TfIdfVectorizer", attrs("TF", 0), &[&x]);
        assert_eq!(y.as_slice::<f32>(), [2.0, 2.0, 1.0, 1.0, 1.0, 0.0]);
        let y = run("TfIdfVectorizer", attrs("TF", 1), &[&x]);
        assert_eq!(y.as_slice::<f32>(), [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]);
        let mut weighted = attrs("IDF", 1);
        weighted.insert("weights", crate::attrs::AttrValue::Floats(vec![0.5, 2.0, 3.0]));
        let y = run("TfIdfVectorizer", weighted, &[&x]);
        assert_eq!(y.as_slice::<f32>(), [0.5, 2.0, 3.0, 0.5, 2.0, 3.0]);
        // The weights are of the n-grams, wherever they are counted; two n-grams may share a place.
        let mut elsewhere = attrs("IDF", 1).with_ints("ngram_indexes", &[2, 0, 2]);
        elsewhere.insert("weights", crate::attrs::AttrValue::Floats(vec![0.5, 2.0, 3.0]));
        let y = run("TfIdfVectorizer", elsewhere.clone(), &[&x]);
        assert_eq!(y.as_slice::<f32>(), [2.0, 0.0, 3.5, 2.0, 0.0, 3.5]);
        let y = run("TfIdfVectorizer", elsewhere.with_str("mode", "TFIDF"), &[&x]);
        assert_eq!(y.as_slice::<f32>(), [4.0, 0.0, 7.0, 2.0, 0.0, 3.5]);
        let y =
            run("TfIdfVectorizer", attrs("TF", i64::from(1 << 28)), &[&Tensor::from_slice(&[1], &[2i64])]);
        assert_eq!(y.as_slice::<f32>(), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn bad_pools() {
        let x = Tensor::from_slice(&[2], &[2i64, 3]);
        for (name, bad) in
            [("ngram_counts", vec![0, 3]), ("ngram_counts", vec![-1]), ("ngram_indexes", vec![])]
        {
            assert!(
                try_run("TfIdfVectorizer", attrs("TF", 0).with_ints(name, &bad), &[&x]).is_err(),
                "{name}"
            );
        }
        assert!(try_run("TfIdfVectorizer", attrs("F", 0), &[&x]).is_err());
        assert!(try_run("TfIdfVectorizer", attrs("TF", -1), &[&x]).is_err());
    }
}
