//! What a device can do at most, for measurements to be held against.

use crate::device::{Argument, Device, View};
use crate::{Error, kernels};

kernels! {
    ROOF = "roof";
    ROOF_FMA = "roof_fma";
}

/// Fused multiply-adds of a thread in a round.
pub const FMAS: u64 = 8 * 16;
/// Threads of a block.
pub const THREADS: usize = 256;

/// Has as many threads as `out` has elements, a multiple of [`THREADS`], compute [`FMAS`] fused multiply-adds in each of `rounds`, in eight
/// chains `c = fma(c, factor, term)` from the thread's number modulo 64, plus 0 to 7, on; `out` gets the sums of their ends, f32.
pub fn fma<D: Device>(
    device: &D,
    out: View<'_, D::Buffer>,
    factor: f32,
    term: f32,
    rounds: u32,
) -> Result<(), Error> {
    let blocks = out.len() / THREADS;
    let blocks = u32::try_from(blocks).ok().filter(|_| blocks > 0 && blocks * THREADS == out.len());
    let blocks = blocks.ok_or_else(|| Error::unsupported(format!("{} threads", out.len())))?;
    let arguments = [out.pointer(), Argument::F32(factor), Argument::F32(term), Argument::U32(rounds)];
    device.launch(&ROOF_FMA, [blocks, 1, 1], [THREADS as u32, 1, 1], 0, &arguments)
}
