//! Evaluation of a fused region over the broadcast of its inputs.
//!
//! The index space is cut into runs in which every input is either consecutive or one element; a
//! [`RegionKernel`] evaluates runs. Cutting changes no bit: elements do not depend on one another.

use rayon::prelude::*;
use repops::region::{RegionArg, RegionKernel};
use repops::tensor::{element_count, strides};
use repops::{TensorView, TensorViewMut};

/// Elements that one task evaluates at least, unless there are fewer.
const TASK_ELEMENTS: usize = 16 << 10;

/// The shape that all inputs broadcast to; `None` when they do not.
pub(crate) fn broadcast_extents(inputs: &[TensorView<'_>]) -> Option<Vec<usize>> {
    let rank = inputs.iter().map(|t| t.shape.len()).max().unwrap_or(0);
    let mut full = vec![1; rank];
    for input in inputs {
        for (slot, &extent) in full[rank - input.shape.len()..].iter_mut().zip(input.shape) {
            match (*slot, extent) {
                (1, e) => *slot = e,
                (_, 1) => {}
                (s, e) if s == e => {}
                _ => return None,
            }
        }
    }
    Some(full)
}

/// The index space after merging axes: runs of `inner` elements, `outer` axes around them, and how many
/// elements each input advances along each outer axis (0 where it repeats).
struct Runs {
    inner: usize,
    outer: Vec<usize>,
    /// For each input: advance along the outer axes, and whether it advances inside of a run.
    inputs: Vec<(Vec<usize>, bool)>,
}

fn cut(full: &[usize], inputs: &[TensorView<'_>]) -> Runs {
    let advance = |input: &TensorView<'_>| -> Vec<usize> {
        let own = strides(input.shape);
        let skip = full.len() - input.shape.len();
        let axis = |a: usize| if a < skip || input.shape[a - skip] == 1 { 0 } else { own[a - skip] };
        (0..full.len()).map(axis).collect()
    };
    let advances: Vec<Vec<usize>> = inputs.iter().map(advance).collect();
    // Merged axes, outermost first: extent, and each input's advance along it.
    let mut merged: Vec<(usize, Vec<usize>)> = Vec::new();
    for (axis, &extent) in full.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let here: Vec<usize> = advances.iter().map(|a| a[axis]).collect();
        match merged.last_mut() {
            Some((outer, before)) if before.iter().zip(&here).all(|(&b, &h)| b == h * extent) => {
                *outer *= extent;
                *before = here;
            }
            _ => merged.push((extent, here)),
        }
    }
    let (inner, inside) = merged.pop().unwrap_or((1, vec![0; inputs.len()]));
    let inputs = (0..inputs.len())
        .map(|i| (merged.iter().map(|(_, advance)| advance[i]).collect(), inside[i] != 0))
        .collect();
    Runs { inner, outer: merged.into_iter().map(|(extent, _)| extent).collect(), inputs }
}

/// Evaluates `kernel` for every element of `full`; outputs have that shape.
pub(crate) fn evaluate(
    kernel: &dyn RegionKernel,
    full: &[usize],
    inputs: &[TensorView<'_>],
    outputs: &mut [TensorViewMut<'_>],
) {
    let total = element_count(full);
    if total == 0 {
        return;
    }
    let runs = cut(full, inputs);
    let sizes: Vec<usize> = outputs.iter().map(|o| o.dtype.size()).collect();
    // A task is a number of whole runs, or a part of one.
    let task =
        if runs.inner >= TASK_ELEMENTS { TASK_ELEMENTS } else { TASK_ELEMENTS / runs.inner * runs.inner };
    let mut rest: Vec<&mut [u8]> = outputs.iter_mut().map(|o| &mut *o.bytes).collect();
    let mut tasks: Vec<(usize, usize, Vec<&mut [u8]>)> = Vec::new();
    let mut at = 0;
    while at < total {
        let row_end = (at / runs.inner + 1) * runs.inner;
        let len = if runs.inner >= TASK_ELEMENTS { task.min(row_end - at) } else { task.min(total - at) };
        let mut parts = Vec::with_capacity(rest.len());
        for (slice, size) in rest.iter_mut().zip(&sizes) {
            let (part, tail) = std::mem::take(slice).split_at_mut(len * size);
            parts.push(part);
            *slice = tail;
        }
        tasks.push((at, len, parts));
        at += len;
    }
    let run = |(start, len, parts): (usize, usize, Vec<&mut [u8]>)| {
        evaluate_task(kernel, &runs, inputs, &sizes, start, len, parts);
    };
    match tasks.len() {
        1 => tasks.into_iter().for_each(run),
        _ => tasks.into_par_iter().for_each(run),
    }
}

fn evaluate_task(
    kernel: &dyn RegionKernel,
    runs: &Runs,
    inputs: &[TensorView<'_>],
    sizes: &[usize],
    start: usize,
    len: usize,
    mut outputs: Vec<&mut [u8]>,
) {
    let mut at = start;
    while at < start + len {
        let (row, offset) = (at / runs.inner, at % runs.inner);
        let n = (runs.inner - offset).min(start + len - at);
        let args: Vec<RegionArg<'_>> = inputs
            .iter()
            .zip(&runs.inputs)
            .map(|(input, (advance, inside))| {
                let size = input.dtype.size();
                let mut from = 0;
                let mut remaining = row;
                for (&extent, &step) in runs.outer.iter().zip(advance).rev() {
                    from += remaining % extent * step;
                    remaining /= extent;
                }
                if *inside {
                    RegionArg::Slice(&input.bytes[(from + offset) * size..][..n * size])
                } else {
                    RegionArg::Splat(&input.bytes[from * size..][..size])
                }
            })
            .collect();
        let mut parts: Vec<&mut [u8]> = Vec::with_capacity(outputs.len());
        for (slice, size) in outputs.iter_mut().zip(sizes) {
            let (part, tail) = std::mem::take(slice).split_at_mut(n * size);
            parts.push(part);
            *slice = tail;
        }
        kernel.evaluate(n, &args, &mut parts);
        at += n;
    }
}
