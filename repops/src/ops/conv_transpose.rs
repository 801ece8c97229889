//! ConvTranspose: the transpose of a convolution, as a contraction for each output element.

use super::conv::{check_bias, groups, kernel_of};
use super::float::{Float, with_float};
use super::window::{LIMIT, Window, WindowAxis, unravel};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 303,
    name: "ConvTranspose",
    version: 1,
    doc: "Y[n, m, o..] = contraction over p of X[n, g*C/group + c, i..] * W[g*C/group + c, m - g*M/group, \
          k..], then + B[m] (one addition) if B is there; g = m / (M/group). p runs over (c, k..) of the \
          group in row-major order; along each axis i = (o + pad - k*dilation) / stride, and a tap whose i \
          is no integer or outside of X is skipped but keeps its position p. Output extent: stride * (in - \
          1) + output_padding + (k-1)*dilation + 1 - pads. With output_shape (or auto_pad SAME_*, which \
          asks for in * stride) the pads follow from it, at least 0 in all: half at the begin, the odd one \
          at the begin unless SAME_UPPER. f32 and f64 in their own precision, f16 and bf16 in f32, rounded \
          once after the bias. Order: SPEC.md, Contractions. Source: ONNX ConvTranspose-11, -22.",
    inputs: Arity::between(2, 3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "auto_pad",
            AttrKind::Str,
            || AttrValue::Str("NOTSET".to_string()),
            "NOTSET, VALID, SAME_UPPER or SAME_LOWER.",
        ),
        AttrDef::optional("dilations", AttrKind::Ints, "Distance of taps per axis; 1 when absent."),
        AttrDef::default("group", AttrKind::Int, || AttrValue::Int(1), "Groups of channels."),
        AttrDef::optional("kernel_shape", AttrKind::Ints, "W's spatial extents; taken from W when absent."),
        AttrDef::optional("output_padding", AttrKind::Ints, "Extra extent at the ends; 0 when absent."),
        AttrDef::optional("output_shape", AttrKind::Ints, "Spatial extents of Y; decides the pads."),
        AttrDef::optional("pads", AttrKind::Ints, "Begins of all axes, then ends; 0 when absent."),
        AttrDef::optional("strides", AttrKind::Ints, "Distance of X's elements in Y; 1 when absent."),
    ],
    class: OpClass::Contraction,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require_same(1, dtype)?;
    let (x, w) = (ctx.shape(0)?, ctx.shape(1)?);
    if x.len() < 3 || w.len() != x.len() {
        return Err(OpError::shape(format!("X has {} axes, W has {}", x.len(), w.len())));
    }
    let group = groups(ctx.attrs, &[("channels", &x[1])])?;
    if let (Some(a), Some(b)) = (x[1].as_const(), w[0].as_const())
        && a != b
    {
        return Err(OpError::shape(format!("X has {a} channels, W takes {b}")));
    }
    let window = Window::new(ctx.attrs, &kernel_of(ctx.attrs, &w[2..])?)?;
    let mut shape = vec![x[0].clone(), w[1].mul(&DimExpr::Const(group))];
    if ctx.optional(2).is_some() {
        ctx.require_same(2, dtype)?;
        check_bias(ctx.shape(2)?, &shape[1])?;
    }
    for (axis, (extent, growth)) in x[2..].iter().zip(Growth::all(ctx.attrs, &window)?).enumerate() {
        let dim = growth.extent(&window.axes[axis], extent);
        if dim.as_const().is_some_and(|d| d < 0) {
            return Err(OpError::shape(format!("the output's extent would be {dim}")));
        }
        shape.push(dim);
    }
    Ok(vec![Inferred::new(dtype, shape)])
}

/// How one axis of the output gets its extent.
struct Growth {
    output_padding: i64,
    /// An extent that was asked for.
    asked: Option<i64>,
    /// `Some(upper)` with auto_pad SAME_*.
    same: Option<bool>,
}

impl Growth {
    fn all(attrs: &Attrs, window: &Window) -> Result<Vec<Growth>, OpError> {
        let rank = window.axes.len();
        let list = |name: &str| {
            let Some(values) = attrs.opt_ints(name) else { return Ok(None) };
            match values.iter().find(|v| **v < 0 || **v > LIMIT) {
                Some(bad) => Err(OpError::attr(name, format!("{bad} is not in 0 ..= {LIMIT}"))),
                None if values.len() != rank => Err(OpError::attr(name, format!("needs {rank} entries"))),
                None => Ok(Some(values)),
            }
        };
        let (padding, asked) = (list("output_padding")?, list("output_shape")?);
        let growth = |axis: usize| Growth {
            output_padding: padding.map_or(0, |p| p[axis]),
            asked: asked.map(|a| a[axis]),
            same: window.same(),
        };
        Ok((0..rank).map(growth).collect())
    }

    fn extent(&self, axis: &WindowAxis, extent: &DimExpr) -> DimExpr {
        match (self.asked, self.same) {
            (Some(asked), _) => DimExpr::Const(asked),
            (None, Some(_)) => extent.mul(&DimExpr::Const(axis.stride)),
            (None, None) => {
                let rest = self.output_padding + axis.reach() - axis.stride - axis.pad_begin - axis.pad_end;
                extent.mul(&DimExpr::Const(axis.stride)).add(&DimExpr::Const(rest))
            }
        }
    }

    /// The pad at the begin that leads to the extent `out`.
    fn pad_begin(&self, axis: &WindowAxis, extent: usize, out: usize) -> i64 {
        if self.asked.is_none() && self.same.is_none() {
            return axis.pad_begin;
        }
        let full = axis.stride.saturating_mul(extent as i64 - 1).saturating_add(axis.reach());
        let total = full.saturating_add(self.output_padding).saturating_sub(out as i64).max(0);
        if self.same == Some(true) { total / 2 } else { total - total / 2 }
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    with_float!(ctx.input(0).dtype, transpose(ctx))
}

fn transpose<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (ctx.input(0), ctx.input(1));
    let (image, kernel) = (&x.shape[2..], &w.shape[2..]);
    let group = ctx.attrs.int("group") as usize;
    let (per_group, channels_out) = (x.shape[1] / group, w.shape[1] * group);
    let (axes, out) = placed(ctx.attrs, image, kernel)?;
    let shape = [&[x.shape[0], channels_out], &out[..]].concat();
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let (xs, ws) = (x.as_slice::<T>(), w.as_slice::<T>());
    let bias = ctx.optional(2).map(|b| b.as_slice::<T>());
    let (plane_in, plane_out) = (element_count(image), element_count(&shape[2..]));
    let planes = shape[0] * channels_out;
    let values = y.as_mut_slice::<T>();
    for position in 0..if planes == 0 { 0 } else { plane_out } {
        // Without channels W is empty and bounds nothing, so its extents must not size anything.
        let taps =
            if per_group == 0 { Vec::new() } else { taps(&axes, &unravel(position, &shape[2..]), image) };
        for plane in 0..planes {
            let (n, m) = (plane / channels_out, plane % channels_out);
            let (g, own) = (m / w.shape[1], m % w.shape[1]);
            let sum = contract(per_group * taps.len(), |p| {
                let (channel, k) = (g * per_group + p / taps.len(), p % taps.len());
                let from = (n * x.shape[1] + channel) * plane_in + taps[k]?;
                let weight = (channel * w.shape[1] + own) * taps.len() + k;
                Some((xs[from].widen(), ws[weight].widen()))
            });
            values[plane * plane_out + position] = T::narrow(match bias {
                Some(bias) => sum + bias[m].widen(),
                None => sum,
            });
        }
    }
    Ok(vec![y])
}

/// The window along each axis with the pad at its begin, and the output's extents.
pub fn placed(
    attrs: &Attrs,
    image: &[usize],
    kernel: &[usize],
) -> Result<(Vec<WindowAxis>, Vec<usize>), OpError> {
    let extents: Vec<i64> = kernel.iter().map(|&k| k as i64).collect();
    let window = Window::new(attrs, &extents)?;
    let (mut axes, mut shape) = (Vec::new(), Vec::new());
    for (axis, growth) in Growth::all(attrs, &window)?.into_iter().enumerate() {
        let mut placed = window.axes[axis];
        let out = growth.extent(&placed, &DimExpr::from(image[axis]));
        let out = out.as_extent().ok_or_else(|| OpError::shape("an extent is out of range"))?;
        placed.pad_begin = growth.pad_begin(&placed, image[axis], out);
        axes.push(placed);
        shape.push(out);
    }
    Ok((axes, shape))
}

/// The element of the image that tap `k` takes along an axis for the output at `position`.
pub(super) fn tap(window: &WindowAxis, position: usize, k: i64, extent: usize) -> Option<usize> {
    let at = (position as i64).saturating_add(window.pad_begin) - k * window.dilation;
    let inside = at >= 0 && at % window.stride == 0;
    inside.then(|| (at / window.stride) as usize).filter(|at| *at < extent)
}

/// The offset in the image of X that each tap of the kernel takes for the output at `position`.
fn taps(axes: &[WindowAxis], position: &[usize], image: &[usize]) -> Vec<Option<usize>> {
    let mut taps = vec![Some(0)];
    for (axis, window) in axes.iter().enumerate() {
        let along = (0..window.kernel).map(|k| tap(window, position[axis], k, image[axis]));
        let along: Vec<Option<usize>> = along.collect();
        taps = taps
            .iter()
            .flat_map(|base| along.iter().map(move |at| Some(((*base)?, (*at)?))))
            .map(|pair| pair.map(|(base, at)| base * image[axis] + at))
            .collect();
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn stride_one_is_a_convolution_with_the_kernel_turned() {
        // One channel: the terms of an output meet in the opposite order, so few terms and exact values.
        let x: Vec<f32> = (0..30).map(|i| (i * 13 % 17) as f32).collect();
        let w: Vec<f32> = (0..6).map(|i| (i * 5 % 7) as f32 - 3.0).collect();
        let turned: Vec<f32> = w.iter().rev().copied().collect();
        let x = Tensor::from_slice(&[1, 1, 5, 6], &x);
        let y = output("ConvTranspose", &Attrs::new(), &[&x, &Tensor::from_slice(&[1, 1, 2, 3], &w)]);
        let attrs = Attrs::new().with_ints("pads", &[1, 2, 1, 2]);
        let conv = output("Conv", &attrs, &[&x, &Tensor::from_slice(&[1, 1, 2, 3], &turned)]);
        assert_bits(&y, &[1, 1, 6, 8], conv.as_slice::<f32>());
    }

    #[test]
    fn equals_the_definition_with_strides_and_groups() {
        // 180 channels of 4 taps in two groups: contractions of 360 positions, two chunks.
        let (x, w, b) = (noise(&[2, 180, 4], 1), noise(&[180, 3, 4], 2), noise(&[6], 3));
        let attrs = Attrs::new()
            .with_int("group", 2)
            .with_ints("strides", &[2])
            .with_ints("pads", &[1, 2])
            .with_ints("dilations", &[3])
            .with_ints("output_padding", &[1]);
        let y = output("ConvTranspose", &attrs, &[&x, &w, &b]);
        let (xv, wv) = (x.as_slice::<f32>(), w.as_slice::<f32>());
        let mut expected = Vec::new();
        for (n, m) in (0..2).flat_map(|n| (0..6).map(move |m| (n, m))) {
            for o in 0..14i64 {
                let sum = contract(360, |p| {
                    let (c, k) = (m / 3 * 90 + p / 4, p % 4);
                    let at = o + 1 - k as i64 * 3;
                    let i = (0..4).find(|i| i * 2 == at)?;
                    Some((xv[(n * 180 + c) * 4 + i as usize], wv[(c * 3 + m % 3) * 4 + k]))
                });
                expected.push(sum + b.as_slice::<f32>()[m]);
            }
        }
        assert_bits(&y, &[2, 6, 14], &expected);
    }

    #[test]
    fn asked_extents_decide_the_pads() {
        let (x, w) =
            (Tensor::from_slice(&[1, 1, 2], &[1.0f32, 2.0]), Tensor::from_slice(&[1, 1, 3], &[1.0f32; 3]));
        // In full: 1 1 3 2 2 at stride 2.
        let run = |attrs: Attrs| output("ConvTranspose", &attrs.with_ints("strides", &[2]), &[&x, &w]);
        assert_bits(&run(Attrs::new()), &[1, 1, 5], &[1.0f32, 1.0, 3.0, 2.0, 2.0]);
        let asked = run(Attrs::new().with_ints("output_shape", &[4]));
        assert_bits(&asked, &[1, 1, 4], &[1.0f32, 3.0, 2.0, 2.0]);
        let upper = run(Attrs::new().with_str("auto_pad", "SAME_UPPER"));
        assert_bits(&upper, &[1, 1, 4], &[1.0f32, 1.0, 3.0, 2.0]);
        let lower = run(Attrs::new().with_str("auto_pad", "SAME_LOWER"));
        assert_bits(&lower, &[1, 1, 4], &[1.0f32, 3.0, 2.0, 2.0]);
        let longer = run(Attrs::new().with_ints("output_shape", &[7]));
        assert_bits(&longer, &[1, 1, 7], &[1.0f32, 1.0, 3.0, 2.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn misfits_are_errors() {
        let (x, w) = (noise(&[1, 2, 3], 1), noise(&[2, 1, 2], 2));
        let fails = |attrs: Attrs| run("ConvTranspose", &attrs, &[&x, &w]).is_err();
        assert!(!fails(Attrs::new()));
        assert!(fails(Attrs::new().with_int("group", 3)));
        assert!(fails(Attrs::new().with_ints("pads", &[9, 9])));
        assert!(fails(Attrs::new().with_ints("output_shape", &[-1])));
        assert!(fails(Attrs::new().with_ints("output_padding", &[1, 1])));
        assert!(run("ConvTranspose", &Attrs::new(), &[&x, &noise(&[3, 1, 2], 2)]).is_err());
        assert!(run("ConvTranspose", &Attrs::new(), &[&x, &w, &noise(&[2], 2)]).is_err());
    }
}
