//! MatMulInteger and QLinearMatMul.

use half::{bf16, f16};
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::{TensorViewMut, element_count, strides};

use super::super::matmul::Batches;
use super::super::{require_bytes, require_row_major};
use super::block::{Size, product};
use super::engine::Engine;
use super::finish::{Factors, Finish, Numbers, Output, Requantize};
use super::numbers;
use super::pack::{Left, Right, Terms};
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(_: &[Option<DType>]) -> Option<Kernel> {
    Some(matmul_integer)
}

pub(crate) fn choose_qlinear(_: &[Option<DType>]) -> Option<Kernel> {
    Some(qlinear_matmul)
}

fn matmul_integer(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (a, b) = (require_row_major(inputs, 0)?, require_bytes(inputs, 1)?);
    let shapes = Shapes::new(&a, &b);
    let zero = |index: usize, side: Side| -> Result<Numbers<'static, i32>, OpError> {
        match inputs.get(index).copied().flatten() {
            Some(_) => Ok(shapes.spread(side, &require_row_major(inputs, index)?, numbers)),
            None => Ok(Numbers::one(0)),
        }
    };
    let (left_zero, right_zero) = (zero(2, Side::Left)?, zero(3, Side::Right)?);
    let output = Output::Sums(outputs[0].as_mut_slice::<i32>());
    shapes.product(ctx, &a, &b, left_zero, right_zero, output);
    Ok(())
}

fn qlinear_matmul(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let (a, b) = (require_row_major(inputs, 0)?, require_bytes(inputs, 3)?);
    let shapes = Shapes::new(&a, &b);
    let scale = |index: usize, side: Side| {
        Ok::<_, OpError>(shapes.spread(side, &require_row_major(inputs, index)?, floats))
    };
    let zero = |index: usize, side: Side| {
        Ok::<_, OpError>(shapes.spread(side, &require_row_major(inputs, index)?, numbers))
    };
    let requantize = Requantize {
        factors: Factors::new(scale(1, Side::Left)?, scale(4, Side::Right)?, scale(6, Side::Result)?),
        zero: zero(7, Side::Result)?,
        signed: require_row_major(inputs, 7)?.dtype == DType::I8,
    };
    let (left_zero, right_zero) = (zero(2, Side::Left)?, zero(5, Side::Right)?);
    shapes.product(ctx, &a, &b, left_zero, right_zero, Output::Bytes(outputs[0].bytes, requantize));
    Ok(())
}

/// The elements of a scale.
fn floats(operand: &Operand<'_>) -> Vec<f32> {
    match operand.dtype {
        DType::F16 => operand.as_slice::<f16>().iter().map(|v| v.to_f32()).collect(),
        DType::BF16 => operand.as_slice::<bf16>().iter().map(|v| v.to_f32()).collect(),
        _ => operand.as_slice::<f32>().to_vec(),
    }
}

/// Whose parameter it is.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// One number for each row of the left operand.
    Left,
    /// One number for each column of the right operand.
    Right,
    /// One number for each row of the result.
    Result,
}

/// The extents of a product and of what its parameters belong to.
struct Shapes {
    plan: Batches,
    /// Leading axes of the result.
    lead: Vec<usize>,
    /// Axes of the operands.
    ranks: (usize, usize),
    /// One matrix on the right for all: the left operand's leading axes are further rows.
    folded: bool,
}

impl Shapes {
    fn new(a: &Operand<'_>, b: &Operand<'_>) -> Shapes {
        let mut plan = Batches::new(a.shape, b.shape, b.layout);
        let leads = [a.shape, b.shape].map(|shape| &shape[..shape.len().saturating_sub(2)]);
        let rank = leads[0].len().max(leads[1].len());
        let extent =
            |lead: &[usize], axis: usize| (axis + lead.len()).checked_sub(rank).map_or(1, |at| lead[at]);
        let lead = (0..rank)
            .map(|axis| match (extent(leads[0], axis), extent(leads[1], axis)) {
                (1, other) => other,
                (one, _) => one,
            })
            .collect();
        let folded = plan.a_contiguous && plan.b_offsets.iter().all(|&at| at == 0);
        if folded {
            plan.size.m *= plan.size.batches;
            plan.size.batches = plan.size.batches.min(1);
        }
        Shapes { plan, lead, ranks: (a.shape.len(), b.shape.len()), folded }
    }

    /// A parameter's numbers: one, or one for each row or column of every batch.
    fn spread<T: Copy>(
        &self,
        side: Side,
        parameter: &Operand<'_>,
        read: fn(&Operand<'_>) -> Vec<T>,
    ) -> Numbers<'static, T> {
        let values = read(parameter);
        if values.len() == 1 {
            return Numbers(values.into());
        }
        let batches = self.plan.size.batches;
        // The shape against the leading axes, rows and columns.
        let mut own = parameter.shape.to_vec();
        let result_rank = self.lead.len() + usize::from(self.ranks.0 > 1) + usize::from(self.ranks.1 > 1);
        match side {
            // One axis: rows, unless the matrix has no other.
            Side::Left if own.len() == 1 && self.ranks.0 > 1 => own.push(1),
            Side::Result if own.len() == 1 && result_rank > 1 => own.push(1),
            _ => {}
        }
        // The result lacks the axis of rows or columns; its last one is 1 in the parameter.
        if side == Side::Result && !own.is_empty() && (self.ranks.0 == 1 || self.ranks.1 == 1) {
            own.push(1);
        }
        let mut to = self.lead.clone();
        let rows = if self.folded {
            self.plan.size.m.checked_div(element_count(&to)).unwrap_or(0)
        } else {
            self.plan.size.m
        };
        to.extend(if side == Side::Right { [1, self.plan.size.n] } else { [rows, 1] });
        let (own_strides, to_strides) = (strides(&own), strides(&to));
        let skip = to.len() - own.len();
        let count = match side {
            Side::Right if self.folded => self.plan.size.n,
            Side::Right => batches * self.plan.size.n,
            _ => batches * self.plan.size.m,
        };
        let offset = |at: usize| -> usize {
            (0..own.len())
                .filter(|&axis| own[axis] != 1)
                .map(|axis| at / to_strides[axis + skip] % to[axis + skip] * own_strides[axis])
                .sum()
        };
        Numbers((0..count).map(|at| values[offset(at)]).collect())
    }

    fn product(
        &self,
        ctx: &KernelCtx<'_>,
        a: &Operand<'_>,
        b: &Operand<'_>,
        left_zero: Numbers<'static, i32>,
        right_zero: Numbers<'static, i32>,
        output: Output<'_>,
    ) {
        let plan = &self.plan;
        let repops_size = plan.size;
        let (batches, m, n, k) = (repops_size.batches, repops_size.m, repops_size.n, repops_size.k);
        let starts: Vec<usize> = plan.a_offsets.iter().map(|at| at.checked_div(k).unwrap_or(0)).collect();
        let left = Left { data: a.bytes, signed: a.dtype == DType::I8, starts: &starts };
        let right = Right {
            data: b.bytes,
            signed: b.dtype == DType::I8,
            starts: &plan.b_offsets,
            terms: if b.layout == Layout::Groups4 { Terms::Groups } else { Terms::Stride(n) },
        };
        let finish = Finish {
            left_zero,
            right_zero,
            bias: None,
            output,
            period: batches.max(1),
            columns: n,
            batch: m * n,
            row: n,
            lines: (usize::MAX, usize::MAX),
        };
        product(ctx.isa, Engine::best(ctx.isa), Size { batches, m, n, k }, left, right, finish);
    }
}
