//! MatMulBlocks: products with weights in blocks of small integers.

use repops::attrs::Attrs;
use repops::blocks::Format;
use repops::dtype::DType;

use super::product::{Cut, Finish, Matrix, Place, Product, aligned};
use crate::Error;
use crate::device::{Device, View};
use crate::table::{Call, InputType, Launch};

/// The launch for the operands' types.
pub fn choose<D: Device>(attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    Format::from_name(attrs.str("format"))?;
    (x.dtype == DType::F32).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_cut(device, call, None)
}

/// MatMulBlocks, cut in a given way.
pub fn launch_cut<D: Device>(device: &D, call: &Call<'_, D::Buffer>, cut: Option<Cut>) -> Result<(), Error> {
    let (x, w, out) = (call.input(0)?.view, call.input(1)?.view, call.output(0)?);
    let unknown = || Error::unsupported("an unknown format of blocks");
    let format = Format::from_name(call.attrs.str("format")).ok_or_else(unknown)?;
    let k = x.shape.last().copied().unwrap_or(0);
    let n = out.shape.last().copied().unwrap_or(0);
    let m = x.shape[..x.shape.len().saturating_sub(1)].iter().product();
    let copy = aligned(device, &w)?;
    let w = copy.as_ref().map_or(w, |buffer| View { buffer, offset: 0, ..w });
    let product = Product {
        a: Matrix { view: x, place: Place::Terms { stride: k }, batch: [0; 3] },
        b: Matrix { view: w, place: Place::Blocks(format), batch: [0; 3] },
        out,
        finish: Finish::NOTHING,
        batch: [1; 3],
        m,
        n,
        k,
    };
    product.launch_cut(device, cut)
}
