//! Buffer planning: values whose lives do not overlap share a slot.
//!
//! Every operation with results gets an attribute `slots`, one number for each result, -1 for none: views, constants,
//! results of their block, and values whose size is known only when their step has run have memory of their own or
//! none at all. A slot is given anew only when its value and every view of it have had their last use, and only to a
//! value that provably fits, or to one of constant size (the smallest slot that holds it, else the largest).
//! Blocks have slots of their own, since they run while values around them are alive.

use std::collections::BTreeMap;

use repops::dim::{Atom, DimExpr};
use repops::ops::SymType;

use super::canonicalize::is_view;
use super::{Session, all_ops};
use crate::Result;
use crate::mlir::tensor::SymTypes;
use crate::mlir::{Block, Key, Op, Value, ops};

/// The attribute with the slots of an operation's results.
pub const SLOTS: &str = "slots";

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    let body = session.body()?;
    let mut plan = Plan { session, types: SymTypes::default(), next: 0 };
    plan.block(body);
    for block in all_ops(body).into_iter().filter(|op| op.name() != ops::REGION).flat_map(|op| op.bodies()) {
        plan.block(block);
    }
    Ok(())
}

struct Plan<'a> {
    session: &'a Session<'a>,
    types: SymTypes,
    /// The first slot that no block has.
    next: i64,
}

/// Bytes of a value: constant, or an expression.
#[derive(Clone, PartialEq, Eq)]
enum Size {
    Constant(usize),
    Symbolic(DimExpr),
}

/// Slots that nothing lives in.
#[derive(Default)]
struct Free {
    /// By size, then number.
    constant: BTreeMap<(usize, i64), ()>,
    symbolic: Vec<(DimExpr, i64)>,
}

impl<'a> Plan<'a> {
    fn block(&mut self, block: Block<'a>) {
        let steps: Vec<Op<'a>> = block.ops().into_iter().filter(|op| is_step(*op)).collect();
        let last = self.last_uses(block, &steps);
        let mut free = Free::default();
        // For each step the slots that are free after it.
        let mut ends: BTreeMap<usize, Vec<(Size, i64)>> = BTreeMap::new();
        for (at, &op) in steps.iter().enumerate() {
            let mut slots = Vec::new();
            for value in op.results() {
                let until = last.get(&value.key()).copied().unwrap_or(Some(at));
                let size = self.size(value).filter(|_| !is_view(op));
                slots.push(match (size, until) {
                    (Some(size), Some(until)) => {
                        let (size, slot) = self.take(&mut free, size);
                        ends.entry(until.max(at)).or_default().push((size, slot));
                        slot
                    }
                    _ => -1,
                });
            }
            op.set_attribute(SLOTS, self.session.module.ints(&slots));
            for (size, slot) in ends.remove(&at).into_iter().flatten() {
                free.give(size, slot);
            }
        }
    }

    /// For each value of the block the last step that needs it, itself or by a view; `None` for the block's results.
    fn last_uses(&self, block: Block<'a>, steps: &[Op<'a>]) -> BTreeMap<Key, Option<usize>> {
        let mut last: BTreeMap<Key, Option<usize>> = BTreeMap::new();
        let mut extend = |value: Value<'a>, until: Option<usize>| {
            let entry = last.entry(value.key()).or_insert(until);
            *entry = match (*entry, until) {
                (Some(a), Some(b)) => Some(a.max(b)),
                _ => None,
            };
        };
        for (at, &op) in steps.iter().enumerate() {
            op.operands().for_each(|value| extend(value, Some(at)));
            for inner in op.bodies().flat_map(all_ops) {
                inner.operands().for_each(|value| extend(value, Some(at)));
            }
        }
        if let Some(terminator) = block.terminator() {
            terminator.operands().for_each(|value| extend(value, None));
        }
        // A view keeps its operand alive: from the last to the first, so that chains are followed.
        for &op in steps.iter().rev().filter(|op| is_view(**op)) {
            if let Some(&until) = last.get(&op.result(0).key()) {
                let entry = last.entry(op.operand(0).key()).or_insert(until);
                *entry = entry.zip(until).map(|(a, b)| a.max(b));
            }
        }
        last
    }

    /// The bytes of a value; `None` if only the run knows.
    fn size(&mut self, value: Value<'a>) -> Option<Size> {
        let ty = self.types.get(value.ty())?;
        if let Some(shape) = ty.extents() {
            return repops::tensor::byte_len(ty.dtype, &shape).ok().map(Size::Constant);
        }
        let SymType { dtype, shape } = &*ty;
        if shape.iter().any(DimExpr::depends_on_data) {
            return None;
        }
        let bytes = shape.iter().fold(DimExpr::Const(dtype.size() as i64), |bytes, dim| bytes.mul(dim));
        bytes.provably_equals(&bytes).then_some(Size::Symbolic(bytes))
    }

    /// A slot for a value of that size, and the size the slot then has.
    fn take(&mut self, free: &mut Free, size: Size) -> (Size, i64) {
        let found = match &size {
            Size::Constant(bytes) => {
                let fitting = free.constant.range((*bytes, 0)..).next().map(|(&key, ())| key);
                let key = fitting.or_else(|| free.constant.last_key_value().map(|(&key, ())| key));
                key.inspect(|key| {
                    free.constant.remove(key);
                })
                .map(|(has, slot)| (Size::Constant(has.max(*bytes)), slot))
            }
            Size::Symbolic(bytes) => {
                let fits = |(has, _): &(DimExpr, i64)| is_at_least(has, bytes);
                let at = free.symbolic.iter().position(|(has, _)| has == bytes);
                let at = at.or_else(|| free.symbolic.iter().position(fits));
                at.map(|at| free.symbolic.swap_remove(at)).map(|(has, slot)| (Size::Symbolic(has), slot))
            }
        };
        found.unwrap_or_else(|| {
            let slot = self.next;
            self.next += 1;
            (size, slot)
        })
    }
}

impl Free {
    fn give(&mut self, size: Size, slot: i64) {
        match size {
            Size::Constant(bytes) => {
                self.constant.insert((bytes, slot), ());
            }
            Size::Symbolic(bytes) => self.symbolic.push((bytes, slot)),
        }
    }
}

/// Whether `a >= b` whatever the sizes: their difference has no negative term, and sizes are not negative.
fn is_at_least(a: &DimExpr, b: &DimExpr) -> bool {
    match a.sub(b) {
        DimExpr::Const(difference) => difference >= 0,
        DimExpr::Poly(terms) => {
            // Of the atoms a quotient or a minimum could be negative; a product of named sizes cannot.
            let named = |atom: &Atom| matches!(atom, Atom::Sym(_));
            terms.iter().all(|(monomial, &coefficient)| coefficient >= 0 && monomial.iter().all(named))
        }
        DimExpr::Opaque => false,
    }
}

/// Whether an operation becomes a step of the program.
pub(crate) fn is_step(op: Op<'_>) -> bool {
    matches!(op.name(), ops::APPLY | ops::REGION | ops::IF | ops::LOOP | ops::SCAN)
}
