//! Conv: convolution (cross-correlation) over any number of spatial axes.

use super::float::{Float, with_float};
use super::window::{Window, unravel};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 302,
    name: "Conv",
    version: 1,
    doc: "Y[n, m, o..] = contraction over p of X[n, g*C/group + c, o*stride - pad + k*dilation ..] * W[m, c, \
          k..], then + B[m] (one addition) if B is there; g = m / (M/group). p runs over (c, k..) of the \
          group in row-major order of W's axes after the first. A tap outside of the image is skipped but \
          keeps its position p. Output extent: floor((in + pads - ((k-1)*dilation + 1)) / stride) + 1; \
          auto_pad SAME_*: ceil(in / stride), the odd pad at the end (UPPER) or begin (LOWER). f32 and f64 \
          in their own precision, f16 and bf16 in f32, rounded once after the bias. Order: SPEC.md, \
          Contractions. Source: ONNX Conv-1, -11, -22.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Contraction,
    infer,
    eval,
};

/// The attributes of all convolutions.
pub(crate) const ATTRS: &[AttrDef] = &[
    AttrDef::default(
        "auto_pad",
        AttrKind::Str,
        || AttrValue::Str("NOTSET".to_string()),
        "NOTSET, VALID, SAME_UPPER or SAME_LOWER.",
    ),
    AttrDef::optional("dilations", AttrKind::Ints, "Distance of taps per axis; 1 when absent."),
    AttrDef::default("group", AttrKind::Int, || AttrValue::Int(1), "Groups of channels."),
    AttrDef::optional("kernel_shape", AttrKind::Ints, "W's spatial extents; taken from W when absent."),
    AttrDef::optional("pads", AttrKind::Ints, "Begins of all axes, then ends; 0 when absent."),
    AttrDef::optional("strides", AttrKind::Ints, "Step of the window per axis; 1 when absent."),
];

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require_same(1, dtype)?;
    let shape = convolved(ctx.attrs, ctx.shape(0)?, ctx.shape(1)?)?;
    if ctx.optional(2).is_some() {
        ctx.require_same(2, dtype)?;
        check_bias(ctx.shape(2)?, &shape[1])?;
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

/// A bias has one axis of as many elements as there are channels.
pub(crate) fn check_bias(bias: &[DimExpr], channels: &DimExpr) -> Result<(), OpError> {
    let fits = match bias {
        [one] => !matches!((one.as_const(), channels.as_const()), (Some(a), Some(b)) if a != b),
        _ => false,
    };
    if fits { Ok(()) } else { Err(OpError::shape(format!("the bias does not have {channels} elements"))) }
}

/// The number of groups, if it divides what it must.
pub(crate) fn groups(attrs: &Attrs, dims: &[(&str, &DimExpr)]) -> Result<i64, OpError> {
    let group = attrs.int("group");
    if group < 1 {
        return Err(OpError::attr("group", format!("is {group}")));
    }
    for (what, dim) in dims {
        if dim.as_const().is_some_and(|d| d % group != 0) {
            return Err(OpError::attr("group", format!("{group} does not divide {dim} {what}")));
        }
    }
    Ok(group)
}

/// The kernel's extents, which must be known.
pub(crate) fn kernel_of(attrs: &Attrs, weight: &[DimExpr]) -> Result<Vec<i64>, OpError> {
    let given = attrs.opt_ints("kernel_shape");
    if let Some(given) = given
        && (given.len() != weight.len()
            || weight.iter().zip(given).any(|(w, g)| w.as_const().is_some_and(|w| w != *g)))
    {
        return Err(OpError::attr("kernel_shape", "is not the shape of W"));
    }
    let extent = |(axis, dim): (usize, &DimExpr)| dim.as_const().or_else(|| given.map(|given| given[axis]));
    weight.iter().enumerate().map(|w| extent(w).ok_or(OpError::ValueUnknown { index: 1 })).collect()
}

/// The shape of a convolution of `x` with `w`.
pub(crate) fn convolved(attrs: &Attrs, x: &[DimExpr], w: &[DimExpr]) -> Result<Vec<DimExpr>, OpError> {
    if x.len() < 3 || w.len() != x.len() {
        return Err(OpError::shape(format!("X has {} axes, W has {}", x.len(), w.len())));
    }
    let group = groups(attrs, &[("channels", &x[1]), ("output channels", &w[0])])?;
    if let (Some(c), Some(per_group)) = (x[1].as_const(), w[1].as_const())
        && per_group.checked_mul(group) != Some(c)
    {
        return Err(OpError::shape(format!("{c} channels in {group} groups, but W takes {per_group}")));
    }
    let window = Window::new(attrs, &kernel_of(attrs, &w[2..])?)?;
    let mut shape = vec![x[0].clone(), w[0].clone()];
    shape.extend(window.output_dims(&x[2..])?);
    Ok(shape)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![with_float!(ctx.input(0).dtype, convolve(ctx))?])
}

fn convolve<T: Float>(ctx: &EvalCtx<'_>) -> Result<Tensor, OpError> {
    let (x, w) = (ctx.input(0), ctx.input(1));
    let geometry = Geometry::new(ctx.attrs, x.shape, w.shape)?;
    let mut y = Tensor::zeros(T::DTYPE, &geometry.shape)?;
    let (x, w) = (x.as_slice::<T>(), w.as_slice::<T>());
    let bias = ctx.optional(2).map(|b| b.as_slice::<T>());
    let out = y.as_mut_slice::<T>();
    geometry.each_output(|at| {
        let sum = contract(at.terms(), |p| Some((x[at.tap(p)?].widen(), w[at.weight(p)].widen())));
        out[at.output] = T::narrow(match bias {
            Some(bias) => sum + bias[at.channel].widen(),
            None => sum,
        });
    });
    Ok(y)
}

/// Where the terms of each output element are found.
pub(crate) struct Geometry {
    pub shape: Vec<usize>,
    axes: Vec<super::window::WindowAxis>,
    image: Vec<usize>,
    kernel: Vec<usize>,
    channels: usize,
    channels_per_group: usize,
    outputs_per_group: usize,
}

/// One output element of a convolution.
pub(crate) struct OutputElement<'a> {
    /// Offset in Y.
    pub output: usize,
    /// Output channel.
    pub channel: usize,
    taps: &'a [Option<usize>],
    image: usize,
    first_plane: usize,
    channels: usize,
}

impl OutputElement<'_> {
    /// Terms of the contraction.
    pub fn terms(&self) -> usize {
        self.channels * self.taps.len()
    }

    /// Offset in X of term `p`; `None` outside of the image.
    pub fn tap(&self, p: usize) -> Option<usize> {
        let inside = self.taps[p % self.taps.len()]?;
        Some((self.first_plane + p / self.taps.len()) * self.image + inside)
    }

    /// Offset in W of term `p`.
    pub fn weight(&self, p: usize) -> usize {
        self.channel * self.terms() + p
    }
}

impl Geometry {
    pub fn new(attrs: &Attrs, x: &[usize], w: &[usize]) -> Result<Geometry, OpError> {
        let kernel: Vec<i64> = w[2..].iter().map(|&k| k as i64).collect();
        let (axes, out) = Window::new(attrs, &kernel)?.placed(&x[2..])?;
        let group = attrs.int("group") as usize;
        let mut shape = vec![x[0], w[0]];
        shape.extend(out);
        Ok(Geometry {
            shape,
            axes,
            image: x[2..].to_vec(),
            kernel: w[2..].to_vec(),
            channels: x[1],
            channels_per_group: w[1],
            outputs_per_group: w[0] / group,
        })
    }

    /// Visits every output element.
    pub fn each_output(&self, mut visit: impl FnMut(&OutputElement<'_>)) {
        let out = &self.shape[2..];
        let (count, image) = (element_count(out), element_count(&self.image));
        let planes = self.shape[0] * self.shape[1];
        if planes == 0 {
            return;
        }
        for position in 0..count {
            let taps = self.taps(&unravel(position, out));
            for plane in 0..planes {
                let (n, channel) = (plane / self.shape[1], plane % self.shape[1]);
                visit(&OutputElement {
                    output: plane * count + position,
                    channel,
                    taps: &taps,
                    image,
                    first_plane: n * self.channels
                        + channel / self.outputs_per_group * self.channels_per_group,
                    channels: self.channels_per_group,
                });
            }
        }
    }

    /// The offset in the image of every tap of the window at `position`.
    fn taps(&self, position: &[usize]) -> Vec<Option<usize>> {
        if self.channels_per_group == 0 {
            // An empty W bounds nothing, so its extents must not size anything.
            return Vec::new();
        }
        let mut taps = vec![Some(0)];
        for (axis, window) in self.axes.iter().enumerate() {
            let start = position[axis] as i64 * window.stride - window.pad_begin;
            let along = (0..self.kernel[axis]).map(|k| {
                let at = usize::try_from(start + k as i64 * window.dilation).ok();
                at.filter(|at| *at < self.image[axis])
            });
            let along: Vec<Option<usize>> = along.collect();
            taps = taps
                .iter()
                .flat_map(|base| along.iter().map(move |at| Some(((*base)?, (*at)?))))
                .map(|pair| pair.map(|(base, at)| base * self.image[axis] + at))
                .collect();
        }
        taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    /// Straight from the definition, for two spatial axes.
    fn naive(x: &Tensor, w: &Tensor, group: usize, stride: i64, pad: i64, dilation: i64) -> Vec<f32> {
        let (xs, ws) = (x.shape(), w.shape());
        let (height, width) = (xs[2] as i64, xs[3] as i64);
        let out = |n: i64, k: usize| (n + 2 * pad - ((k as i64 - 1) * dilation + 1)) / stride + 1;
        let (rows, columns) = (out(height, ws[2]), out(width, ws[3]));
        let (xv, wv) = (x.as_slice::<f32>(), w.as_slice::<f32>());
        let mut y = Vec::new();
        for n in 0..xs[0] {
            for m in 0..ws[0] {
                for (oh, ow) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    let mut terms = Vec::new();
                    for c in 0..ws[1] {
                        for (kh, kw) in (0..ws[2]).flat_map(|r| (0..ws[3]).map(move |c| (r, c))) {
                            let h = oh * stride - pad + kh as i64 * dilation;
                            let v = ow * stride - pad + kw as i64 * dilation;
                            let inside = (0..height).contains(&h) && (0..width).contains(&v);
                            let channel = m / (ws[0] / group) * ws[1] + c;
                            let from = ((n * xs[1] + channel) as i64 * height + h) * width + v;
                            let weight = wv[((m * ws[1] + c) * ws[2] + kh) * ws[3] + kw];
                            terms.push(inside.then(|| (xv[from as usize], weight)));
                        }
                    }
                    y.push(contract(terms.len(), |p| terms[p]));
                }
            }
        }
        y
    }

    #[test]
    fn equals_the_definition() {
        // 70 channels of 3 x 3 taps: contractions of 630 terms, three chunks.
        for (group, stride, pad, dilation) in [(1, 1, 1, 1), (2, 2, 0, 1), (2, 1, 3, 2), (1, 3, 2, 1)] {
            let (x, w) = (noise(&[2, 70, 7, 6], 1), noise(&[4, 70 / group, 3, 3], 2));
            let attrs = Attrs::new()
                .with_int("group", group as i64)
                .with_ints("strides", &[stride; 2])
                .with_ints("pads", &[pad; 4])
                .with_ints("dilations", &[dilation; 2]);
            let y = output("Conv", &attrs, &[&x, &w]);
            assert_bits(&y, y.shape(), &naive(&x, &w, group, stride, pad, dilation));
        }
    }

    #[test]
    fn a_kernel_of_one_is_a_matrix_product() {
        let (x, w) = (noise(&[1, 600, 5], 3), noise(&[7, 600, 1], 4));
        let y = output("Conv", &Attrs::new(), &[&x, &w]);
        let product = output("MatMul", &Attrs::new(), &[&w.reshaped(&[7, 600]), &x.reshaped(&[600, 5])]);
        assert_bits(&y, &[1, 7, 5], product.as_slice::<f32>());
    }

    #[test]
    fn the_bias_comes_last_and_f16_rounds_once() {
        let big = half::f16::from_f32(2048.0);
        let one = half::f16::from_f32(1.0);
        let x = Tensor::from_slice(&[1, 1, 2], &[big, one]);
        let w = Tensor::from_slice(&[1, 1, 2], &[one, one]);
        let y = output("Conv", &Attrs::new(), &[&x, &w, &Tensor::from_slice(&[1], &[one])]);
        // 2048 + 1 would round to 2048 in f16; 2048 + 1 + 1 = 2050 does not.
        assert_bits(&y, &[1, 1, 1], &[half::f16::from_f32(2050.0)]);
    }

    #[test]
    fn auto_pad_and_three_axes() {
        let x = Tensor::from_slice(&[1, 1, 4], &[1.0f32, 2.0, 4.0, 8.0]);
        let w = Tensor::from_slice(&[1, 1, 2], &[1.0f32, 16.0]);
        let same = |mode: &str| output("Conv", &Attrs::new().with_str("auto_pad", mode), &[&x, &w]);
        assert_bits(&same("SAME_UPPER"), &[1, 1, 4], &[33.0f32, 66.0, 132.0, 8.0]);
        assert_bits(&same("SAME_LOWER"), &[1, 1, 4], &[16.0f32, 33.0, 66.0, 132.0]);
        assert_bits(&same("VALID"), &[1, 1, 3], &[33.0f32, 66.0, 132.0]);
        let cube = Tensor::from_slice(&[1, 1, 2, 2, 2], &[1.0f64; 8]);
        assert_bits(&output("Conv", &Attrs::new(), &[&cube, &cube]), &[1, 1, 1, 1, 1], &[8.0f64]);
    }

    #[test]
    fn an_infinity_outside_of_the_window_is_not_multiplied() {
        // A skipped tap is no product with zero: an infinite weight there must not make a NaN.
        let x = Tensor::from_slice(&[1, 1, 1], &[1.0f32]);
        let w = Tensor::from_slice(&[1, 1, 3], &[f32::INFINITY, 2.0, f32::INFINITY]);
        let y = output("Conv", &Attrs::new().with_ints("pads", &[1, 1]), &[&x, &w]);
        assert_bits(&y, &[1, 1, 1], &[2.0f32]);
    }

    #[test]
    fn misfits_are_errors() {
        let (x, w) = (noise(&[1, 4, 5], 1), noise(&[2, 4, 3], 2));
        let fails = |attrs: Attrs, inputs: &[&Tensor]| run("Conv", &attrs, inputs).is_err();
        assert!(fails(Attrs::new().with_int("group", 2), &[&x, &w]));
        assert!(fails(Attrs::new().with_int("group", 0), &[&x, &w]));
        assert!(fails(Attrs::new().with_ints("kernel_shape", &[2]), &[&x, &w]));
        assert!(fails(Attrs::new(), &[&x, &noise(&[2, 4, 6], 2)]));
        assert!(fails(Attrs::new(), &[&x, &noise(&[2, 4, 3, 1], 2)]));
        assert!(fails(Attrs::new(), &[&x, &w, &noise(&[3], 2)]));
        assert!(fails(Attrs::new().with_ints("pads", &[1 << 40, 0]), &[&x, &w]));
        let empty = Tensor::zeros(DType::F32, &[0, 4, 5]).unwrap();
        assert_bits::<f32>(&output("Conv", &Attrs::new(), &[&empty, &w]), &[0, 2, 3], &[]);
    }
}
