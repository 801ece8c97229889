//! RoiAlign and MaxRoiPool: regions of an image pooled to a fixed size.

use std::cell::RefCell;
use std::ops::Range;

use super::dispute::Stop;
use super::float::{Float, Real, with_float};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, row_sum};
use crate::tensor::Tensor;

const SCALE: AttrDef = AttrDef::default(
    "spatial_scale",
    AttrKind::Float,
    || AttrValue::Float(1.0),
    "Multiplies the regions' coordinates.",
);

pub static ALIGN: OpDef = OpDef {
    id: 429,
    name: "RoiAlign",
    version: 1,
    doc: "X is [N, C, H, W], rois [R, 4] (x1, y1, x2, y2), batch_indices i64 [R]; Y is [R, C, output_height, output_width]. Per axis, in X's wide type, each \
          operation rounded: start = (x1 * spatial_scale) - h, end likewise, h = 0.5 with half_pixel, else 0; size = end - start, with output_half_pixel at \
          least 1; bin = size / outputs; g = sampling_ratio, or where that is 0 ceil(size / outputs), 0 where that is negative or NaN. Output p has g samples at \
          (start + p * bin) + (((i + 0.5) * bin) / g). A sample at (y, x), with y < -1 or y > H, or x likewise, or NaN, has value +0; else y = maximum(y, 0), \
          l = floor(y), and where l >= H - 1 both rows are H - 1 with y = H - 1, else they are l and l + 1; fraction fy = y - l; x likewise. Products, row by row: ((1 - fy) * \
          (1 - fx)) * a, ((1 - fy) * fx) * b, (fy * (1 - fx)) * c, (fy * fx) * d. avg: a sample is the sum of its products from left to right; Y is the row sum of the samples \
          (rows of samples first), divided by max(number, 1). max: the maximum of all products of all samples; +0 without samples. More than 2^16 samples along an axis of a bin are \
          fault 5, a batch index out of range fault 2. Source: ONNX RoiAlign-10, -16, -22.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "coordinate_transformation_mode",
            AttrKind::Str,
            || AttrValue::Str("half_pixel".to_string()),
            "half_pixel or output_half_pixel.",
        ),
        AttrDef::default("mode", AttrKind::Str, || AttrValue::Str("avg".to_string()), "avg or max."),
        AttrDef::default("output_height", AttrKind::Int, || AttrValue::Int(1), "Rows of Y."),
        AttrDef::default("output_width", AttrKind::Int, || AttrValue::Int(1), "Columns of Y."),
        AttrDef::default(
            "sampling_ratio",
            AttrKind::Int,
            || AttrValue::Int(0),
            "Samples per axis and bin; 0: by size.",
        ),
        SCALE,
    ],
    class: OpClass::General,
    infer: infer_align,
    eval: |ctx| with_float!(ctx.input(0).dtype, align(ctx)),
};

pub static MAX_POOL: OpDef = OpDef {
    id: 430,
    name: "MaxRoiPool",
    version: 1,
    doc: "X is [N, C, H, W], rois [R, 5] (sample, x1, y1, x2, y2); Y is [R, C, pooled_shape]. Per axis, in X's wide type, each operation rounded: start = the integer \
          nearest to x1 * spatial_scale, ties away from zero, end likewise; size = maximum((end - start) + 1, 1); bin = size / outputs. Output p covers positions \
          floor(p * bin) + start up to but without ceil((p + 1) * bin) + start, both limited to the image; Y is their maximum, +0 where there is none. A sample that is not the number \
          of one is fault 2; coordinates saturate to i64, NaN is 0. Source: ONNX MaxRoiPool-1, -22.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("pooled_shape", AttrKind::Ints, "Rows and columns of Y."), SCALE],
    class: OpClass::General,
    infer: infer_max,
    eval: |ctx| with_float!(ctx.input(0).dtype, max_pool(ctx)),
};

/// No bin has more samples along an axis.
const SAMPLES_MAX: i64 = 1 << 16;
/// No output has more rows or columns.
const OUTPUTS_MAX: i64 = 1 << 16;

fn outputs(name: &str, value: i64) -> Result<DimExpr, OpError> {
    if (1..=OUTPUTS_MAX).contains(&value) {
        Ok(DimExpr::Const(value))
    } else {
        Err(OpError::attr(name, format!("{value} is not in 1 ..= {OUTPUTS_MAX}")))
    }
}

/// The shape of Y, for regions of `columns` numbers.
fn pooled(
    ctx: &InferCtx<'_>,
    columns: i64,
    height: DimExpr,
    width: DimExpr,
) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    ctx.require_same(1, dtype)?;
    let (x, rois) = (ctx.shape(0)?, ctx.shape(1)?);
    if x.len() != 4 || rois.len() != 2 || rois[1].as_const().is_some_and(|c| c != columns) {
        let tys = (ctx.input(0)?.ty, ctx.input(1)?.ty);
        return Err(OpError::shape(format!("X is {}, rois {}", tys.0, tys.1)));
    }
    Ok(vec![Inferred::new(dtype, vec![rois[0].clone(), x[1].clone(), height, width])])
}

fn infer_align(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(2, DType::I64)?;
    options(ctx.attrs)?;
    let height = outputs("output_height", ctx.attrs.int("output_height"))?;
    let width = outputs("output_width", ctx.attrs.int("output_width"))?;
    let inferred = pooled(ctx, 4, height, width)?;
    let (rois, indices) = (&ctx.shape(1)?[0], ctx.shape(2)?);
    if indices.len() != 1 || indices[0].as_const().zip(rois.as_const()).is_some_and(|(a, b)| a != b) {
        return Err(OpError::shape("batch_indices has not one number a region"));
    }
    Ok(inferred)
}

struct Options {
    half_pixel: bool,
    average: bool,
    ratio: usize,
}

fn options(attrs: &Attrs) -> Result<Options, OpError> {
    let half_pixel = match attrs.str("coordinate_transformation_mode") {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            return Err(OpError::attr("coordinate_transformation_mode", format!("{other:?} is unknown")));
        }
    };
    let average = match attrs.str("mode") {
        "avg" => true,
        "max" => false,
        other => return Err(OpError::attr("mode", format!("{other:?} is unknown"))),
    };
    let ratio = attrs.int("sampling_ratio");
    if !(0..=SAMPLES_MAX).contains(&ratio) {
        return Err(OpError::attr("sampling_ratio", format!("{ratio} is not in 0 ..= {SAMPLES_MAX}")));
    }
    Ok(Options { half_pixel, average, ratio: ratio as usize })
}

/// A sample along one axis: two positions and the second one's weight; `None` outside.
type Sample<W> = Option<(usize, usize, W)>;

/// The samples of the wanted ones of all outputs along an axis.
fn samples<W: Real>(
    options: &Options,
    [first, last]: [W; 2],
    extent: usize,
    outputs: usize,
    wanted: Range<usize>,
) -> Result<Vec<Vec<Sample<W>>>, Fault> {
    let zero = W::from_f64(0.0);
    let start = if options.half_pixel { first - W::from_f64(0.5) } else { first };
    let end = if options.half_pixel { last - W::from_f64(0.5) } else { last };
    let size = if options.half_pixel { end - start } else { (end - start).larger(W::ONE) };
    let bin = size / W::count(outputs);
    let count = match options.ratio {
        // Saturates; NaN is 0.
        0 => bin.to_f64().ceil() as i64,
        ratio => ratio as i64,
    };
    if count > SAMPLES_MAX {
        return Err(Fault::LimitExceeded);
    }
    let count = count.max(0) as usize;
    let sample = |at: W| -> Sample<W> {
        if !(at >= -W::ONE && at <= W::count(extent)) || extent == 0 {
            return None;
        }
        let at = at.larger(zero);
        let low = at.floor().to_f64() as usize;
        if low + 1 >= extent {
            return Some((extent - 1, extent - 1, zero));
        }
        Some((low, low + 1, at - W::count(low)))
    };
    let of_output = |p: usize| {
        let begin = start + W::count(p) * bin;
        let offset = |i: usize| ((W::count(i) + W::from_f64(0.5)) * bin) / W::count(count);
        (0..count).map(|i| sample(begin + offset(i))).collect()
    };
    Ok(wanted.map(of_output).collect())
}

fn align<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, rois) = (ctx.input(0), ctx.input(1));
    let options = options(ctx.attrs)?;
    let scale = T::Wide::from_f64(f64::from(ctx.attrs.float("spatial_scale")));
    let (rows, columns) = (ctx.attrs.int("output_height") as usize, ctx.attrs.int("output_width") as usize);
    let [batch, channels, height, width] = [0, 1, 2, 3].map(|axis| x.shape[axis]);
    let regions = rois.shape[0];
    let mut y = Tensor::zeros(T::DTYPE, &[regions, channels, rows, columns])?;
    let values = x.as_slice::<T>();
    for (r, region) in rois.as_slice::<T>().chunks_exact(4).enumerate() {
        let sample = ctx.input(2).as_slice::<i64>()[r];
        let sample = usize::try_from(sample).ok().filter(|s| *s < batch).ok_or(Fault::IndexOutOfRange)?;
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| region[i].widen() * scale);
        let vertical = samples(&options, [y1, y2], height, rows, 0..rows)?;
        let horizontal = samples(&options, [x1, x2], width, columns, 0..columns)?;
        for c in 0..channels {
            let plane = &values[(sample * channels + c) * height * width..][..height * width];
            let out = &mut y.as_mut_slice::<T>()[(r * channels + c) * rows * columns..][..rows * columns];
            for (at, out) in out.iter_mut().enumerate() {
                let (down, across) = (&vertical[at / columns], &horizontal[at % columns]);
                let read = |at: usize| Ok::<_, OpError>(plane[at].widen());
                *out = T::narrow(pool(&options, width, down, across, read)?);
            }
        }
    }
    Ok(vec![y])
}

/// One element of Y; `read` gives elements of the plane.
fn pool<W: Real, E>(
    options: &Options,
    width: usize,
    down: &[Sample<W>],
    across: &[Sample<W>],
    mut read: impl FnMut(usize) -> Result<W, E>,
) -> Result<W, E> {
    let (zero, one) = (W::ZERO, W::ONE);
    let count = down.len() * across.len();
    let mut products = |i: usize| -> Result<[W; 4], E> {
        let (Some((top, bottom, fy)), Some((left, right, fx))) =
            (down[i / across.len()], across[i % across.len()])
        else {
            return Ok([zero; 4]);
        };
        let mut at = |row: usize, column: usize| read(row * width + column);
        Ok([
            ((one - fy) * (one - fx)) * at(top, left)?,
            ((one - fy) * fx) * at(top, right)?,
            (fy * (one - fx)) * at(bottom, left)?,
            (fy * fx) * at(bottom, right)?,
        ])
    };
    if options.average {
        let (products, failed) = (RefCell::new(products), RefCell::new(None));
        let sum = row_sum(count, |i| match (*products.borrow_mut())(i) {
            Ok([a, b, c, d]) => ((a + b) + c) + d,
            Err(error) => {
                failed.replace(Some(error));
                zero
            }
        });
        return failed.into_inner().map_or(Ok(sum / W::count(count.max(1))), Err);
    }
    let mut largest = None;
    for i in 0..count {
        for product in products(i)? {
            largest = Some(largest.map_or(product, |a: W| a.larger(product)));
        }
    }
    Ok(largest.unwrap_or(zero))
}

/// The most samples of one element that a dispute computes.
const DISPUTED_MAX: usize = 4096;

/// One element of RoiAlign alone, of a region with these corners and at a place of its output.
pub(super) fn aligned_at<W: Real>(
    attrs: &Attrs,
    corners: [W; 4],
    [height, width]: [usize; 2],
    [rows, columns]: [usize; 2],
    [row, column]: [usize; 2],
    read: impl FnMut(usize) -> Result<W, Stop>,
) -> Result<W, Stop> {
    let options = options(attrs)?;
    let scale = W::from_f64(f64::from(attrs.float("spatial_scale")));
    let [x1, y1, x2, y2] = corners.map(|corner| corner * scale);
    let down = samples(&options, [y1, y2], height, rows, row..row + 1)?.pop().unwrap_or_default();
    let across = samples(&options, [x1, x2], width, columns, column..column + 1)?.pop().unwrap_or_default();
    if down.len().saturating_mul(across.len()) > DISPUTED_MAX {
        return Err(Stop::TooLarge { bytes: down.len() * across.len() });
    }
    pool(&options, width, &down, &across, read)
}

fn infer_max(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let [height, width] = ctx.attrs.opt_ints("pooled_shape").unwrap_or_default() else {
        return Err(OpError::attr("pooled_shape", "two numbers are needed"));
    };
    pooled(ctx, 5, outputs("pooled_shape", *height)?, outputs("pooled_shape", *width)?)
}

fn max_pool<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, rois) = (ctx.input(0), ctx.input(1));
    let scale = T::Wide::from_f64(f64::from(ctx.attrs.float("spatial_scale")));
    let pooled: Vec<usize> =
        ctx.attrs.opt_ints("pooled_shape").unwrap_or_default().iter().map(|&n| n as usize).collect();
    let (rows, columns) = (pooled[0], pooled[1]);
    let [batch, channels, height, width] = [0, 1, 2, 3].map(|axis| x.shape[axis]);
    // f64 holds what either wide type does, so rounding to an integer there is exact.
    let nearest = |v: T::Wide| (v * scale).to_f64().round() as i64;
    let ranges = |first: T::Wide, last: T::Wide, extent: usize, count: usize| -> Vec<(usize, usize)> {
        let (start, end) = (nearest(first), nearest(last));
        let size = T::Wide::from_f64(end.saturating_sub(start).saturating_add(1).max(1) as f64);
        let bin = size / T::Wide::count(count);
        let place = |at: f64| (at as i64).saturating_add(start).clamp(0, extent as i64) as usize;
        let range = |p: usize| {
            (
                place((T::Wide::count(p) * bin).to_f64().floor()),
                place((T::Wide::count(p + 1) * bin).to_f64().ceil()),
            )
        };
        (0..count).map(range).collect()
    };
    let mut y = Tensor::zeros(T::DTYPE, &[rois.shape[0], channels, rows, columns])?;
    let values = x.as_slice::<T>();
    for (r, region) in rois.as_slice::<T>().chunks_exact(5).enumerate() {
        let number = region[0].widen().to_f64();
        let sample = if number >= 0.0 && number < batch as f64 && number.floor() == number {
            number as usize
        } else {
            return Err(Fault::IndexOutOfRange.into());
        };
        let down = ranges(region[2].widen(), region[4].widen(), height, rows);
        let across = ranges(region[1].widen(), region[3].widen(), width, columns);
        for at in 0..channels * rows * columns {
            let c = at / (rows * columns);
            let plane = &values[(sample * channels + c) * height * width..][..height * width];
            let ((top, bottom), (left, right)) = (down[at / columns % rows], across[at % columns]);
            let mut largest: Option<T::Wide> = None;
            for row in top..bottom {
                for column in left..right {
                    let value = plane[row * width + column].widen();
                    largest = Some(largest.map_or(value, |m| m.larger(value)));
                }
            }
            y.as_mut_slice::<T>()[r * channels * rows * columns + at] =
                T::narrow(largest.unwrap_or(T::Wide::ZERO));
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    fn image() -> Tensor {
        Tensor::from_slice(&[1, 1, 4, 4], &(0..16).map(|v| v as f32).collect::<Vec<_>>())
    }

    #[test]
    fn regions_are_averaged() {
        let rois = Tensor::from_slice(&[1, 4], &[0.0f32, 0.0, 4.0, 4.0]);
        let zero = Tensor::from_slice(&[1], &[0i64]);
        let attrs = Attrs::new().with_int("output_height", 2).with_int("output_width", 2);
        let y = run("RoiAlign", attrs.clone(), &[&image(), &rois, &zero]);
        assert_eq!(y.as_slice::<f32>(), [2.5, 4.5, 10.5, 12.5]);
        for wild in [f32::NAN, f32::INFINITY, 1e30] {
            let rois = Tensor::from_slice(&[1, 4], &[0.0f32, 0.0, wild, 4.0]);
            let _ = try_run("RoiAlign", attrs.clone(), &[&image(), &rois, &zero]);
        }
        let one = Tensor::from_slice(&[1], &[1i64]);
        assert!(try_run("RoiAlign", attrs.clone(), &[&image(), &rois, &one]).is_err());
        assert!(try_run("RoiAlign", attrs.with_int("output_height", 0), &[&image(), &rois, &zero]).is_err());
    }

    #[test]
    fn maxima_of_regions() {
        let rois = Tensor::from_slice(&[2, 5], &[0.0f32, 0.0, 0.0, 3.0, 3.0, 0.0, 9.0, 9.0, 12.0, 12.0]);
        let attrs = Attrs::new().with_ints("pooled_shape", &[2, 2]);
        let y = run("MaxRoiPool", attrs.clone(), &[&image(), &rois]);
        assert_eq!(y.as_slice::<f32>(), [5.0, 7.0, 13.0, 15.0, 0.0, 0.0, 0.0, 0.0]);
        for wild in [f32::NAN, f32::INFINITY, -1e30] {
            let rois = Tensor::from_slice(&[1, 5], &[0.0f32, wild, 0.0, 3.0, wild]);
            run("MaxRoiPool", attrs.clone(), &[&image(), &rois]);
        }
        let bad = Tensor::from_slice(&[1, 5], &[1.0f32, 0.0, 0.0, 3.0, 3.0]);
        assert!(try_run("MaxRoiPool", attrs, &[&image(), &bad]).is_err());
    }
}
