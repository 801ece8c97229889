//! Embedding: columns of a matrix by the numbers of tokens.

use repops::attrs::Attrs;
use repops::blocks::Format;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::{Fault, OpError};

use super::product::{aligned, format_code, size, type_code};
use crate::device::{Argument, Device};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "embedding";
    EMBEDDING = "embedding";
}

/// The launch for the operands' types.
pub fn choose<D: Device>(attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let w = inputs.get(1)?.as_ref()?;
    let is_dense = attrs.str("format") == "dense" && type_code(w.dtype).is_ok();
    (is_dense || Format::from_name(attrs.str("format")).is_some()).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (tokens, w, out) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let k = size("rows of an embedding", out.shape.last().copied().unwrap_or(0))?;
    let n = u32::try_from(call.attrs.int("columns"))
        .map_err(|_| Error::unsupported("an embedding of so many columns"))?;
    let (place, code) = match Format::from_name(call.attrs.str("format")) {
        Some(format) => (3, format_code(format)),
        None if w.layout == Layout::Panel16 => (2, type_code(w.view.dtype)?),
        None => (u32::from(call.attrs.int("transposed") != 0), type_code(w.view.dtype)?),
    };
    if out.is_empty() {
        return Ok(());
    }
    let copy = if place == 3 { aligned(device, &w.view)? } else { None };
    let weights = match &copy {
        Some(buffer) => Argument::Pointer { buffer, offset: 0 },
        None => w.view.pointer(),
    };
    let rows = tokens.view.len();
    // A second axis of the grid, where tokens are many; they then fill all of it.
    let (grid_y, grid_z) = match rows {
        0..=65535 => (rows, 1),
        _ if rows.is_multiple_of(1024) && rows / 1024 <= 65535 => (1024, rows / 1024),
        _ => return Err(Error::unsupported(format!("an embedding of {rows} tokens"))),
    };
    let fault = device.put(&[0; 4])?;
    device.launch(
        &EMBEDDING,
        [k.div_ceil(256), grid_y as u32, grid_z as u32],
        [256, 1, 1],
        0,
        &[
            tokens.view.pointer(),
            weights,
            out.pointer(),
            Argument::Pointer { buffer: &fault, offset: 0 },
            Argument::U32(n),
            Argument::U32(k),
            Argument::U32(place),
            Argument::U32(code),
        ],
    )?;
    // Where the host knows the tokens there is no need to wait for the device's word.
    let is_fault = match tokens.host {
        Some(bytes) if tokens.view.dtype == DType::I64 => {
            bytes.as_chunks::<8>().0.iter().any(|token| u64::from_le_bytes(*token) >= u64::from(n))
        }
        _ => {
            let mut flag = [0; 4];
            device.read(&fault, 0, &mut flag)?;
            flag != [0; 4]
        }
    };
    if is_fault { Err(OpError::Fault(Fault::IndexOutOfRange).into()) } else { Ok(()) }
}
