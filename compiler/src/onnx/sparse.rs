//! `SparseTensorProto` -> [`Constant`]: the tensor as it is without the short form.
//!
//! Invariant: it is the one place where what a tensor declares is allocated; so there is a limit.

use repops::dtype::DType;
use repops::tensor::{byte_len, element_count, strides};

use super::proto::SparseTensorProto;
use super::tensor::{self, ExternalFiles};
use super::{ImportError, TensorProblem};
use crate::graph::{Constant, owned_bytes};

/// Bytes of such a tensor at most.
const BYTES_MAX: usize = 256 << 20;

/// The tensor, zero where `sparse` says nothing. `name` is said in errors and becomes the constant's.
pub fn constant(
    name: &str,
    sparse: &SparseTensorProto,
    files: &mut ExternalFiles,
) -> Result<Constant, ImportError> {
    let wrap = |source| ImportError::Tensor { tensor: name.to_string(), source };
    let problem = |problem: String| wrap(TensorProblem::Sparse { problem });
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
        return Err(problem("has no values or no indices".to_string()));
    };
    let (values, indices) = (tensor::constant(name, values, files)?, tensor::constant(name, indices, files)?);
    if values.dtype == DType::Packed || indices.dtype != DType::I64 {
        return Err(problem(format!("holds {} at indices of {}", values.dtype, indices.dtype)));
    }
    let mut shape = Vec::with_capacity(sparse.dims.len());
    for (axis, &value) in sparse.dims.iter().enumerate() {
        shape.push(usize::try_from(value).map_err(|_| wrap(TensorProblem::Dimension { axis, value }))?);
    }
    let bytes = byte_len(values.dtype, &shape).map_err(|source| wrap(source.into()))?;
    if bytes > BYTES_MAX {
        return Err(problem(format!("takes {bytes} bytes; at most {BYTES_MAX} are supported")));
    }
    let steps = match (values.shape.as_slice(), indices.shape.as_slice()) {
        // Of an index alone it is the number of the element.
        ([n], [m]) if n == m => vec![1],
        ([n], [m, axes]) if n == m && *axes == shape.len() => strides(&shape),
        (n, m) => return Err(problem(format!("has values of shape {n:?}, indices of shape {m:?}"))),
    };
    let limits = if indices.shape.len() == 1 { vec![element_count(&shape)] } else { shape.clone() };
    let indices = indices.to_tensor().map_err(|source| wrap(source.into()))?;
    let (size, mut out, mut last) = (values.dtype.size(), vec![0; bytes], None);
    for (number, value) in values.bytes().chunks_exact(size).enumerate() {
        let named = &indices.as_slice::<i64>()[number * steps.len()..][..steps.len()];
        let outside = || problem(format!("has the index {named:?}, which is not in {:?}", sparse.dims));
        let mut at = 0;
        for ((&index, &limit), &step) in named.iter().zip(&limits).zip(&steps) {
            at += usize::try_from(index).ok().filter(|&index| index < limit).ok_or_else(outside)? * step;
        }
        if last.is_some_and(|last| last >= at) {
            return Err(problem(format!("has the index {named:?} after one that is not before it")));
        }
        last = Some(at);
        out[at * size..][..size].copy_from_slice(value);
    }
    Ok(Constant { name: name.to_string(), dtype: values.dtype, shape, data: owned_bytes(out) })
}
