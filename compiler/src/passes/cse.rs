//! Common subexpressions: an operation equal to an earlier one gives way to it.
//!
//! Equal means the same name, attributes, operands and result types, with no body, and not random; or integers that
//! inference finds to be the same expressions over sizes. The one that stays takes over the other's origins, which
//! MLIR's own `cse` would drop.

use std::collections::BTreeMap;

use repops::ops::SymTensor;

use super::Session;
use super::fold::is_random;
use super::infer::Inference;
use crate::Result;
use crate::mlir::{Block, Key, Location, Op, Value, attribute_key, ops, origin, type_key};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    let mut merge =
        Merge { session, inference: Inference::new(session), outer: Vec::new(), merged: BTreeMap::new() };
    merge.block(session.body()?)?;
    // All at once: one operation may stand for thousands.
    for (kept, locations) in merge.merged.into_values() {
        kept.set_location(origin::fuse(session.context(), locations));
    }
    Ok(())
}

struct Merge<'a> {
    session: &'a Session<'a>,
    inference: Inference<'a>,
    /// What was seen in the block being walked and those around it, innermost last.
    outer: Vec<Seen<'a>>,
    /// Operations that stand for others, with the locations of all. Keys are addresses, but each entry is for itself,
    /// so that their order does not matter.
    merged: BTreeMap<Key, (Op<'a>, Vec<Location<'a>>)>,
}

#[derive(Default)]
struct Seen<'a> {
    ops: BTreeMap<Shape<'a>, Op<'a>>,
    sizes: BTreeMap<(Key, String), Value<'a>>,
}

impl<'a> Merge<'a> {
    fn block(&mut self, block: Block<'a>) -> Result<()> {
        self.outer.push(Seen::default());
        for op in block.ops() {
            if op.body_count() == 0 {
                self.op(op)?;
            } else if op.name() != ops::REGION {
                for body in op.bodies() {
                    self.block(body)?;
                }
            }
        }
        self.outer.pop();
        Ok(())
    }

    fn op(&mut self, op: Op<'a>) -> Result<()> {
        if op.result_count() == 0 || ops::applied_name(op).is_some_and(is_random) {
            return Ok(());
        }
        let shape = shape(op);
        if let Some(earlier) = self.outer.iter().rev().find_map(|seen| seen.ops.get(&shape)).copied() {
            self.merge(op, earlier, &earlier.results().collect::<Vec<_>>());
            return Ok(());
        }
        self.inference.op(op)?;
        if let Some(key) = self.size(op) {
            if let Some(&earlier) = self.outer.iter().rev().find_map(|seen| seen.sizes.get(&key)) {
                if let Some(definition) = earlier.defining_op() {
                    self.merge(op, definition, &[earlier]);
                    return Ok(());
                }
            } else if let Some(seen) = self.outer.last_mut() {
                seen.sizes.insert(key, op.result(0));
            }
        }
        if let Some(seen) = self.outer.last_mut() {
            seen.ops.insert(shape, op);
        }
        Ok(())
    }

    fn merge(&mut self, op: Op<'a>, earlier: Op<'a>, values: &[Value<'a>]) {
        let entry = self.merged.entry(earlier.key()).or_insert_with(|| (earlier, vec![earlier.location()]));
        entry.1.push(op.location());
        self.session.module.replace(op, values);
    }

    /// What the only result of `op` is in terms of sizes, with its type.
    fn size(&self, op: Op<'a>) -> Option<(Key, String)> {
        if op.result_count() != 1 {
            return None;
        }
        let SymTensor { elements, .. } = self.inference.sym(op.result(0))?;
        if elements.iter().any(|element| !element.provably_equals(element)) {
            return None;
        }
        let text: Vec<String> = elements.iter().map(|element| element.to_string()).collect();
        Some((type_key(op.result(0).ty()), text.join(", ")))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, Key)>,
    operands: Vec<Key>,
    results: Vec<Key>,
}

/// What makes two operations equal. Only looked up, never iterated: keys are addresses.
fn shape<'a>(op: Op<'a>) -> Shape<'a> {
    Shape {
        name: op.name(),
        attributes: op.attributes().into_iter().map(|(name, value)| (name, attribute_key(value))).collect(),
        operands: op.operands().map(|value| value.key()).collect(),
        results: op.results().map(|value| type_key(value.ty())).collect(),
    }
}
