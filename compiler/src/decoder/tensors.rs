//! The tensors of a model file, where they are, and how they become constants of a graph.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use repops::Tensor;
use repops::blocks::Format as BlockFormat;
use repops::dtype::DType;
use repops::program::ConstantBytes;
use repops::tensor::AlignedBytes;

use super::blocks;
use super::error::ModelError;
use crate::graph::Constant;
use crate::weights::owned;

/// How the elements of a stored tensor are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    F32,
    F16,
    BF16,
    Blocks(BlockFormat),
}

impl Format {
    /// Elements and bytes of what is written as one.
    pub fn block(self) -> (usize, usize) {
        match self {
            Format::F32 => (1, 4),
            Format::F16 | Format::BF16 => (1, 2),
            Format::Blocks(format) => (format.positions(), blocks::stored_bytes(format)),
        }
    }

    /// The element type; `None` for blocks.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Format::F32 => Some(DType::F32),
            Format::F16 => Some(DType::F16),
            Format::BF16 => Some(DType::BF16),
            Format::Blocks(_) => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Blocks(format) => f.write_str(format.name()),
            Format::F32 => f.write_str("f32"),
            Format::F16 => f.write_str("f16"),
            Format::BF16 => f.write_str("bf16"),
        }
    }
}

/// A tensor in a mapped file. Its bytes are as many as shape and format say.
#[derive(Clone)]
pub struct Stored {
    pub format: Format,
    /// Outermost axis first.
    pub shape: Vec<usize>,
    pub bytes: Bytes,
}

impl Stored {
    fn has_shape(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        if self.shape == shape {
            return Ok(());
        }
        let problem = format!("its shape is {:?}; {shape:?} is needed", self.shape);
        Err(ModelError::Tensor { tensor: name.to_string(), problem })
    }

    /// The elements of a dense tensor of this shape, widened to f32.
    pub fn to_f32(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.has_shape(name, shape)?;
        let Some(dtype) = self.format.dtype() else {
            let problem = format!("is in blocks of {}; numbers are needed", self.format);
            return Err(ModelError::Tensor { tensor: name.to_string(), problem });
        };
        let tensor = Tensor::from_bytes(dtype, shape, &self.bytes)?;
        let mut wide = Tensor::zeros(DType::F32, shape)?;
        let out = wide.as_mut_slice::<f32>();
        match dtype {
            DType::F16 => {
                out.iter_mut().zip(tensor.as_slice::<half::f16>()).for_each(|(o, v)| *o = v.to_f32());
            }
            DType::BF16 => {
                out.iter_mut().zip(tensor.as_slice::<half::bf16>()).for_each(|(o, v)| *o = v.to_f32());
            }
            _ => return Ok(tensor),
        }
        wide.canonicalize();
        Ok(wide)
    }

    /// A matrix `[n, k]` as a constant: dense in place, blocks in the order of the operators that read them.
    pub fn to_matrix(&self, name: &str, n: usize, k: usize) -> Result<Constant, ModelError> {
        self.has_shape(name, &[n, k])?;
        let constant = |dtype, shape, data| Constant { name: name.to_string(), dtype, shape, data };
        match self.format {
            Format::Blocks(format) => {
                let packed = blocks::pack(format, &self.bytes, n, k)?;
                let shape = vec![n.div_ceil(16), k / format.positions(), format.bytes()];
                Ok(constant(DType::U8, shape, owned(packed)))
            }
            Format::F32 | Format::F16 | Format::BF16 => {
                let dtype = self.format.dtype().expect("a dense format");
                Ok(constant(dtype, vec![n, k], canonical(&self.bytes, dtype)?))
            }
        }
    }
}

/// Bytes in place, or where NaNs have to be made canonical a copy.
fn canonical(bytes: &Bytes, dtype: DType) -> Result<ConstantBytes, ModelError> {
    if !crate::weights::has_other_nans(dtype, bytes) {
        return Ok(ConstantBytes { backing: Arc::new(bytes.clone()), offset: 0, len: bytes.len() });
    }
    let tensor = Tensor::from_bytes(dtype, &[bytes.len() / dtype.size()], bytes)?;
    Ok(owned(AlignedBytes::copy_of(tensor.bytes())?))
}
