//! Kernels of the CPU: one file per operation, instantiated per instruction set.

pub(crate) mod arg;
pub mod binary;
pub(crate) mod contract;
pub(crate) mod conv;
pub(crate) mod conv_transpose;
pub(crate) mod cum_sum;
pub(crate) mod depthwise;
pub mod elementwise;
pub(crate) mod gemm;
pub(crate) mod instance;
pub(crate) mod integer;
pub(crate) mod interpolate;
pub mod lane;
pub(crate) mod lrn;
pub mod map;
pub(crate) mod matmul;
pub(crate) mod movement;
pub(crate) mod planes;
pub(crate) mod pool;
pub mod products;
pub(crate) mod quantize;
pub(crate) mod rescale;
pub(crate) mod resize;
pub(crate) mod rows;
pub(crate) mod sequence;
pub(crate) mod top_k;
pub(crate) mod typed;
pub mod unary;
pub(crate) mod weights;

use repops::digest::Layout;
use repops::ops::{EvalCtx, OpDef, OpError};
use repops::tensor::{TensorView, TensorViewMut};

use crate::float_env::FloatEnv;
use crate::{KernelCtx, Operand};

/// An input that inference demanded.
pub(crate) fn require<'a>(inputs: &[Option<Operand<'a>>], index: usize) -> Result<Operand<'a>, OpError> {
    inputs.get(index).copied().flatten().ok_or(OpError::MissingInput { index })
}

/// An input that inference demanded and that this kernel reads in row-major order only.
pub(crate) fn require_row_major<'a>(
    inputs: &[Option<Operand<'a>>],
    index: usize,
) -> Result<Operand<'a>, OpError> {
    let operand = require(inputs, index)?;
    if operand.layout != Layout::RowMajor {
        return Err(OpError::Unsupported(format!("input {index} in layout {:?}", operand.layout)));
    }
    Ok(operand)
}

/// An input that may be in panels.
pub(crate) fn require_matrix<'a>(
    inputs: &[Option<Operand<'a>>],
    index: usize,
) -> Result<Operand<'a>, OpError> {
    let operand = require(inputs, index)?;
    match operand.layout {
        Layout::RowMajor | Layout::Panel16 => Ok(operand),
        Layout::Filters16 | Layout::Groups4 => require_row_major(inputs, index),
    }
}

/// An input that may be in groups of bytes.
pub(crate) fn require_bytes<'a>(
    inputs: &[Option<Operand<'a>>],
    index: usize,
) -> Result<Operand<'a>, OpError> {
    let operand = require(inputs, index)?;
    if operand.layout == Layout::Groups4 { Ok(operand) } else { require_row_major(inputs, index) }
}

/// The reference evaluation, for cases that are too rare for a kernel of their own.
pub(crate) fn by_reference(
    def: &OpDef,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let _env = FloatEnv::enter();
    let mut views: Vec<Option<TensorView<'_>>> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        views.push(match input {
            Some(_) => require_row_major(inputs, index)?.row_major(),
            None => None,
        });
    }
    let results = (def.eval)(&EvalCtx { attrs: ctx.attrs, inputs: &views, outputs: outputs.len() })?;
    for (output, result) in outputs.iter_mut().zip(results) {
        output.bytes.copy_from_slice(result.bytes());
    }
    Ok(())
}
