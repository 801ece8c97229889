//! DeformConv: a convolution whose taps are moved by offsets.

use super::float::{Float, Real, with_float};
use super::walk::known_shape;
use super::window::{Window, unravel};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::contract;
use crate::tensor::{Tensor, element_count, strides};

pub static DEF: OpDef = OpDef {
    id: 310,
    name: "DeformConv",
    version: 1,
    doc: "X is [N, C, d..] with s spatial axes, W [M, C / group, k..] with K elements a kernel, offset [N, offset_group * K * s, o..], B [M], mask [N, offset_group * K, \
          o..]. Y[n, m, o..] is the contraction (SPEC.md, 3) over channels of m's group and kernel elements in row-major order of W and the samples, then + B[m]. \
          The sample of channel c and kernel element k, of offset group g = floor(c / (C / offset_group)), lies at (o * stride - pad + tap * dilation) + offset[n, \
          (g * K + k) * s + axis, o..] on each axis. Its value is the contraction over its 2^s neighbours, row-major, of X and weights: on an axis with l = floor(p) \
          neighbour l has weight 1 - (p - l), l + 1 has p - l; a neighbour's weight is the product of those of its axes, first axis first; neighbours outside of the image are \
          skipped. NaN positions give NaN. With mask the value is multiplied by mask[n, g * K + k, o..]. In the wide type, rounded once. Source: ONNX \
          DeformConv-19, -22.",
    inputs: Arity::between(3, 5),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints, "Absent: 1."),
        AttrDef::default("group", AttrKind::Int, || AttrValue::Int(1), "Groups of channels."),
        AttrDef::optional("kernel_shape", AttrKind::Ints, "Must be W's."),
        AttrDef::default("offset_group", AttrKind::Int, || AttrValue::Int(1), "Groups of offsets."),
        AttrDef::optional("pads", AttrKind::Ints, "Begins, then ends; absent: 0."),
        AttrDef::optional("strides", AttrKind::Ints, "Absent: 1."),
    ],
    class: OpClass::Contraction,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, convolve(ctx)),
};

const BIAS: usize = 3;
const MASK: usize = 4;

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    for index in 1..5 {
        if ctx.optional(index).is_some() {
            ctx.require_same(index, dtype)?;
        }
    }
    let (x, w, offset) = (ctx.shape(0)?, ctx.shape(1)?, ctx.shape(2)?);
    if x.len() < 3 || x.len() > 8 || w.len() != x.len() || offset.len() != x.len() {
        return Err(OpError::shape("X, W and offset have three to eight axes, as many each"));
    }
    let spatial = x.len() - 2;
    let kernel: Option<Vec<i64>> = w[2..].iter().map(DimExpr::as_const).collect();
    let kernel = kernel.ok_or_else(|| OpError::shape("the kernel's extents must be constant"))?;
    if ctx.attrs.opt_ints("kernel_shape").is_some_and(|given| given != kernel) {
        return Err(OpError::attr("kernel_shape", "is not W's"));
    }
    let window = Window::new(ctx.attrs, &kernel)?;
    let out = window.output_dims(&x[2..])?;
    let (group, offset_group) = (ctx.attrs.int("group"), ctx.attrs.int("offset_group"));
    let divides = |n: i64, d: &DimExpr| n >= 1 && d.as_const().is_none_or(|d| d % n == 0);
    if !divides(group, &x[1]) || !divides(group, &w[0]) || !divides(offset_group, &x[1]) {
        return Err(OpError::attr("group", "the groups do not divide the channels"));
    }
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let elements = kernel.iter().try_fold(1i64, |p, k| p.checked_mul(*k)).filter(|p| *p <= 1 << 28);
    let elements = elements.ok_or_else(|| OpError::shape("the kernel is too large"))?;
    let per_element =
        |count: i64| DimExpr::Const(offset_group.saturating_mul(elements).saturating_mul(count));
    let fits = |found: &[DimExpr], count: i64| {
        found.len() == x.len()
            && !differ(&found[0], &x[0])
            && !differ(&found[1], &per_element(count))
            && !found[2..].iter().zip(&out).any(|(a, b)| differ(a, b))
    };
    if differ(&w[1].mul(&DimExpr::Const(group)), &x[1]) {
        return Err(OpError::shape("W's channels are not X's"));
    }
    if !fits(offset, spatial as i64) || ctx.optional(MASK).is_some_and(|mask| !fits(&mask.ty.shape, 1)) {
        return Err(OpError::shape("offset or mask does not fit the output and the kernel"));
    }
    if ctx.optional(BIAS).is_some_and(|b| b.ty.shape.len() != 1 || differ(&b.ty.shape[0], &w[0])) {
        return Err(OpError::shape("B has not one element for each output channel"));
    }
    let mut shape = vec![x[0].clone(), w[0].clone()];
    shape.extend(out);
    Ok(vec![Inferred::new(dtype, shape)])
}

/// The value between elements at `position`.
fn sample<T: Float>(image: &[T], shape: &[usize], position: &[T::Wide]) -> T::Wide {
    let own = strides(shape);
    if position.iter().any(|p| p.is_nan()) {
        return T::Wide::NAN;
    }
    contract(1 << shape.len(), |corner| {
        let (mut at, mut weight) = (0, T::Wide::ONE);
        for (axis, &p) in position.iter().enumerate() {
            let upper = corner >> (shape.len() - 1 - axis) & 1;
            let low = p.floor();
            let index = (low.to_f64() as i64).saturating_add(upper as i64);
            let index = usize::try_from(index).ok().filter(|i| *i < shape[axis])?;
            at += index * own[axis];
            let share = p - low;
            // The first factor is exact: 1 times it.
            weight = weight * if upper == 1 { share } else { T::Wide::ONE - share };
        }
        Some((image[at].widen(), weight))
    })
}

fn convolve<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, w, offset) = (ctx.input(0), ctx.input(1), ctx.input(2));
    let shape = known_shape(&DEF, ctx)?;
    let kernel: Vec<i64> = w.shape[2..].iter().map(|&k| k as i64).collect();
    let (axes, _) = Window::new(ctx.attrs, &kernel)?.placed(&x.shape[2..])?;
    let (group, offset_group) = (ctx.attrs.int("group") as usize, ctx.attrs.int("offset_group") as usize);
    let (channels, spatial) = (x.shape[1], axes.len());
    let (elements, pixels, outputs) =
        (element_count(&w.shape[2..]), element_count(&x.shape[2..]), element_count(&shape[2..]));
    let taps: Vec<Vec<usize>> = (0..elements).map(|k| unravel(k, &w.shape[2..])).collect();
    let (image, weights, moved) = (x.as_slice::<T>(), w.as_slice::<T>(), offset.as_slice::<T>());
    let mask = ctx.optional(MASK).map(|m| m.as_slice::<T>());
    let bias = ctx.optional(BIAS).map(|b| b.as_slice::<T>());
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let (per_group, maps) = (w.shape[1], shape[1]);
    for n in 0..shape[0] {
        for o in 0..outputs {
            let place = unravel(o, &shape[2..]);
            // The samples of all channels and kernel elements.
            let mut samples = Vec::with_capacity(channels * elements);
            for c in 0..channels {
                let g = c / (channels / offset_group);
                let plane = &image[(n * channels + c) * pixels..][..pixels];
                for (k, tap) in taps.iter().enumerate() {
                    let position: Vec<T::Wide> = (0..spatial)
                        .map(|axis| {
                            let window = axes[axis];
                            let at = place[axis] as i64 * window.stride - window.pad_begin
                                + tap[axis] as i64 * window.dilation;
                            let row = (n * offset_group + g) * elements + k;
                            T::Wide::from_f64(at as f64) + moved[(row * spatial + axis) * outputs + o].widen()
                        })
                        .collect();
                    let value = sample(plane, &x.shape[2..], &position);
                    let row = (n * offset_group + g) * elements + k;
                    samples.push(mask.map_or(value, |m| value * m[row * outputs + o].widen()));
                }
            }
            for m in 0..maps {
                let first = m / (maps / group) * per_group * elements;
                let terms = per_group * elements;
                let sum = contract(terms, |p| Some((weights[m * terms + p].widen(), samples[first + p])));
                let sum = bias.map_or(sum, |b| sum + b[m].widen());
                y.as_mut_slice::<T>()[(n * maps + m) * outputs + o] = T::narrow(sum);
            }
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

    #[test]
    fn without_offsets_it_is_a_convolution() {
        let (x, w) = (noise(&[2, 4, 6, 5], 1), noise(&[6, 2, 3, 2], 2));
        let attrs =
            Attrs::new().with_int("group", 2).with_ints("pads", &[1, 0, 1, 1]).with_ints("strides", &[2, 1]);
        let plain = run("Conv", attrs.clone(), &[&x, &w]);
        let offset = Tensor::from_slice(&[2, 24, 3, 5], &[0f32; 720]);
        let attrs = attrs.with_int("offset_group", 2);
        assert_eq!(run("DeformConv", attrs.clone(), &[&x, &w, &offset]), plain);
        let ones = Tensor::from_slice(&[2, 12, 3, 5], &[1f32; 360]);
        let inputs = [Some(&x), Some(&w), Some(&offset), None, Some(&ones)];
        assert_eq!(run_outputs("DeformConv", attrs.clone(), &inputs, 1).unwrap()[0], plain);
        let short = Tensor::from_slice(&[2, 12, 3, 5], &[0f32; 360]);
        assert!(try_run("DeformConv", attrs, &[&x, &w, &short]).is_err());
    }

    #[test]
    fn offsets_interpolate() {
        let x = Tensor::from_slice(&[1, 1, 2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
        let w = Tensor::from_slice(&[1, 1, 1, 1], &[1.0f32]);
        let of = |dy: f32, dx: f32| {
            let list = [[dy; 4], [dx; 4]].concat();
            run("DeformConv", Attrs::new(), &[&x, &w, &Tensor::from_slice(&[1, 2, 2, 2], &list)])
        };
        assert_eq!(of(0.5, 0.5).as_slice::<f32>(), [2.5, 1.5, 1.75, 1.0]);
        assert_eq!(of(f32::INFINITY, 0.0).as_slice::<f32>(), [0.0; 4]);
        assert!(of(f32::NAN, 0.0).as_slice::<f32>()[0].is_nan());
        assert_eq!(of(1e30, -1e30).as_slice::<f32>(), [0.0; 4]);
    }
}
