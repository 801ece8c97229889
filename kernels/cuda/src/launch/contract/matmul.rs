//! MatMul.

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;

use crate::device::{Argument, Device, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    GEMV = "gemv";
    GEMV_F32 = "gemv_f32";
}

/// The launch for the operands' types.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let (a, b) = (inputs.first()?.as_ref()?, inputs.get(1)?.as_ref()?);
    let is_plain = a.shape.len() == 2 && b.shape.len() == 2 && b.layout == Layout::RowMajor;
    (a.dtype == DType::F32 && b.dtype == DType::F32 && is_plain).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    matmul(device, call.input(0)?.view, call.input(1)?.view, call.output(0)?)
}

/// `out = a x b`, all row-major matrices of f32.
pub fn matmul<D: Device>(
    device: &D,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    out: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let &[m, k] = a.shape else { return Err(Error::unsupported("a product of other than matrices")) };
    let n = b.shape.last().copied().unwrap_or(0);
    if out.is_empty() {
        return Ok(());
    }
    let size = |what: &str, value: usize| {
        u32::try_from(value).map_err(|_| Error::unsupported(format!("{what} of {value}")))
    };
    let (m, n, k) = (size("rows", m)?, size("columns", n)?, size("terms", k)?);
    if m > 65535 || k >= 1 << 24 {
        return Err(Error::unsupported("so large a product"));
    }
    let arguments = [a.pointer(), b.pointer(), out.pointer(), Argument::U32(n), Argument::U32(k)];
    device.launch(&GEMV_F32, [n.div_ceil(128), m, 1], [128, 1, 1], 0, &arguments)
}
