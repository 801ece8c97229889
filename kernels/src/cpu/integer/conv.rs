//! ConvInteger and QLinearConv as products: output channels by pixels, over (channel, tap), or by fours of channels where
//! tiles read the image in such groups under every tap.
//!
//! A tap outside of the image is skipped by the reference. Here it reads the image's zero point, which gives
//! the same sum.

use repops::dtype::DType;
use repops::ops::{self, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::super::conv::Geometry;
use super::super::planes::Planes;
use super::super::{by_reference, require_row_major};
use super::block::{Size, product};
use super::engine::Engine;
use super::finish::{Factors, Finish, Numbers, Output, Requantize};
use super::pack::{Left, Right, Terms};
use super::taps::{Groups, Taps};
use super::tile::{GROUP, PANEL};
use super::{numbers, vectorized};
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(|ctx, inputs, outputs| convolve("ConvInteger", PLAIN, ctx, inputs, outputs))
}

pub(crate) fn choose_qlinear(_: &[Option<DType>]) -> Option<Kernel> {
    Some(|ctx, inputs, outputs| convolve("QLinearConv", SCALED, ctx, inputs, outputs))
}

/// Where the operands are among the inputs.
#[derive(Clone, Copy)]
struct Places {
    w: usize,
    x_zero: usize,
    w_zero: usize,
    /// Scales of x, w and y, and y's zero point.
    scales: Option<[usize; 4]>,
    bias: usize,
}

/// ConvInteger has no input 4: no bias.
const PLAIN: Places = Places { w: 1, x_zero: 2, w_zero: 3, scales: None, bias: 4 };
const SCALED: Places = Places { w: 3, x_zero: 2, w_zero: 5, scales: Some([1, 4, 6, 7]), bias: 8 };

fn convolve(
    name: &str,
    at: Places,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, w) = (require_row_major(inputs, 0)?, require_row_major(inputs, at.w)?);
    let given = |index: usize| inputs.get(index).copied().flatten().is_some();
    let zero = |index: usize| -> Result<Numbers<'static, i32>, OpError> {
        if given(index) {
            Ok(Numbers(numbers(&require_row_major(inputs, index)?).into()))
        } else {
            Ok(Numbers::one(0))
        }
    };
    let floats = |index: usize| -> Result<Numbers<'static, f32>, OpError> {
        Ok(Numbers(require_row_major(inputs, index)?.as_slice::<f32>().to_vec().into()))
    };
    let geometry = Geometry::of(ctx, x.shape, w.shape)?;
    let g = &geometry;
    let y_len = element_count(outputs[0].shape);
    if y_len == 0 {
        return Ok(());
    }
    let grid = if g.is_pointwise() { None } else { Planes::new(g) };
    let layout = grid.as_ref().map(|grid| Layout::new(g, grid));
    // Strides and dilations far beyond the image make planes of padding alone.
    let len_max = (x.len().saturating_add(y_len)).saturating_mul(16).saturating_add(1 << 20);
    let fits = match &layout {
        Some(layout) => {
            layout.image_len(g).and_then(|len| len.checked_mul(g.images)).is_some_and(|len| len <= len_max)
        }
        None => g.is_pointwise(),
    };
    let (x_zero, w_zero) = (zero(at.x_zero)?, zero(at.w_zero)?);
    let (Some(outside), true) = (x_zero.single(), fits) else {
        let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    };

    let bias =
        if given(at.bias) { Some(require_row_major(inputs, at.bias)?.as_slice::<i32>()) } else { None };
    let output = match at.scales {
        None => Output::Sums(outputs[0].as_mut_slice::<i32>()),
        Some([x_scale, w_scale, y_scale, y_zero]) => {
            let factors = Factors::new(floats(w_scale)?, floats(x_scale)?, floats(y_scale)?);
            let signed = require_row_major(inputs, y_zero)?.dtype == DType::I8;
            Output::Bytes(outputs[0].bytes, Requantize { factors, zero: zero(y_zero)?, signed })
        }
    };
    let (pixels, image) = (element_count(&g.out), element_count(&g.image));
    let k = g.group_channels * element_count(&g.kernel);
    let n = grid.as_ref().map_or(pixels, |grid| grid.flat);
    let size = Size { batches: g.images * g.groups, m: g.group_out, n, k };
    let rows: Vec<usize> = (0..size.batches).map(|batch| batch % g.groups * g.group_out).collect();
    let left = Left { data: w.bytes, signed: w.dtype == DType::I8, starts: &rows };
    let finish = Finish {
        left_zero: w_zero,
        right_zero: x_zero,
        bias,
        output,
        period: g.groups,
        columns: n,
        batch: g.group_out * pixels,
        row: pixels,
        lines: grid.as_ref().map_or((usize::MAX, usize::MAX), |grid| (grid.columns, grid.width)),
    };
    let signed = x.dtype == DType::I8;
    let starts = |plane: usize| -> Vec<usize> {
        (0..size.batches)
            .map(|batch| (batch / g.groups * g.channels + batch % g.groups * g.group_channels) * plane)
            .collect()
    };
    let engine = Engine::best(ctx.isa);
    match (&grid, &layout) {
        (Some(grid), Some(layout)) if in_groups(engine, g, n) => {
            let taps = grid.taps.len();
            let fours = g.group_channels.div_ceil(GROUP);
            let groups: Vec<usize> = (0..fours * taps).map(|at| layout.offset(grid, at) * GROUP).collect();
            let batch = fours * layout.channel_len() * GROUP;
            let starts: Vec<usize> = (0..size.batches).map(|at| at * batch).collect();
            let from = Groups {
                grid,
                len: layout.len,
                channels: g.group_channels,
                image: x.bytes,
                plane: image,
                outside: outside as u8,
            };
            // Tiles read whole panels.
            with_scratch(size.batches * batch + GROUP * PANEL, |to: &mut [u8]| {
                from.fill(ctx.isa, &mut to[..size.batches * batch]);
                let taps = Taps { channels: g.group_channels, taps, offsets: &groups };
                let right = Right { data: to, signed, starts: &starts, terms: Terms::Taps(taps) };
                product(ctx.isa, engine, size, left, right, finish);
            });
        }
        (Some(grid), Some(layout)) => {
            let planes = g.images * g.channels;
            with_scratch(planes * layout.channel_len(), |to: &mut [u8]| {
                layout.fill(ctx, grid, x.bytes, image, outside as u8, to);
                let terms: Vec<usize> = (0..k).map(|term| layout.offset(grid, term)).collect();
                let starts = starts(layout.channel_len());
                let right = Right { data: to, signed, starts: &starts, terms: Terms::Offsets(&terms) };
                product(ctx.isa, engine, size, left, right, finish);
            });
        }
        _ => {
            let starts = starts(image);
            let right = Right { data: x.bytes, signed, starts: &starts, terms: Terms::Stride(image) };
            product(ctx.isa, engine, size, left, right, finish);
        }
    }
    Ok(())
}

/// Whether tiles are to read the image in groups of four channels, under all taps, for so many columns.
fn in_groups(engine: &Engine, g: &Geometry, columns: usize) -> bool {
    let padded = g.group_channels.next_multiple_of(GROUP);
    // Little that only fills groups, and not more work for the filters than taps would be for the image.
    let is_full = g.group_channels > 0 && 6 * padded <= 7 * g.group_channels;
    engine.pick_by_offsets.is_some() && is_full && columns >= 2 * g.group_out
}

/// Where the planes of the phases that taps read lie: `[channel][phase][place]`.
struct Layout {
    /// The phases, ascending.
    phases: Vec<usize>,
    /// Places of a plane.
    len: usize,
}

impl Layout {
    fn new(g: &Geometry, grid: &Planes) -> Layout {
        debug_assert_eq!(grid.taps.len(), element_count(&g.kernel));
        Layout { phases: grid.used.clone(), len: grid.flat.saturating_add(grid.reach()) }
    }

    fn channel_len(&self) -> usize {
        self.phases.len() * self.len
    }

    /// Bytes for all channels of an image, if they can be counted.
    fn image_len(&self, g: &Geometry) -> Option<usize> {
        self.phases.len().checked_mul(self.len)?.checked_mul(g.channels)
    }

    /// Where a term's columns are, from the first channel of the group on.
    fn offset(&self, grid: &Planes, term: usize) -> usize {
        let (phase, shift) = grid.taps[term % grid.taps.len()];
        let place = self.phases.binary_search(&phase).unwrap_or(0);
        term / grid.taps.len() * self.channel_len() + place * self.len + shift
    }

    fn fill(&self, ctx: &KernelCtx<'_>, grid: &Planes, x: &[u8], image: usize, outside: u8, to: &mut [u8]) {
        let channel = self.channel_len();
        let shared = Shared::new(to);
        let channels = x.len().checked_div(image).unwrap_or(0).min(to.len() / channel.max(1));
        if image == 0 {
            // Padding alone.
            to.fill(outside);
            return;
        }
        parallel_ranges(channels, 1, channel, |range| {
            // SAFETY: tasks write planes of their own.
            let to = unsafe { shared.slice(range.start * channel..range.end * channel) };
            vectorized(
                ctx.isa,
                #[inline(always)]
                || {
                    for (index, to) in range.clone().zip(to.chunks_exact_mut(channel)) {
                        let plane = &x[index * image..][..image];
                        for (phase, to) in self.phases.iter().zip(to.chunks_exact_mut(self.len)) {
                            grid.copy_or(
                                plane,
                                *phase,
                                0,
                                to,
                                outside,
                                #[inline(always)]
                                |v| v,
                            );
                        }
                    }
                },
            );
        });
    }
}
