//! Depthwise convolution of f32, two spatial axes: each output channel reads one plane.
//!
//! The plane is copied with its padding, split by the phase of the stride, so that every tap of
//! neighbouring outputs is a contiguous run. Lanes span outputs; the chain over taps is the reference's.

use std::sync::atomic::{AtomicBool, Ordering};

use repops::lane::Lane;
use repops::reduce::CHUNK;

use super::conv::Geometry;
use super::lane::VectorLane;
#[cfg(target_arch = "aarch64")]
use super::lane::neon;
#[cfg(target_arch = "x86_64")]
use super::lane::{avx2, avx512};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;

/// Registers of outputs at a time.
const WIDE: usize = 4;
/// Elements past a plane that the last registers may read.
const SLACK: usize = 16 * WIDE;
/// Elements of a padded plane at the most.
const PLANE_MAX: usize = 1 << 22;

/// Whether this kernel takes the convolution.
pub(crate) fn fits(g: &Geometry) -> bool {
    let taps: usize = g.kernel.iter().product();
    let reach = |axis: usize| g.axes[axis].reach() as usize;
    g.out.len() == 2
        && g.group_channels == 1
        && g.groups == g.channels
        && taps <= CHUNK
        && (g.out[0] * g.axes[0].stride as usize + reach(0))
            .saturating_mul(g.out[1] * g.axes[1].stride as usize + reach(1))
            <= PLANE_MAX
}

/// A tap: where its phase's plane starts, shifted to the tap, and its weight's index.
struct Plan {
    /// Rows and columns of the plane of one phase.
    rows: usize,
    columns: usize,
    phases: (usize, usize),
    offsets: Vec<usize>,
}

impl Plan {
    fn new(g: &Geometry) -> Plan {
        let (sh, sw) = (g.axes[0].stride as usize, g.axes[1].stride as usize);
        let (dh, dw) = (g.axes[0].dilation as usize, g.axes[1].dilation as usize);
        // A plane holds the outputs' positions and the farthest shift.
        let rows = g.out[0] + (g.kernel[0] - 1) * dh / sh;
        let columns = g.out[1] + (g.kernel[1] - 1) * dw / sw;
        let mut offsets = Vec::new();
        for kh in 0..g.kernel[0] {
            for kw in 0..g.kernel[1] {
                let (row, column) = (kh * dh, kw * dw);
                let phase = row % sh * sw + column % sw;
                offsets.push((phase * rows + row / sh) * columns + column / sw);
            }
        }
        Plan { rows, columns, phases: (sh, sw), offsets }
    }

    fn elements(&self) -> usize {
        self.phases.0 * self.phases.1 * self.rows * self.columns
    }

    /// Copies a plane of the image with its padding into the planes of the phases.
    fn spread(&self, g: &Geometry, plane: &[f32], to: &mut [f32]) {
        let (sh, sw) = self.phases;
        to.fill(0.0);
        for row in 0..g.image[0] {
            let padded = row + g.axes[0].pad_begin as usize;
            if padded / sh >= self.rows {
                break;
            }
            let from = &plane[row * g.image[1]..][..g.image[1]];
            let pad = g.axes[1].pad_begin as usize;
            for phase in 0..sw {
                // The first column of the image in this phase.
                let skip = (phase + sw - pad % sw) % sw;
                let first = (pad + skip) / sw;
                if first >= self.columns || skip >= from.len() {
                    continue;
                }
                let line = ((padded % sh * sw + phase) * self.rows + padded / sh) * self.columns;
                let to = &mut to[line + first..line + self.columns];
                if sw == 1 {
                    let count = to.len().min(from.len());
                    to[..count].copy_from_slice(&from[..count]);
                } else {
                    for (to, from) in to.iter_mut().zip(from[skip..].iter().step_by(sw)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Computes the convolution.
pub(crate) fn depthwise(
    isa: Isa,
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    found_nan: &AtomicBool,
) {
    let plan = Plan::new(g);
    let taps = plan.offsets.len();
    let (image, pixels) = (g.image[0] * g.image[1], g.out[0] * g.out[1]);
    // Outputs in the coordinates of a phase's plane, to the last; those past a row's end are not stored.
    let flat = (g.out[0] - 1) * plan.columns + g.out[1];
    let shared = Shared::new(y);
    let body = |plane: usize| {
        with_scratch(plan.elements() + SLACK + flat.next_multiple_of(SLACK), |scratch: &mut [f32]| {
            let (padded, sums) = scratch.split_at_mut(plan.elements() + SLACK);
            plan.spread(g, &x[plane * image..][..image], padded);
            for multiple in 0..g.group_out {
                let channel = plane % g.channels * g.group_out + multiple;
                let weights = &w[channel * taps..][..taps];
                run(isa, padded, &plan.offsets, weights, flat, sums);
                let at = (plane / g.channels * g.out_channels + channel) * pixels;
                // SAFETY: each output plane belongs to one input plane.
                let out = unsafe { shared.slice(at..at + pixels) };
                let bias = bias.map(|bias| bias[channel]);
                let mut nan = false;
                for (to, from) in out.chunks_exact_mut(g.out[1]).zip(sums.chunks(plan.columns)) {
                    for (to, &sum) in to.iter_mut().zip(from) {
                        let value = match bias {
                            Some(bias) => sum + bias,
                            None => sum,
                        };
                        nan |= value.is_nan();
                        *to = value.canonical_nan();
                    }
                }
                if nan {
                    found_nan.store(true, Ordering::Relaxed);
                }
            }
        });
    };
    let planes = g.images * g.channels;
    if planes * pixels * taps < 1 << 16 {
        (0..planes).for_each(body);
    } else {
        // Neighbouring planes together, so that tasks are not too many.
        let group = (1usize << 15).div_ceil(pixels * taps * g.group_out).max(1);
        parallel(planes.div_ceil(group), |task| {
            (task * group..planes.min((task + 1) * group)).for_each(&body);
        });
    }
}

/// `sums[q] = chain over taps of padded[q + offset] * weight`, for `q` in `0 .. flat` and some beyond.
fn run(isa: Isa, padded: &[f32], offsets: &[usize], weights: &[f32], flat: usize, sums: &mut [f32]) {
    let farthest = offsets.iter().max().copied().unwrap_or(0);
    assert!(farthest + flat <= padded.len() - SLACK && sums.len() >= flat.next_multiple_of(SLACK));
    assert!(offsets.len() == weights.len() && isa.is_available());
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available; reads end before `farthest + flat + SLACK`.
        Isa::Avx2 => unsafe { run_avx2(padded, offsets, weights, flat, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { run_avx512(padded, offsets, weights, flat, sums) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { run_neon(padded, offsets, weights, flat, sums) },
        // SAFETY: as above.
        _ => unsafe { body::<f32>(padded, offsets, weights, flat, sums) },
    }
}

macro_rules! instantiate {
    ($name:ident, $feature:literal, $lane:ty) => {
        /// # Safety
        /// As for [`body`].
        #[target_feature(enable = $feature)]
        unsafe fn $name(padded: &[f32], offsets: &[usize], weights: &[f32], flat: usize, sums: &mut [f32]) {
            // SAFETY: the caller's promise.
            unsafe { body::<$lane>(padded, offsets, weights, flat, sums) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
instantiate!(run_avx2, "avx2,fma", avx2::F32x8);
#[cfg(target_arch = "x86_64")]
instantiate!(run_avx512, "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma", avx512::F32x16);
#[cfg(target_arch = "aarch64")]
instantiate!(run_neon, "neon", neon::F32x4);

/// # Safety
/// `padded` holds [`SLACK`] elements past the farthest offset plus `flat`, `sums` is as long as `flat`
/// rounded up to [`SLACK`].
#[inline(always)]
unsafe fn body<V: VectorLane>(
    padded: &[f32],
    offsets: &[usize],
    weights: &[f32],
    flat: usize,
    sums: &mut [f32],
) {
    let mut q = 0;
    while q < flat {
        let mut acc = [V::splat(0.0); WIDE];
        for (&offset, &weight) in offsets.iter().zip(weights) {
            let weight = V::splat(weight);
            // SAFETY: the caller's promise.
            let from = unsafe { padded.as_ptr().add(offset + q) };
            for (lane, acc) in acc.iter_mut().enumerate() {
                // SAFETY: as above.
                *acc = unsafe { V::load(from.add(lane * V::LANES)) }.fma(weight, *acc);
            }
        }
        for (lane, acc) in acc.iter().enumerate() {
            // SAFETY: as above.
            unsafe { acc.add(V::splat(0.0)).store(sums.as_mut_ptr().add(q + lane * V::LANES)) };
        }
        q += WIDE * V::LANES;
    }
}
