//! Elements named by index tensors: ScatterND, ScatterElements, GatherND, OneHot, and TopK.
//!
//! Invariant: of several updates of one element the last one stays, as on every machine.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{Fault, OpDef, OpError};

use super::axes::{Axes, BLOCK, blocks, len, normalized, strides};
use super::elementwise::cast;
use crate::device::{Argument, Device, Operand, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    NAMED = "named";
    CLAIM_SLICES = "claim_slices";
    SCATTER_SLICES = "scatter_slices";
    GATHER_SLICES = "gather_slices";
    CLAIM_ELEMENTS = "claim_elements";
    SCATTER_ELEMENTS = "scatter_elements";
    ZERO_WORDS = "zero_words";
    TOP_K = "top_k";
    TOP_K_LONG = "top_k_long";
    ONE_HOT = "one_hot";
}

/// Indices of a tuple that the kernels take.
const TUPLE: usize = 6;
/// Elements of a row of which each is compared with all others.
const ROW: usize = 1 << 16;

/// The launch of one of these operators.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    if def.version != 1 || inputs.iter().flatten().any(|input| input.dtype == DType::Packed) {
        return None;
    }
    let indices = inputs.get(1)?.as_ref()?;
    match def.name {
        "ScatterND" if attrs.str("reduction") == "none" => {
            (*indices.shape.last()? <= TUPLE).then_some(scatter_slices::<D>)
        }
        "ScatterElements" if attrs.str("reduction") == "none" => Some(scatter_elements::<D>),
        // Of nothing the indices may still be out of range.
        "GatherND" if !x.shape.contains(&0) && *indices.shape.last()? <= TUPLE => Some(gather_slices::<D>),
        "TopK" if x.dtype.is_number() => {
            let axis = normalized(attrs.int("axis"), x.shape.len()).ok()?;
            (x.shape[axis] <= ROW).then_some(top_k::<D>)
        }
        "OneHot" => Some(one_hot::<D>),
        _ => None,
    }
}

fn size(value: usize) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::unsupported(format!("a size of {value}")))
}

/// What both passes of a scatter use: winners that begin at 0, and the flag.
struct Claims<B> {
    winners: B,
    flag: B,
}

impl<B> Claims<B> {
    fn new<D: Device<Buffer = B>>(device: &D, places: u32) -> Result<Self, Error> {
        let winners = device.alloc(4 * (places as usize).max(1))?;
        let arguments = [Argument::Pointer { buffer: &winners, offset: 0 }, Argument::U32(places)];
        device.launch(&ZERO_WORDS, blocks(places, 1), [BLOCK, 1, 1], 0, &arguments)?;
        let flag = device.put(&[0; 4])?;
        Ok(Claims { winners, flag })
    }

    fn winners(&self) -> Argument<'_, B> {
        Argument::Pointer { buffer: &self.winners, offset: 0 }
    }

    fn flag(&self) -> Argument<'_, B> {
        Argument::Pointer { buffer: &self.flag, offset: 0 }
    }

    /// The fault of an index out of range, if there was one.
    fn settle<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let mut bytes = [0; 4];
        device.read(&self.flag, 0, &mut bytes)?;
        if bytes == [0; 4] { Ok(()) } else { Err(OpError::Fault(Fault::IndexOutOfRange).into()) }
    }
}

/// Data, indices, updates and the output, which begins as a copy of the data.
type Parts<'a, B> = (Operand<'a, B>, Operand<'a, B>, View<'a, B>);

fn begin<'a, D: Device>(device: &D, call: &Call<'a, D::Buffer>) -> Result<Parts<'a, D::Buffer>, Error> {
    let (x, indices, updates, y) = (call.input(0)?.view, call.input(1)?, call.input(2)?, call.output(0)?);
    if !y.is_empty() {
        device.copy(x.buffer, x.offset, y.buffer, y.offset, y.len() * y.dtype.size())?;
    }
    Ok((indices, updates, y))
}

fn scatter_slices<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (indices, updates, y) = begin(device, call)?;
    let tuple = indices.view.shape.last().copied().unwrap_or(0);
    let tuples = indices.view.shape[..indices.view.shape.len().saturating_sub(1)].iter().product::<usize>();
    if tuples == 0 {
        return Ok(());
    }
    let places = size(y.shape[..tuple].iter().product())?;
    let inner = size(y.shape[tuple..].iter().product())?;
    len(&y)?;
    let n = len(&updates.view)?;
    let claims = Claims::new(device, places)?;
    let mut extents = vec![Argument::U32(tuple as u32)];
    for axis in 0..TUPLE {
        extents.push(Argument::U32(y.shape.get(axis).map_or(Ok(1), |&extent| size(extent))?));
    }
    let dtype = u32::from(indices.view.dtype.code());
    let mut arguments = vec![claims.winners(), indices.view.pointer(), claims.flag()];
    arguments.extend([size(tuples)?, dtype].map(Argument::U32));
    arguments.extend(extents);
    device.launch(&CLAIM_SLICES, blocks(size(tuples)?, 1), [BLOCK, 1, 1], 0, &arguments)?;
    claims.settle(device)?;
    if n == 0 {
        return Ok(());
    }
    let extents = arguments.split_off(5);
    let mut arguments =
        vec![y.pointer(), updates.view.pointer(), claims.winners(), indices.view.pointer(), claims.flag()];
    arguments.extend([n, y.dtype.size() as u32, inner, dtype].map(Argument::U32));
    arguments.extend(extents);
    device.launch(&SCATTER_SLICES, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn gather_slices<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, indices, y) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let batch = usize::try_from(call.attrs.int("batch_dims")).unwrap_or(0);
    let (Some((&tuple, leading)), Some(named)) = (indices.shape.split_last(), x.shape.get(batch..)) else {
        return Err(Error::unsupported("slices without tuples"));
    };
    let slices = size(named[..tuple.min(named.len())].iter().product())?;
    let inner = size(named[tuple.min(named.len())..].iter().product())?;
    let per = size(leading[batch.min(leading.len())..].iter().product())?;
    len(&x)?;
    let n = len(&y)?;
    let flag = device.put(&[0; 4])?;
    let mut arguments =
        vec![y.pointer(), x.pointer(), indices.pointer(), Argument::Pointer { buffer: &flag, offset: 0 }];
    let dtype = u32::from(indices.dtype.code());
    let numbers = [n, y.dtype.size() as u32, inner, per, slices, dtype, size(tuple)?];
    arguments.extend(numbers.map(Argument::U32));
    for axis in 0..TUPLE {
        arguments.push(Argument::U32(named.get(axis).map_or(Ok(1), |&extent| size(extent))?));
    }
    device.launch(&GATHER_SLICES, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)?;
    let mut bytes = [0; 4];
    device.read(&flag, 0, &mut bytes)?;
    if bytes == [0; 4] { Ok(()) } else { Err(OpError::Fault(Fault::IndexOutOfRange).into()) }
}

fn scatter_elements<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (indices, updates, y) = begin(device, call)?;
    if indices.view.is_empty() {
        return Ok(());
    }
    let axis = normalized(call.attrs.int("axis"), y.shape.len())?;
    let mut to = strides(y.shape);
    let along = size(to[axis] as usize)?;
    to[axis] = 0;
    let axes = Axes::new(indices.view.shape, [strides(indices.view.shape), to])?;
    let extent = size(y.shape[axis])?;
    let claims = Claims::new(device, len(&y)?)?;
    let dtype = u32::from(indices.view.dtype.code());
    let mut arguments = vec![claims.winners(), indices.view.pointer(), claims.flag()];
    arguments.extend([axes.len, dtype, extent, along].map(Argument::U32));
    axes.push(&mut arguments);
    device.launch(&CLAIM_ELEMENTS, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)?;
    claims.settle(device)?;
    let mut arguments =
        vec![y.pointer(), updates.view.pointer(), claims.winners(), indices.view.pointer(), claims.flag()];
    arguments.extend([axes.len, y.dtype.size() as u32, dtype, extent, along].map(Argument::U32));
    axes.push(&mut arguments);
    device.launch(&SCATTER_ELEMENTS, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn one_hot<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (indices, values, y) = (call.input(0)?.view, call.input(2)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let axis = normalized(call.attrs.int("axis"), y.shape.len())?;
    let inner = size(y.shape[axis + 1..].iter().product())?;
    let (n, depth) = (len(&y)?, size(y.shape[axis])?);
    // As Cast converts; of u64 what an i64 does not hold is told by its sign.
    let long = device.alloc(8 * indices.len())?;
    let long = View { buffer: &long, offset: 0, dtype: DType::I64, shape: indices.shape };
    let is_unsigned = indices.dtype == DType::U64;
    let is_long = is_unsigned || indices.dtype == DType::I64;
    if !is_long {
        cast(device, indices, long)?;
    }
    let mut arguments =
        vec![y.pointer(), if is_long { indices.pointer() } else { long.pointer() }, values.pointer()];
    let numbers = [n, y.dtype.size() as u32, depth, inner, u32::from(is_unsigned)];
    arguments.extend(numbers.map(Argument::U32));
    device.launch(&ONE_HOT, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn top_k<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let x = call.input(0)?.view;
    let wanted = |index: usize| call.outputs.get(index).copied().flatten();
    let (values, places) = (wanted(0), wanted(1));
    let Some(y) = values.or(places) else { return Ok(()) };
    if y.is_empty() {
        return Ok(());
    }
    let axis = normalized(call.attrs.int("axis"), x.shape.len())?;
    let inner = size(x.shape[axis + 1..].iter().product())?;
    let n = len(&x)?;
    let mut arguments = vec![
        values.map_or(y.pointer(), |values| values.pointer()),
        places.map_or(y.pointer(), |places| places.pointer()),
        x.pointer(),
    ];
    let largest = u32::from(call.attrs.int("largest") != 0);
    let bits = u32::from(values.is_some()) | u32::from(places.is_some()) << 1;
    let numbers = [
        n,
        x.dtype.size() as u32,
        u32::from(x.dtype.code()),
        size(x.shape[axis])?,
        inner,
        size(y.shape[axis])?,
        largest,
        bits,
    ];
    arguments.extend(numbers.map(Argument::U32));
    let kernel = if x.dtype.size() == 8 { &TOP_K_LONG } else { &TOP_K };
    device.launch(kernel, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}
