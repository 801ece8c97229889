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
const RUN_MIN: usize = 1024;
/// Elements of a written-out block.
const BLOCK: usize = 2048;

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
    let total = element_count(full);
    if total == 0 {
        return;
    }
    assert!(inputs.len() <= PARAMS_MAX && outputs.len() <= PARAMS_MAX);
    let shapes: Vec<&[usize]> = inputs.iter().map(|t| t.shape).collect();
    let runs = Runs::new(full, &shapes);
    let short = runs.inner < RUN_MIN && runs.inner < total;
    let sizes: Vec<usize> = outputs.iter().map(|o| o.dtype.size()).collect();
    let targets: Vec<Shared<u8>> = outputs.iter_mut().map(|o| Shared::new(o.bytes)).collect();
    let call = |range: Range<usize>, args: &[RegionArg<'_>]| {
        let mut parts: [&mut [u8]; PARAMS_MAX] = std::array::from_fn(|_| Default::default());
        for ((part, target), size) in parts.iter_mut().zip(&targets).zip(&sizes) {
            // SAFETY: ranges of concurrent tasks do not overlap, and outputs have `total` elements.
            *part = unsafe { target.slice(range.start * size..range.end * size) };
        }
        kernel.evaluate(range.len(), args, &mut parts[..targets.len()]);
    };
    parallel_ranges(total, 512, cost, |range| {
        let mut args = [RegionArg::Splat(&[]); PARAMS_MAX];
        let mut at = range.start;
        while at < range.end {
            if short {
                let n = BLOCK.min(range.end - at);
                with_scratch(inputs.len() * BLOCK, |scratch: &mut [u64]| {
                    for ((index, input), buffer) in
                        inputs.iter().enumerate().zip(scratch.chunks_exact_mut(BLOCK))
                    {
                        let size = input.dtype.size();
                        args[index] = if input.len() == 1 {
                            RegionArg::Splat(input.bytes)
                        } else if runs.is_whole(index) {
                            RegionArg::Slice(&input.bytes[at * size..][..n * size])
                        } else {
                            let buffer: &mut [u8] = bytemuck::cast_slice_mut(buffer);
                            runs.write_out(index, at..at + n, size, input.bytes, &mut buffer[..n * size]);
                            // SAFETY: the scratch memory lives until the call below has returned.
                            RegionArg::Slice(unsafe { std::slice::from_raw_parts(buffer.as_ptr(), n * size) })
                        };
                    }
                    call(at..at + n, &args[..inputs.len()]);
                });
                at += n;
                continue;
            }
            let (row, offset) = (at / runs.inner, at % runs.inner);
            let n = (runs.inner - offset).min(range.end - at);
            for (index, input) in inputs.iter().enumerate() {
                let size = input.dtype.size();
                let from = runs.start(index, row);
                args[index] = match runs.inputs[index].1 {
                    0 => RegionArg::Splat(&input.bytes[from * size..][..size]),
                    _ => RegionArg::Slice(&input.bytes[(from + offset) * size..][..n * size]),
                };
            }
            call(at..at + n, &args[..inputs.len()]);
            at += n;
        }
    });
}
