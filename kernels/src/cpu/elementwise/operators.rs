//! Element-wise operators as steps of their own: f32 by the loops of regions, other types by [`typed`].

use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{self, OpClass, OpDef, OpError};
use repops::region::PARAMS_MAX;
use repops::tensor::{TensorView, TensorViewMut};

use super::super::typed::halves::{ThroughF32, is_half};
use super::super::{by_reference, require_row_major, typed};
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
    Abs Acos Add And Asin Atan BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip Cos Cosh Div
    Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual
    Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Where Xor
}

/// The kernel for all types but the narrow ones, which only Where takes; a few rare cases it leaves to the
/// reference.
pub(crate) fn choose(def: &OpDef, dtypes: &[Option<DType>]) -> Option<Kernel> {
    if def.version != 1 || def.name != "Where" && dtypes.iter().flatten().any(|dtype| dtype.is_narrow()) {
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
    let mut given: Vec<Option<TensorView<'_>>> = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        given.push(match input {
            Some(_) => require_row_major(inputs, index)?.row_major(),
            None => None,
        });
    }
    if let Some(done) = typed::evaluate(def, ctx, &given, outputs) {
        return done;
    }
    let op = match def.class {
        OpClass::Elementwise(Some(lane)) => lane(ctx.attrs),
        _ if name == "Mean" => LaneOp::Binary(BinaryOp::Add),
        _ => return by_reference(def, ctx, inputs, outputs),
    };
    let mut views: Vec<TensorView<'_>> = Vec::with_capacity(inputs.len());
    let (mut low, mut high) = (false, false);
    for (index, input) in given.iter().enumerate() {
        if let Some(view) = input {
            views.push(*view);
            low |= index == 1;
            high |= index == 2;
        }
    }
    // Powers of mixed types are computed in f64.
    if views.iter().any(|v| v.dtype != views[0].dtype) {
        return by_reference(def, ctx, inputs, outputs);
    }
    let terms = views.len();
    let divisor = [terms as f32];
    if name == "Mean" {
        views.push(TensorView { dtype: DType::F32, shape: &[], bytes: bytemuck::cast_slice(&divisor) });
    }
    if views.len() > PARAMS_MAX {
        return by_reference(def, ctx, inputs, outputs);
    }
    // f16 and bf16 are computed in f32 and rounded once, at the end.
    let wide = |dtype| if is_half(dtype) { DType::F32 } else { dtype };
    let stored: Vec<DType> = views.iter().map(|v| v.dtype).collect();
    let params: Vec<DType> = stored.iter().map(|&dtype| wide(dtype)).collect();
    let output = outputs[0].dtype;
    let out = wide(output);
    // The steps: one, or a fold from the left of however many inputs there are.
    let mut steps: Vec<(LaneOp, Vec<usize>, DType)> = match (op, name) {
        (LaneOp::Binary(_), "Max" | "Mean" | "Min" | "Sum") if terms >= 2 => {
            let next = |i: usize| if i == 1 { vec![0, 1] } else { vec![views.len() + i - 2, i] };
            (1..terms).map(|i| (op, next(i), out)).collect()
        }
        (LaneOp::Clip, _) if low != high => {
            let limit = if low { BinaryOp::Max } else { BinaryOp::Min };
            vec![(LaneOp::Binary(limit), vec![0, 1], out)]
        }
        _ => vec![(op, (0..views.len()).collect(), out)],
    };
    if name == "Mean" && terms >= 2 {
        steps.push((LaneOp::Binary(BinaryOp::Div), vec![views.len() + terms - 2, terms], out));
    }
    let typed = |(op, args, out): &(LaneOp, Vec<usize>, DType)| {
        let types: Vec<DType> = args.iter().map(|&a| params.get(a).copied().unwrap_or(DType::F32)).collect();
        op.signature(&types) == Some(*out)
    };
    if name == "Mean" && terms == 1 || !steps.iter().all(typed) {
        return by_reference(def, ctx, inputs, outputs);
    }
    let result = views.len() + steps.len() - 1;
    let Some(tiles) = TileKernel::of_ops(ctx.isa, &params, &steps, &[result]) else {
        return by_reference(def, ctx, inputs, outputs);
    };
    let full = outputs[0].shape;
    if stored.iter().any(|&dtype| is_half(dtype)) {
        let kernel = ThroughF32 { isa: ctx.isa, tiles, params: stored, output };
        evaluate_broadcast(&kernel, full, &views, outputs);
    } else {
        evaluate_broadcast(&tiles, full, &views, outputs);
    }
    Ok(())
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
