//! MatMulBlocks.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::super::contract::pack::Strided;
use super::super::contract::target::StridedTarget;
use super::super::contract::{Size, contract};
use super::super::require_row_major;
use super::{Weights, format};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (dtypes.first()? == &Some(DType::F32)).then_some(matmul_blocks)
}

fn matmul_blocks(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (x, w) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let format = format(ctx.attrs)?;
    let y = &mut outputs[0];
    let (k, n) = (w.shape[1] * format.positions(), y.shape[y.shape.len() - 1]);
    let m = y.shape[..y.shape.len() - 1].iter().product();
    let left = Strided { data: x.as_slice::<f32>(), offsets: &[], outer: k, term: 1, extent: m };
    let right = Weights { format: format.into(), bytes: w.bytes, offsets: &[], terms: k };
    let target = StridedTarget::new(y.as_mut_slice::<f32>(), 0, n, 1).with_epilogue(ctx.epilogue);
    contract::<f32>(ctx.isa, Size { batches: 1, m, n, k }, &left, &right, &target);
    Ok(())
}
