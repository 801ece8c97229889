//! DynamicQuantizeLinear: the extremes of all elements, then one pass over them.

use std::sync::Mutex;

use repops::dtype::{DType, Element};
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::super::require_row_major;
use super::finish::{limits, quantized};
use super::vectorized;
use crate::parallel::{Shared, parallel_ranges};
use crate::{FloatEnv, Kernel, KernelCtx, Operand};

/// Elements that loops take at a time.
const LANES: usize = 64;

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(dynamic_quantize)
}

/// The extremes of some elements and 0. Which zero it is does not show in what is made of them.
#[derive(Clone, Copy)]
struct Extremes {
    low: f32,
    high: f32,
    has_nan: bool,
}

impl Extremes {
    const NONE: Extremes = Extremes { low: 0.0, high: 0.0, has_nan: false };

    #[inline(always)]
    fn of(x: &[f32]) -> Extremes {
        let (mut low, mut high, mut nan) = ([0f32; LANES], [0f32; LANES], [0u32; LANES]);
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for chunk in chunks.iter().chain([&last]) {
            for i in 0..LANES {
                let v = chunk[i];
                low[i] = if v < low[i] { v } else { low[i] };
                high[i] = if v > high[i] { v } else { high[i] };
                nan[i] |= u32::from(v.is_nan());
            }
        }
        let all = (0..LANES).map(|i| Extremes { low: low[i], high: high[i], has_nan: nan[i] != 0 });
        all.fold(Extremes::NONE, Extremes::and)
    }

    fn and(self, other: Extremes) -> Extremes {
        Extremes {
            low: if other.low < self.low { other.low } else { self.low },
            high: if other.high > self.high { other.high } else { self.high },
            has_nan: self.has_nan || other.has_nan,
        }
    }
}

#[inline(always)]
fn one(x: f32, scale: f32, zero: u8) -> u8 {
    let (low, high) = limits(false);
    quantized(x / scale, i32::from(zero), low, high)
}

fn dynamic_quantize(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let _env = FloatEnv::enter();
    let x = require_row_major(inputs, 0)?.as_slice::<f32>();
    let [y, y_scale, y_zero] = outputs else {
        return Err(OpError::Unsupported(format!("{} outputs of 3", outputs.len())));
    };
    let found = Mutex::new(Extremes::NONE);
    parallel_ranges(x.len(), LANES, 4, |range| {
        let own = vectorized(
            ctx.isa,
            #[inline(always)]
            || Extremes::of(&x[range]),
        );
        let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *found = found.and(own);
    });
    let Extremes { mut low, mut high, has_nan } =
        found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if has_nan {
        (low, high) = (f32::NAN, f32::NAN);
    }
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even() as u8;
    y_scale.as_mut_slice::<f32>()[0] = scale.canonical();
    y_zero.bytes[0] = zero;
    let to = Shared::new(y.bytes);
    parallel_ranges(x.len(), LANES, 8, |range| {
        // SAFETY: ranges do not overlap.
        let to = unsafe { to.slice(range.clone()) };
        vectorized(
            ctx.isa,
            #[inline(always)]
            || {
                let (chunks, rest) = x[range].as_chunks::<LANES>();
                let (to, to_rest) = to.as_chunks_mut::<LANES>();
                for (to, from) in to.iter_mut().zip(chunks) {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = one(*from, scale, zero);
                    }
                }
                for (to, from) in to_rest.iter_mut().zip(rest) {
                    *to = one(*from, scale, zero);
                }
            },
        );
    });
    Ok(())
}
