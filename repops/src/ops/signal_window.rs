//! HannWindow, HammingWindow, BlackmanWindow and MelWeightMatrix: tables of signal processing.
//!
//! Invariant: everything is computed in f64, each operation rounded, and converted once at the end.

use super::convert::{Exact, convert, exact_of};
use super::quantize::dtype_attr;
use super::walk::known_shape;
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::scalar::f64_;
use crate::tensor::{Tensor, TensorView};

const OUTPUT: AttrDef =
    AttrDef::default("output_datatype", AttrKind::Int, || AttrValue::Int(1), "ONNX's number of Y's type.");
const PERIODIC: AttrDef =
    AttrDef::default("periodic", AttrKind::Int, || AttrValue::Int(1), "0: symmetric, N = size - 1.");

macro_rules! window {
    ($def:ident, $id:literal, $name:literal, $doc:literal, $element:expr) => {
        pub static $def: OpDef = OpDef {
            id: $id,
            name: $name,
            version: 1,
            doc: $doc,
            inputs: Arity::exactly(1),
            outputs: Arity::exactly(1),
            attrs: &[OUTPUT, PERIODIC],
            class: OpClass::General,
            infer: infer_window,
            eval: |ctx| window(ctx, $element),
        };
    };
}

window!(
    HANN,
    425,
    "HannWindow",
    "Y[i] = 0.5 - 0.5 * c(1) for i below `size` (i32 or i64 scalar), c(k) = cos((k * (2 pi) * i) / N), 2 pi rounded to f64; N = size, or size - 1 \
     where periodic is 0; 1 where N is 0. In f64 (cos as in docs/SCALAR.md, S.2), each operation rounded, then converted as Cast \
     does. Source: ONNX HannWindow-17.",
    |cos| 0.5 - 0.5 * cos(1.0)
);
window!(
    HAMMING,
    426,
    "HammingWindow",
    "As HannWindow with Y[i] = 25/46 - (1 - 25/46) * c(1), both constants by f64 operations. Source: ONNX HammingWindow-17.",
    |cos| {
        let alpha = 25.0 / 46.0;
        alpha - (1.0 - alpha) * cos(1.0)
    }
);
window!(
    BLACKMAN,
    427,
    "BlackmanWindow",
    "As HannWindow with Y[i] = (0.42 - 0.5 * c(1)) + 0.08 * c(2). Source: ONNX BlackmanWindow-17.",
    |cos| (0.42 - 0.5 * cos(1.0)) + 0.08 * cos(2.0)
);

pub static MEL: OpDef = OpDef {
    id: 428,
    name: "MelWeightMatrix",
    version: 1,
    doc: "Inputs: num_mel_bins m, dft_length n, sample_rate (i32 or i64 scalars), lower_edge_hertz, upper_edge_hertz (float scalars). Y is \
          [floor(n / 2) + 1, m]. In f64 (functions as in docs/SCALAR.md, S.2), each operation rounded: mel(f) = (2595 * log1p(f / 700)) / ln 10, \
          ln 10 rounded to f64; step = (mel(upper) - mel(lower)) / (m + 2); h(i) = 700 * expm1(((i * step + mel(lower)) / 2595) * ln 10); \
          b(i) = floor(((n + 1) * h(i)) / sample_rate) for i = 0 .. m + 1. Column i has with l = b(i), c = b(i + 1), r = b(i + 2): (j - l) / (c - l) in rows l <= j <= c, \
          1 in row c where c = l; then (r - j) / (r - c) in rows c <= j < r; else 0. Rows outside of the matrix are left out. \
          Converted as Cast does. Source: ONNX MelWeightMatrix-17.",
    inputs: Arity::exactly(5),
    outputs: Arity::exactly(1),
    attrs: &[OUTPUT],
    class: OpClass::General,
    infer: infer_mel,
    eval: mel,
};

fn output_type(attrs: &Attrs) -> Result<DType, OpError> {
    let dtype = dtype_attr(attrs, "output_datatype")?.filter(|d| d.is_number());
    dtype.ok_or_else(|| OpError::attr("output_datatype", "is no type of numbers"))
}

/// The value of a scalar that is an extent.
fn extent(ctx: &InferCtx<'_>, index: usize) -> Result<DimExpr, OpError> {
    match ctx.dims(index)?.as_slice() {
        [n] if n.as_const().is_none_or(|n| n >= 0) => Ok(n.clone()),
        _ => Err(OpError::shape(format!("input {index} is no size"))),
    }
}

fn infer_window(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    Ok(vec![Inferred::new(output_type(ctx.attrs)?, vec![extent(ctx, 0)?])])
}

fn window(ctx: &EvalCtx<'_>, element: fn(&dyn Fn(f64) -> f64) -> f64) -> Result<Vec<Tensor>, OpError> {
    let size = ctx.input(0).to_i64s().and_then(|v| v.first().copied()).unwrap_or(0);
    let size = usize::try_from(size).map_err(|_| Fault::BadSize)?;
    let n = if ctx.attrs.int("periodic") != 0 { size } else { size.saturating_sub(1) };
    let mut y = Tensor::zeros(DType::F64, &[size])?;
    for (i, out) in y.as_mut_slice::<f64>().iter_mut().enumerate() {
        let cos = |k: f64| f64_::cos((k * std::f64::consts::TAU * i as f64) / n as f64);
        *out = if n == 0 { 1.0 } else { element(&cos) };
    }
    Ok(vec![convert(y.view(), output_type(ctx.attrs)?)?])
}

fn infer_mel(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    for index in 0..3 {
        ctx.require(index, "i32 or i64", |d| matches!(d, DType::I32 | DType::I64))?;
    }
    for index in 3..5 {
        ctx.require(index, "a float", DType::is_float)?;
    }
    for index in 0..5 {
        if !ctx.shape(index)?.iter().all(|d| d.as_const().is_none_or(|d| d == 1)) {
            return Err(OpError::shape(format!("input {index} is no scalar")));
        }
    }
    let rows = extent(ctx, 1)?.floor_div(&DimExpr::Const(2)).add(&DimExpr::Const(1));
    Ok(vec![Inferred::new(output_type(ctx.attrs)?, vec![rows, extent(ctx, 0)?])])
}

fn mel(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = known_shape(&MEL, ctx)?;
    let (rows, bins) = (shape[0], shape[1]);
    let number = |x: TensorView<'_>| exact_of(x, 0).map_or(f64::NAN, Exact::to_f64);
    let [n, rate, lower, upper] = [1, 2, 3, 4].map(|index| number(ctx.input(index)));
    let ln_10 = std::f64::consts::LN_10;
    let mel = |hertz: f64| (2595.0 * f64_::log1p(hertz / 700.0)) / ln_10;
    let low = mel(lower);
    let step = (mel(upper) - low) / (bins as f64 + 2.0);
    // Truncation of what floor gave; far outside of the matrix it saturates.
    let edge = |i: usize| {
        let hertz = 700.0 * f64_::expm1(((i as f64 * step + low) / 2595.0) * ln_10);
        (((n + 1.0) * hertz) / rate).floor() as i64
    };
    let mut y = Tensor::zeros(DType::F64, &shape)?;
    let values = y.as_mut_slice::<f64>();
    let last = rows as i64 - 1;
    for i in 0..bins {
        let (l, c, r) = (edge(i), edge(i + 1), edge(i + 2));
        let mut set = |j: i64, value: f64| values[j as usize * bins + i] = value;
        let width = |a: i64, b: i64| b.saturating_sub(a) as f64;
        if l == c && (0..=last).contains(&c) {
            set(c, 1.0);
        }
        if l != c {
            for j in l.max(0)..=c.min(last) {
                set(j, width(l, j) / width(l, c));
            }
        }
        for j in c.max(0)..=r.saturating_sub(1).min(last) {
            set(j, width(j, r) / width(c, r));
        }
    }
    Ok(vec![convert(y.view(), output_type(ctx.attrs)?)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    #[test]
    fn windows() {
        let y = run("HannWindow", Attrs::new(), &[&Tensor::scalar(4i64)]);
        assert_eq!(y.as_slice::<f32>(), [0.0, 0.5, 1.0, 0.5]);
        let symmetric = Attrs::new().with_int("periodic", 0);
        let y = run("HannWindow", symmetric.clone(), &[&Tensor::scalar(3i32)]);
        assert_eq!(y.as_slice::<f32>(), [0.0, 1.0, 0.0]);
        let y =
            run("HammingWindow", symmetric.clone().with_int("output_datatype", 11), &[&Tensor::scalar(1i64)]);
        assert_eq!(y.as_slice::<f64>(), [1.0]);
        let y = run("BlackmanWindow", symmetric, &[&Tensor::scalar(3i64)]);
        assert!((y.as_slice::<f32>()[1] - 1.0).abs() < 1e-6);
        assert!(try_run("HannWindow", Attrs::new(), &[&Tensor::scalar(-1i64)]).is_err());
        let bad = Attrs::new().with_int("output_datatype", 9);
        assert!(try_run("HannWindow", bad, &[&Tensor::scalar(1i64)]).is_err());
    }

    #[test]
    fn triangles_peak_at_one() {
        let ints = [8i64, 16, 8192].map(Tensor::scalar);
        let edges = [0.0f32, 4096.0].map(Tensor::scalar);
        let y = run("MelWeightMatrix", Attrs::new(), &[&ints[0], &ints[1], &ints[2], &edges[0], &edges[1]]);
        assert_eq!(y.shape(), [9, 8]);
        for column in 0..8 {
            let peak = y
                .as_slice::<f32>()
                .iter()
                .skip(column)
                .step_by(8)
                .fold(0.0f32, |a, b| if *b > a { *b } else { a });
            assert_eq!(peak, 1.0, "{column}");
        }
        // Edges that are no numbers or far away leave the matrix empty or cut.
        for bad in [f32::NAN, f32::INFINITY, -1e30] {
            let bad = Tensor::scalar(bad);
            run("MelWeightMatrix", Attrs::new(), &[&ints[0], &ints[1], &ints[2], &bad, &edges[1]]);
            run("MelWeightMatrix", Attrs::new(), &[&ints[0], &ints[1], &ints[2], &edges[0], &bad]);
        }
    }
}
