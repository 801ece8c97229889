//! QuantizeLinear and DequantizeLinear of f32: one scale, or one for each position of an axis. Blocks and other
//! types are the reference's.
//!
//! Invariant: integers below 2^20 in magnitude are exact in f32 and i32, and what lies beyond saturates either
//! way, so that the loops need no wider types.

use repops::dtype::{DType, Element};
use repops::lane_op::arithmetic::round;
use repops::ops::infer::normalize_axis;
use repops::ops::{self, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use super::{by_reference, require_row_major};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose_quantize(_: &[Option<DType>]) -> Option<Kernel> {
    Some(quantize)
}

pub(crate) fn choose_dequantize(_: &[Option<DType>]) -> Option<Kernel> {
    Some(dequantize)
}

/// How X divides into runs.
struct Runs {
    /// Elements of a run.
    len: usize,
    /// Positions of the axis, over which the runs cycle; 1 with a single scale.
    cycle: usize,
    /// Whether each element of a run has a scale of its own.
    each: bool,
}

impl Runs {
    /// `None` for blocks.
    fn of(ctx: &KernelCtx<'_>, x: &[usize], scale: &[usize]) -> Result<Option<Runs>, OpError> {
        if element_count(scale) == 1 && scale.len() <= 1 {
            return Ok(Some(Runs { len: 1 << 14, cycle: 1, each: false }));
        }
        if ctx.attrs.int("block_size") != 0 {
            return Ok(None);
        }
        let axis = normalize_axis(ctx.attrs.int("axis"), x.len()).map_err(OpError::shape)?;
        let (extent, inner) = (x[axis], element_count(&x[axis + 1..]));
        let each = inner == 1;
        Ok(Some(Runs { len: if each { extent } else { inner }, cycle: if each { 1 } else { extent }, each }))
    }

    /// Calls `run` with the elements and the scales of each run, on several threads.
    fn each_run(&self, total: usize, run: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>) + Sync) {
        if total == 0 {
            return;
        }
        parallel_ranges(total.div_ceil(self.len), 1, 8 * self.len, |runs| {
            for at in runs {
                let elements = at * self.len..total.min((at + 1) * self.len);
                let scales = if self.each { 0..elements.len() } else { at % self.cycle..at % self.cycle + 1 };
                run(elements, scales);
            }
        });
    }
}

/// Where the scales and zero points are f32 and of one type.
fn zeros<'a, T: Element>(inputs: &[Option<Operand<'a>>]) -> Result<Option<&'a [T]>, OpError> {
    match inputs.get(2).copied().flatten() {
        Some(_) => Ok(Some(require_row_major(inputs, 2)?.as_slice::<T>())),
        None => Ok(None),
    }
}

fn reference(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
    by_reference(def, ctx, inputs, outputs)
}

fn quantize(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, scale) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let precision = ctx.attrs.int("precision");
    let plain = x.dtype == DType::F32 && scale.dtype == DType::F32 && matches!(precision, 0 | 1);
    let runs = if plain { Runs::of(ctx, x.shape, scale.shape)? } else { None };
    let Some(runs) = runs else { return reference("QuantizeLinear", ctx, inputs, outputs) };
    let (x, scale) = (x.as_slice::<f32>(), scale.as_slice::<f32>());
    match outputs[0].dtype {
        DType::U8 => quantized::<u8>(ctx.isa, &runs, x, scale, zeros(inputs)?, outputs),
        DType::I8 => quantized::<i8>(ctx.isa, &runs, x, scale, zeros(inputs)?, outputs),
        DType::U16 => quantized::<u16>(ctx.isa, &runs, x, scale, zeros(inputs)?, outputs),
        DType::I16 => quantized::<i16>(ctx.isa, &runs, x, scale, zeros(inputs)?, outputs),
        _ => return reference("QuantizeLinear", ctx, inputs, outputs),
    }
    Ok(())
}

/// An integer of at most 16 bits.
trait Short: Element {
    const LOW: i32;
    const HIGH: i32;
    fn wide(self) -> i32;
    /// Of a number in `LOW ..= HIGH`.
    fn narrow(wide: i32) -> Self;
}

macro_rules! shorts {
    ($($t:ident)*) => { $(impl Short for $t {
        const LOW: i32 = $t::MIN as i32;
        const HIGH: i32 = $t::MAX as i32;
        #[inline(always)]
        fn wide(self) -> i32 { self as i32 }
        #[inline(always)]
        fn narrow(wide: i32) -> $t { wide as $t }
    })* };
}
shorts!(u8 i8 u16 i16);

fn quantized<T: Short>(
    isa: Isa,
    runs: &Runs,
    x: &[f32],
    scale: &[f32],
    zero: Option<&[T]>,
    outputs: &mut [TensorViewMut<'_>],
) {
    let y = Shared::new(outputs[0].as_mut_slice::<T>());
    runs.each_run(x.len(), |elements, scales| {
        // SAFETY: runs do not overlap.
        let y = unsafe { y.slice(elements.clone()) };
        let zero = zero.map(|zero| &zero[scales.clone()]);
        dispatch(isa, Quantize { x: &x[elements], scale: &scale[scales], zero, y });
    });
}

/// `y = saturate(round(x / scale) + zero)`; NaN is 0 before the zero point. One scale or one an element.
struct Quantize<'a, T> {
    x: &'a [f32],
    scale: &'a [f32],
    zero: Option<&'a [T]>,
    y: &'a mut [T],
}

#[inline(always)]
fn quantize_one<T: Short>(x: f32, scale: f32, zero: i32) -> T {
    const FAR: f32 = 1_048_576.0;
    let steps = round(x / scale);
    // NaN stays NaN, which `as` takes to 0.
    let steps = steps.clamp(-FAR, FAR) as i32;
    T::narrow((steps + zero).clamp(T::LOW, T::HIGH))
}

impl<T: Short> Vectorized for Quantize<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        if self.scale.len() == 1 {
            let (scale, zero) = (self.scale[0], self.zero.map_or(0, |zero| zero[0].wide()));
            for (y, &x) in self.y.iter_mut().zip(self.x) {
                *y = quantize_one(x, scale, zero);
            }
            return;
        }
        for (i, ((y, &x), &scale)) in self.y.iter_mut().zip(self.x).zip(self.scale).enumerate() {
            *y = quantize_one(x, scale, self.zero.map_or(0, |zero| zero[i].wide()));
        }
    }
}

fn dequantize(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, scale) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let plain = scale.dtype == DType::F32 && outputs[0].dtype == DType::F32;
    let runs = if plain { Runs::of(ctx, x.shape, scale.shape)? } else { None };
    let Some(runs) = runs else { return reference("DequantizeLinear", ctx, inputs, outputs) };
    match x.dtype {
        DType::U8 => dequantized::<u8>(ctx.isa, &runs, inputs, outputs),
        DType::I8 => dequantized::<i8>(ctx.isa, &runs, inputs, outputs),
        DType::U16 => dequantized::<u16>(ctx.isa, &runs, inputs, outputs),
        DType::I16 => dequantized::<i16>(ctx.isa, &runs, inputs, outputs),
        DType::I32 => dequantized::<i32>(ctx.isa, &runs, inputs, outputs),
        _ => reference("DequantizeLinear", ctx, inputs, outputs),
    }
}

/// An integer whose differences are rounded to f32 once.
trait Stored: Element {
    fn minus(self, zero: Self) -> f32;
}

macro_rules! stored {
    ($($t:ident $wide:ident;)*) => { $(impl Stored for $t {
        #[inline(always)]
        fn minus(self, zero: $t) -> f32 { ($wide::from(self) - $wide::from(zero)) as f32 }
    })* };
}
stored! {
    u8 i32;
    i8 i32;
    u16 i32;
    i16 i32;
    i32 i64;
}

fn dequantized<T: Stored>(
    isa: Isa,
    runs: &Runs,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?.as_slice::<T>();
    let scale = require_row_major(inputs, 1)?.as_slice::<f32>();
    let zero = zeros::<T>(inputs)?;
    let y = Shared::new(outputs[0].as_mut_slice::<f32>());
    runs.each_run(x.len(), |elements, scales| {
        // SAFETY: runs do not overlap.
        let y = unsafe { y.slice(elements.clone()) };
        let zero = zero.map(|zero| &zero[scales.clone()]);
        dispatch(isa, Dequantize { x: &x[elements], scale: &scale[scales], zero, y });
    });
    Ok(())
}

/// `y = (x - zero) * scale`: the difference rounded to f32, then the product.
struct Dequantize<'a, T> {
    x: &'a [T],
    scale: &'a [f32],
    zero: Option<&'a [T]>,
    y: &'a mut [f32],
}

impl<T: Stored> Vectorized for Dequantize<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let none = bytemuck::Zeroable::zeroed();
        if self.scale.len() == 1 {
            let (scale, zero) = (self.scale[0], self.zero.map_or(none, |zero| zero[0]));
            for (y, &x) in self.y.iter_mut().zip(self.x) {
                *y = (x.minus(zero) * scale).canonical();
            }
            return;
        }
        for (i, ((y, &x), &scale)) in self.y.iter_mut().zip(self.x).zip(self.scale).enumerate() {
            *y = (x.minus(self.zero.map_or(none, |zero| zero[i])) * scale).canonical();
        }
    }
}
