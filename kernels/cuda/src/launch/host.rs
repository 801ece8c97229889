//! Inputs whose values a plan needs: axes, sizes, starts.
//!
//! Invariant: these are read on the host alone; a plan never waits for the device to learn a size.

use repops::dtype::DType;

use crate::Error;
use crate::device::Operand;

/// The integers of an input that the host has.
pub fn integers<B>(operand: Option<Operand<'_, B>>) -> Result<Option<Vec<i64>>, Error> {
    let Some(operand) = operand else { return Ok(None) };
    let bytes = operand.host.ok_or_else(|| Error::unsupported("a size that the host does not know"))?;
    let values = match operand.view.dtype {
        DType::I64 => {
            bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap_or_default())).collect()
        }
        DType::I32 => bytes
            .chunks_exact(4)
            .map(|b| i64::from(i32::from_le_bytes(b.try_into().unwrap_or_default())))
            .collect(),
        other => return Err(Error::unsupported(format!("sizes of type {other}"))),
    };
    Ok(Some(values))
}
