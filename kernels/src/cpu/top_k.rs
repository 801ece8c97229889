//! TopK: the elements are selected by unique keys, which any order of comparing leads to the same result with.

use half::{bf16, f16};
use repops::dtype::{DType, Element};
use repops::ops::infer::normalize_axis;
use repops::ops::{Fault, OpError};
use repops::tensor::{TensorViewMut, element_count};

use super::require_row_major;
use super::typed::halves::{widen_bf16, widen_f16};
use crate::parallel::{Shared, parallel_ranges};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    matches!(dtypes.first(), Some(Some(dtype)) if dtype.is_number()).then_some(top_k)
}

fn top_k(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    match require_row_major(inputs, 0)?.dtype {
        DType::F32 => top::<f32>(ctx, inputs, outputs, |v| float(f64::from(v))),
        DType::F64 => top::<f64>(ctx, inputs, outputs, float),
        DType::F16 => top::<f16>(ctx, inputs, outputs, |v| float(f64::from(widen_f16(v)))),
        DType::BF16 => top::<bf16>(ctx, inputs, outputs, |v| float(f64::from(widen_bf16(v)))),
        DType::U8 => top::<u8>(ctx, inputs, outputs, u64::from),
        DType::U16 => top::<u16>(ctx, inputs, outputs, u64::from),
        DType::U32 => top::<u32>(ctx, inputs, outputs, u64::from),
        DType::U64 => top::<u64>(ctx, inputs, outputs, |v| v),
        DType::I8 => top::<i8>(ctx, inputs, outputs, |v| signed(v.into())),
        DType::I16 => top::<i16>(ctx, inputs, outputs, |v| signed(v.into())),
        DType::I32 => top::<i32>(ctx, inputs, outputs, |v| signed(v.into())),
        DType::I64 => top::<i64>(ctx, inputs, outputs, signed),
        other => Err(OpError::Unsupported(format!("TopK of {other}"))),
    }
}

/// A key that ascends with the number.
fn signed(v: i64) -> u64 {
    v as u64 ^ 1 << 63
}

/// A key that ascends with the number; zeros of both signs have one, and NaN has the highest.
fn float(v: f64) -> u64 {
    if v.is_nan() {
        return u64::MAX;
    }
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn top<T: Element>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
    key: impl Fn(T) -> u64 + Sync,
) -> Result<(), OpError> {
    let x = require_row_major(inputs, 0)?;
    let axis = normalize_axis(ctx.attrs.int("axis"), x.shape.len()).map_err(OpError::shape)?;
    let len = x.shape[axis];
    let k = require_row_major(inputs, 1)?.row_major().and_then(|k| k.to_i64s());
    let k = k.and_then(|k| k.first().copied()).unwrap_or(-1);
    let k = usize::try_from(k).ok().filter(|k| *k <= len).ok_or(Fault::BadSize)?;
    let largest = ctx.attrs.int("largest") != 0;
    let (outer, inner) = (element_count(&x.shape[..axis]), element_count(&x.shape[axis + 1..]));
    if outer * inner * k == 0 {
        return Ok(());
    }
    let x = x.as_slice::<T>();
    let (first, others) = outputs.split_at_mut(1);
    let values = Shared::new(first[0].as_mut_slice::<T>());
    let places = others.first_mut().map(|o| Shared::new(o.as_mut_slice::<i64>()));
    parallel_ranges(outer * inner, 1, 16 * len, |rows| {
        // The key above, so that it decides; below it the place, lower ones first.
        let mut keys: Vec<u128> = Vec::with_capacity(len);
        for row in rows {
            let (block, column) = (row / inner, row % inner);
            let x = &x[block * len * inner + column..];
            keys.clear();
            keys.extend((0..len).map(|i| {
                let key = key(x[i * inner]);
                u128::from(if largest { key } else { !key }) << 64 | u128::from(!(i as u64))
            }));
            if k < len {
                keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            }
            keys[..k].sort_unstable_by(|a, b| b.cmp(a));
            for (at, &key) in keys[..k].iter().enumerate() {
                let (place, to) = (!(key as u64) as usize, (block * k + at) * inner + column);
                // SAFETY: tasks write rows of their own.
                unsafe { values.slice(to..to + 1) }.fill(x[place * inner]);
                if let Some(places) = places {
                    // SAFETY: as above.
                    unsafe { places.slice(to..to + 1) }.fill(place as i64);
                }
            }
        }
    });
    Ok(())
}
