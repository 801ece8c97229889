//! Biases: what is added to a convolution channel by channel becomes its bias, and what is added to the product of two
//! matrices, a bias or a residual, Gemm's input C.
//!
//! A convolution adds its bias to the finished sums in one addition, as the operator Add does, Gemm likewise with a beta of 1, and all
//! make NaNs canonical: no bit changes. f16 and bf16 stay as they are, since there what is joined alone rounds before the Add.

use std::sync::Arc;

use repops::attrs::AttrValue;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::SymType;

use super::infer::constant;
use super::{Session, all_ops};
use crate::Result;
use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{At, Op, Value, ops, origin};
use crate::weights::Weight;

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    let mut types = SymTypes::default();
    for add in all_ops(session.body()?) {
        if ops::applied_name(add) == Some("Add") && add.operand_count() == 2 && add.result_count() == 1 {
            let sides = [0, 1].map(|index| (add.operand(index), add.operand(1 - index)));
            if sides.into_iter().any(|(sums, other)| join_product(session, &mut types, add, sums, other)) {
                continue;
            }
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

/// Lets a Gemm without C add the other operand too, if it can.
fn join_product<'a>(
    session: &'a Session<'a>,
    types: &mut SymTypes,
    add: Op<'a>,
    sums: Value<'a>,
    other: Value<'a>,
) -> bool {
    let Some(gemm) = sums.defining_op().filter(|op| op.operand_count() == 2 && op.result_count() == 1) else {
        return false;
    };
    let Some(applied) = ops::applied(gemm).filter(|applied| applied.op == "Gemm") else { return false };
    let mut of = |value: Value<'a>| types.get(value.ty());
    let (Some(ty), Some(added), Some(result)) = (of(sums), of(other), of(add.result(0))) else {
        return false;
    };
    let float = matches!(ty.dtype, DType::F32 | DType::F64) && added.dtype == ty.dtype;
    // The same matrix, or numbers for each column.
    let columns = match added.shape.as_slice() {
        [columns] => Some(columns),
        [rows, columns] if rows.as_const() == Some(1) => Some(columns),
        _ => None,
    };
    let is_row = columns.is_some_and(|n| n.as_const() == Some(1) || Some(n) == ty.shape.last());
    let fits = float && ty == result && (added.shape == ty.shape || is_row);
    // Read here alone, and where the product is: not once for each iteration.
    let is_own = sums.uses_up_to(2).is_some_and(|uses| uses.len() == 1) && gemm.block() == add.block();
    // Beta counts from now on.
    if !fits || !is_own || !matches!(applied.attrs.get("beta"), None | Some(AttrValue::Float(1.0))) {
        return false;
    }
    let location = origin::fuse(session.context(), [gemm.location(), add.location()]);
    let operands = [gemm.operand(0), gemm.operand(1), other];
    let module = &session.module;
    let joined = module.create_apply(At::Before(add), location, &applied, &operands, &[add.result(0).ty()]);
    module.replace(add, &[joined.result(0)]);
    module.erase(gemm);
    true
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
