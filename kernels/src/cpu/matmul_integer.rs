//! MatMulInteger with one zero point a matrix: both are widened to i32, where the product is exact.

use repops::digest::Layout;
use repops::dtype::{DType, Element};
use repops::ops::{self, OpError};
use repops::tensor::TensorViewMut;

use super::contract::pack::Storage;
use super::matmul::product;
use super::{by_reference, require_row_major};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(matmul_integer)
}

fn matmul_integer(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (a, b) = (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?);
    let zero_point = |index: usize| inputs.get(index).copied().flatten();
    if [2, 3].iter().any(|&index| zero_point(index).is_some_and(|z| z.len() != 1)) {
        let def =
            ops::by_name("MatMulInteger").ok_or_else(|| OpError::Unsupported("MatMulInteger".to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    with_scratch(a.len() + b.len(), |buffer: &mut [i32]| {
        let (wide_a, wide_b) = buffer.split_at_mut(a.len());
        center(&a, zero_point(2), wide_a);
        center(&b, zero_point(3), wide_b);
        let wide = |shape, values| Operand {
            dtype: DType::I32,
            shape,
            bytes: bytemuck::cast_slice(values),
            layout: Layout::RowMajor,
        };
        let (a, b) = (wide(a.shape, &*wide_a), wide(b.shape, &*wide_b));
        product::<i32, i32, i32, i32>(ctx.isa, &a, &b, outputs[0].as_mut_slice::<i32>());
    });
    Ok(())
}

/// `to[i] = matrix[i] - zero_point`.
fn center(matrix: &Operand<'_>, zero_point: Option<Operand<'_>>, to: &mut [i32]) {
    fn of<T: Element + Storage<i32>>(matrix: &Operand<'_>, zero_point: Option<Operand<'_>>, to: &mut [i32]) {
        let zero = zero_point.map_or(0, |z| z.as_slice::<T>()[0].widen());
        for (to, from) in to.iter_mut().zip(matrix.as_slice::<T>()) {
            *to = from.widen() - zero;
        }
    }
    match matrix.dtype {
        DType::I8 => of::<i8>(matrix, zero_point, to),
        _ => of::<u8>(matrix, zero_point, to),
    }
}
