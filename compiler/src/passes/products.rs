//! Products: what only one element-wise step reads is computed within that step, and not stored.
//!
//! A region, or an element-wise operator alone, takes in the products of f32 that it alone reads, if they have its shape: a
//! convolution and its activation, the two products of a gated layer. Each rounds as it does alone, so no bit changes;
//! what is not stored is not hashed either, and need not be read again. Of convolutions, whose results are large, one at the
//! most: its result has the place of the step's first one, while those of further products need memory of their own.

use std::collections::BTreeMap;

use repops::dtype::DType;
use repops::ops::SymType;
use repops::region::{PARAMS_MAX, PRODUCT_INPUTS_MAX, PRODUCTS_MAX, is_product};

use super::fuse::{is_fusable, same_extents};
use super::{Session, all_ops};
use crate::Result;
use crate::mlir::module::New;
use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{At, Key, Op, Value, ops, origin};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    let mut types = SymTypes::default();
    for op in all_ops(session.body()?) {
        let within = op.parent().is_some_and(|parent| parent.name() == ops::REGION);
        if op.name() != ops::REGION && (within || !is_fusable(&mut types, op)) {
            continue;
        }
        let found = products(&mut types, op);
        if !found.is_empty() {
            join(session, &mut types, op, &found);
        }
    }
    Ok(())
}

/// The products that a step may take in, in program order.
fn products<'a>(types: &mut SymTypes, op: Op<'a>) -> Vec<Op<'a>> {
    let Some(full) = op.results().next().and_then(|value| types.get(value.ty())) else { return Vec::new() };
    // A product stays one parameter.
    if op.operand_count() > PARAMS_MAX {
        return Vec::new();
    }
    let mut found: Vec<Op<'a>> = Vec::new();
    for value in op.operands() {
        let Some(maker) = value.defining_op().filter(|maker| maker.block() == op.block()) else { continue };
        if found.iter().all(|known| known.key() != maker.key()) && is_own(types, maker, value, op, &full) {
            found.push(maker);
        }
    }
    found
        .sort_by(|a, b| if a.is_before(*b) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater });
    // The last convolution, and otherwise as many as there may be.
    let is_matrix = |op: &Op<'_>| !ops::applied_name(*op).is_some_and(|name| name.starts_with("Conv"));
    if let Some(at) = found.iter().rposition(|op| !is_matrix(op)) {
        return vec![found[at]];
    }
    found.truncate(PRODUCTS_MAX);
    found
}

/// Whether `value` is a product of f32 of the shape `full` that `reader` alone reads.
fn is_own<'a>(types: &mut SymTypes, maker: Op<'a>, value: Value<'a>, reader: Op<'a>, full: &SymType) -> bool {
    let Some(applied) = ops::applied(maker) else { return false };
    let inputs = 1..=PRODUCT_INPUTS_MAX;
    if !applied.def().is_some_and(is_product)
        || maker.result_count() != 1
        || !inputs.contains(&maker.operand_count())
    {
        return false;
    }
    // Absent inputs have no type.
    let present = maker.operands().all(|operand| types.get(operand.ty()).is_some());
    let has_shape = types.get(value.ty()).is_some_and(|ty| ty.dtype == DType::F32 && same_extents(&ty, full));
    let most = reader.operand_count();
    let read_here =
        value.uses_up_to(most).is_some_and(|uses| uses.iter().all(|(user, _)| user.key() == reader.key()));
    present && has_shape && read_here
}

/// Puts a step with the products in the place of `op`.
fn join<'a>(session: &'a Session<'a>, types: &mut SymTypes, op: Op<'a>, products: &[Op<'a>]) {
    let (module, context) = (&session.module, session.context());
    let is_taken = |value: &Value<'a>| products.iter().any(|p| p.result(0).key() == value.key());
    let mut scalar = |value: Value<'a>| {
        let dtype = types.get(value.ty()).expect("a fusable operator's values have types").dtype;
        tensor::scalar(context, dtype)
    };
    // An operator alone may read a value twice.
    let mut others: Vec<Value<'a>> = Vec::new();
    for value in op.operands() {
        if !is_taken(&value) && others.iter().all(|other| other.key() != value.key()) {
            others.push(value);
        }
    }
    let of_products = products.iter().flat_map(|product| product.operands());
    let operands: Vec<Value<'a>> = of_products.chain(others.iter().copied()).collect();
    let taken = operands.len() - others.len();
    let params = operands[..taken].iter().map(|value| value.ty()).collect::<Vec<_>>();
    let params = params.into_iter().chain(others.iter().map(|&value| scalar(value))).collect();
    let members = products.iter().chain(std::iter::once(&op));
    let location = origin::fuse(context, members.map(|op| op.location()));
    let results = op.results().map(|value| value.ty()).collect();
    let new = New { operands, results, bodies: vec![params], ..New::default() };
    let step = module.create(At::Before(op), ops::REGION, location, &new);
    let body = step.body(0).expect("created with a body");
    let arguments: Vec<Value<'a>> = body.arguments().collect();
    let mut inner: BTreeMap<Key, Value<'a>> = BTreeMap::new();
    let mut first = 0;
    for product in products {
        let applied = ops::applied(*product).expect("a product applies an operator");
        let own = &arguments[first..first + product.operand_count()];
        first += own.len();
        let result = [tensor::scalar(context, DType::F32)];
        let copy = module.create_apply(At::End(body), product.location(), &applied, own, &result);
        inner.insert(product.result(0).key(), copy.result(0));
    }
    inner.extend(others.iter().zip(&arguments[taken..]).map(|(outer, argument)| (outer.key(), *argument)));
    let outer: Vec<Value<'a>> = op.operands().map(|value| inner[&value.key()]).collect();
    let old = if op.body_count() > 0 { op.body(0) } else { None };
    let yielded: Vec<Value<'a>> = match old {
        None => {
            let applied = ops::applied(op).expect("a fusable operation applies an operator");
            let result = [scalar(op.result(0))];
            vec![module.create_apply(At::End(body), op.location(), &applied, &outer, &result).result(0)]
        }
        Some(old) => {
            let mut values: BTreeMap<Key, Value<'a>> =
                old.arguments().zip(outer).map(|(param, value)| (param.key(), value)).collect();
            let mut yielded = Vec::new();
            for op in old.ops() {
                let operands: Vec<Value<'a>> = op.operands().map(|value| values[&value.key()]).collect();
                let Some(applied) = ops::applied(op) else {
                    yielded = operands;
                    continue;
                };
                let result = [op.result(0).ty()];
                let copy = module.create_apply(At::End(body), op.location(), &applied, &operands, &result);
                values.insert(op.result(0).key(), copy.result(0));
            }
            yielded
        }
    };
    module.create_terminator(At::End(body), ops::YIELD, location, &yielded);
    module.replace(op, &step.results().collect::<Vec<_>>());
    products.iter().for_each(|product| module.erase(*product));
}
