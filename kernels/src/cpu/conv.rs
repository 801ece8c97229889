//! Conv as a product: output channels by pixels, over (channel, tap) in the order of W.
//!
//! A tap outside of the image is skipped by the reference. Here it is multiplied as +0, which gives the
//! same bits as long as its weight is finite: a chain starts at +0, and the `+0` at its end hides the
//! sign of a zero. A weight that is not finite makes such a product NaN, and then the output: when an
//! output is NaN and a weight is not finite, everything is computed again by the reference.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use half::{bf16, f16};
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::window::{Window, WindowAxis};
use repops::ops::{self, OpError};
use repops::reference::unpack;
use repops::tensor::{TensorViewMut, element_count};

use super::contract::pack::{Left, Lines, Panels, Right, Storage, Strided, with_wide_moves};
use super::contract::target::{StridedTarget, TurnedTarget};
use super::contract::tile::PANEL;
use super::contract::{Size, TileElem, contract};
use super::depthwise::Depthwise;
use super::planes::Planes;
use super::rescale::rescaled;
use super::{by_reference, require, require_row_major};
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
    pub group_out: usize,
    pub axes: Vec<WindowAxis>,
    pub image: Vec<usize>,
    pub kernel: Vec<usize>,
    pub out: Vec<usize>,
}

impl Geometry {
    pub(crate) fn of(ctx: &KernelCtx<'_>, x: &[usize], w: &[usize]) -> Result<Geometry, OpError> {
        let kernel: Vec<i64> = w[2..].iter().map(|&k| k as i64).collect();
        let (axes, out) = Window::new(ctx.attrs, &kernel)?.placed(&x[2..])?;
        let groups = ctx.attrs.int("group") as usize;
        Ok(Geometry {
            images: x[0],
            groups,
            channels: x[1],
            group_channels: w[1],
            group_out: w[0] / groups,
            axes,
            image: x[2..].to_vec(),
            kernel: w[2..].to_vec(),
            out,
        })
    }

    /// Whether pixels of the output and of the image are the same.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel.iter().all(|&k| k == 1)
            && self.axes.iter().all(|a| a.stride == 1 && a.pad_begin == 0)
            && self.out == self.image
    }
}

fn conv<S: Storage<E>, E: TileElem + Storage<E>>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, w) = (require_row_major(inputs, 0)?, require(inputs, 1)?);
    let is_in_blocks = w.layout == Layout::Filters16;
    if !is_in_blocks {
        require_row_major(inputs, 1)?;
    }
    let bias = match inputs.get(2).copied().flatten() {
        Some(_) => Some(require_row_major(inputs, 2)?.as_slice::<S>()),
        None => None,
    };
    let geometry = Geometry::of(ctx, x.shape, w.shape)?;
    let not_finite = AtomicBool::new(false);
    let y = outputs[0].as_mut_slice::<S>();
    if y.is_empty() {
        return Ok(());
    }
    let depthwise = if S::DTYPE == DType::F32 { Depthwise::new(&geometry) } else { None };
    if is_in_blocks {
        if geometry.groups != 1 || S::DTYPE != DType::F32 {
            return Err(OpError::Unsupported(
                "blocks of filters of several groups or of another type".to_string(),
            ));
        }
        let (x, w) = (x.as_slice::<f32>(), w.as_slice::<f32>());
        let bias = bias.map(bytemuck::cast_slice);
        by_filters::<f32>(ctx, &geometry, x, w, bias, bytemuck::cast_slice_mut(y), &not_finite);
    } else if let Some(depthwise) = depthwise {
        let (x, w) = (x.as_slice::<f32>(), w.as_slice::<f32>());
        let bias = bias.map(bytemuck::cast_slice);
        depthwise.run(ctx, x, w, bias, bytemuck::cast_slice_mut(y), &not_finite);
    } else {
        let (mut pixels, mut weights) = (x.as_slice::<S>(), w.as_slice::<S>());
        let rescaled = if S::DTYPE == DType::F32 {
            rescaled(&geometry, bytemuck::cast_slice(pixels), bytemuck::cast_slice(weights))
        } else {
            None
        };
        if let Some((x, w)) = &rescaled {
            (pixels, weights) = (bytemuck::cast_slice(x), bytemuck::cast_slice(w));
        }
        product::<S, E>(ctx, &geometry, pixels, weights, bias, y, &not_finite);
    }
    let finite = || w.as_slice::<S>().iter().all(|w| !TileElem::mul(w.widen(), E::ZERO).is_nan());
    if not_finite.load(Ordering::Relaxed) && !finite() {
        if let Some(epilogue) = ctx.epilogue {
            epilogue.disclaim();
        }
        let def = ops::by_name("Conv").ok_or_else(|| OpError::Unsupported("Conv".to_string()))?;
        let filters = unpack(w.dtype, w.shape, w.layout, w.bytes)?;
        let mut inputs = inputs.to_vec();
        inputs[1] = Some(Operand::from(filters.view()));
        return by_reference(def, ctx, &inputs, outputs);
    }
    Ok(())
}

/// The product turned: pixels by output channels, whose weights lie in panels. Of one group.
fn by_filters<E: TileElem + Storage<E>>(
    ctx: &KernelCtx<'_>,
    geometry: &Geometry,
    x: &[E],
    w: &[E],
    bias: Option<&[E]>,
    y: &mut [E],
    not_finite: &AtomicBool,
) {
    let g = geometry;
    let (pixels, image) = (element_count(&g.out), element_count(&g.image));
    let terms = g.channels * element_count(&g.kernel);
    let size = Size { batches: g.images, m: pixels, n: g.group_out, k: terms };
    let planes: Vec<usize> = (0..g.images).map(|i| i * g.channels * image).collect();
    let right = Panels { data: w, offsets: &[], terms };
    let target = TurnedTarget::new(y, g.group_out, pixels, bias, not_finite).with_epilogue(ctx.epilogue);
    if g.is_pointwise() {
        let left = Turned(Pixels { data: x, planes: &planes, image }, None);
        contract::<E>(ctx.isa, size, &left, &right, &target);
    } else if let Some(grid) = Planes::new(g) {
        let lines = Lines::new(grid.columns, grid.width, E::tiles(ctx.isa).gathered_max);
        let left = Turned(Grid { grid: &grid, data: x, planes: &planes, image, lines: None }, lines);
        if lines.is_some() {
            contract::<E>(ctx.isa, size, &left, &right, &target);
        } else {
            let size = Size { m: grid.flat, ..size };
            let target = target.with_lines(grid.columns, grid.width);
            contract::<E>(ctx.isa, size, &left, &right, &target);
        }
    } else {
        let left = PatchRows(Patches { geometry: g, data: x, planes: &planes, pixels, image });
        contract::<E>(ctx.isa, size, &left, &right, &target);
    }
}

/// A right operand that is gathered, as the left one: pixels as rows, which may be those of lines.
struct Turned<R>(R, Option<Lines>);

impl<E: TileElem, R: Right<E>> Left<E> for Turned<R> {
    fn in_place(&self, _: usize) -> Option<(&[E], usize)> {
        None
    }

    fn gathered(&self) -> Option<&dyn Right<E>> {
        Some(&self.0)
    }

    fn lines(&self) -> Option<Lines> {
        self.1
    }

    fn pack(&self, _: usize, _: Range<usize>, _: Range<usize>, _: usize, _: &mut [E]) {
        unreachable!("gathered rows are not packed")
    }
}

/// The image's pixels under each tap, as rows: the left operand over more axes.
struct PatchRows<'a, S>(Patches<'a, S>);

impl<S: Storage<E>, E: TileElem> Left<E> for PatchRows<'_, S> {
    fn in_place(&self, _: usize) -> Option<(&[E], usize)> {
        None
    }

    fn pack(&self, batch: usize, rows: Range<usize>, terms: Range<usize>, tile_rows: usize, to: &mut [E]) {
        let Patches { geometry, data, planes, image, .. } = self.0;
        let taps = element_count(&geometry.kernel);
        let step = geometry.axes[geometry.out.len() - 1].stride as usize;
        let mut to = to;
        for first in rows.clone().step_by(tile_rows) {
            let pixels = first..rows.end.min(first + tile_rows);
            let tile;
            (tile, to) = std::mem::take(&mut to).split_at_mut(pixels.len() * terms.len());
            let runs: Vec<Vec<Run>> = (0..taps).map(|tap| self.0.runs(tap, &pixels)).collect();
            for (term, tile) in terms.clone().zip(tile.chunks_exact_mut(pixels.len())) {
                let plane = &data[planes[batch] + term / taps * image..][..image];
                for run in &runs[term % taps] {
                    let tile = &mut tile[run.first..][..run.len];
                    match run.source {
                        None => tile.fill(E::ZERO),
                        Some(source) => copy_run(&plane[source..], step, tile),
                    }
                }
            }
        }
    }
}

fn product<S: Storage<E>, E: TileElem + Storage<E>>(
    ctx: &KernelCtx<'_>,
    geometry: &Geometry,
    x: &[S],
    w: &[S],
    bias: Option<&[S]>,
    y: &mut [S],
    not_finite: &AtomicBool,
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
    let bias: Option<Vec<E>> = bias.map(|bias| bias.iter().map(|b| b.widen()).collect());
    let target = StridedTarget::new(y, g.group_out * pixels, pixels, 1);
    let target = target.with_bias(bias.as_deref(), g.groups, not_finite).with_epilogue(ctx.epilogue);
    if g.is_pointwise() {
        match bytemuck::try_cast_slice::<S, E>(x) {
            Ok(x) if S::DTYPE == E::DTYPE => {
                contract::<E>(ctx.isa, size, &left, &Pixels { data: x, planes: &planes, image }, &target);
            }
            _ => {
                let right = Strided { data: x, offsets: &planes, outer: 1, term: image, extent: pixels };
                contract::<E>(ctx.isa, size, &left, &right, &target);
            }
        }
    } else if let Some(grid) = Planes::new(g) {
        let lines = Lines::of_panels(grid.columns, grid.width);
        let (size, target) = match lines {
            Some(_) => (size, target),
            None => (Size { n: grid.flat, ..size }, target.with_lines(grid.columns, grid.width)),
        };
        let right = Grid { grid: &grid, data: x, planes: &planes, image, lines };
        if S::DTYPE == E::DTYPE {
            contract::<E>(ctx.isa, size, &left, &right, &target);
        } else {
            let wide: Vec<E> = w.iter().map(|w| w.widen()).collect();
            let left =
                Strided { data: &wide[..], offsets: &weights, outer: terms, term: 1, extent: g.group_out };
            contract::<E>(ctx.isa, size, &left, &right, &target);
        }
    } else {
        let right = Patches { geometry: g, data: x, planes: &planes, pixels, image };
        contract::<E>(ctx.isa, size, &left, &right, &target);
    }
}

/// The image's planes as they are: the right operand where each output pixel reads the pixel in its own place.
struct Pixels<'a, E> {
    data: &'a [E],
    /// Offset of a batch's first plane.
    planes: &'a [usize],
    image: usize,
}

impl<E: TileElem> Right<E> for Pixels<'_, E> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, _: usize, _: Range<usize>, _: Range<usize>, _: usize, _: &mut [E]) {
        unreachable!("the weights are in place, so that the image is gathered")
    }

    fn gathered_len(&self, terms: usize, columns: usize) -> Option<usize> {
        Some(terms * columns.next_multiple_of(PANEL))
    }

    fn gathered_in_place(
        &self,
        batch: usize,
        terms: Range<usize>,
        columns: Range<usize>,
        offsets: &mut [usize],
    ) -> Option<&[E]> {
        let first = self.planes[batch] + terms.start * self.image + columns.start;
        let len = terms.len().saturating_sub(1) * self.image + columns.len().max(PANEL);
        offsets.iter_mut().enumerate().for_each(|(term, offset)| *offset = term * self.image);
        self.data.get(first..first + len)
    }

    fn gather(
        &self,
        batch: usize,
        terms: Range<usize>,
        columns: Range<usize>,
        to: &mut [E],
        offsets: &mut [usize],
    ) {
        // Fewer columns than a panel has, at the end of the image.
        to.fill(E::ZERO);
        for (index, (term, offset)) in terms.zip(offsets).enumerate() {
            *offset = index * columns.len().next_multiple_of(PANEL);
            let from = &self.data[self.planes[batch] + term * self.image..][columns.clone()];
            to[*offset..][..from.len()].copy_from_slice(from);
        }
    }
}

/// The image's planes on the grid of the outputs: the right operand over one or two axes.
struct Grid<'a, S> {
    grid: &'a Planes,
    data: &'a [S],
    /// Offset of a batch's first plane.
    planes: &'a [usize],
    image: usize,
    /// Of columns.
    lines: Option<Lines>,
}

impl<S> Grid<'_, S> {
    /// Elements of one phase for so many columns.
    fn phase_len(&self, columns: usize) -> usize {
        columns + self.grid.reach()
    }
}

impl<S: Storage<E>, E: TileElem> Right<E> for Grid<'_, S> {
    fn lines(&self) -> Option<Lines> {
        self.lines
    }

    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, _: usize, _: Range<usize>, _: Range<usize>, _: usize, _: &mut [E]) {
        unreachable!("the weights are in place, so that the image is gathered")
    }

    fn gathered_len(&self, terms: usize, columns: usize) -> Option<usize> {
        let taps = self.grid.taps.len();
        // Terms may begin and end within a channel.
        let channels = terms.div_ceil(taps) + 1;
        Some(channels * self.grid.used.len() * self.phase_len(columns))
    }

    fn gather(
        &self,
        batch: usize,
        terms: Range<usize>,
        columns: Range<usize>,
        to: &mut [E],
        offsets: &mut [usize],
    ) {
        let grid = self.grid;
        let (taps, phases) = (grid.taps.len(), grid.used.len());
        let len = self.phase_len(columns.len());
        let channels = terms.start / taps..terms.end.div_ceil(taps);
        // Of each tap, within a channel.
        let places: Vec<usize> = grid
            .taps
            .iter()
            .map(|&(phase, shift)| grid.used.partition_point(|&used| used < phase) * len + shift)
            .collect();
        let (mut tap, mut channel) = (terms.start % taps, 0);
        for offset in &mut offsets[..terms.len()] {
            *offset = channel + places[tap];
            tap += 1;
            if tap == taps {
                (tap, channel) = (0, channel + phases * len);
            }
        }
        let used = channels.len() * phases * len;
        // What a tile reads past the last column.
        to[used..].fill(E::ZERO);
        // The same of every channel.
        let mut runs = vec![Vec::new(); phases];
        for (&phase, runs) in grid.used.iter().zip(&mut runs) {
            grid.runs(phase, columns.start, len, |run| runs.push(run));
        }
        with_wide_moves(
            #[inline(always)]
            || {
                for (channel, to) in channels.zip(to[..used].chunks_exact_mut(phases * len)) {
                    let first = self.planes[batch] + channel * self.image;
                    let plane = &self.data[first..][..self.image];
                    // Pieces of lines, which the processor does not guess, are asked for a channel ahead; those of one line are
                    // in neighbouring phases.
                    let next = self.data.as_ptr().wrapping_add(first + self.image);
                    let phases = grid.used.iter().zip(&runs).zip(to.chunks_exact_mut(len));
                    for ((&phase, runs), to) in phases {
                        let is_first = phase % grid.phases.1 == 0;
                        for run in runs {
                            if is_first {
                                run.ahead(grid.phases.1, next);
                            }
                            run.copy(
                                grid.phases.1,
                                plane,
                                to,
                                E::ZERO,
                                #[inline(always)]
                                |v| v.widen(),
                            );
                        }
                    }
                }
            },
        );
    }
}

/// The image's pixels under each tap, made as they are packed: the right operand over more axes.
struct Patches<'a, S> {
    geometry: &'a Geometry,
    data: &'a [S],
    /// Offset of a batch's first plane.
    planes: &'a [usize],
    pixels: usize,
    image: usize,
}

/// Neighbouring output pixels of one line under one tap.
struct Run {
    /// The first, counted from the first of the range.
    first: usize,
    len: usize,
    /// The image's element of the first; none: outside of the image.
    source: Option<usize>,
}

impl<S: Storage<E>, E: TileElem> Right<E> for Patches<'_, S> {
    fn in_place(&self, _: usize) -> Option<&[E]> {
        None
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [E]) {
        let columns = panels.start * PANEL..self.pixels.min(panels.end * PANEL);
        let taps = element_count(&self.geometry.kernel);
        let step = self.geometry.axes[self.geometry.out.len() - 1].stride as usize;
        let runs: Vec<Vec<Run>> = (0..taps).map(|tap| self.runs(tap, &columns)).collect();
        // Columns past the last.
        if !columns.len().is_multiple_of(PANEL) {
            let panel = columns.len() / PANEL * stride;
            to[panel..panel + terms.len() * PANEL].fill(E::ZERO);
        }
        with_wide_moves(
            #[inline(always)]
            || {
                for (index, term) in terms.enumerate() {
                    let plane = self.planes[batch] + term / taps * self.image;
                    let plane = &self.data[plane..][..self.image];
                    let to = &mut to[index * PANEL..];
                    for run in &runs[term % taps] {
                        let mut done = 0;
                        while done < run.len {
                            let column = run.first + done;
                            let (panel, lane) = (column / PANEL, column % PANEL);
                            let count = (PANEL - lane).min(run.len - done);
                            let to = &mut to[panel * stride + lane..][..count];
                            match run.source {
                                None => to.fill(E::ZERO),
                                Some(source) => copy_run(&plane[source + done * step..], step, to),
                            }
                            done += count;
                        }
                    }
                }
            },
        );
    }
}

/// Copies elements that are `step` apart. Whole panels and the common steps have loops of their own, which
/// compilers turn into moves and shuffles of registers.
#[inline(always)]
fn copy_run<S: Storage<E>, E: TileElem>(from: &[S], step: usize, to: &mut [E]) {
    match (step, <&mut [E; PANEL]>::try_from(&mut *to)) {
        (1, Ok(to)) => to.iter_mut().zip(&from[..PANEL]).for_each(|(to, from)| *to = from.widen()),
        (2, Ok(to)) => {
            let from = &from[..2 * PANEL - 1];
            to.iter_mut().enumerate().for_each(|(i, to)| *to = from[2 * i].widen());
        }
        (1, _) => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.widen()),
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = from.widen()),
    }
}

impl<S> Patches<'_, S> {
    /// The runs of a range of output pixels under one tap.
    fn runs(&self, tap: usize, pixels: &Range<usize>) -> Vec<Run> {
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
        let mut runs = Vec::new();
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            let (line, first) = (pixel / width, pixel % width);
            let end = width.min(first + (pixels.end - pixel));
            let at = pixel - pixels.start;
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
            let (from, until) = if inside && from < until { (from, until) } else { (end, end) };
            for (range, is_inside) in [(first..from, false), (from..until, true), (until..end, false)] {
                if !range.is_empty() {
                    let source = || start + (range.start as i64 * stride + offset) as usize;
                    let (first, len) = (at + range.start - first, range.len());
                    runs.push(Run { first, len, source: is_inside.then(source) });
                }
            }
        }
        runs
    }
}
