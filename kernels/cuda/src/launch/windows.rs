//! Pools: windows over an image of up to three axes.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::OpDef;
use repops::ops::window::Window;
use repops::reduce;

use super::axes::{BLOCK, blocks, len};
use crate::device::{Argument, Device};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    WINDOWS = "windows";
    AVERAGE_POOL = "average_pool";
    MAX_POOL_FLOAT = "max_pool_float";
    MAX_POOL_INT = "max_pool_int";
}

/// Axes of an image that the kernels take.
const AXES: usize = 3;

/// The launch of a pool.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    if def.version != 1 || x.shape.len() > 2 + AXES || x.dtype == DType::F64 {
        return None;
    }
    match def.name {
        // A window of more than a block would be summed in blocks.
        "AveragePool" if x.dtype.is_float() => {
            let taps: i64 = attrs.ints("kernel_shape").iter().fold(1, |n, k| n.saturating_mul(*k));
            (taps <= reduce::BLOCK as i64).then_some(pool::<D>)
        }
        "MaxPool" if x.dtype != DType::U64 && attrs.int("storage_order") == 0 => Some(pool::<D>),
        _ => None,
    }
}

fn pool<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let x = call.input(0)?.view;
    let wanted = |index: usize| call.outputs.get(index).copied().flatten();
    let Some(y) = wanted(0) else { return Err(Error::unsupported("places without their maxima")) };
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    len(&x)?;
    let kernel = call.attrs.ints("kernel_shape");
    let (axes, out) = Window::new(call.attrs, kernel)?.placed(&x.shape[2..])?;
    // Axes that are not there have one position.
    let mut window = Vec::new();
    for _ in axes.len()..AXES {
        window.extend([1, 1, 1, 1, 1, 0, 0]);
    }
    for ((axis, &image), &out) in axes.iter().zip(&x.shape[2..]).zip(&out) {
        let numbers = [axis.kernel, axis.stride, axis.dilation, axis.pad_begin, axis.pad_end];
        let numbers = numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        window.extend([image as u32, out as u32]);
        window.extend(numbers);
    }
    let grid = blocks(n, 1);
    let tail = window.into_iter().map(Argument::U32);
    let dtype = u32::from(x.dtype.code());
    if call.op.name == "AveragePool" {
        let with_pads = u32::from(call.attrs.int("count_include_pad") != 0);
        let numbers = [n, dtype, with_pads].map(Argument::U32);
        let arguments: Vec<_> = [y.pointer(), x.pointer()].into_iter().chain(numbers).chain(tail).collect();
        return device.launch(&AVERAGE_POOL, grid, [BLOCK, 1, 1], 0, &arguments);
    }
    let places = wanted(1);
    let mut arguments = vec![y.pointer(), places.map_or(y.pointer(), |places| places.pointer()), x.pointer()];
    arguments.extend([n, dtype, u32::from(places.is_some())].map(Argument::U32));
    let kernel = if x.dtype.is_float() {
        &MAX_POOL_FLOAT
    } else {
        let bits = 8 * x.dtype.size() as u32;
        let least = if x.dtype.is_signed_int() { i64::MIN >> (64 - bits) } else { 0 };
        arguments.push(Argument::U64(least as u64));
        &MAX_POOL_INT
    };
    arguments.extend(tail);
    device.launch(kernel, grid, [BLOCK, 1, 1], 0, &arguments)
}
