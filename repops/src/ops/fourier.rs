//! DFT and STFT: discrete Fourier transforms as the contractions that define them.
//!
//! Invariant: the factors depend on (index * frequency) modulo the length alone.

use super::float::{Float, Real, with_float};
use super::infer::normalize_axis;
use super::walk::{known_shape, split_at_axis};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::scalar::f64_;
use crate::tensor::Tensor;

pub static DFT: OpDef = OpDef {
    id: 423,
    name: "DFT",
    version: 1,
    doc: "X's last axis is 1 (real) or 2 (real and imaginary part); the transform is along `axis` (i64 scalar, -2 when absent) over n = dft_length \
          (i32 or i64 scalar; absent: the axis' extent) elements, X cut or continued with zeros. Factor m of n: c[m] = cos(t), s[m] = sin(t), t = (2 pi rounded \
          to f64 * m) / n, each in f64 (docs/SCALAR.md, S.2), then rounded to the wide type. Output k, with m = (j * k) mod n: real part the contraction over \
          j of (re[j], c[m]), and for complex X after each of them (im[j], s[m]); imaginary part of (re[j], -s[m]), and after each (im[j], c[m]). \
          inverse: the signs of s are exchanged, and both parts are divided by n. onesided: k = 0 .. floor(n / 2) only, of real X. onesided and \
          inverse: X (complex) are elements 0 .. floor(n / 2) of n, absent n: 2 * (extent - 1); element n - j is the conjugate of element j, those missing are 0, \
          and only the real part is given, as a last axis of 1. Rounded once. \
          Source: ONNX DFT-17, -20.",
    inputs: Arity::between(1, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("inverse", AttrKind::Int, || AttrValue::Int(0), "1: the inverse transform."),
        AttrDef::default("onesided", AttrKind::Int, || AttrValue::Int(0), "1: half of the spectrum."),
    ],
    class: OpClass::General,
    infer: infer_dft,
    eval: |ctx| with_float!(ctx.input(0).dtype, dft(ctx)),
};

pub static STFT: OpDef = OpDef {
    id: 424,
    name: "STFT",
    version: 1,
    doc: "X is [batch, length, 1 or 2]. Frame f holds elements f * frame_step + j, j = 0 .. n - 1, each part multiplied by window[j] if there is a \
          window, the product rounded; n = frame_length, else the window's extent, else X's. Y[b, f, k] is the transform of the frame as \
          DFT defines it. There are 1 + floor((length - n) / frame_step) frames; k = 0 .. floor(n / 2) with onesided (of real X), else 0 .. n - 1. \
          frame_step and frame_length are i32 or i64 scalars. Source: ONNX STFT-17.",
    inputs: Arity::between(2, 4),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default("onesided", AttrKind::Int, || AttrValue::Int(1), "1: half of the spectrum.")],
    class: OpClass::General,
    infer: infer_stft,
    eval: |ctx| with_float!(ctx.input(0).dtype, stft(ctx)),
};

/// No transform is longer: its factors are held in memory.
const LENGTH_MAX: i64 = 1 << 24;

fn scalar(ctx: &InferCtx<'_>, index: usize) -> Result<DimExpr, OpError> {
    match ctx.dims(index)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(OpError::shape(format!("input {index} is no scalar"))),
    }
}

/// A length or step: at least 1, and bounded.
fn checked(what: &str, n: DimExpr) -> Result<DimExpr, OpError> {
    match n.as_const() {
        Some(n) if !(1..=LENGTH_MAX).contains(&n) => Err(OpError::shape(format!("a {what} of {n}"))),
        _ => Ok(n),
    }
}

/// Whether the elements are complex, if that is known.
fn is_complex(ctx: &InferCtx<'_>) -> Result<Option<bool>, OpError> {
    match ctx.shape(0)?.last().map(DimExpr::as_const) {
        Some(Some(1)) => Ok(Some(false)),
        Some(Some(2)) => Ok(Some(true)),
        Some(None) => Ok(None),
        _ => Err(OpError::shape(format!("the last axis of {} is not 1 or 2", ctx.input(0)?.ty))),
    }
}

fn half(n: &DimExpr) -> DimExpr {
    n.floor_div(&DimExpr::Const(2)).add(&DimExpr::Const(1))
}

fn infer_dft(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let mut shape = ctx.shape(0)?.to_vec();
    let complex = is_complex(ctx)?;
    let axis = match ctx.optional(2) {
        None => -2,
        Some(_) => scalar(ctx, 2)?.as_const().ok_or(OpError::ValueUnknown { index: 2 })?,
    };
    let axis = normalize_axis(axis, shape.len()).map_err(OpError::shape)?;
    if axis + 1 == shape.len() {
        return Err(OpError::shape("the last axis holds the parts of numbers"));
    }
    let (inverse, onesided) = (ctx.attrs.int("inverse") != 0, ctx.attrs.int("onesided") != 0);
    let n = match ctx.optional(1) {
        Some(_) => scalar(ctx, 1)?,
        None if inverse && onesided => shape[axis].sub(&DimExpr::Const(1)).mul(&DimExpr::Const(2)),
        None => shape[axis].clone(),
    };
    let n = checked("transform", n)?;
    if onesided && complex.is_some_and(|complex| complex != inverse) {
        return Err(OpError::shape("a one-sided transform goes from real to complex numbers"));
    }
    shape[axis] = if onesided && !inverse { half(&n) } else { n };
    *shape.last_mut().expect("two axes at least") = DimExpr::Const(if onesided && inverse { 1 } else { 2 });
    Ok(vec![Inferred::new(dtype, shape)])
}

/// The factors of a transform of length n.
struct Factors<W> {
    cos: Vec<W>,
    sin: Vec<W>,
}

impl<W: Real> Factors<W> {
    fn new(n: usize) -> Factors<W> {
        let angle = |m: usize| (std::f64::consts::TAU * m as f64) / n as f64;
        Factors {
            cos: (0..n).map(|m| W::from_f64(f64_::cos(angle(m)))).collect(),
            sin: (0..n).map(|m| W::from_f64(f64_::sin(angle(m)))).collect(),
        }
    }

    /// Output `k` of the transform of `signal`, whose elements are (real part, imaginary part if any).
    fn transform(&self, k: usize, inverse: bool, signal: &[(W, Option<W>)]) -> (W, W) {
        let n = self.cos.len();
        let at = |j: usize| (j as u128 * k as u128 % n as u128) as usize;
        let parts = if signal.first().is_some_and(|(_, im)| im.is_some()) { 2 } else { 1 };
        let sum = |pick: &dyn Fn(W, W, bool) -> W| {
            contract(parts * signal.len(), |p| {
                let (j, second) = (p / parts, p % parts == 1);
                let (re, im) = signal[j];
                let (c, s) = (self.cos[at(j)], self.sin[at(j)]);
                let s = if inverse { -s } else { s };
                Some((if second { im.unwrap_or(re) } else { re }, pick(c, s, second)))
            })
        };
        let re = sum(&|c, s, second| if second { s } else { c });
        let im = sum(&|c, s, second| if second { c } else { -s });
        if inverse { (re / W::count(n), im / W::count(n)) } else { (re, im) }
    }
}

fn dft<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DFT, ctx)?;
    let axis = ctx.optional(2).and_then(|a| a.to_i64s()).and_then(|a| a.first().copied()).unwrap_or(-2);
    let axis = normalize_axis(axis, x.shape.len()).map_err(OpError::shape)?;
    let (inverse, onesided) = (ctx.attrs.int("inverse") != 0, ctx.attrs.int("onesided") != 0);
    let parts = x.shape[x.shape.len() - 1];
    let (outer, extent, inner) = split_at_axis(&x.shape[..x.shape.len() - 1], axis);
    let outputs = shape[axis];
    let n = match ctx.optional(1).and_then(|n| n.to_i64s()).and_then(|n| n.first().copied()) {
        Some(n) => usize::try_from(n).map_err(|_| Fault::BadSize)?,
        None if inverse && onesided => outputs,
        None => extent,
    };
    let factors = Factors::<T::Wide>::new(n);
    let values = x.as_slice::<T>();
    let zero = T::Wide::from_f64(0.0);
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let out_parts = shape[shape.len() - 1];
    for row in 0..outer * inner {
        let (o, i) = (row / inner, row % inner);
        let read = |j: usize| {
            let at = ((o * extent + j) * inner + i) * parts;
            let part = |p: usize| if j < extent { values[at + p].widen() } else { zero };
            (part(0), (parts == 2).then(|| part(1)))
        };
        let signal: Vec<(T::Wide, Option<T::Wide>)> = match inverse && onesided {
            false => (0..n).map(read).collect(),
            true => (0..n)
                .map(|j| {
                    if j <= n / 2 {
                        return read(j);
                    }
                    let (re, im) = read(n - j);
                    (re, im.map(|im| -im))
                })
                .collect(),
        };
        for k in 0..outputs {
            let (re, im) = factors.transform(k, inverse, &signal);
            let at = ((o * outputs + k) * inner + i) * out_parts;
            let out = &mut y.as_mut_slice::<T>()[at..][..out_parts];
            out[0] = T::narrow(re);
            if let Some(slot) = out.get_mut(1) {
                *slot = T::narrow(im);
            }
        }
    }
    Ok(vec![y])
}

const WINDOW: usize = 2;
const FRAME_LENGTH: usize = 3;

fn infer_stft(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let [batch, length, _] = ctx.shape(0)? else {
        return Err(OpError::shape(format!("{} has not three axes", ctx.input(0)?.ty)));
    };
    let complex = is_complex(ctx)?;
    let step = checked("step", scalar(ctx, 1)?)?;
    let window = match ctx.optional(WINDOW) {
        None => None,
        Some(window) => {
            ctx.require_same(WINDOW, dtype)?;
            let [extent] = window.ty.shape.as_slice() else {
                return Err(OpError::shape(format!("the window is {}", window.ty)));
            };
            Some(extent.clone())
        }
    };
    let n = match (ctx.optional(FRAME_LENGTH), window.clone()) {
        (Some(_), _) => scalar(ctx, FRAME_LENGTH)?,
        (None, Some(window)) => window,
        (None, None) => length.clone(),
    };
    let n = checked("frame", n)?;
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    if window.is_some_and(|window| differ(&window, &n)) {
        return Err(OpError::shape("the window is not as long as a frame"));
    }
    let onesided = ctx.attrs.int("onesided") != 0;
    if onesided && complex == Some(true) {
        return Err(OpError::shape("a one-sided transform takes real numbers"));
    }
    let room = length.sub(&n);
    if room.as_const().is_some_and(|room| room < 0) {
        return Err(OpError::shape(format!("a frame of {n} in {length} elements")));
    }
    let frames = room.floor_div(&step).add(&DimExpr::Const(1));
    let bins = if onesided { half(&n) } else { n };
    Ok(vec![Inferred::new(dtype, vec![batch.clone(), frames, bins, DimExpr::Const(2)])])
}

fn stft<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&STFT, ctx)?;
    let (length, parts) = (x.shape[1], x.shape[2]);
    let number = |index: usize| {
        let value = ctx.optional(index).and_then(|t| t.to_i64s()).and_then(|v| v.first().copied());
        value.map(|v| usize::try_from(v).map_err(|_| Fault::BadSize)).transpose()
    };
    let step = number(1)?.ok_or(OpError::MissingInput { index: 1 })?;
    let window = ctx.optional(WINDOW).map(|w| w.as_slice::<T>());
    let n = number(FRAME_LENGTH)?.unwrap_or(window.map_or(length, <[T]>::len));
    let factors = Factors::<T::Wide>::new(n);
    let values = x.as_slice::<T>();
    let (frames, bins) = (shape[1], shape[2]);
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    for at in 0..shape[0] * frames {
        let (b, f) = (at / frames, at % frames);
        let read = |j: usize| {
            let from = (b * length + f * step + j) * parts;
            let part = |p: usize| {
                let value = values[from + p].widen();
                window.map_or(value, |w| value * w[j].widen())
            };
            (part(0), (parts == 2).then(|| part(1)))
        };
        let signal: Vec<(T::Wide, Option<T::Wide>)> = (0..n).map(read).collect();
        for k in 0..bins {
            let (re, im) = factors.transform(k, false, &signal);
            let out = &mut y.as_mut_slice::<T>()[(at * bins + k) * 2..][..2];
            out.copy_from_slice(&[T::narrow(re), T::narrow(im)]);
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, run_outputs, try_run};
    use crate::ops::testing::noise;
    use crate::tensor::Tensor;

    fn close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.shape(), b.shape());
        for (a, b) in a.as_slice::<f32>().iter().zip(b.as_slice::<f32>()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn an_impulse_is_flat() {
        let x = Tensor::from_slice(&[4, 1], &[1.0f32, 0.0, 0.0, 0.0]);
        let y = run("DFT", Attrs::new(), &[&x]);
        assert_eq!(y.shape(), [4, 2]);
        assert!(y.as_slice::<f32>().chunks(2).all(|c| c[0] == 1.0 && c[1] == 0.0));
        let x = Tensor::from_slice(&[4, 1], &[0.0f32, 1.0, 0.0, 0.0]);
        let y = run("DFT", Attrs::new().with_int("onesided", 1), &[&x]);
        let y = y.as_slice::<f32>();
        assert_eq!((y.len(), y[0], y[3], y[4]), (6, 1.0, -1.0, -1.0));
    }

    #[test]
    fn inverses_undo() {
        let x = noise(&[2, 300, 3, 2], 5);
        let axis = Tensor::scalar(1i64);
        let there = run_outputs("DFT", Attrs::new(), &[Some(&x), None, Some(&axis)], 1).unwrap().remove(0);
        let back = Attrs::new().with_int("inverse", 1);
        close(&run_outputs("DFT", back, &[Some(&there), None, Some(&axis)], 1).unwrap()[0], &x);
        for n in [7usize, 8] {
            let x = noise(&[n, 1], 9);
            let there = run("DFT", Attrs::new().with_int("onesided", 1), &[&x]);
            let back = Attrs::new().with_int("onesided", 1).with_int("inverse", 1);
            close(&run("DFT", back, &[&there, &Tensor::scalar(n as i64)]), &x);
        }
    }

    #[test]
    fn frames_are_transforms() {
        let x = noise(&[1, 10, 1], 1);
        let window = noise(&[4], 2);
        let y = run("STFT", Attrs::new(), &[&x, &Tensor::scalar(3i64), &window]);
        assert_eq!(y.shape(), [1, 3, 3, 2]);
        let frame: Vec<f32> =
            (0..4).map(|j| x.as_slice::<f32>()[3 + j] * window.as_slice::<f32>()[j]).collect();
        let alone = run("DFT", Attrs::new().with_int("onesided", 1), &[&Tensor::from_slice(&[4, 1], &frame)]);
        assert_eq!(&y.as_slice::<f32>()[6..12], alone.as_slice::<f32>());
    }

    #[test]
    fn bad_inputs() {
        let x = noise(&[1, 10, 1], 1);
        for step in [0i64, -1, i64::MAX] {
            assert!(try_run("STFT", Attrs::new(), &[&x, &Tensor::scalar(step), &noise(&[4], 2)]).is_err());
            assert!(try_run("DFT", Attrs::new(), &[&x, &Tensor::scalar(step)]).is_err());
        }
        assert!(try_run("STFT", Attrs::new(), &[&x, &Tensor::scalar(1i64), &noise(&[11], 2)]).is_err());
        assert!(try_run("DFT", Attrs::new(), &[&noise(&[2, 3], 1)]).is_err());
        assert!(try_run("DFT", Attrs::new().with_int("onesided", 1), &[&noise(&[2, 2], 1)]).is_err());
    }
}
