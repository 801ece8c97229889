//! QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::OpDef;
use repops::reduce;

use super::axes::{BLOCK, blocks, len, normalized};
use super::rows::{MAXIMUM, MINIMUM, reduce_axes};
use crate::device::{Argument, Device, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    QUANTIZE = "quantize";
    QUANTIZE_KERNEL = "quantize";
    DEQUANTIZE = "dequantize";
    DYNAMIC_QUANTIZE = "dynamic_quantize";
}

/// The launch for integers of 8 and 16 bits (dequantized: 32, too) and a division in f32.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let dtype = |index: usize| inputs.get(index).and_then(Option::as_ref).map(|input| input.dtype);
    let small = |dtype| matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16);
    let x = dtype(0)?;
    match def.name {
        _ if def.version != 1 => None,
        "QuantizeLinear" => {
            let single = x == DType::F32 && dtype(1)? == DType::F32;
            let precise = matches!(attrs.int("precision"), 0 | 1);
            let to = match dtype(2) {
                Some(zero) => small(zero),
                None => matches!(attrs.int("output_dtype"), 0 | 2 | 3 | 4 | 5),
            };
            (single && precise && to).then_some(quantize::<D>)
        }
        "DequantizeLinear" => {
            let wide = |dtype: DType| dtype.is_float() && dtype != DType::F64;
            ((small(x) || x == DType::I32) && wide(dtype(1)?)).then_some(dequantize::<D>)
        }
        "DynamicQuantizeLinear" => Some(dynamic_quantize::<D>),
        _ => None,
    }
}

/// The kernels' parameters `GRAIN`: axis, inner extent, block, blocks.
fn grain(attrs: &Attrs, x: &[usize], scale: &[usize]) -> Result<[u32; 4], Error> {
    if scale.len() <= 1 && scale.iter().product::<usize>() == 1 {
        return Ok([0; 4]);
    }
    let axis = normalized(attrs.int("axis"), x.len())?;
    let extent = x[axis];
    let inner: usize = x[axis + 1..].iter().product();
    let block = usize::try_from(attrs.int("block_size")).unwrap_or(0);
    let numbers = [extent, inner, block, if block == 0 { 0 } else { extent.div_ceil(block) }];
    let mut out = [0; 4];
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = u32::try_from(number).map_err(|_| Error::unsupported(format!("an extent of {number}")))?;
    }
    Ok(out)
}

fn quantize<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, scale, y) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    let zero = call.optional(2);
    let mut arguments = vec![y.pointer(), x.pointer(), scale.pointer()];
    arguments.push(zero.map_or(x.pointer(), |zero| zero.view.pointer()));
    arguments.extend([n, u32::from(y.dtype.code()), u32::from(zero.is_some())].map(Argument::U32));
    arguments.extend(grain(call.attrs, x.shape, scale.shape)?.map(Argument::U32));
    device.launch(&QUANTIZE_KERNEL, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn dequantize<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, scale, y) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    let zero = call.optional(2);
    let mut arguments = vec![y.pointer(), x.pointer(), scale.pointer()];
    arguments.push(zero.map_or(x.pointer(), |zero| zero.view.pointer()));
    let types = [x.dtype, scale.dtype, y.dtype].map(|dtype| u32::from(dtype.code()));
    arguments.push(Argument::U32(n));
    arguments.extend(types.map(Argument::U32));
    arguments.push(Argument::U32(u32::from(zero.is_some())));
    arguments.extend(grain(call.attrs, x.shape, scale.shape)?.map(Argument::U32));
    device.launch(&DEQUANTIZE, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// Extremes first: of pieces of a block each where these fit, then of all.
fn dynamic_quantize<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let x = call.input(0)?.view;
    let (y, scale, zero) = (call.output(0)?, call.output(1)?, call.output(2)?);
    let n = len(&x)? as usize;
    let pieces = if n > reduce::BLOCK && n.is_multiple_of(reduce::BLOCK) { n / reduce::BLOCK } else { 1 };
    let (partial, extremes) = (device.alloc(4 * pieces)?, device.alloc(8)?);
    for (at, kind) in [(0, MINIMUM), (4, MAXIMUM)] {
        let to = View { buffer: &extremes, offset: at, dtype: DType::F32, shape: &[1] };
        let shape = [pieces, n / pieces];
        let rows = View { shape: &shape, ..x };
        if pieces == 1 {
            reduce_axes(device, kind, rows, &[false, true], to)?;
            continue;
        }
        let shape = [pieces];
        let found = View { buffer: &partial, offset: 0, dtype: DType::F32, shape: &shape };
        reduce_axes(device, kind, rows, &[false, true], found)?;
        reduce_axes(device, kind, found, &[true], to)?;
    }
    let mut arguments = vec![y.pointer(), scale.pointer(), zero.pointer(), x.pointer()];
    arguments.extend([0, 4].map(|offset| Argument::Pointer { buffer: &extremes, offset }));
    arguments.push(Argument::U32(n as u32));
    device.launch(&DYNAMIC_QUANTIZE, blocks(n as u32, 1), [BLOCK, 1, 1], 0, &arguments)
}
