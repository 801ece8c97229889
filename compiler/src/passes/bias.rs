//! Biases: what is added to a convolution channel by channel becomes its bias.
//!
//! A convolution adds its bias to the finished sums in one addition, as the operator Add does, and both make NaNs
//! canonical: no bit changes. f16 and bf16 stay as they are, since there the convolution alone rounds before the Add.

use std::sync::Arc;

use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::SymType;

use super::infer::constant;
use super::{Session, all_ops};
use crate::Result;
use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{At, Op, ops, origin};
use crate::weights::Weight;

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    let mut types = SymTypes::default();
    for add in all_ops(session.body()?) {
        if ops::applied_name(add) == Some("Add") && add.operand_count() == 2 && add.result_count() == 1 {
            let sides = [0, 1].map(|index| (add.operand(index), add.operand(1 - index)));
            let found = sides.into_iter().find_map(|(sums, other)| {
                let (conv, bias) = (sums.defining_op()?, constant(session, other)?);
                Some(Sums { conv, bias, constant: other.defining_op()? })
            });
            if let Some(found) = found {
                join(session, &mut types, add, found);
            }
        }
    }
    Ok(())
}

/// The operands of an addition.
struct Sums<'a> {
    conv: Op<'a>,
    bias: Arc<Weight>,
    constant: Op<'a>,
}

/// Lets the convolution do the addition too, if it can.
fn join<'a>(session: &'a Session<'a>, types: &mut SymTypes, add: Op<'a>, found: Sums<'a>) {
    let Sums { conv, bias, constant } = found;
    if conv.result_count() != 1 {
        return;
    }
    let sums = conv.result(0);
    let Some(applied) = ops::applied(conv) else { return };
    let is_plain = matches!(applied.op, "Conv" | "ConvTranspose") && conv.operand_count() == 2;
    let Some(ty) = types.get(sums.ty()) else { return };
    // Read here alone, and where the convolution is: not once for each iteration.
    let is_own = sums.uses_up_to(2).is_some_and(|uses| uses.len() == 1) && conv.block() == add.block();
    if !is_plain || !is_own || !is_one_a_channel(&bias, &ty) {
        return;
    }
    let weight = Weight { shape: vec![bias.shape.iter().product()], ..(*bias).clone() };
    let bias_ty = SymType::of(weight.dtype, &weight.shape);
    let id = session.weights.borrow_mut().add(weight);
    let module = &session.module;
    let context = session.context();
    let bias_ty = tensor::of(context, Some(&bias_ty));
    // Constants are operations of the program's block.
    let bias = module.create_constant(At::Before(constant), constant.location(), id.0, bias_ty);
    let location = origin::fuse(context, [conv.location(), add.location()]);
    let operands = [conv.operand(0), conv.operand(1), bias];
    let joined = module.create_apply(At::Before(add), location, &applied, &operands, &[add.result(0).ty()]);
    module.replace(add, &[joined.result(0)]);
    module.erase(conv);
    if !constant.has_uses() {
        module.erase(constant);
    }
}

/// Whether the constant holds one number for each channel of a result of type `ty`, and adding it leaves the type.
fn is_one_a_channel(bias: &Weight, ty: &SymType) -> bool {
    let rank = ty.shape.len();
    let Some(channels) = ty.shape.get(1).and_then(|extent| extent.as_const()) else { return false };
    // Axes count from the last.
    let skipped = rank.wrapping_sub(bias.shape.len());
    let fits = |(axis, &extent): (usize, &usize)| {
        if axis + skipped == 1 { extent as i64 == channels } else { extent == 1 }
    };
    let float = matches!(ty.dtype, DType::F32 | DType::F64) && bias.dtype == ty.dtype;
    let one_each = bias.shape.len() + 1 >= rank && bias.shape.len() <= rank;
    float && bias.layout == Layout::RowMajor && one_each && bias.shape.iter().enumerate().all(fits)
}
