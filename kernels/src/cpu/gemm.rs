//! Gemm: the product, then `alpha`, then `beta * C`, in the reference's order, as tiles are stored.

use std::ops::Range;

use half::{bf16, f16};
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::contract::pack::{Left, Panels, Right, Storage, Strided};
use super::contract::target::RowTarget;
use super::contract::{Size, TileElem, contract};
use super::matmul::matrices;
use super::{require_matrix, require_row_major};
use crate::{Kernel, KernelCtx, Operand};

/// The kernel for the operands' type.
pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    Some(match (dtypes.first()?.as_ref()?, dtypes.get(1)?.as_ref()?) {
        // An f32 left operand may have a narrower right one.
        (DType::F32, DType::F16) => gemm::<f32, f16, f32>,
        (DType::F32, DType::BF16) => gemm::<f32, bf16, f32>,
        (a, b) if a != b => return None,
        (DType::F32, _) => gemm::<f32, f32, f32>,
        (DType::F64, _) => gemm::<f64, f64, f64>,
        (DType::F16, _) => gemm::<f16, f16, f32>,
        (DType::BF16, _) => gemm::<bf16, bf16, f32>,
        (DType::I32, _) => gemm::<i32, i32, i32>,
        (DType::I64, _) => gemm::<i64, i64, i64>,
        (DType::U32, _) => gemm::<u32, u32, u32>,
        (DType::U64, _) => gemm::<u64, u64, u64>,
        _ => return None,
    })
}

fn gemm<S: Storage<E>, B: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let a = require_row_major(inputs, 0)?;
    let b = require_matrix(inputs, 1)?;
    let (trans_a, trans_b) = (ctx.attrs.int("transA") != 0, ctx.attrs.int("transB") != 0);
    // Panels hold the operand as it is multiplied.
    if b.layout == Layout::Panel16 && trans_b {
        return Err(OpError::Unsupported("a transposed operand in panels".to_string()));
    }
    let (m, k) = if trans_a { (a.shape[1], a.shape[0]) } else { (a.shape[0], a.shape[1]) };
    let n = if trans_b { b.shape[0] } else { b.shape[1] };
    let size = Size { batches: 1, m, n, k };
    let (outer, term) = if trans_a { (1, m) } else { (k, 1) };
    let left = Strided { data: a.as_slice::<S>(), offsets: &[], outer, term, extent: m };
    let (outer, term) = if trans_b { (k, 1) } else { (1, n) };
    let strided = Strided { data: b.as_slice::<B>(), offsets: &[], outer, term, extent: n };
    let panels = Panels { data: b.as_slice::<B>(), offsets: &[], terms: k };
    let own = E::panels(&b, &[], k);
    let right: &dyn Right<E> = match (b.layout, &own) {
        (Layout::Panel16, Some(own)) => &**own,
        (Layout::Panel16, None) => &panels,
        _ => &strided,
    };
    let y = outputs[0].as_mut_slice::<S>();

    let (alpha, beta) = (E::factor(ctx.attrs.float("alpha")), E::factor(ctx.attrs.float("beta")));
    let one = E::factor(1.0);
    let c = match inputs.get(2).copied().flatten() {
        Some(_) => Some(require_row_major(inputs, 2)?),
        None => None,
    };
    if c.is_none() && alpha == one && b.layout == Layout::RowMajor {
        matrices::<S, B, S, E>(ctx, size, left, strided, y);
        return Ok(());
    }
    // Element (row, column) of C is at `row * row_stride + column * column_stride`.
    let (c_data, row_stride, column_stride) = match c {
        Some(c) => {
            let columns = c.shape.last().copied().unwrap_or(1);
            let rows = if c.shape.len() == 2 { c.shape[0] } else { 1 };
            (c.as_slice::<S>(), if rows == 1 { 0 } else { columns }, (columns != 1) as usize)
        }
        None => (&[][..], 0, 0),
    };
    let add = |t: E, c: E| if beta == one { t.add(c) } else { beta.fma(c, t) };
    let through = |_: usize, row: usize, columns: Range<usize>, sums: &[E], out: &mut [S]| {
        let scaled = |s: E| if alpha == one { s } else { TileElem::mul(alpha, s) };
        if c.is_none() {
            for (y, &s) in out.iter_mut().zip(sums) {
                *y = S::narrow(scaled(s));
            }
        } else if column_stride == 0 {
            let c = c_data[row * row_stride].widen();
            for (y, &s) in out.iter_mut().zip(sums) {
                *y = S::narrow(add(scaled(s), c));
            }
        } else {
            let c = &c_data[row * row_stride + columns.start..][..columns.len()];
            for ((y, &s), c) in out.iter_mut().zip(sums).zip(c) {
                *y = S::narrow(add(scaled(s), c.widen()));
            }
        }
    };
    let target = RowTarget::new(y, 0, n, through).with_epilogue(ctx.epilogue);
    contract::<E>(ctx.isa, size, &left as &dyn Left<E>, right, &target);
    Ok(())
}
