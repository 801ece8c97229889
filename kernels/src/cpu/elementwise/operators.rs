//! Element-wise operators as steps of their own, on f32 and bool.

use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{self, OpClass, OpDef, OpError};
use repops::region::PARAMS_MAX;
use repops::tensor::{TensorView, TensorViewMut};

use super::super::{by_reference, require_row_major};
use super::broadcast::evaluate_broadcast;
use super::region::TileKernel;
use crate::{Kernel, KernelCtx, Operand};

/// A kernel function for each operator, since a kernel is told its attributes, not its name.
macro_rules! operators {
    ($($name:ident)*) => {
        /// The operators and their kernels.
        pub(crate) static KERNELS: &[(&str, Kernel)] = &[$((stringify!($name), {
            fn kernel(
                ctx: &KernelCtx<'_>,
                inputs: &[Option<Operand<'_>>],
                outputs: &mut [TensorViewMut<'_>],
            ) -> Result<(), OpError> {
                elementwise(stringify!($name), ctx, inputs, outputs)
            }
            kernel
        }),)*];
    };
}
operators! {
    Abs Acos Add And Asin Atan Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Min Mish Mul Neg Not Or
    PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Where Xor
}

/// The kernel for f32 and bool; other types are the reference's.
pub(crate) fn choose(def: &OpDef, dtypes: &[Option<DType>]) -> Option<Kernel> {
    if def.version != 1 || dtypes.iter().flatten().any(|d| !matches!(d, DType::F32 | DType::Bool)) {
        return None;
    }
    KERNELS.binary_search_by(|(name, _)| (*name).cmp(def.name)).ok().map(|at| KERNELS[at].1)
}

fn elementwise(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let def = ops::by_name(name).ok_or_else(|| OpError::Unsupported(name.to_string()))?;
    let OpClass::Elementwise(Some(lane)) = def.class else {
        return by_reference(def, ctx, inputs, outputs);
    };
    let op = lane(ctx.attrs);
    let mut views: Vec<TensorView<'_>> = Vec::with_capacity(inputs.len());
    let (mut low, mut high) = (false, false);
    for (index, input) in inputs.iter().enumerate() {
        if input.is_some() {
            let operand = require_row_major(inputs, index)?;
            views.push(TensorView { dtype: operand.dtype, shape: operand.shape, bytes: operand.bytes });
            low |= index == 1;
            high |= index == 2;
        }
    }
    let params: Vec<DType> = views.iter().map(|v| v.dtype).collect();
    let out = outputs[0].dtype;
    // The steps: one, or a fold from the left of however many inputs there are.
    let steps: Vec<(LaneOp, Vec<usize>, DType)> = match (op, name) {
        (LaneOp::Binary(_), "Max" | "Min" | "Sum") if (2..=PARAMS_MAX).contains(&views.len()) => {
            let next = |i: usize| if i == 1 { vec![0, 1] } else { vec![views.len() + i - 2, i] };
            (1..views.len()).map(|i| (op, next(i), out)).collect()
        }
        (LaneOp::Clip, _) if low != high => {
            let limit = if low { BinaryOp::Max } else { BinaryOp::Min };
            vec![(LaneOp::Binary(limit), vec![0, 1], out)]
        }
        _ => vec![(op, (0..views.len()).collect(), out)],
    };
    let typed = |(op, args, out): &(LaneOp, Vec<usize>, DType)| {
        let types: Vec<DType> = args.iter().map(|&a| params.get(a).copied().unwrap_or(DType::F32)).collect();
        op.signature(&types) == Some(*out)
    };
    let result = views.len() + steps.len() - 1;
    match TileKernel::of_ops(ctx.isa, &params, &steps, &[result]) {
        Some(kernel) if steps.iter().all(typed) => {
            let full = outputs[0].shape;
            evaluate_broadcast(&kernel, full, &views, outputs);
            Ok(())
        }
        _ => by_reference(def, ctx, inputs, outputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_that_can_join_a_region_has_a_kernel() {
        assert!(KERNELS.is_sorted_by_key(|(name, _)| *name), "the table is searched by halving");
        for def in ops::all() {
            if let OpClass::Elementwise(Some(_)) = def.class {
                assert!(choose(def, &[Some(DType::F32)]).is_some(), "{}", def.name);
            }
        }
    }
}
