//! Broadcasting, cut into runs in which every input is consecutive or one element.
//!
//! Invariant: cutting and threading change no bit, since elements do not depend on one another.

use std::ops::Range;

use bytemuck::Pod;
use repops::region::{PARAMS_MAX, RegionArg, RegionKernel};
use repops::tensor::{TensorView, TensorViewMut, element_count, strides};

use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;

/// Runs shorter than this are not worth a call: inputs are then written out, block by block.
pub(crate) const RUN_MIN: usize = 1024;
/// Elements of a written-out block.
const BLOCK: usize = 2048;
/// Elements of a block whose results replace an input: more, so that a call of the region costs little beside them.
const OWN_BLOCK: usize = 8192;

/// The index space after merging axes.
struct Runs {
    /// Elements of a run.
    inner: usize,
    /// Extents of the axes around it.
    outer: Vec<usize>,
    /// For each input: advance along the outer axes, and within a run (0 or 1).
    inputs: Vec<(Vec<usize>, usize)>,
}

impl Runs {
    fn new(full: &[usize], shapes: &[&[usize]]) -> Runs {
        let advances: Vec<Vec<usize>> = shapes
            .iter()
            .map(|shape| {
                let own = strides(shape);
                let skip = full.len() - shape.len();
                (0..full.len())
                    .map(|a| if a < skip || shape[a - skip] == 1 { 0 } else { own[a - skip] })
                    .collect()
            })
            .collect();
        // Neighbouring axes that every input walks as one.
        let mut merged: Vec<(usize, Vec<usize>)> = Vec::new();
        for (axis, &extent) in full.iter().enumerate().filter(|(_, extent)| **extent != 1) {
            let here: Vec<usize> = advances.iter().map(|a| a[axis]).collect();
            match merged.last_mut() {
                Some((outer, before)) if before.iter().zip(&here).all(|(&b, &h)| b == h * extent) => {
                    *outer *= extent;
                    *before = here;
                }
                _ => merged.push((extent, here)),
            }
        }
        let (inner, inside) = merged.pop().unwrap_or((1, vec![0; shapes.len()]));
        let inputs = (0..shapes.len())
            .map(|i| (merged.iter().map(|(_, advance)| advance[i]).collect(), inside[i]))
            .collect();
        Runs { inner, outer: merged.into_iter().map(|(extent, _)| extent).collect(), inputs }
    }

    /// Where an input's run `row` starts.
    fn start(&self, input: usize, mut row: usize) -> usize {
        let mut from = 0;
        for (&extent, &step) in self.outer.iter().zip(&self.inputs[input].0).rev() {
            from += row % extent * step;
            row /= extent;
        }
        from
    }

    /// Whether an input's elements are those of the index space, one by one.
    fn is_whole(&self, input: usize) -> bool {
        let (advance, inside) = &self.inputs[input];
        let mut expected = self.inner;
        *inside == 1
            && self.outer.iter().zip(advance).rev().all(|(&extent, &step)| {
                let fits = step == expected;
                expected *= extent;
                fits
            })
    }

    /// Writes out the elements `range` of an input.
    fn write_out(&self, input: usize, range: Range<usize>, size: usize, from: &[u8], to: &mut [u8]) {
        match size {
            1 => self.write_out_as::<u8>(input, range, from, to),
            2 => self.write_out_as::<u16>(input, range, from, to),
            4 => self.write_out_as::<u32>(input, range, from, to),
            _ => self.write_out_as::<u64>(input, range, from, to),
        }
    }

    fn write_out_as<T: Pod>(&self, input: usize, range: Range<usize>, from: &[u8], to: &mut [u8]) {
        let (from, to): (&[T], &mut [T]) = (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
        let (advance, inside) = &self.inputs[input];
        let (mut row, mut offset) = (range.start / self.inner, range.start % self.inner);
        // Along the innermost outer axis the next run is a step away.
        let (extent, step) = match (self.outer.last(), advance.last()) {
            (Some(&extent), Some(&step)) => (extent, step),
            _ => (1, 0),
        };
        let mut start = self.start(input, row);
        let mut rest = to;
        while !rest.is_empty() {
            let n = (self.inner - offset).min(rest.len());
            let (here, after) = rest.split_at_mut(n);
            if *inside == 1 {
                here.copy_from_slice(&from[start + offset..][..n]);
            } else {
                here.fill(from[start]);
            }
            (rest, offset) = (after, 0);
            row += 1;
            start = if row % extent == 0 && !rest.is_empty() { self.start(input, row) } else { start + step };
        }
    }
}

/// Evaluates `kernel` for every element of the shape `full`, which the inputs broadcast to and the outputs
/// have.
///
/// # Panics
/// When there are more than [`PARAMS_MAX`] inputs or outputs.
pub fn evaluate_broadcast(
    kernel: &dyn RegionKernel,
    full: &[usize],
    inputs: &[TensorView<'_>],
    outputs: &mut [TensorViewMut<'_>],
) {
    // Composite functions cost more than a byte's move: let them be shared out early.
    evaluate_broadcast_at(16, kernel, full, inputs, outputs);
}

/// [`evaluate_broadcast`] with the cost of one element, as [`parallel_ranges`] counts it.
pub(crate) fn evaluate_broadcast_at(
    cost: usize,
    kernel: &dyn RegionKernel,
    full: &[usize],
    inputs: &[TensorView<'_>],
    outputs: &mut [TensorViewMut<'_>],
) {
    let elements = Elements::new(kernel, full, inputs, outputs, None);
    parallel_ranges(elements.total, 512, cost, |range| elements.evaluate(range, None));
}

/// A region over the elements of a shape, of which any may be evaluated at any time.
pub(crate) struct Elements<'a> {
    kernel: &'a dyn RegionKernel,
    /// How many elements the shape has.
    pub total: usize,
    inputs: &'a [TensorView<'a>],
    runs: Runs,
    /// Runs are short: inputs are written out, block by block.
    short: bool,
    /// Where outputs go, and the sizes of their elements.
    targets: Vec<(Shared<u8>, usize)>,
    own: Option<usize>,
}

impl<'a> Elements<'a> {
    /// `own`: the input with this number has the shape `full`, lies where output 0 goes, and is replaced by it; both are f32.
    /// What `inputs` holds of it is not read.
    pub fn new(
        kernel: &'a dyn RegionKernel,
        full: &[usize],
        inputs: &'a [TensorView<'a>],
        outputs: &mut [TensorViewMut<'_>],
        own: Option<usize>,
    ) -> Elements<'a> {
        assert!(inputs.len() <= PARAMS_MAX && outputs.len() <= PARAMS_MAX);
        let shapes: Vec<&[usize]> = inputs.iter().map(|t| t.shape).collect();
        let (total, runs) = (element_count(full), Runs::new(full, &shapes));
        let short = runs.inner < RUN_MIN && runs.inner < total;
        let targets = outputs.iter_mut().map(|o| (Shared::new(o.bytes), o.dtype.size())).collect();
        Elements { kernel, total, inputs, runs, short, targets, own }
    }

    /// Evaluates the elements `range`. `first` is where output 0 goes, instead of what [`Elements::new`] was given: the element
    /// `range.start` and those after it.
    pub fn evaluate(&self, range: Range<usize>, mut first: Option<&mut [u8]>) {
        assert!(range.end <= self.total);
        let size = self.targets.first().map_or(0, |target| target.1);
        let mut args = [RegionArg::Splat(&[]); PARAMS_MAX];
        let count = self.inputs.len();
        let mut at = range.start;
        while at < range.end {
            let (row, offset) = (at / self.runs.inner, at % self.runs.inner);
            let until = if self.short { range.end } else { range.end.min(at - offset + self.runs.inner) };
            // Where runs are long nothing but an input in place is copied.
            let (block, buffers) = match (self.short, self.own) {
                (true, _) => (BLOCK, count),
                (false, Some(_)) => (OWN_BLOCK, 1),
                (false, None) => (usize::MAX, 0),
            };
            let n = block.min(until - at);
            with_scratch(buffers * block, |scratch: &mut [u64]| {
                for (index, input) in self.inputs.iter().enumerate() {
                    let (size, is_own) = (input.dtype.size(), self.own == Some(index));
                    if !is_own && !self.short {
                        args[index] = self.part(index, input, row, offset, n);
                        continue;
                    } else if !is_own && input.len() == 1 {
                        args[index] = RegionArg::Splat(input.bytes);
                        continue;
                    } else if !is_own && self.runs.is_whole(index) {
                        args[index] = RegionArg::Slice(&input.bytes[at * size..][..n * size]);
                        continue;
                    }
                    let buffer = if self.short { index } else { 0 };
                    let buffer = &mut scratch[buffer * block..][..block];
                    let buffer: &mut [u8] = &mut bytemuck::cast_slice_mut(buffer)[..n * size];
                    if is_own {
                        let from = first.as_deref().expect("an input in place is given with its output");
                        buffer.copy_from_slice(&from[(at - range.start) * size..][..n * size]);
                    } else {
                        self.runs.write_out(index, at..at + n, size, input.bytes, buffer);
                    }
                    // SAFETY: the scratch memory lives until the call below has returned.
                    let written = unsafe { std::slice::from_raw_parts(buffer.as_ptr(), n * size) };
                    args[index] = RegionArg::Slice(written);
                }
                let to =
                    first.as_deref_mut().map(|first| &mut first[(at - range.start) * size..][..n * size]);
                self.call(at..at + n, &args[..count], to);
            });
            at += n;
        }
    }

    /// Evaluates rows of `len` elements, `pitch` apart from number `first` on, in place of the input that lies where output 0
    /// goes. Rows are short: some at a time are put together, so that the region is called for many elements.
    ///
    /// # Safety
    /// `results` is where element 0 of output 0 is; the rows exist, and no other thread is at their elements meanwhile.
    pub unsafe fn evaluate_rows(
        &self,
        results: Shared<f32>,
        first: usize,
        rows: usize,
        pitch: usize,
        len: usize,
    ) {
        assert!((1..=BLOCK).contains(&len) && self.own.is_some());
        let (count, outputs) = (self.inputs.len(), self.targets.len());
        let at_once = BLOCK / len;
        with_scratch((count + outputs) * BLOCK, |scratch: &mut [u64]| {
            let (given, made) = scratch.split_at_mut(count * BLOCK);
            for row in (0..rows).step_by(at_once) {
                let rows = row..rows.min(row + at_once);
                let n = rows.len() * len;
                let starts = || rows.clone().map(|row| first + row * pitch);
                let mut args = [RegionArg::Splat(&[]); PARAMS_MAX];
                for ((index, input), buffer) in
                    self.inputs.iter().enumerate().zip(given.chunks_exact_mut(BLOCK))
                {
                    let size = input.dtype.size();
                    if self.own != Some(index) && input.len() == 1 {
                        args[index] = RegionArg::Splat(input.bytes);
                        continue;
                    }
                    let buffer: &mut [u8] = &mut bytemuck::cast_slice_mut(buffer)[..n * size];
                    for (at, to) in starts().zip(buffer.chunks_exact_mut(len * size)) {
                        if self.own == Some(index) {
                            // SAFETY: the caller's promise.
                            to.copy_from_slice(bytemuck::cast_slice(unsafe { results.slice(at..at + len) }));
                        } else if self.runs.is_whole(index) {
                            to.copy_from_slice(&input.bytes[at * size..][..len * size]);
                        } else {
                            self.runs.write_out(index, at..at + len, size, input.bytes, to);
                        }
                    }
                    // SAFETY: the scratch memory lives until the call below has returned, and is not written before.
                    let written = unsafe { std::slice::from_raw_parts(buffer.as_ptr(), n * size) };
                    args[index] = RegionArg::Slice(written);
                }
                let mut parts: [&mut [u8]; PARAMS_MAX] = std::array::from_fn(|_| Default::default());
                for ((part, (_, size)), buffer) in
                    parts.iter_mut().zip(&self.targets).zip(made.chunks_exact_mut(BLOCK))
                {
                    *part = &mut bytemuck::cast_slice_mut(buffer)[..n * size];
                }
                self.kernel.evaluate(n, &args[..count], &mut parts[..outputs]);
                for (index, (part, (target, size))) in parts.iter().zip(&self.targets).enumerate() {
                    for (at, from) in starts().zip(part.chunks_exact(len * size)) {
                        // SAFETY: the caller's promise, which holds for all outputs' elements.
                        unsafe {
                            if index == 0 {
                                let to = results.slice(at..at + len);
                                to.copy_from_slice(bytemuck::cast_slice(from));
                            } else {
                                target.slice(at * size..(at + len) * size).copy_from_slice(from);
                            }
                        }
                    }
                }
            }
        });
    }

    /// The `n` elements of an input from an offset in a run on, all in this run.
    fn part(
        &self,
        index: usize,
        input: &TensorView<'a>,
        row: usize,
        offset: usize,
        n: usize,
    ) -> RegionArg<'a> {
        let size = input.dtype.size();
        let from = self.runs.start(index, row);
        match self.runs.inputs[index].1 {
            0 => RegionArg::Splat(&input.bytes[from * size..][..size]),
            _ => RegionArg::Slice(&input.bytes[(from + offset) * size..][..n * size]),
        }
    }

    /// Evaluates `range` from arguments at hand; `first` is where output 0 goes, if it is given.
    fn call(&self, range: Range<usize>, args: &[RegionArg<'_>], first: Option<&mut [u8]>) {
        let mut parts: [&mut [u8]; PARAMS_MAX] = std::array::from_fn(|_| Default::default());
        for (part, (target, size)) in parts.iter_mut().zip(&self.targets).skip(usize::from(first.is_some())) {
            // SAFETY: ranges of concurrent tasks do not overlap, and outputs have `total` elements.
            *part = unsafe { target.slice(range.start * size..range.end * size) };
        }
        if let Some(first) = first {
            parts[0] = first;
        }
        self.kernel.evaluate(range.len(), args, &mut parts[..self.targets.len()]);
    }
}
