//! Elements that follow from a few others by the operator's own functions.

use super::wide::Wide;
use super::{Inputs, Stop, Subject, bits_at};
use crate::dtype::DType;
use crate::ops::float::Real;
use crate::ops::scatter::{reduction, scatter};
use crate::ops::{
    EvalCtx, Fault, OpError, grid_sample, matmul_blocks, random, roi, scatter_elements, scatter_nd,
};
use crate::reduce::contract;
use crate::tensor::{Tensor, TensorView, element_count};

/// The bits of an output's element.
pub(super) fn value(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    match subject.def.name {
        "CastLike" => cast_like(subject, at, inputs),
        "RotaryEmbedding" => match subject.input(0)?.dtype {
            DType::F64 => rotated::<f64>(subject, at, inputs),
            _ => rotated::<f32>(subject, at, inputs),
        },
        "SequenceRotary" => sequence_rotated(subject, at, inputs),
        "Embedding" => embedded(subject, at, inputs),
        "RandomUniform" | "RandomUniformLike" | "RandomNormal" | "RandomNormalLike" => {
            Ok(random::bits(subject.def.name, subject.attrs, subject.output(0)?.dtype, at as u64)?)
        }
        "Bernoulli" => {
            let p = f64::widen(subject.input(0)?.dtype, inputs.element(0, at as u64)?);
            Ok(random::is_drawn(subject.attrs, at as u64, p, subject.output(0)?.dtype))
        }
        "GridSample" => match subject.input(0)?.dtype {
            DType::F64 => grid_sampled::<f64>(subject, at, inputs),
            _ => grid_sampled::<f32>(subject, at, inputs),
        },
        "RoiAlign" => match subject.input(0)?.dtype {
            DType::F64 => aligned::<f64>(subject, at, inputs),
            _ => aligned::<f32>(subject, at, inputs),
        },
        "ScatterElements" | "ScatterND" => scattered(subject, at, inputs),
        _ => Err(Stop::NoTerm),
    }
}

/// One element under an empty shape.
fn scalar(dtype: DType, bits: u64) -> Result<Tensor, Stop> {
    Ok(Tensor::from_bytes(dtype, &[], &bits.to_le_bytes()[..dtype.size()]).map_err(OpError::Tensor)?)
}

fn cast_like(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let x = scalar(subject.input(0)?.dtype, inputs.element(0, at as u64)?)?;
    let like = Tensor::zeros(subject.input(1)?.dtype, &[0])?;
    let views = [Some(x.view()), Some(like.view())];
    let y = (subject.def.eval)(&EvalCtx { attrs: subject.attrs, inputs: &views, outputs: 1 })?;
    y.first().and_then(|y| bits_at(y.dtype(), y.bytes(), 0)).ok_or(Stop::NoTerm)
}

fn rotated<W: Wide + Real>(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let ty = subject.input(0)?;
    let (heads, sequence, size, four) = match *ty.shape.as_slice() {
        [_, heads, sequence, size] => (heads, sequence, size, true),
        [_, sequence, hidden] => {
            let heads = usize::try_from(subject.attrs.int("num_heads")).unwrap_or(0).max(1);
            (heads, sequence, hidden / heads, false)
        }
        _ => return Err(Stop::NoTerm),
    };
    let turned = match subject.attrs.int("rotary_embedding_dim") {
        0 => size,
        r => usize::try_from(r).unwrap_or(0),
    };
    let (vector, e) = (at / size.max(1), at % size.max(1));
    let (heads, sequence) = (heads.max(1), sequence.max(1));
    let (batch, position) = match four {
        true => (vector / (heads * sequence), vector % sequence),
        false => (vector / (sequence * heads), vector / heads % sequence),
    };
    let row = match subject.optional(3) {
        None => batch * sequence + position,
        Some(_) => {
            let id = inputs.element(3, (batch * sequence + position) as u64)? as i64;
            let positions = subject.input(1)?.shape.first().copied().unwrap_or(0);
            usize::try_from(id).ok().filter(|id| *id < positions).ok_or(Fault::IndexOutOfRange)?
        }
    };
    let (own, half) = (inputs.element(0, at as u64)?, turned / 2);
    if e >= 2 * half {
        return Ok(own);
    }
    let (pair, is_first) = match subject.attrs.int("interleaved") != 0 {
        true => (e / 2, e % 2 == 0),
        false => (e % half, e < half),
    };
    let step = if subject.attrs.int("interleaved") != 0 { 1 } else { half };
    let other = if is_first { at + step } else { at - step };
    let own = W::widen(ty.dtype, own);
    let other = W::widen(ty.dtype, inputs.element(0, other as u64)?);
    let mut angle = |input: usize| -> Result<W, Stop> {
        Ok(W::widen(ty.dtype, inputs.element(input, (row * half + pair) as u64)?))
    };
    let (cos, sin) = (angle(1)?, angle(2)?);
    let y = if is_first { cos * own - sin * other } else { sin * other + cos * own };
    Ok(y.narrow(ty.dtype))
}

fn sequence_rotated(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let columns = subject.input(0)?.shape[1];
    let heads = usize::try_from(subject.attrs.int("heads")).unwrap_or(0).max(1);
    let (row, e) = (at / columns.max(1), at % columns.max(1) % (columns / heads).max(1));
    let half = subject.input(1)?.shape[1];
    let own = inputs.element(0, at as u64)?;
    if e >= 2 * half {
        return Ok(own);
    }
    let is_interleaved = subject.attrs.int("interleaved") != 0;
    let (pair, is_first, step) = match is_interleaved {
        true => (e / 2, e % 2 == 0, 1),
        false => (e % half, e < half, half),
    };
    let mut f32_at = |input: usize, at: usize| -> Result<f32, Stop> {
        Ok(f32::from_bits(inputs.element(input, at as u64)? as u32))
    };
    let other = f32_at(0, if is_first { at + step } else { at - step })?;
    let (cos, sin) = (f32_at(1, row * half + pair)?, f32_at(2, row * half + pair)?);
    let own = f32::from_bits(own as u32);
    let y = if is_first { cos * own - sin * other } else { sin * other + cos * own };
    Ok(y.narrow(DType::F32))
}

fn embedded(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let k = *subject.output(0)?.shape.get(1).ok_or(Stop::NoTerm)?;
    let (row, position) = (at / k.max(1), at % k.max(1));
    let n = usize::try_from(subject.attrs.int("columns")).unwrap_or(0);
    let token = inputs.element(0, row as u64)? as i64;
    let column = usize::try_from(token).ok().filter(|t| *t < n).ok_or(Fault::IndexOutOfRange)?;
    let value = if subject.attrs.str("format") == "dense" {
        let is_transposed = subject.attrs.int("transposed") != 0;
        let at = if is_transposed { column * k + position } else { position * n + column };
        f32::widen(subject.input(1)?.dtype, inputs.element(1, at as u64)?)
    } else {
        let format = matmul_blocks::format(subject.attrs)?;
        let byte = |at: usize| inputs.element(1, at as u64).map(|byte| byte as u8);
        format.at(k, position, column, byte)?
    };
    Ok(value.narrow(DType::F32))
}

/// The taps of the element's point, at most 64, and their contraction.
fn grid_sampled<W: Wide + Real>(
    subject: &Subject<'_>,
    at: usize,
    inputs: &mut dyn Inputs,
) -> Result<u64, Stop> {
    let (x, grid) = (subject.input(0)?, subject.input(1)?);
    let (Some(image), Some(out)) = (x.shape.get(2..), grid.shape.get(1..grid.shape.len() - 1)) else {
        return Err(Stop::NoTerm);
    };
    let (plane, count) = (element_count(image), element_count(out).max(1));
    let (pair, position) = (at / count, at % count);
    let first = (pair / x.shape[1].max(1) * count + position) * image.len();
    let mut point = Vec::with_capacity(image.len());
    for axis in 0..image.len() {
        point.push(W::widen(grid.dtype, inputs.element(1, (first + axis) as u64)?));
    }
    let Some(taps) = grid_sample::taps(subject.attrs, image, &point)? else {
        return Ok(W::NAN.narrow(x.dtype));
    };
    let mut values = Vec::with_capacity(taps.len());
    for (from, weight) in taps {
        let value = match from {
            Some(from) => W::widen(x.dtype, inputs.element(0, (pair * plane + from) as u64)?),
            None => W::ZERO,
        };
        values.push((value, weight));
    }
    Ok(contract(values.len(), |p| Some(values[p])).narrow(x.dtype))
}

/// The samples of the element's bin.
fn aligned<W: Wide + Real>(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let (x, y) = (subject.input(0)?, subject.output(0)?);
    let ([batch, channels, height, width], [_, _, rows, columns]) = (x.shape.as_slice(), y.shape.as_slice())
    else {
        return Err(Stop::NoTerm);
    };
    let (region, within) = (at / (channels * rows * columns).max(1), at % (rows * columns).max(1));
    let channel = at / (rows * columns).max(1) % channels;
    let sample = inputs.element(2, region as u64)? as i64;
    let sample = usize::try_from(sample).ok().filter(|s| s < batch).ok_or(Fault::IndexOutOfRange)?;
    let mut corners = [W::ZERO; 4];
    for (corner, at) in corners.iter_mut().zip(4 * region..) {
        *corner = W::widen(subject.input(1)?.dtype, inputs.element(1, at as u64)?);
    }
    let first = (sample * channels + channel) * height * width;
    let place = [within / columns, within % columns];
    let read = |at: usize| Ok(W::widen(x.dtype, inputs.element(0, (first + at) as u64)?));
    let value = roi::aligned_at(subject.attrs, corners, [*height, *width], [*rows, *columns], place, read)?;
    Ok(value.narrow(x.dtype))
}

/// The element of the data and all updates that meet it, in order. The indices are read whole.
fn scattered(subject: &Subject<'_>, at: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    let ty = subject.input(0)?;
    let indices = inputs.whole(1)?;
    let none = |index: usize| -> Result<TensorView<'_>, Stop> {
        let ty = subject.input(index)?;
        Ok(TensorView { dtype: ty.dtype, shape: &ty.shape, bytes: &[] })
    };
    let hits: Vec<usize> = if subject.def.name == "ScatterElements" {
        let views = [Some(none(0)?), Some(indices.view()), Some(none(2)?)];
        let targets = scatter_elements::targets(
            &ty.shape,
            &EvalCtx { attrs: subject.attrs, inputs: &views, outputs: 1 },
        )?;
        targets.iter().enumerate().filter(|(_, target)| **target == at).map(|(i, _)| i).collect()
    } else {
        let inner =
            element_count(&ty.shape[indices.shape().last().copied().unwrap_or(0).min(ty.shape.len())..]);
        let starts = scatter_nd::starts(&ty.shape, indices.view())?;
        let meets = |(tuple, start): (usize, &usize)| {
            at.checked_sub(*start).filter(|within| *within < inner).map(|within| tuple * inner + within)
        };
        starts.iter().enumerate().filter_map(meets).collect()
    };
    let mut y = scalar(ty.dtype, inputs.element(0, at as u64)?)?;
    let mut bytes = Vec::new();
    for hit in &hits {
        bytes.extend_from_slice(&inputs.element(2, *hit as u64)?.to_le_bytes()[..ty.dtype.size()]);
    }
    let updates = Tensor::from_bytes(ty.dtype, &[hits.len()], &bytes).map_err(OpError::Tensor)?;
    scatter(&mut y, updates.view(), hits.iter().map(|_| 0), reduction(subject.attrs, ty.dtype)?)?;
    bits_at(ty.dtype, y.bytes(), 0).ok_or(Stop::NoTerm)
}
