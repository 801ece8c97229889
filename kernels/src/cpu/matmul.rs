//! MatMul.

use half::{bf16, f16};
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::{TensorViewMut, element_count, strides};

use super::contract::pack::{Left, Panels, Right, Storage, Strided};
use super::contract::rows;
use super::contract::target::StridedTarget;
use super::contract::{Size, TileElem, contract};
use super::{require_matrix, require_row_major};
use crate::{Kernel, KernelCtx, Operand};

/// The kernel for the operands' type.
pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    Some(match (dtypes.first()?.as_ref()?, dtypes.get(1)?.as_ref()?) {
        // An f32 left operand may have a narrower right one.
        (DType::F32, DType::F16) => matmul::<f32, f16, f32>,
        (DType::F32, DType::BF16) => matmul::<f32, bf16, f32>,
        (a, b) if a != b => return None,
        (DType::F32, _) => matmul::<f32, f32, f32>,
        (DType::F64, _) => matmul::<f64, f64, f64>,
        (DType::F16, _) => matmul::<f16, f16, f32>,
        (DType::BF16, _) => matmul::<bf16, bf16, f32>,
        (DType::I32, _) => matmul::<i32, i32, i32>,
        (DType::I64, _) => matmul::<i64, i64, i64>,
        (DType::U32, _) => matmul::<u32, u32, u32>,
        (DType::U64, _) => matmul::<u64, u64, u64>,
        _ => return None,
    })
}

fn matmul<S: Storage<E>, B: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let a = require_row_major(inputs, 0)?;
    let b = require_matrix(inputs, 1)?;
    product::<S, B, S, E>(ctx, &a, &b, outputs[0].as_mut_slice::<S>());
    Ok(())
}

/// `y = a x b` with numpy's broadcasting of leading axes, `a` row-major, `b` in either layout.
pub(crate) fn product<A: Storage<E>, B: Storage<E>, Y: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    a: &Operand<'_>,
    b: &Operand<'_>,
    y: &mut [Y],
) {
    let mut plan = Batches::new(a.shape, b.shape, b.layout);
    // One right operand for all: the left operand's leading axes are further rows.
    if plan.b_offsets.iter().all(|&at| at == 0) && plan.a_contiguous {
        plan.size.m *= plan.size.batches;
        plan.size.batches = 1;
    }
    let Size { m, n, k, .. } = plan.size;
    let (a_data, b_data) = (a.as_slice::<A>(), b.as_slice::<B>());
    let left = Strided { data: a_data, offsets: &plan.a_offsets, outer: k, term: 1, extent: m };
    match b.layout {
        Layout::Panel16 => {
            let panels = Panels { data: b_data, offsets: &plan.b_offsets, terms: k };
            let own = E::panels(b, &plan.b_offsets, k);
            let right = own.as_deref().unwrap_or(&panels);
            let target = StridedTarget::new(y, m * n, n, 1).with_epilogue(ctx.epilogue);
            contract::<E>(ctx.isa, plan.size, &left, right, &target);
        }
        Layout::RowMajor | Layout::Filters16 | Layout::Groups4 => {
            let right = Strided { data: b_data, offsets: &plan.b_offsets, outer: 1, term: n, extent: n };
            matrices::<A, B, Y, E>(ctx, plan.size, left, right, y);
        }
    }
}

/// The product of strided matrices into row-major ones. Few columns are computed as rows: the terms of a
/// chain are the same, and factors commute.
pub(crate) fn matrices<A: Storage<E>, B: Storage<E>, Y: Storage<E>, E: TileElem>(
    ctx: &KernelCtx<'_>,
    size: Size,
    left: Strided<'_, A>,
    right: Strided<'_, B>,
    y: &mut [Y],
) {
    let isa = ctx.isa;
    let Size { batches, m, n, k } = size;
    let single = A::DTYPE == DType::F32 && B::DTYPE == DType::F32 && Y::DTYPE == DType::F32;
    let plain = left.term == 1 && left.outer == k && right.outer == 1 && right.term == n;
    if single && plain && batches == 1 && (1..=rows::ROWS_MAX).contains(&m) && n >= 16 {
        let start = |offsets: &[usize]| offsets.first().copied().unwrap_or(0);
        let a = bytemuck::cast_slice(&left.data[start(left.offsets)..]);
        let b = bytemuck::cast_slice(&right.data[start(right.offsets)..]);
        return rows::FewRows { m, n, k, a, b }.product(isa, bytemuck::cast_slice_mut(y));
    }
    if n <= 8 && m > n {
        let size = Size { batches, m: n, n: m, k };
        let target = StridedTarget::new(y, m * n, 1, n);
        contract::<E>(isa, size, &right as &dyn Left<E>, &left as &dyn Right<E>, &target);
    } else {
        let target = StridedTarget::new(y, m * n, n, 1).with_epilogue(ctx.epilogue);
        contract::<E>(isa, size, &left, &right, &target);
    }
}

/// Leading axes, resolved to the start of each matrix.
pub(crate) struct Batches {
    pub size: Size,
    pub a_offsets: Vec<usize>,
    pub b_offsets: Vec<usize>,
    /// The left operand's matrices follow each other without repetition.
    pub a_contiguous: bool,
}

impl Batches {
    pub fn new(a: &[usize], b: &[usize], b_layout: Layout) -> Batches {
        // One-axis operands are a row and a column.
        let (m, k) = if a.len() == 1 { (1, a[0]) } else { (a[a.len() - 2], a[a.len() - 1]) };
        let n = if b.len() == 1 { 1 } else { b[b.len() - 1] };
        let a_lead = &a[..a.len().saturating_sub(2)];
        let b_lead = &b[..b.len().saturating_sub(2)];
        let rank = a_lead.len().max(b_lead.len());
        let extent =
            |lead: &[usize], axis: usize| (axis + lead.len()).checked_sub(rank).map_or(1, |at| lead[at]);
        let lead: Vec<usize> = (0..rank)
            .map(|axis| match (extent(a_lead, axis), extent(b_lead, axis)) {
                (1, other) => other,
                (one, _) => one,
            })
            .collect();
        let batches = element_count(&lead);
        let lead_strides = strides(&lead);
        let offsets = |own: &[usize], matrix: usize| -> Vec<usize> {
            if element_count(own) == 1 {
                return vec![0; batches];
            }
            let own_strides = strides(own);
            let skip = rank - own.len();
            (0..batches)
                .map(|batch| {
                    (0..own.len())
                        .filter(|&axis| own[axis] != 1)
                        .map(|axis| {
                            batch / lead_strides[axis + skip] % own[axis] * own_strides[axis] * matrix
                        })
                        .sum()
                })
                .collect()
        };
        let b_matrix = match b_layout {
            Layout::Panel16 => k * n.next_multiple_of(16),
            Layout::Groups4 => k.next_multiple_of(4) * n.next_multiple_of(16),
            Layout::RowMajor | Layout::Filters16 => k * n,
        };
        Batches {
            size: Size { batches, m, n, k },
            a_offsets: offsets(a_lead, m * k),
            b_offsets: offsets(b_lead, b_matrix),
            a_contiguous: element_count(a_lead) == batches,
        }
    }
}
