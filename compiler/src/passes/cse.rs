//! Common subexpressions: an operation equal to an earlier one gives way to it.
//!
//! Equal means the same name, attributes, operands and result types, with no body. The one that stays takes over the
//! other's origins, which MLIR's own `cse` would drop.

use std::collections::BTreeMap;

use super::Session;
use crate::Result;
use crate::mlir::{Block, Key, Module, Op, attribute_key, ops, origin, type_key};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let module = &session.module;
    let body = module.program()?.body(0).expect("a verified program has a body");
    merge(module, body, &mut Vec::new());
    Ok(())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, Key)>,
    operands: Vec<Key>,
    results: Vec<Key>,
}

/// Walks `block`; `outer` holds what was seen in the blocks around it, whose values are visible here.
fn merge<'a>(module: &'a Module<'_>, block: Block<'a>, outer: &mut Vec<BTreeMap<Shape<'a>, Op<'a>>>) {
    outer.push(BTreeMap::new());
    for op in block.ops() {
        if op.body_count() > 0 {
            // A fused region is isolated: nothing from around it may be named inside.
            if op.name() == ops::REGION {
                merge(module, op.body(0).expect("a verified region has a body"), &mut Vec::new());
            } else {
                for body in op.bodies() {
                    merge(module, body, outer);
                }
            }
            continue;
        }
        if op.result_count() == 0 {
            continue;
        }
        let shape = shape(op);
        let earlier = outer.iter().rev().find_map(|seen| seen.get(&shape)).copied();
        if let Some(earlier) = earlier {
            earlier.set_location(origin::fuse(module.context(), [earlier.location(), op.location()]));
            module.replace(op, &earlier.results().collect::<Vec<_>>());
        } else if let Some(seen) = outer.last_mut() {
            seen.insert(shape, op);
        }
    }
    outer.pop();
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
