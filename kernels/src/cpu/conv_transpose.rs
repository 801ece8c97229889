//! ConvTranspose as a product: output channels by output pixels, over (channel, tap) in the order of W.
//!
//! A tap that the reference skips (its place in X is no integer or outside) is multiplied as +0, with the
//! same reasoning and the same way out as in `conv`.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use half::{bf16, f16};
use repops::dtype::DType;
use repops::ops::window::{Window, WindowAxis};
use repops::ops::{self, OpError};
use repops::reduce::{Accumulate, CHUNK};
use repops::tensor::{TensorViewMut, element_count};

use super::contract::pack::{Right, Storage, Strided, with_wide_moves};
use super::contract::target::{StridedTarget, bias_rows};
use super::contract::tile::PANEL;
use super::contract::{Direct, Size, Target, TileElem, contract};
use super::products::Simple;
use super::{by_reference, require_row_major};
use crate::parallel::Shared;
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

/// The kernel for the operands' type.
pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    Some(match dtypes.first()?.as_ref()? {
        DType::F32 => conv_transpose::<f32, f32>,
        DType::F64 => conv_transpose::<f64, f64>,
        DType::F16 => conv_transpose::<f16, f32>,
        DType::BF16 => conv_transpose::<bf16, f32>,
        _ => return None,
    })
}

fn conv_transpose<S: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, w) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let bias = match inputs.get(2).copied().flatten() {
        Some(_) => Some(require_row_major(inputs, 2)?.as_slice::<S>()),
        None => None,
    };
    let reference = |outputs: &mut [TensorViewMut<'_>]| {
        let def =
            ops::by_name("ConvTranspose").ok_or_else(|| OpError::Unsupported("ConvTranspose".to_string()))?;
        by_reference(def, ctx, inputs, outputs)
    };
    // Pads that follow from the output's extent are rare.
    let plain = ctx.attrs.opt_ints("output_shape").is_none()
        && matches!(ctx.attrs.str("auto_pad"), "NOTSET" | "VALID");
    if !plain {
        return reference(outputs);
    }
    let extents: Vec<i64> = w.shape[2..].iter().map(|&k| k as i64).collect();
    let axes = Window::new(ctx.attrs, &extents)?.axes;
    let groups = ctx.attrs.int("group") as usize;
    let out: Vec<usize> = outputs[0].shape[2..].to_vec();
    let (image, kernel) = (x.shape[2..].to_vec(), w.shape[2..].to_vec());
    let (group_in, group_out) = (x.shape[1] / groups, w.shape[1]);
    let (taps, pixels, plane) = (element_count(&kernel), element_count(&out), element_count(&image));
    let terms = group_in * taps;
    let y = outputs[0].as_mut_slice::<S>();
    if y.is_empty() {
        return Ok(());
    }
    // Windows that neither overlap nor leave gaps: one tap for each output, so that each tap is a product of
    // its own. Within a chunk the skipped terms leave no trace.
    let apart = axes.iter().zip(&kernel).zip(image.iter().zip(&out)).all(|((axis, &k), (&image, &out))| {
        axis.stride as usize == k && axis.pad_begin == 0 && (axis.dilation == 1 || k == 1) && out == image * k
    });
    if apart && out.len() == 2 && terms <= CHUNK {
        let data = w.as_slice::<S>();
        let rows = group_out * taps;
        let size = Size { batches: x.shape[0] * groups, m: rows, n: plane, k: group_in };
        let weights: Vec<usize> = (0..size.batches).map(|b| b % groups * group_in * rows).collect();
        let planes: Vec<usize> = (0..size.batches).map(|b| b * group_in * plane).collect();
        let left = Strided { data, offsets: &weights, outer: 1, term: rows, extent: rows };
        let right =
            Strided { data: x.as_slice::<S>(), offsets: &planes, outer: 1, term: plane, extent: plane };
        let bias: Vec<E> = match bias {
            Some(bias) => bias.iter().flat_map(|b| std::iter::repeat_n(b.widen(), taps)).collect(),
            None => Vec::new(),
        };
        let target = Spaced {
            data: Shared::new(y),
            len: y.len(),
            batch: group_out * pixels,
            plane: pixels,
            width: image[1],
            kernel: (kernel[0], kernel[1]),
            bias: (!bias.is_empty()).then_some((&bias, groups)),
            after: match ctx.epilogue.filter(|_| S::DTYPE == E::DTYPE) {
                Some(epilogue) => epilogue.simple_by_channel().inspect(|_| {
                    epilogue.claim();
                }),
                None => None,
            },
            channels: group_out * groups,
        };
        contract::<E>(ctx.isa, size, &left, &right, &target);
        return Ok(());
    }
    let found_nan = AtomicBool::new(false);
    // W holds (channel, output channel, tap): each output channel's terms are copied together.
    let data = w.as_slice::<S>();
    with_scratch(w.len(), |turned: &mut [S]| {
        for (at, to) in turned.chunks_exact_mut(taps.max(1)).enumerate() {
            let (group, row, channel) =
                (at / (group_out * group_in), at / group_in % group_out, at % group_in);
            let from = ((group * group_in + channel) * group_out + row) * taps;
            to.copy_from_slice(&data[from..][..taps]);
        }
        let size = Size { batches: x.shape[0] * groups, m: group_out, n: pixels, k: terms };
        let weights: Vec<usize> = (0..size.batches).map(|b| b % groups * group_out * terms).collect();
        let planes: Vec<usize> = (0..size.batches).map(|b| b * group_in * plane).collect();
        let left = Strided { data: &*turned, offsets: &weights, outer: terms, term: 1, extent: group_out };
        let right = Spread {
            axes: &axes,
            image: &image,
            kernel: &kernel,
            out: &out,
            data: x.as_slice::<S>(),
            planes: &planes,
        };
        let bias: Option<Vec<E>> = bias.map(|bias| bias.iter().map(|b| b.widen()).collect());
        let target = StridedTarget::new(y, group_out * pixels, pixels, 1);
        let target = target.with_bias(bias.as_deref(), groups, &found_nan);
        contract::<E>(ctx.isa, size, &left, &right, &target);
    });
    let finite = || data.iter().all(|w| !TileElem::mul(w.widen(), E::ZERO).is_nan());
    if found_nan.load(Ordering::Relaxed) && !finite() {
        return reference(outputs);
    }
    Ok(())
}

/// Output planes in which each pixel of the image is a block as large as the kernel. Rows are (output channel,
/// tap).
struct Spaced<'a, S, E> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches and of output planes.
    batch: usize,
    plane: usize,
    /// Of the image.
    width: usize,
    kernel: (usize, usize),
    /// As for [`bias_rows`].
    bias: Option<(&'a [E], usize)>,
    /// What becomes of the results, which are f32.
    after: Option<Simple<'a>>,
    /// Of an image.
    channels: usize,
}

impl<S: Storage<E>, E: TileElem> Spaced<'_, S, E> {
    /// A result as it is stored.
    #[inline(always)]
    fn result(&self, sum: E, added: Option<E>) -> S {
        let sum = added.map_or(sum, |added| Accumulate::add(sum, added).canonical());
        S::narrow(if self.after.is_some_and(|after| after.relu) { TileElem::relu(sum) } else { sum })
    }
}

impl<S: Storage<E>, E: TileElem> Target<E> for Spaced<'_, S, E> {
    fn direct(&self, _: usize, _: usize, _: Range<usize>) -> Option<Direct<E>> {
        None
    }

    fn bias(&self, batch: usize) -> Option<&[E]> {
        bias_rows(self.bias, batch)
    }

    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    ) {
        let (height, width) = self.kernel;
        // Both taps of a line at once, where they are in one tile: their results are neighbours.
        let pairs = width == 2 && rows.start.is_multiple_of(2) && rows.end.is_multiple_of(2);
        let at_once = if pairs { 2 } else { 1 };
        for (row, tile) in rows.step_by(at_once).zip(tile.chunks_exact(stride * at_once)) {
            let (channel, tap) = (row / (height * width), row % (height * width));
            let added = self.after.and_then(|after| after.by_channel).map(|by_channel| {
                let channel = (batch * (self.batch / self.plane) + channel) % self.channels;
                bytemuck::cast_slice::<f32, E>(by_channel)[channel]
            });
            let start = batch * self.batch + channel * self.plane + tap % width;
            let mut column = columns.start;
            while column < columns.end {
                let (line, first) = (column / self.width, column % self.width);
                let count = (columns.end - column).min(self.width - first);
                let at = start + (line * height + tap / width) * self.width * width + first * width;
                assert!(at + (count - 1) * width + at_once <= self.len);
                let sums = &tile[column - columns.start..];
                if pairs {
                    let (left, right) = (&sums[..count], &sums[stride..][..count]);
                    // SAFETY: in range; nobody else writes these elements: rows and columns determine them.
                    let to = unsafe { self.data.slice(at..at + 2 * count) };
                    with_wide_moves(
                        #[inline(always)]
                        || {
                            for ((to, &left), &right) in
                                to.as_chunks_mut::<2>().0.iter_mut().zip(left).zip(right)
                            {
                                *to = [self.result(left, added), self.result(right, added)];
                            }
                        },
                    );
                } else {
                    for (i, &value) in sums[..count].iter().enumerate() {
                        // SAFETY: in range; nobody else writes this element: rows and columns determine it.
                        unsafe { *self.data.0.add(at + i * width) = self.result(value, added) };
                    }
                }
                column += count;
            }
        }
    }
}

/// The elements of X that each tap brings to each output pixel.
struct Spread<'a, S> {
    axes: &'a [WindowAxis],
    image: &'a [usize],
    kernel: &'a [usize],
    out: &'a [usize],
    data: &'a [S],
    /// Offset of a batch's first plane.
    planes: &'a [usize],
}

impl<S: Storage<E>, E: TileElem> Right<E> for Spread<'_, S> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]) {
        let (pixels, plane) = (element_count(self.out), element_count(self.image));
        let columns = panels.start * PANEL..pixels.min(panels.end * PANEL);
        let taps = element_count(self.kernel);
        with_scratch(panels.len() * PANEL, |row: &mut [E]| {
            row.fill(E::ZERO);
            for (index, term) in terms.enumerate() {
                let from = &self.data[self.planes[batch] + term / taps * plane..][..plane];
                self.tap(from, term % taps, &columns, &mut row[..columns.len()]);
                for (panel, from) in row.chunks_exact(PANEL).enumerate() {
                    to[panel * stride + index * PANEL..][..PANEL].copy_from_slice(from);
                }
            }
        });
    }
}

impl<S> Spread<'_, S> {
    /// The place in X that output `o` takes for tap `k` of an axis.
    fn place(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let window = &self.axes[axis];
        let at = o as i64 + window.pad_begin - k as i64 * window.dilation;
        let whole = at >= 0 && at % window.stride == 0;
        whole.then(|| (at / window.stride) as usize).filter(|at| *at < self.image[axis])
    }

    /// The elements under one tap for a range of output pixels; +0 where the tap is skipped.
    fn tap<E: TileElem>(&self, plane: &[S], tap: usize, pixels: &Range<usize>, to: &mut [E])
    where
        S: Storage<E>,
    {
        let last = self.out.len() - 1;
        let width = self.out[last];
        let mut ks = vec![0; self.out.len()];
        let mut rest = tap;
        for axis in (0..=last).rev() {
            ks[axis] = rest % self.kernel[axis];
            rest /= self.kernel[axis];
        }
        to.fill(E::ZERO);
        let stride = self.axes[last].stride as usize;
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            let (line, first) = (pixel / width, pixel % width);
            let end = width.min(first + (pixels.end - pixel));
            let to = &mut to[pixel - pixels.start..][..end - first];
            pixel += end - first;
            let (mut rest, mut start, mut unit) = (line, Some(0), self.image[last]);
            for axis in (0..last).rev() {
                let at = self.place(axis, rest % self.out[axis], ks[axis]);
                start = start.zip(at).map(|(start, at)| start + at * unit);
                rest /= self.out[axis];
                unit *= self.image[axis];
            }
            let Some(start) = start else { continue };
            // The first column that takes an element; the next ones follow a stride apart.
            let Some(o) = (first..end).find(|&o| self.place(last, o, ks[last]).is_some()) else { continue };
            let at = self.place(last, o, ks[last]).unwrap_or(0);
            let from = &plane[start + at..start + self.image[last]];
            for (to, from) in to[o - first..].iter_mut().step_by(stride).zip(from) {
                *to = from.widen();
            }
        }
    }
}
