//! Raw files: nothing but a tensor's little-endian row-major bytes; type and shape come from elsewhere.

use repops::ops::SymType;
use repops::tensor::{TensorError, byte_len};
use repops::{DType, Tensor};

/// Why bytes are not the elements that are expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    #[error("raw bytes need a declared type and shape, and none is known here")]
    NoType,
    #[error("raw bytes cannot tell the sizes of {ty}: more than one dimension is open")]
    OpenShape { ty: String },
    #[error("{found} bytes are not a whole number of rows of {row} bytes of {ty}")]
    Length { ty: String, row: usize, found: usize },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Reads a tensor of the declared type. One dimension may be open: it is what the length makes it.
pub fn parse(bytes: &[u8], declared: Option<&SymType>, dtype: Option<DType>) -> Result<Tensor, RawError> {
    let declared = declared.ok_or(RawError::NoType)?;
    let dtype = dtype.unwrap_or(declared.dtype);
    let open = declared.shape.iter().filter(|d| d.as_extent().is_none()).count();
    if open > 1 {
        return Err(RawError::OpenShape { ty: declared.to_string() });
    }
    let mut shape: Vec<usize> = declared.shape.iter().map(|d| d.as_extent().unwrap_or(1)).collect();
    if let Some(axis) = declared.shape.iter().position(|d| d.as_extent().is_none()) {
        let row = byte_len(dtype, &shape)?;
        if row == 0 || !bytes.len().is_multiple_of(row) {
            return Err(RawError::Length { ty: declared.to_string(), row, found: bytes.len() });
        }
        shape[axis] = bytes.len() / row;
    }
    Ok(Tensor::from_bytes(dtype, &shape, bytes)?)
}
