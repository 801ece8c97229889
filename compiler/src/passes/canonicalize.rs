//! Operations that change nothing are removed, and chains of views shortened.
//!
//! Only rewrites that keep every bit for every input: `x * 1` and `x + 0` stay (a NaN, a signed zero), a Cast to the
//! same type goes (NaNs are canonical at every store).

use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;
use repops::ops::{self as operators, OpClass, SymType};

use super::Session;
use super::fold::is_widened_weight;
use super::infer::constant;
use crate::Result;
use crate::mlir::ops::Applied;
use crate::mlir::tensor::SymTypes;
use crate::mlir::{At, Block, Op, Value, ops, origin};
use crate::weights::Weight;

/// How many views are looked through. Longer chains are shortened by other rules, or stay.
const VIEWS_MAX: usize = 16;

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    block(session, &mut SymTypes::default(), session.body()?);
    Ok(())
}

fn block<'a>(session: &'a Session<'a>, types: &mut SymTypes, block: Block<'a>) {
    for op in block.ops() {
        match op.name() {
            ops::APPLY => apply(session, types, op),
            ops::IF | ops::LOOP | ops::SCAN => op.bodies().for_each(|body| self::block(session, types, body)),
            _ => {}
        }
    }
}

fn apply<'a>(session: &'a Session<'a>, types: &mut SymTypes, op: Op<'a>) {
    let Some(applied) = ops::applied(op) else { return };
    let Some(def) = applied.def() else { return };
    if op.result_count() != 1 || op.operand_count() == 0 {
        return;
    }
    compose(session, op, def.name);
    if matches!(def.name, "MatMul" | "Gemm")
        && op.operand_count() > 1
        && let Some(cast) = op.operand(1).defining_op().filter(|cast| is_widened_weight(session, *cast))
    {
        op.set_operand(1, cast.operand(0));
    }
    if def.name == "Pow" && is_square(session, types, op) {
        square(session, op);
        return;
    }
    let same = match def.name {
        "Identity" => Some(op.operand(0)),
        "Cast" | "CastLike" | "Expand" | "Tile" | "Pad" | "Slice" => {
            moves_nothing(session, types, op, def.name).then(|| op.operand(0))
        }
        "Concat" | "Sum" | "Max" | "Min" if op.operand_count() == 1 => Some(op.operand(0)),
        "Transpose" if is_identity(op) => Some(op.operand(0)),
        _ if matches!(def.class, OpClass::View) => viewed(types, op),
        _ => None,
    };
    if let Some(value) = same.filter(|value| keeps_type(types, op, *value)) {
        session.module.replace(op, &[value]);
    }
}

/// Whether an operation squares numbers of type f32, of the result's shape.
fn is_square<'a>(session: &'a Session<'a>, types: &mut SymTypes, op: Op<'a>) -> bool {
    let is_two = |exponent: &Weight| match exponent.view() {
        Some(view) if view.dtype == DType::F32 => view.as_slice::<f32>() == [2.0],
        Some(view) => view.to_i64s().is_some_and(|integers| integers == [2]),
        None => false,
    };
    let types = [op.operand(0), op.result(0)].map(|value| types.get(value.ty()));
    matches!(&types, [Some(x), Some(y)] if x.dtype == DType::F32 && provably_same(x, y))
        && op.operand_count() == 2
        && constant(session, op.operand(1)).is_some_and(|exponent| is_two(&exponent))
}

/// `x^2` becomes `x * x`: both are the square rounded once (of f32, where Pow is correctly rounded).
fn square<'a>(session: &'a Session<'a>, op: Op<'a>) {
    let Some(product) = operators::by_name("Mul") else { return };
    let applied = Applied { op: product.name, version: product.version, attrs: Attrs::new() };
    let (module, x) = (&session.module, op.operand(0));
    let product = module.create_apply(At::Before(op), op.location(), &applied, &[x, x], &[op.result(0).ty()]);
    module.replace(op, &[product.result(0)]);
}

/// The value must not lose what is known of its type.
fn keeps_type(types: &mut SymTypes, op: Op<'_>, value: Value<'_>) -> bool {
    match (types.get(op.result(0).ty()), types.get(value.ty())) {
        (Some(result), Some(operand)) => provably_same(&result, &operand),
        // Of an Identity nothing is known on either side.
        (None, _) => true,
        (Some(_), None) => false,
    }
}

fn provably_same(a: &SymType, b: &SymType) -> bool {
    a.dtype == b.dtype
        && a.shape.len() == b.shape.len()
        && a.shape.iter().zip(&b.shape).all(|(a, b)| a.provably_equals(b))
}

/// Whether an operator that would move or convert elements leaves each as and where it is: the type says so, except
/// that of a Slice, which may reverse, and of a Pad, which may cut as much as it adds.
fn moves_nothing<'a>(session: &'a Session<'a>, types: &mut SymTypes, op: Op<'a>, name: &str) -> bool {
    let (Some(result), Some(operand)) = (types.get(op.result(0).ty()), types.get(op.operand(0).ty())) else {
        return false;
    };
    if !provably_same(&result, &operand) {
        return false;
    }
    let ints = |index: usize| {
        let value = (index < op.operand_count()).then(|| op.operand(index))?;
        constant(session, value)?.view()?.to_i64s()
    };
    match name {
        "Slice" => op.operand_count() < 5 || ints(4).is_some_and(|steps| steps.iter().all(|&step| step == 1)),
        "Pad" => ints(1).is_some_and(|pads| pads.iter().all(|&pad| pad == 0)),
        _ => true,
    }
}

/// A view of a view of `x`, if it has the type of one of the values on the way to `x`.
fn viewed<'a>(types: &mut SymTypes, op: Op<'a>) -> Option<Value<'a>> {
    let wanted = types.get(op.result(0).ty())?;
    let mut found = None;
    let mut value = op.operand(0);
    for _ in 0..VIEWS_MAX {
        if types.get(value.ty()).is_some_and(|ty| provably_same(&ty, &wanted)) {
            found = Some(value);
        }
        match value.defining_op().filter(|op| is_view(*op)) {
            Some(op) => value = op.operand(0),
            None => break,
        }
    }
    found
}

pub(super) fn is_view(op: Op<'_>) -> bool {
    let class = ops::applied(op).and_then(|applied| applied.def()).map(|def| def.class);
    matches!(class, Some(OpClass::View)) && op.operand_count() > 0
}

/// Lets an operation read past the one that makes its operand, where the two are one.
fn compose<'a>(session: &'a Session<'a>, op: Op<'a>, name: &str) {
    let Some(inner) = op.operand(0).defining_op() else { return };
    match name {
        // A Reshape whose shape copies no extent does not care what its operand's shape was.
        "Reshape" if is_view(inner) => {
            let Some(shape) = constant(session, op.operand(1)).and_then(|shape| shape.view()?.to_i64s())
            else {
                return;
            };
            if !shape.contains(&0) {
                absorb(session, op, inner);
            }
        }
        "Transpose" if ops::applied_name(inner) == Some("Transpose") => {
            let (Some(outer_perm), Some(inner_perm)) = (perm(op), perm(inner)) else { return };
            if outer_perm.len() != inner_perm.len() {
                return;
            }
            let perm: Vec<i64> =
                outer_perm.iter().map(|&axis| inner_perm[axis]).map(|axis| axis as i64).collect();
            let Some(applied) = ops::applied(op) else { return };
            let mut attrs = applied.attrs;
            attrs.insert("perm", AttrValue::Ints(perm));
            op.set_attribute("attrs", crate::mlir::attr::dictionary(session.context(), &attrs));
            absorb(session, op, inner);
        }
        _ => {}
    }
}

/// `op` takes over the operand and the origins of `inner`.
fn absorb<'a>(session: &'a Session<'a>, op: Op<'a>, inner: Op<'a>) {
    op.set_location(origin::fuse(session.context(), [inner.location(), op.location()]));
    op.set_operand(0, inner.operand(0));
}

/// The permutation of a Transpose, if it is one.
fn perm(op: Op<'_>) -> Option<Vec<usize>> {
    let applied = ops::applied(op)?;
    let axes = applied.attrs.opt_ints("perm")?;
    let perm: Vec<usize> = axes.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    sorted.iter().copied().eq(0..perm.len()).then_some(perm)
}

fn is_identity(op: Op<'_>) -> bool {
    perm(op).is_some_and(|perm| perm.into_iter().eq(0..op_rank(op)))
}

fn op_rank(op: Op<'_>) -> usize {
    perm(op).map_or(0, |perm| perm.len())
}
