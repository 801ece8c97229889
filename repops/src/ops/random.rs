//! RandomUniform, RandomNormal, their Like forms, Bernoulli and Multinomial.
//!
//! Invariant: every number is a function of `seed`, `stream` and its position: running twice, or in
//! another order, gives the same tensor.

use super::convert::{Convert, Exact};
use super::float::{Float, Real, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::philox::Stream;
use crate::tensor::Tensor;

const SEED: AttrDef = AttrDef::default(
    "seed",
    AttrKind::Float,
    || AttrValue::Float(0.0),
    "Its bits are the first word of the Philox key.",
);
const STREAM: AttrDef = AttrDef::default(
    "stream",
    AttrKind::Int,
    || AttrValue::Int(0),
    "The second word of the key; steps of one program have different ones.",
);
const DTYPE: AttrDef =
    AttrDef::default("dtype", AttrKind::Int, || AttrValue::Int(1), "ONNX's number of the output's type.");
const DTYPE_LIKE: AttrDef =
    AttrDef::optional("dtype", AttrKind::Int, "ONNX's number of the output's type; the input's when absent.");
const LOW: AttrDef = AttrDef::default("low", AttrKind::Float, || AttrValue::Float(0.0), "Lower bound.");
const HIGH: AttrDef = AttrDef::default("high", AttrKind::Float, || AttrValue::Float(1.0), "Upper bound.");
const MEAN: AttrDef = AttrDef::default("mean", AttrKind::Float, || AttrValue::Float(0.0), "The mean.");
const SCALE: AttrDef =
    AttrDef::default("scale", AttrKind::Float, || AttrValue::Float(1.0), "The standard deviation.");
const SHAPE: AttrDef = AttrDef::required("shape", AttrKind::Ints, "The output's shape.");

pub static UNIFORM: OpDef = OpDef {
    id: 410,
    name: "RandomUniform",
    version: 1,
    doc: "y[i] = low + u * (high - low), the difference and the fma(u, high - low, low) in f64, rounded once \
          to the output's type, i being the row-major position. u = uniform i of Philox4x32-10 with key \
          (bits of seed, stream), in the open interval (0, 1) with 53 bits (SPEC.md, section 5). Source: \
          ONNX RandomUniform-1, -22; the generator is ours.",
    inputs: Arity::exactly(0),
    outputs: Arity::exactly(1),
    attrs: &[DTYPE, HIGH, LOW, SEED, SHAPE, STREAM],
    class: OpClass::General,
    infer: infer_shape,
    eval: |ctx| generate(ctx, uniform),
};

pub static UNIFORM_LIKE: OpDef = OpDef {
    id: 411,
    name: "RandomUniformLike",
    version: 1,
    doc: "RandomUniform in the input's shape. Source: ONNX RandomUniformLike-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[DTYPE_LIKE, HIGH, LOW, SEED, STREAM],
    class: OpClass::General,
    infer: infer_like,
    eval: |ctx| generate(ctx, uniform),
};

pub static NORMAL: OpDef = OpDef {
    id: 412,
    name: "RandomNormal",
    version: 1,
    doc: "y[i] = fma(z, scale, mean) in f64, rounded once to the output's type, i being the row-major position. \
          z = normal i of Philox4x32-10 with key (bits of seed, stream), by Box and Muller in f64 (SPEC.md, \
          section 5). Source: ONNX RandomNormal-1, -22; the generator is ours.",
    inputs: Arity::exactly(0),
    outputs: Arity::exactly(1),
    attrs: &[DTYPE, MEAN, SCALE, SEED, SHAPE, STREAM],
    class: OpClass::General,
    infer: infer_shape,
    eval: |ctx| generate(ctx, normal),
};

pub static NORMAL_LIKE: OpDef = OpDef {
    id: 413,
    name: "RandomNormalLike",
    version: 1,
    doc: "RandomNormal in the input's shape. Source: ONNX RandomNormalLike-1, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[DTYPE_LIKE, MEAN, SCALE, SEED, STREAM],
    class: OpClass::General,
    infer: infer_like,
    eval: |ctx| generate(ctx, normal),
};

pub static BERNOULLI: OpDef = OpDef {
    id: 414,
    name: "Bernoulli",
    version: 1,
    doc: "y[i] = 1 where u < x[i], else 0; u = uniform i of Philox4x32-10 with key (bits of seed, stream) in \
          (0, 1) with 53 bits, compared in f64. NaN gives 0. Source: ONNX Bernoulli-15, -22; the generator \
          is ours.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[DTYPE_LIKE, SEED, STREAM],
    class: OpClass::General,
    infer: |ctx| {
        ctx.require(0, "a float", DType::is_float)?;
        let dtype = output_dtype(ctx.attrs, ctx.dtype(0)?, |d| !d.is_narrow())?;
        Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
    },
    eval: bernoulli,
};

pub static MULTINOMIAL: OpDef = OpDef {
    id: 415,
    name: "Multinomial",
    version: 1,
    doc: "For each row b of x [batch, classes], unnormalized log-probabilities: m = the exact maximum, p[c] = exp(x[c] \
          - m), s[c] = the chain p[0] + .. + p[c] in ascending order, all in X's wide type; sample j is the \
          first c with u * s[last] < s[c], u being uniform b * sample_size + j of Philox4x32-10 with key \
          (bits of seed, stream), in (0, 1), rounded to X's wide type; the last class if there is none. \
          Source: ONNX Multinomial-7, -22; the generator is ours.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("dtype", AttrKind::Int, || AttrValue::Int(6), "6 (i32) or 7 (i64)."),
        AttrDef::default("sample_size", AttrKind::Int, || AttrValue::Int(1), "Samples a row."),
        SEED,
        STREAM,
    ],
    class: OpClass::General,
    infer: infer_multinomial,
    eval: |ctx| with_float!(ctx.input(0).dtype, multinomial(ctx)),
};

fn stream_of(attrs: &Attrs) -> Stream {
    Stream::new(attrs.float("seed").to_bits(), attrs.int("stream") as u32)
}

fn check_stream(attrs: &Attrs) -> Result<(), OpError> {
    match u32::try_from(attrs.int("stream")) {
        Ok(_) => Ok(()),
        Err(_) => Err(OpError::attr("stream", "is not in 0 .. 2^32")),
    }
}

/// The type that the attribute `dtype` names, or `default`.
fn output_dtype(attrs: &Attrs, default: DType, accept: fn(DType) -> bool) -> Result<DType, OpError> {
    check_stream(attrs)?;
    let code = attrs.opt_int("dtype").unwrap_or(i64::from(default.code()));
    let dtype = u32::try_from(code).ok().and_then(DType::from_code).filter(|d| accept(*d));
    dtype.ok_or_else(|| OpError::attr("dtype", format!("{code} is no type that this operator makes")))
}

fn infer_shape(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = output_dtype(ctx.attrs, DType::F32, DType::is_float)?;
    let shape = ctx.attrs.ints("shape");
    if let Some(bad) = shape.iter().find(|d| **d < 0) {
        return Err(OpError::attr("shape", format!("{bad} is negative")));
    }
    Ok(vec![Inferred::new(dtype, shape.iter().map(|&d| DimExpr::Const(d)).collect())])
}

fn infer_like(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = output_dtype(ctx.attrs, ctx.dtype(0)?, DType::is_float)?;
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

fn uniform(attrs: &Attrs, stream: Stream, index: u64) -> f64 {
    let (low, high) = (f64::from(attrs.float("low")), f64::from(attrs.float("high")));
    stream.uniform_f64(index).mul_add(high - low, low)
}

fn normal(attrs: &Attrs, stream: Stream, index: u64) -> f64 {
    stream.normal(index).mul_add(f64::from(attrs.float("scale")), f64::from(attrs.float("mean")))
}

fn generate(ctx: &EvalCtx<'_>, number: fn(&Attrs, Stream, u64) -> f64) -> Result<Vec<Tensor>, OpError> {
    fn fill<T: Convert>(y: &mut Tensor, number: impl Fn(u64) -> f64) -> Result<(), OpError> {
        for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
            *out = T::of(Exact::Float(number(at as u64))).canonical();
        }
        Ok(())
    }
    let mut y = match ctx.optional(0) {
        Some(like) => Tensor::zeros(output_dtype(ctx.attrs, like.dtype, DType::is_float)?, like.shape)?,
        None => {
            let shape: Vec<usize> = ctx.attrs.ints("shape").iter().map(|&d| d as usize).collect();
            Tensor::zeros(output_dtype(ctx.attrs, DType::F32, DType::is_float)?, &shape)?
        }
    };
    let stream = stream_of(ctx.attrs);
    let dtype = y.dtype();
    with_float!(dtype, fill(&mut y, |index| number(ctx.attrs, stream, index)))?;
    Ok(vec![y])
}

/// The bits of the number at a position, as a dispute needs it alone.
pub(super) fn bits(name: &str, attrs: &Attrs, dtype: DType, at: u64) -> Result<u64, OpError> {
    fn of<T: Convert>(number: f64) -> Result<u64, OpError> {
        let mut bytes = [0; 8];
        let element = T::of(Exact::Float(number)).canonical();
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(&element));
        Ok(u64::from_le_bytes(bytes))
    }
    let stream = stream_of(attrs);
    let number = match name {
        "RandomUniform" | "RandomUniformLike" => uniform(attrs, stream, at),
        _ => normal(attrs, stream, at),
    };
    with_float!(dtype, of(number))
}

/// The bits of Bernoulli's element at a position.
pub(super) fn is_drawn(attrs: &Attrs, at: u64, p: f64, dtype: DType) -> u64 {
    let mut bytes = [0; 8];
    if stream_of(attrs).uniform_f64(at) < p {
        let one = one_of(dtype);
        bytes[..one.len()].copy_from_slice(&one);
    }
    u64::from_le_bytes(bytes)
}

fn bernoulli(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let stream = stream_of(ctx.attrs);
    let probabilities = super::float::wide_elements::<f64>(x);
    let dtype = output_dtype(ctx.attrs, x.dtype, |_| true)?;
    let one: Vec<u8> = one_of(dtype);
    let mut y = Tensor::zeros(dtype, x.shape)?;
    let elements = y.bytes_mut().chunks_exact_mut(dtype.size());
    for (at, (out, p)) in elements.zip(probabilities).enumerate() {
        if stream.uniform_f64(at as u64) < p {
            out.copy_from_slice(&one);
        }
    }
    Ok(vec![y])
}

/// The bytes of the number 1.
fn one_of(dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => 1f32.to_le_bytes().to_vec(),
        DType::F64 => 1f64.to_le_bytes().to_vec(),
        DType::F16 => half::f16::ONE.to_le_bytes().to_vec(),
        DType::BF16 => half::bf16::ONE.to_le_bytes().to_vec(),
        _ => 1u64.to_le_bytes()[..dtype.size()].to_vec(),
    }
}

fn infer_multinomial(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "a float", DType::is_float)?;
    let dtype = output_dtype(ctx.attrs, DType::I32, |d| matches!(d, DType::I32 | DType::I64))?;
    let [batch, classes] = ctx.shape(0)? else {
        return Err(OpError::shape("X does not have two axes"));
    };
    if classes.as_const() == Some(0) {
        return Err(OpError::shape("there is no class to choose"));
    }
    let samples = ctx.attrs.int("sample_size");
    if samples < 1 {
        return Err(OpError::attr("sample_size", format!("is {samples}")));
    }
    Ok(vec![Inferred::new(dtype, vec![batch.clone(), DimExpr::Const(samples)])])
}

fn multinomial<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let stream = stream_of(ctx.attrs);
    let (classes, samples) = (x.shape[1], ctx.attrs.int("sample_size") as usize);
    let dtype = output_dtype(ctx.attrs, DType::I32, |_| true)?;
    let mut y = Tensor::zeros(dtype, &[x.shape[0], samples])?;
    for (batch, row) in x.as_slice::<T>().chunks_exact(classes).enumerate() {
        let row: Vec<T::Wide> = row.iter().map(|v| v.widen()).collect();
        let max = super::softmax::row_maximum(&row);
        let chain: Vec<T::Wide> = row
            .iter()
            .scan(None, |sum: &mut Option<T::Wide>, &v| {
                let p = (v - max).exp();
                *sum = Some(sum.map_or(p, |sum| sum + p));
                *sum
            })
            .collect();
        for sample in 0..samples {
            let at = batch * samples + sample;
            let bound = T::Wide::from_f64(stream.uniform_f64(at as u64)) * chain[classes - 1];
            let class = chain.iter().position(|s| bound < *s).unwrap_or(classes - 1);
            match dtype {
                DType::I64 => y.as_mut_slice::<i64>()[at] = class as i64,
                _ => y.as_mut_slice::<i32>()[at] = class as i32,
            }
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, output, run};
    use crate::scalar::f64_;

    #[test]
    fn numbers_follow_from_seed_stream_and_position() {
        let attrs = Attrs::new().with_ints("shape", &[2, 3]).with_float("seed", 1.5).with_int("stream", 9);
        let y = output("RandomUniform", &attrs.clone().with_float("low", -2.0).with_float("high", 3.0), &[]);
        let stream = Stream::new(1.5f32.to_bits(), 9);
        let expected: Vec<f32> = (0..6).map(|i| stream.uniform_f64(i).mul_add(5.0, -2.0) as f32).collect();
        assert_bits(&y, &[2, 3], &expected);
        let z = output("RandomNormal", &attrs.with_float("scale", 0.5).with_int("dtype", 11), &[]);
        let (u, v) = (stream.uniform_f64(2), stream.uniform_f64(3));
        let radius = (-2.0 * f64_::log(u)).sqrt();
        let angle = std::f64::consts::TAU * v;
        let z = z.as_slice::<f64>();
        assert_eq!(z[2].to_bits(), (radius * f64_::cos(angle)).mul_add(0.5, 0.0).to_bits());
        assert_eq!(z[3].to_bits(), (radius * f64_::sin(angle)).mul_add(0.5, 0.0).to_bits());
    }

    #[test]
    fn like_takes_shape_and_type() {
        let like = Tensor::from_slice(&[1, 2], &[half::f16::ONE; 2]);
        let y = output("RandomNormalLike", &Attrs::new(), &[&like]);
        assert_eq!((y.dtype(), y.shape()), (DType::F16, &[1, 2][..]));
        let y = output("RandomUniformLike", &Attrs::new().with_int("dtype", 1), &[&like]);
        assert_eq!(y.dtype(), DType::F32);
        assert!(run("RandomUniformLike", &Attrs::new().with_int("dtype", 7), &[&like]).is_err());
        assert!(run("RandomUniform", &Attrs::new().with_ints("shape", &[-1]), &[]).is_err());
        assert!(run("RandomUniform", &Attrs::new().with_ints("shape", &[1 << 40, 1 << 40]), &[]).is_err());
        assert!(run("RandomUniformLike", &Attrs::new().with_int("stream", -1), &[&like]).is_err());
    }

    #[test]
    fn choices() {
        let p = Tensor::from_slice(&[4], &[0.0f32, 1.0, f32::NAN, 2.0]);
        let y = output("Bernoulli", &Attrs::new().with_int("dtype", 9), &[&p]);
        assert_eq!(y.bytes(), [0, 1, 0, 1]);
        let logits =
            Tensor::from_slice(&[2, 3], &[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0, 0.0, -200.0]);
        let attrs = Attrs::new().with_int("sample_size", 500).with_int("dtype", 7);
        let y = output("Multinomial", &attrs, &[&logits]);
        let (first, second) = y.as_slice::<i64>().split_at(500);
        assert!(first.iter().all(|c| *c == 1));
        let zeros = second.iter().filter(|c| **c == 0).count();
        assert!(second.iter().all(|c| *c < 2) && (180..320).contains(&zeros), "{zeros}");
        let nan = Tensor::from_slice(&[1, 2], &[f32::NAN, 0.0]);
        assert_bits(&output("Multinomial", &Attrs::new(), &[&nan]), &[1, 1], &[1i32]);
    }
}
