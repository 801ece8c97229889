//! ConvTranspose over one or two axes.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::conv_transpose::placed;

use super::CHUNK;
use super::conv::{Plane, widened};
use super::product::size;
use crate::device::{Argument, Device, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "conv_transpose";
    CONV_TRANSPOSE = "conv_transpose";
    CONV_TRANSPOSE_F64 = "conv_transpose_f64";
}

/// The launch for the operands' types.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    let is_known = matches!(x.dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16);
    (is_known && matches!(x.shape.len(), 3 | 4)).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, w, out) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    let bias = call.optional(2).map(|bias| bias.view);
    if out.is_empty() {
        return Ok(());
    }
    if matches!(x.dtype, DType::F32 | DType::F64) {
        return transpose(device, call.attrs, x, w, bias, out);
    }
    widened(device, [Some(x), Some(w), bias], out, |x, w, bias, out| {
        transpose(device, call.attrs, x, w, bias, out)
    })
}

fn transpose<D: Device>(
    device: &D,
    attrs: &Attrs,
    x: View<'_, D::Buffer>,
    w: View<'_, D::Buffer>,
    bias: Option<View<'_, D::Buffer>>,
    out: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let groups = usize::try_from(attrs.int("group")).unwrap_or(1).max(1);
    let channels = x.shape[1] / groups;
    let (axes, _) = placed(attrs, &x.shape[2..], &w.shape[2..])?;
    let plane = Plane::of(&axes, &x.shape[2..], &out.shape[2..])?;
    let taps: usize = w.shape[2..].iter().product();
    // A thread holds twelve levels of the tree.
    if (channels * taps).div_ceil(CHUNK) >= 1 << 12 {
        return Err(Error::unsupported("so many terms of a convolution"));
    }
    let count = out.len();
    let mut arguments = vec![
        w.pointer(),
        x.pointer(),
        out.pointer(),
        bias.as_ref().map_or(out.pointer(), View::pointer),
        Argument::U64(count as u64),
        Argument::U32(size("outputs", w.shape[1])?),
        Argument::U32(size("positions", plane.positions)?),
        Argument::U32(size("channels", channels)?),
        Argument::U32(size("groups", groups)?),
        Argument::U32(u32::from(bias.is_some())),
    ];
    arguments.extend(plane.arguments()?);
    let grid = count.div_ceil(256).min(1 << 16) as u32;
    let kernel = if x.dtype == DType::F64 { &CONV_TRANSPOSE_F64 } else { &CONV_TRANSPOSE };
    device.launch(kernel, [grid, 1, 1], [256, 1, 1], 0, &arguments)
}
