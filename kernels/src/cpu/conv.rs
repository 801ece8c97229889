//! Conv as a product: output channels by pixels, over (channel, tap) in the order of W.
//!
//! A tap outside of the image is skipped by the reference. Here it is multiplied as +0, which gives the
//! same bits as long as its weight is finite: a chain starts at +0, and the `+0` at its end hides the
//! sign of a zero. A weight that is not finite makes such a product NaN, and then the output: when an
//! output is NaN and a weight is not finite, everything is computed again by the reference.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use half::{bf16, f16};
use repops::dtype::DType;
use repops::ops::window::{Window, WindowAxis};
use repops::ops::{self, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::contract::pack::{Right, Storage, Strided};
use super::contract::target::RowTarget;
use super::contract::tile::PANEL;
use super::contract::{Size, Target, TileElem, contract};
use super::{by_reference, depthwise, require, require_row_major};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

/// The kernel for the operands' type.
pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    Some(match dtypes.first()?.as_ref()? {
        DType::F32 => conv::<f32, f32>,
        DType::F64 => conv::<f64, f64>,
        DType::F16 => conv::<f16, f32>,
        DType::BF16 => conv::<bf16, f32>,
        _ => return None,
    })
}

/// The extents of a convolution.
pub(crate) struct Geometry {
    pub images: usize,
    pub groups: usize,
    /// Of X, and of one group.
    pub channels: usize,
    pub group_channels: usize,
    /// Of Y, and of one group.
    pub out_channels: usize,
    pub group_out: usize,
    pub axes: Vec<WindowAxis>,
    pub image: Vec<usize>,
    pub kernel: Vec<usize>,
    pub out: Vec<usize>,
}

impl Geometry {
    fn of(ctx: &KernelCtx<'_>, x: &[usize], w: &[usize]) -> Result<Geometry, OpError> {
        let kernel: Vec<i64> = w[2..].iter().map(|&k| k as i64).collect();
        let (axes, out) = Window::new(ctx.attrs, &kernel)?.placed(&x[2..])?;
        let groups = ctx.attrs.int("group") as usize;
        Ok(Geometry {
            images: x[0],
            groups,
            channels: x[1],
            group_channels: w[1],
            out_channels: w[0],
            group_out: w[0] / groups,
            axes,
            image: x[2..].to_vec(),
            kernel: w[2..].to_vec(),
            out,
        })
    }

    /// Whether pixels of the output and of the image are the same.
    fn is_pointwise(&self) -> bool {
        self.kernel.iter().all(|&k| k == 1)
            && self.axes.iter().all(|a| a.stride == 1 && a.pad_begin == 0)
            && self.out == self.image
    }
}

fn conv<S: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, w) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let bias = match inputs.get(2).copied().flatten() {
        Some(_) => Some(require_row_major(inputs, 2)?.as_slice::<S>()),
        None => None,
    };
    let geometry = Geometry::of(ctx, x.shape, w.shape)?;
    let found_nan = AtomicBool::new(false);
    let y = outputs[0].as_mut_slice::<S>();
    if y.is_empty() {
        return Ok(());
    }
    let direct = S::DTYPE == DType::F32 && depthwise::fits(&geometry);
    if direct {
        let (x, w) = (x.as_slice::<f32>(), w.as_slice::<f32>());
        let bias = bias.map(bytemuck::cast_slice);
        depthwise::depthwise(ctx.isa, &geometry, x, w, bias, bytemuck::cast_slice_mut(y), &found_nan);
    } else {
        product::<S, E>(ctx, &geometry, x.as_slice(), w.as_slice(), bias, y, &found_nan);
    }
    let finite = || w.as_slice::<S>().iter().all(|w| !TileElem::mul(w.widen(), E::ZERO).is_nan());
    if found_nan.load(Ordering::Relaxed) && !finite() {
        let def = ops::by_name("Conv").ok_or_else(|| OpError::Unsupported("Conv".to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    require(inputs, 0).map(|_| ())
}

fn product<S: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    geometry: &Geometry,
    x: &[S],
    w: &[S],
    bias: Option<&[S]>,
    y: &mut [S],
    found_nan: &AtomicBool,
) {
    let g = geometry;
    let (pixels, image) = (element_count(&g.out), element_count(&g.image));
    let terms = g.group_channels * element_count(&g.kernel);
    let size = Size { batches: g.images * g.groups, m: g.group_out, n: pixels, k: terms };
    let groups = |batch: usize| (batch / g.groups, batch % g.groups);
    let weights: Vec<usize> = (0..size.batches).map(|b| groups(b).1 * g.group_out * terms).collect();
    let planes: Vec<usize> = (0..size.batches)
        .map(|b| (groups(b).0 * g.channels + groups(b).1 * g.group_channels) * image)
        .collect();
    let left = Strided { data: w, offsets: &weights, outer: terms, term: 1, extent: g.group_out };
    let target = bias_target::<S, E>(y, bias, g.groups, g.group_out, pixels, found_nan);
    if g.is_pointwise() {
        let right = Strided { data: x, offsets: &planes, outer: 1, term: image, extent: pixels };
        contract::<E>(ctx.isa, size, &left, &right, &target);
    } else {
        let right = Patches { geometry: g, data: x, planes: &planes, pixels, image };
        contract::<E>(ctx.isa, size, &left, &right, &target);
    }
}

/// Stores planes of pixels with their channel's bias, and tells of NaNs.
pub(crate) fn bias_target<'a, S: Storage<E>, E: TileElem>(
    y: &'a mut [S],
    bias: Option<&'a [S]>,
    groups: usize,
    group_out: usize,
    pixels: usize,
    found_nan: &'a AtomicBool,
) -> impl Target<E> + 'a {
    let finish = move |batch: usize, row: usize, _: Range<usize>, sums: &[E], out: &mut [S]| {
        let mut nan = false;
        match bias {
            Some(bias) => {
                let bias = bias[batch % groups * group_out + row].widen();
                for (y, &sum) in out.iter_mut().zip(sums) {
                    let value = sum.add(bias);
                    nan |= value.is_nan();
                    *y = S::narrow(value);
                }
            }
            None => {
                for (y, &sum) in out.iter_mut().zip(sums) {
                    nan |= sum.is_nan();
                    *y = S::narrow(sum);
                }
            }
        }
        if nan {
            found_nan.store(true, Ordering::Relaxed);
        }
    };
    RowTarget::new(y, group_out * pixels, pixels, finish)
}

/// The image's pixels under each tap: the right operand, made as it is packed.
struct Patches<'a, S> {
    geometry: &'a Geometry,
    data: &'a [S],
    /// Offset of a batch's first plane.
    planes: &'a [usize],
    pixels: usize,
    image: usize,
}

impl<S: Storage<E>, E: TileElem> Right<E> for Patches<'_, S> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]) {
        let columns = panels.start * PANEL..self.pixels.min(panels.end * PANEL);
        let taps = element_count(&self.geometry.kernel);
        with_scratch(panels.len() * PANEL, |row: &mut [E]| {
            row.fill(E::ZERO);
            for (index, term) in terms.enumerate() {
                let plane = self.planes[batch] + term / taps * self.image;
                self.tap(&self.data[plane..][..self.image], term % taps, &columns, &mut row[..columns.len()]);
                for (panel, from) in row.chunks_exact(PANEL).enumerate() {
                    to[panel * stride + index * PANEL..][..PANEL].copy_from_slice(from);
                }
            }
        });
    }
}

impl<S> Patches<'_, S> {
    /// The elements of a plane under one tap, for a range of output pixels; +0 outside of the image.
    fn tap<E: TileElem>(&self, plane: &[S], tap: usize, pixels: &Range<usize>, to: &mut [E])
    where
        S: Storage<E>,
    {
        let g = self.geometry;
        let last = g.out.len() - 1;
        let width = g.out[last];
        // Offset of the tap from the window's start, per axis.
        let mut offsets = vec![0i64; g.out.len()];
        let mut rest = tap;
        for axis in (0..=last).rev() {
            let window = g.axes[axis];
            offsets[axis] = (rest % g.kernel[axis]) as i64 * window.dilation - window.pad_begin;
            rest /= g.kernel[axis];
        }
        let (stride, offset, extent) = (g.axes[last].stride, offsets[last], g.image[last] as i64);
        // Columns of an output row whose tap is inside: 0 <= column * stride + offset < extent.
        let low = if offset >= 0 { 0 } else { (-offset + stride - 1) / stride };
        let high = if extent > offset { (extent - offset - 1) / stride + 1 } else { 0 };
        let (low, high) = (low.min(width as i64) as usize, high.clamp(0, width as i64) as usize);
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            let (line, first) = (pixel / width, pixel % width);
            let end = width.min(first + (pixels.end - pixel));
            let to = &mut to[pixel - pixels.start..][..end - first];
            pixel += end - first;
            // The line of the image, if every outer axis is inside.
            let mut rest = line;
            let (mut start, mut unit, mut inside) = (0, g.image[last], true);
            for axis in (0..last).rev() {
                let at = (rest % g.out[axis]) as i64 * g.axes[axis].stride + offsets[axis];
                rest /= g.out[axis];
                inside &= at >= 0 && at < g.image[axis] as i64;
                start += at.max(0) as usize * unit;
                unit *= g.image[axis];
            }
            let (from, until) = (low.clamp(first, end), high.clamp(first, end));
            if !inside || from >= until {
                to.fill(E::ZERO);
                continue;
            }
            to[..from - first].fill(E::ZERO);
            to[until - first..].fill(E::ZERO);
            let to = &mut to[from - first..until - first];
            let source = start + (from as i64 * stride + offset) as usize;
            if stride == 1 {
                for (to, from) in to.iter_mut().zip(&plane[source..]) {
                    *to = from.widen();
                }
            } else {
                for (to, from) in to.iter_mut().zip(plane[source..].iter().step_by(stride as usize)) {
                    *to = from.widen();
                }
            }
        }
    }
}
