//! MaxPool, AveragePool and LpPool: windows over an image.

use super::float::{Float, Real, with_float};
use super::reduce_max::{Extremes, with_extremes};
use super::reduce_sum::{l1, l2, sum};
use super::window::{Window, WindowAxis, covered, unravel};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::reduce::row_sum;
use crate::tensor::{Tensor, element_count};

/// Attributes of all three.
macro_rules! pool_attrs {
    ($($more:expr),*) => {
        &[
            AttrDef::default(
                "auto_pad",
                AttrKind::Str,
                || AttrValue::Str("NOTSET".to_string()),
                "NOTSET, VALID, SAME_UPPER or SAME_LOWER.",
            ),
            AttrDef::default("ceil_mode", AttrKind::Int, || AttrValue::Int(0), "1: extents round up."),
            $($more),*
        ]
    };
}
const DILATIONS: AttrDef =
    AttrDef::optional("dilations", AttrKind::Ints, "Distance of taps per axis; 1 when absent.");
const KERNEL: AttrDef = AttrDef::required("kernel_shape", AttrKind::Ints, "The window's extents.");
const PADS: AttrDef =
    AttrDef::optional("pads", AttrKind::Ints, "Begins of all axes, then ends; 0 when absent.");
const STRIDES: AttrDef =
    AttrDef::optional("strides", AttrKind::Ints, "Step of the window per axis; 1 when absent.");

pub static MAX: OpDef = OpDef {
    id: 400,
    name: "MaxPool",
    version: 1,
    doc: "y = the largest element of X inside the window, by IEEE 754-2019 maximum for floats; of none \
          -infinity or the least integer. Indices (i64, optional) = the offset in X of the first tap, in \
          ascending order of the window's index, that no later one exceeds (+0 and -0 are equal; the first \
          NaN if there is one); -1 of no tap. Offsets are row-major over all of X; with storage_order 1 \
          the spatial axes count column-major. Output extents as Conv; ceil_mode rounds up and drops \
          windows that would start past the image and its begin pads. Source: ONNX MaxPool-12, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::between(1, 2),
    attrs: pool_attrs![
        DILATIONS,
        KERNEL,
        PADS,
        AttrDef::default("storage_order", AttrKind::Int, || AttrValue::Int(0), "1: see Indices."),
        STRIDES
    ],
    class: OpClass::General,
    infer: |ctx| {
        let pooled = infer(ctx, "a number", DType::is_number)?;
        Ok(vec![pooled.clone(), Inferred::new(DType::I64, pooled.ty.shape)])
    },
    eval: |ctx| with_extremes!(ctx.input(0).dtype, max_pool(ctx)),
};

pub static AVERAGE: OpDef = OpDef {
    id: 401,
    name: "AveragePool",
    version: 1,
    doc: "y = (row sum of the elements of X inside the window, ascending in the window's index) / count: the \
          number of those elements, or with count_include_pad of the window's positions inside of the \
          image and its pads. Output extents as MaxPool. f64 in f64, f16 and bf16 in f32, rounded once. \
          Row sum: SPEC.md, Row reductions. Source: ONNX AveragePool-19, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: pool_attrs![
        AttrDef::default("count_include_pad", AttrKind::Int, || AttrValue::Int(0), "1: pads count."),
        DILATIONS,
        KERNEL,
        PADS,
        STRIDES
    ],
    class: OpClass::General,
    infer: |ctx| Ok(vec![infer(ctx, "a float", DType::is_float)?]),
    eval: |ctx| with_float!(ctx.input(0).dtype, average_pool(ctx)),
};

pub static LP: OpDef = OpDef {
    id: 407,
    name: "LpPool",
    version: 1,
    doc: "y = row sum of |x| (p = 1), sqrt(row sum of x * x), each square rounded (p = 2), else pow(row sum of \
          pow(|x|, p), 1 / p), each operation rounded, over the elements \
          of X inside the window, ascending in the window's index. Output extents as MaxPool. f64 in f64, \
          f16 and bf16 in f32, rounded once. Row sum: SPEC.md, Row reductions. Source: ONNX LpPool-18, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: pool_attrs![
        DILATIONS,
        KERNEL,
        AttrDef::default("p", AttrKind::Int, || AttrValue::Int(2), "The norm: 1 or more."),
        PADS,
        STRIDES
    ],
    class: OpClass::General,
    infer: |ctx| {
        check_p(ctx)?;
        Ok(vec![infer(ctx, "a float", DType::is_float)?])
    },
    eval: |ctx| with_float!(ctx.input(0).dtype, lp_pool(ctx)),
};

/// The norms that are supported.
pub(crate) fn check_p(ctx: &InferCtx<'_>) -> Result<(), OpError> {
    match ctx.attrs.int("p") {
        // Exact in f32.
        1..=0x100_0000 => Ok(()),
        p => Err(OpError::attr("p", format!("{p} is not in 1 ..= 2^24"))),
    }
}

/// The norm of a row: p = 1, p = 2, or by powers.
pub(crate) fn norm<W: Real>(row: &[W], p: i64) -> W {
    match p {
        1 => l1(row),
        2 => l2(row),
        _ => {
            let p = W::from_f64(p as f64);
            row_sum(row.len(), |i| row[i].abs().pow(p)).pow(W::ONE / p)
        }
    }
}

fn infer(ctx: &InferCtx<'_>, expected: &'static str, accept: fn(DType) -> bool) -> Result<Inferred, OpError> {
    let dtype = ctx.require(0, expected, accept)?;
    let shape = ctx.shape(0)?;
    let kernel = ctx.attrs.ints("kernel_shape");
    if shape.len() < 3 || kernel.len() != shape.len() - 2 {
        return Err(OpError::shape(format!("X has {} axes, the window {}", shape.len(), kernel.len())));
    }
    let mut out = shape[..2].to_vec();
    out.extend(Window::new(ctx.attrs, kernel)?.output_dims(&shape[2..])?);
    Ok(Inferred::new(dtype, out))
}

/// Where a pooling looks: the window along each axis and the output's shape.
struct Pooling {
    axes: Vec<WindowAxis>,
    shape: Vec<usize>,
    image: Vec<usize>,
}

impl Pooling {
    fn of(ctx: &EvalCtx<'_>) -> Result<Pooling, OpError> {
        let x = ctx.input(0).shape;
        let (axes, out) = Window::new(ctx.attrs, ctx.attrs.ints("kernel_shape"))?.placed(&x[2..])?;
        Ok(Pooling { axes, shape: [&x[..2], &out].concat(), image: x[2..].to_vec() })
    }

    /// Visits every output: its offset, its position, the offset of its plane in X, and the offsets in
    /// the plane of the elements inside its window.
    fn each(&self, mut visit: impl FnMut(usize, &[usize], usize, &[usize])) {
        let out = &self.shape[2..];
        let (count, plane) = (element_count(out), element_count(&self.image));
        let planes = self.shape[0] * self.shape[1];
        for position in 0..if planes == 0 { 0 } else { count } {
            let at = unravel(position, out);
            let taps: Vec<_> =
                (0..at.len()).map(|axis| self.axes[axis].taps(at[axis], self.image[axis])).collect();
            let covered = covered(&taps, &self.image);
            for p in 0..planes {
                visit(p * count + position, &at, p * plane, &covered);
            }
        }
    }
}

/// How many positions of the window at `at` lie inside of the image and its pads.
pub(super) fn padded_count(axes: &[WindowAxis], image: &[usize], at: &[usize]) -> usize {
    let along = |axis: usize| {
        let window = axes[axis];
        let start = at[axis] as i64 * window.stride - window.pad_begin;
        let end = image[axis] as i64 + window.pad_end;
        let inside = (end - start + window.dilation - 1).div_euclid(window.dilation);
        inside.clamp(0, window.kernel) as usize
    };
    (0..at.len()).map(along).fold(1, usize::saturating_mul)
}

fn max_pool<T: Extremes>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let pooling = Pooling::of(ctx)?;
    let column_major = ctx.attrs.int("storage_order") != 0;
    let x = ctx.input(0).as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, &pooling.shape)?;
    let indexed = ctx.outputs > 1;
    let mut indices = Tensor::zeros(DType::I64, if indexed { &pooling.shape } else { &[] })?;
    pooling.each(|out, _, plane, taps| {
        let elements = taps.iter().map(|tap| x[plane + tap]);
        let best = elements.clone().fold(T::LOWEST, T::larger);
        y.as_mut_slice::<T>()[out] = best;
        if indexed {
            // Equality of numbers finds either zero; no NaN equals itself.
            let found = elements.clone().position(|v| v == best || v.canonical() != v.canonical());
            let index = found.map_or(-1, |at| {
                let at = if column_major { transposed(taps[at], &pooling.image) } else { taps[at] };
                (plane + at) as i64
            });
            indices.as_mut_slice::<i64>()[out] = index;
        }
    });
    Ok(if indexed { vec![y, indices] } else { vec![y] })
}

/// A row-major offset in an image as a column-major one.
fn transposed(offset: usize, image: &[usize]) -> usize {
    let at = unravel(offset, image);
    (0..image.len()).rev().fold(0, |sum, axis| sum * image[axis] + at[axis])
}

fn average_pool<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let pooling = Pooling::of(ctx)?;
    let include_pad = ctx.attrs.int("count_include_pad") != 0;
    let x = ctx.input(0).as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, &pooling.shape)?;
    pooling.each(|out, at, plane, taps| {
        let elements: Vec<T::Wide> = taps.iter().map(|tap| x[plane + tap].widen()).collect();
        let count = if include_pad { padded_count(&pooling.axes, &pooling.image, at) } else { taps.len() };
        y.as_mut_slice::<T>()[out] = T::narrow(sum(&elements) / T::Wide::count(count));
    });
    Ok(vec![y])
}

fn lp_pool<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let pooling = Pooling::of(ctx)?;
    let p = ctx.attrs.int("p");
    let x = ctx.input(0).as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, &pooling.shape)?;
    pooling.each(|out, _, plane, taps| {
        let elements: Vec<T::Wide> = taps.iter().map(|tap| x[plane + tap].widen()).collect();
        y.as_mut_slice::<T>()[out] = T::narrow(norm(&elements, p));
    });
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run, run_optional};

    fn kernel(extents: &[i64]) -> Attrs {
        Attrs::new().with_ints("kernel_shape", extents)
    }

    #[test]
    fn windows_of_an_image() {
        let x: Vec<f32> = (0..12).map(|i| (i * 7 % 12) as f32).collect();
        // 0 7 2 9 / 4 11 6 1 / 8 3 10 5
        let x = Tensor::from_slice(&[1, 1, 3, 4], &x);
        let attrs = kernel(&[2, 2]).with_ints("strides", &[2, 2]).with_ints("pads", &[0, 0, 1, 0]);
        let out = run_optional("MaxPool", &attrs, &[Some(&x)], 2).unwrap();
        assert_bits(&out[0], &[1, 1, 2, 2], &[11.0f32, 9.0, 8.0, 10.0]);
        assert_bits(&out[1], &[1, 1, 2, 2], &[5i64, 3, 8, 10]);
        let out =
            run_optional("MaxPool", &attrs.clone().with_int("storage_order", 1), &[Some(&x)], 2).unwrap();
        assert_bits(&out[1], &[1, 1, 2, 2], &[4i64, 9, 2, 8]);
        let mean = output("AveragePool", &attrs, &[&x]);
        assert_bits(&mean, &[1, 1, 2, 2], &[5.5f32, 4.5, 5.5, 7.5]);
        let mean = output("AveragePool", &attrs.with_int("count_include_pad", 1), &[&x]);
        assert_bits(&mean, &[1, 1, 2, 2], &[5.5f32, 4.5, 2.75, 3.75]);
    }

    #[test]
    fn a_window_past_the_pads_counts_only_what_is_there() {
        let x = Tensor::from_slice(&[1, 1, 5], &[1.0f32, 2.0, 3.0, 4.0, 5.0]);
        let attrs =
            kernel(&[3]).with_ints("strides", &[2]).with_ints("pads", &[0, 1]).with_int("ceil_mode", 1);
        let y = output("AveragePool", &attrs.clone().with_int("count_include_pad", 1), &[&x]);
        assert_bits(&y, &[1, 1, 3], &[2.0f32, 4.0, 2.5]);
        assert_bits(&output("AveragePool", &attrs, &[&x]), &[1, 1, 3], &[2.0f32, 4.0, 5.0]);
    }

    #[test]
    fn sums_have_the_order_of_rows() {
        let x = noise(&[1, 2, 10, 11], 1);
        let y = output("AveragePool", &kernel(&[9, 10]), &[&x]);
        let v = x.as_slice::<f32>();
        let mean =
            |c: usize, r: usize, s: usize| row_sum(90, |i| v[(c * 10 + r + i / 10) * 11 + s + i % 10]) / 90.0;
        let expected: Vec<f32> = (0..8).map(|i| mean(i / 4, i / 2 % 2, i % 2)).collect();
        assert_bits(&y, &[1, 2, 2, 2], &expected);
    }

    #[test]
    fn norms() {
        let x = Tensor::from_slice(&[1, 1, 4], &[3.0f32, -4.0, 1.0, 2.0]);
        let lp = |p: i64| output("LpPool", &kernel(&[2]).with_int("p", p), &[&x]);
        assert_bits(&lp(1), &[1, 1, 3], &[7.0f32, 5.0, 3.0]);
        assert_bits(&lp(2), &[1, 1, 3], &[5.0f32, 17.0f32.sqrt(), 5.0f32.sqrt()]);
        assert!(run("LpPool", &kernel(&[2]).with_int("p", 0), &[&x]).is_err());
        let third = 1.0f32 / 3.0;
        let cube = |a: f32, b: f32| crate::scalar::pow::pow(a * a * a + b * b * b, third);
        assert_bits(&lp(3), &[1, 1, 3], &[cube(3.0, 4.0), cube(4.0, 1.0), cube(1.0, 2.0)]);
    }

    #[test]
    fn ties_zeros_nan_and_integers() {
        let nan = f32::from_bits(0xffff_0000);
        let x = Tensor::from_slice(&[1, 1, 6], &[-0.0, 0.0, 1.0, 1.0, nan, 2.0]);
        let attrs = kernel(&[2]).with_ints("strides", &[2]);
        let out = run_optional("MaxPool", &attrs, &[Some(&x)], 2).unwrap();
        assert_bits(&out[0], &[1, 1, 3], &[0.0f32, 1.0, crate::dtype::NAN_F32]);
        assert_bits(&out[1], &[1, 1, 3], &[0i64, 2, 4]);
        let x = Tensor::from_slice(&[1, 1, 3], &[-5i8, -7, -128]);
        assert_bits(&output("MaxPool", &kernel(&[2]), &[&x]), &[1, 1, 2], &[-5i8, -7]);
    }

    #[test]
    fn hostile_windows_are_errors_or_cheap() {
        let x = noise(&[1, 1, 4], 1);
        assert!(run("MaxPool", &kernel(&[5]), &[&x]).is_err());
        assert!(run("MaxPool", &kernel(&[2, 2]), &[&x]).is_err());
        assert!(run("AveragePool", &kernel(&[0]), &[&x]).is_err());
        assert!(run("MaxPool", &kernel(&[i64::MAX]).with_ints("pads", &[i64::MAX, 0]), &[&x]).is_err());
        let wide = 1 << 28;
        let y = output("MaxPool", &kernel(&[wide]).with_ints("pads", &[wide, 0]), &[&x]);
        assert_eq!(y.shape(), [1, 1, 5]);
        // A window of pads alone.
        assert_eq!(y.as_slice::<f32>()[0], f32::NEG_INFINITY);
    }
}
