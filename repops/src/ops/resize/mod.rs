//! Resize: interpolation along axes.
//!
//! Invariant: coordinates and weights are f32, one rounding an operation, whatever X's type: they depend
//! on extents, scales and attributes alone.

mod weights;

use super::float::{Float, Real, with_float};
use super::infer::normalize_axis;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, infer_known};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::reduce::contract;
use crate::tensor::{Tensor, strides};
pub use weights::{AxisPlan, Stencil};
pub(super) use weights::{AxisScale, Sampling};

pub static DEF: OpDef = OpDef {
    id: 405,
    name: "Resize",
    version: 1,
    doc: "Inputs X, roi, scales, sizes, the last three optional; one of scales (f32) and sizes (i64). Extent out: \
          sizes, or floor(in * scale): exact where scale = m * 2^k, m odd, m < 256, k of any \
          sign, else in f32. scale = \
          scales, or out / in; with keep_aspect_ratio_policy not_larger (not_smaller) the least (greatest) \
          sizes / in of all axes, and out = floor(scale * in + 0.5). All in f32, each operation rounded, left to right. \
          Coordinate x of output o: half_pixel (o + 0.5) / scale - 0.5; half_pixel_symmetric (in / 2) * (1 - \
          out / (scale * in)) + (o + 0.5) / scale - 0.5; pytorch_half_pixel as half_pixel, 0 if out = 1; \
          align_corners o * (in - 1) / (out - 1), 0 if out = 1; asymmetric o / scale; \
          tf_half_pixel_for_nn (o + 0.5) / scale; tf_crop_and_resize start * (in - 1) + o * (end - start) \
          * (in - 1) / (out - 1), or 0.5 * (start + end) * (in - 1) if out = 1; an x outside of 0 .. in - 1 \
          then gives extrapolation_value. nearest: floor, ceil, or nearest of x with ties to floor or ceil, \
          clamped to the image. linear: x clamped, i = floor(x), w = x - i: v = fma(w, X[i+1] - X[i], \
          X[i]), X[i] itself if w = 0. cubic: taps floor(x) - 1 .. floor(x) + 2 with Keys' weights for t = \
          x - floor(x): |d| <= 1: ((a + 2) * d - (a + 3)) * d * d + 1, else ((a * d - 5 * a) * d + 8 * a) * \
          d - 4 * a at d = 1 + t, t, 1 - t, 2 - t; antialias: all taps i with |(i - x) * s| below 1 \
          (linear) or 2 (cubic), s = min(scale, 1), weighted by 1 - d or Keys' at d = |(i - x) * s|, \
          divided by their sum in ascending order. Taps outside take the edge; with exclude_outside (cubic, antialias) their weight \
          becomes +0 and weights are divided by their sum in ascending order. The weighted sum is a \
          contraction (SPEC.md) over the taps in ascending order. Weights and coordinates are f32, then \
          widened, also for f64 X. Limits: scales 1e-9 to 1e9, extents of Y at most 2^24. Axes are interpolated one after another, \
          the last first, in the wide type; an axis of scale 1 and equal extents is left alone (but not by \
          tf_crop_and_resize). f64 in f64, f16 and bf16 in f32, rounded once. nearest takes any type. \
          Source: ONNX Resize-19.",
    inputs: Arity::between(1, 4),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "antialias",
            AttrKind::Int,
            || AttrValue::Int(0),
            "1: widen the filter when shrinking.",
        ),
        AttrDef::optional("axes", AttrKind::Ints, "The axes of roi, scales and sizes; all when absent."),
        AttrDef::default(
            "coordinate_transformation_mode",
            AttrKind::Str,
            || AttrValue::Str("half_pixel".to_string()),
            "One of the formulas of the coordinate.",
        ),
        AttrDef::default("cubic_coeff_a", AttrKind::Float, || AttrValue::Float(-0.75), "Keys' a."),
        AttrDef::default("exclude_outside", AttrKind::Int, || AttrValue::Int(0), "1: taps outside weigh 0."),
        AttrDef::default(
            "extrapolation_value",
            AttrKind::Float,
            || AttrValue::Float(0.0),
            "Stands outside of the image in tf_crop_and_resize.",
        ),
        AttrDef::default(
            "keep_aspect_ratio_policy",
            AttrKind::Str,
            || AttrValue::Str("stretch".to_string()),
            "stretch, not_larger or not_smaller; for sizes.",
        ),
        AttrDef::default(
            "mode",
            AttrKind::Str,
            || AttrValue::Str("nearest".to_string()),
            "nearest, linear or cubic.",
        ),
        AttrDef::default(
            "nearest_mode",
            AttrKind::Str,
            || AttrValue::Str("round_prefer_floor".to_string()),
            "round_prefer_floor, round_prefer_ceil, floor or ceil.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval,
};

/// The largest extent of the output: f32 coordinates tell elements apart up to here.
const EXTENT_MAX: i64 = 1 << 24;

/// Input indices.
const ROI: usize = 1;
const SCALES: usize = 2;
const SIZES: usize = 3;

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "bool or a number", |d| !d.is_narrow())?;
    let sampling = Sampling::new(ctx.attrs)?;
    let dtype = ctx.dtype(0)?;
    if !sampling.is_nearest() {
        ctx.require(0, "a float, or any type with mode nearest", DType::is_float)?;
    }
    let shape = ctx.shape(0)?;
    let axes = resized_axes(ctx.attrs, shape.len())?;
    let mut out = shape.to_vec();
    if sampling.crops() {
        let roi = ctx.shape(ROI)?;
        ctx.require(ROI, "a float", DType::is_float)?;
        check_count("roi", roi, 2 * axes.len())?;
    }
    let is_empty = |index: usize| {
        let ty = ctx.optional(index).map(|input| input.ty);
        ty.is_none_or(|ty| ty.shape.first().is_some_and(|d| d.as_const() == Some(0)))
    };
    if !is_empty(SIZES) {
        check_count("sizes", ctx.shape(SIZES)?, axes.len())?;
        let sizes = ctx.dims(SIZES)?;
        if sizes.iter().any(|s| s.as_const().is_some_and(|s| s < 0)) {
            return Err(OpError::shape("a size is negative"));
        }
        let fitted = match Policy::of(ctx.attrs)? {
            Policy::Stretch => sizes,
            policy => {
                let known =
                    |dims: &[DimExpr]| dims.iter().map(DimExpr::as_extent).collect::<Option<Vec<_>>>();
                let extents: Vec<DimExpr> = axes.iter().map(|&a| shape[a].clone()).collect();
                match (known(&sizes), known(&extents)) {
                    (Some(sizes), Some(extents)) => policy.fit(&sizes, &extents)?.1,
                    _ => axes.iter().map(|_| ctx.fresh_dim()).collect(),
                }
            }
        };
        for (axis, size) in axes.iter().zip(fitted) {
            out[*axis] = size;
        }
    } else if !is_empty(SCALES) {
        ctx.require_same(SCALES, DType::F32)?;
        check_count("scales", ctx.shape(SCALES)?, axes.len())?;
        let scales = ctx.input(SCALES)?.tensor.ok_or(OpError::ValueUnknown { index: SCALES })?;
        for (&axis, &scale) in axes.iter().zip(scales.as_slice::<f32>()) {
            out[axis] = match scaled_extent(&shape[axis], scale)? {
                Some(dim) => dim,
                None => ctx.fresh_dim(),
            };
        }
    } else {
        return Err(OpError::shape("neither scales nor sizes are given"));
    }
    for (from, to) in shape.iter().zip(&out) {
        if from.as_const() == Some(0) && to.as_const().is_some_and(|to| to != 0) {
            return Err(OpError::shape("an empty axis cannot grow"));
        }
        if let Some(to) = to.as_const().filter(|to| *to > EXTENT_MAX) {
            return Err(OpError::shape(format!("an extent of {to} is above {EXTENT_MAX}")));
        }
    }
    Ok(vec![Inferred::new(dtype, out)])
}

fn check_count(what: &str, shape: &[DimExpr], count: usize) -> Result<(), OpError> {
    let fits = shape.len() == 1 && shape[0].as_const().is_none_or(|n| n == count as i64);
    if fits { Ok(()) } else { Err(OpError::shape(format!("{what} does not have {count} elements"))) }
}

fn resized_axes(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, OpError> {
    let Some(given) = attrs.opt_ints("axes") else { return Ok((0..rank).collect()) };
    super::rows::axis_flags(given, rank)?;
    given.iter().map(|&a| normalize_axis(a, rank).map_err(|problem| OpError::attr("axes", problem))).collect()
}

/// `floor(extent * scale)`; `None` when that is no expression over sizes.
fn scaled_extent(extent: &DimExpr, scale: f32) -> Result<Option<DimExpr>, OpError> {
    // Beyond these no image is meant, and sums of logarithms of sizes stay small.
    if !(1e-9..=1e9).contains(&scale) {
        return Err(OpError::shape(format!("a scale of {scale} is not in 1e-9 ..= 1e9")));
    }
    // scale = significand * 2^exponent with an odd significand.
    let bits = scale.to_bits();
    let full = i64::from(bits & 0x7f_ffff | 0x80_0000);
    let zeros = full.trailing_zeros();
    let (significand, exponent) = (full >> zeros, (bits >> 23) as i32 - 150 + zeros as i32);
    if significand < 256 {
        let power = DimExpr::Const(1 << exponent.unsigned_abs());
        let product = extent.mul(&DimExpr::Const(significand));
        return Ok(Some(if exponent < 0 { product.floor_div(&power) } else { product.mul(&power) }));
    }
    Ok(extent.as_extent().map(|n| DimExpr::Const((n as f32 * scale).floor() as i64)))
}

/// What sizes mean.
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

impl Policy {
    fn of(attrs: &Attrs) -> Result<Policy, OpError> {
        match attrs.str("keep_aspect_ratio_policy") {
            "stretch" => Ok(Policy::Stretch),
            "not_larger" => Ok(Policy::NotLarger),
            "not_smaller" => Ok(Policy::NotSmaller),
            other => Err(OpError::attr("keep_aspect_ratio_policy", format!("{other:?} is none of ONNX's"))),
        }
    }

    /// The scale of all axes, and the extents that it leads to.
    fn fit(&self, sizes: &[usize], extents: &[usize]) -> Result<(f32, Vec<DimExpr>), OpError> {
        if extents.contains(&0) {
            return Err(OpError::shape("an empty axis has no aspect ratio"));
        }
        let ratios = sizes.iter().zip(extents).map(|(&size, &extent)| size as f32 / extent as f32);
        let scale = match self {
            Policy::NotSmaller => ratios.reduce(Real::larger),
            _ => ratios.reduce(Real::smaller),
        };
        let scale = scale.unwrap_or(1.0);
        let fitted = extents.iter().map(|&n| DimExpr::Const((scale * n as f32 + 0.5).floor() as i64));
        Ok((scale, fitted.collect()))
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let inferred = infer_known(&DEF, ctx.attrs, ctx.inputs, 1)?;
    let shape = inferred[0].ty.extents().ok_or_else(|| OpError::shape("an extent is out of range"))?;
    let plans = plans(ctx, &shape)?;
    let sampling = Sampling::new(ctx.attrs)?;
    if sampling.is_nearest() {
        return nearest(ctx, &shape, &plans);
    }
    with_float!(ctx.input(0).dtype, interpolated(ctx, &shape, &plans))
}

/// What happens to each axis that changes.
pub fn plans(ctx: &EvalCtx<'_>, shape: &[usize]) -> Result<Vec<AxisPlan>, OpError> {
    let sampling = Sampling::new(ctx.attrs)?;
    let plan = |axis: AxisScale| AxisPlan {
        axis: axis.axis,
        stencils: (0..axis.to).map(|o| sampling.stencil(&axis, o)).collect(),
    };
    Ok(scales(ctx, shape)?.into_iter().map(plan).collect())
}

/// The axes that change, in ascending order. Of X the shape alone is read.
pub(super) fn scales(ctx: &EvalCtx<'_>, shape: &[usize]) -> Result<Vec<AxisScale>, OpError> {
    let x = ctx.input(0).shape;
    let sampling = Sampling::new(ctx.attrs)?;
    let axes = resized_axes(ctx.attrs, x.len())?;
    if shape.contains(&0) {
        return Ok(Vec::new());
    }
    let roi = ctx.optional(ROI).filter(|_| sampling.crops()).map(super::float::wide_elements::<f32>);
    let sizes = ctx.optional(SIZES).and_then(|s| s.to_i64s()).unwrap_or_default();
    let common = match Policy::of(ctx.attrs)? {
        Policy::Stretch => None,
        _ if sizes.is_empty() => None,
        policy => {
            let sizes: Vec<usize> = sizes.iter().map(|&s| s as usize).collect();
            let extents: Vec<usize> = axes.iter().map(|&a| x[a]).collect();
            Some(policy.fit(&sizes, &extents)?.0)
        }
    };
    let mut plans = Vec::new();
    for (index, &axis) in axes.iter().enumerate() {
        let (from, to) = (x[axis], shape[axis]);
        let scale = match (common, sizes.is_empty()) {
            (Some(common), _) => common,
            (None, false) => to as f32 / from as f32,
            (None, true) => ctx.input(SCALES).as_slice::<f32>()[index],
        };
        let crop = roi.as_ref().map(|roi| (roi[index], roi[index + axes.len()]));
        if crop.is_none() && from == to && scale == 1.0 {
            continue;
        }
        plans.push(AxisScale { axis, from, to, scale, crop });
    }
    plans.sort_by_key(|plan| plan.axis);
    Ok(plans)
}

fn nearest(ctx: &EvalCtx<'_>, shape: &[usize], plans: &[AxisPlan]) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let mut y = Tensor::zeros(x.dtype, shape)?;
    let size = x.dtype.size();
    let (own, full) = (strides(x.shape), strides(shape));
    let outside = extrapolation(x.dtype, ctx.attrs.float("extrapolation_value"));
    for (at, element) in y.bytes_mut().chunks_exact_mut(size).enumerate() {
        let mut from = Some(0);
        for axis in 0..shape.len() {
            let position = at / full[axis] % shape[axis];
            let source = match plans.iter().find(|plan| plan.axis == axis) {
                None => Some(position),
                Some(plan) => plan.stencils[position].nearest(),
            };
            from = from.zip(source).map(|(from, source)| from + source * own[axis]);
        }
        match from {
            Some(from) => element.copy_from_slice(&x.bytes[from * size..][..size]),
            None => element.copy_from_slice(&outside),
        }
    }
    Ok(vec![y])
}

/// The bytes of the extrapolation value in a type: floats rounded, integers truncated and saturated.
pub fn extrapolation(dtype: DType, value: f32) -> Vec<u8> {
    fn float<T: Float>(value: f32) -> Result<Vec<u8>, OpError> {
        Ok(bytemuck::bytes_of(&T::narrow(T::Wide::from_f64(f64::from(value)))).to_vec())
    }
    match dtype {
        DType::Bool => vec![u8::from(value != 0.0)],
        DType::U8 => (value as u8).to_le_bytes().to_vec(),
        DType::I8 => (value as i8).to_le_bytes().to_vec(),
        DType::U16 => (value as u16).to_le_bytes().to_vec(),
        DType::I16 => (value as i16).to_le_bytes().to_vec(),
        DType::U32 => (value as u32).to_le_bytes().to_vec(),
        DType::I32 => (value as i32).to_le_bytes().to_vec(),
        DType::U64 => (value as u64).to_le_bytes().to_vec(),
        DType::I64 => (value as i64).to_le_bytes().to_vec(),
        dtype => with_float!(dtype, float(value)).unwrap_or_default(),
    }
}

fn interpolated<T: Float>(
    ctx: &EvalCtx<'_>,
    shape: &[usize],
    plans: &[AxisPlan],
) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let mut y = Tensor::zeros(T::DTYPE, shape)?;
    if y.is_empty() {
        return Ok(vec![y]);
    }
    let mut extents = x.shape.to_vec();
    let mut values = Tensor::zeros(T::Wide::DTYPE, x.shape)?;
    for (wide, v) in values.as_mut_slice::<T::Wide>().iter_mut().zip(x.as_slice::<T>()) {
        *wide = v.widen();
    }
    for plan in plans.iter().rev() {
        let from = extents.clone();
        extents[plan.axis] = plan.stencils.len();
        let mut resized = Tensor::zeros(T::Wide::DTYPE, &extents)?;
        along::<T::Wide>(values.as_slice(), &from, plan, resized.as_mut_slice());
        values = resized;
    }
    let outside = T::Wide::from_f64(f64::from(ctx.attrs.float("extrapolation_value")));
    let full = strides(shape);
    for (at, (out, value)) in y.as_mut_slice::<T>().iter_mut().zip(values.as_slice::<T::Wide>()).enumerate() {
        let is_outside =
            plans.iter().any(|p| p.stencils[at / full[p.axis] % shape[p.axis]] == Stencil::Outside);
        *out = T::narrow(if is_outside { outside } else { *value });
    }
    Ok(vec![y])
}

/// Interpolates along one axis.
fn along<W: Real>(values: &[W], extents: &[usize], plan: &AxisPlan, out: &mut [W]) {
    let inner: usize = extents[plan.axis + 1..].iter().product();
    let outer: usize = extents[..plan.axis].iter().product();
    let from = extents[plan.axis];
    let mut out = out.iter_mut();
    for block in 0..outer {
        for stencil in &plan.stencils {
            for (column, out) in (0..inner).zip(&mut out) {
                let at = |i: usize| values[(block * from + i) * inner + column];
                *out = match stencil {
                    Stencil::Outside => W::ZERO,
                    Stencil::One(i) => at(*i),
                    Stencil::Two(i, w) => W::from_f64(f64::from(*w)).fma(at(i + 1) - at(*i), at(*i)),
                    Stencil::Many(taps) => {
                        contract(taps.len(), |p| Some((at(taps[p].0), W::from_f64(f64::from(taps[p].1)))))
                    }
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
