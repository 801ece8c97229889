//! Fusion: element-wise operators whose results only other element-wise operators read become one region with them.
//!
//! Every operator rounds in the region as it does alone, so fusing changes no bit. From the last operation of a block
//! to the first, each becomes the root of a group, which takes in the makers of its operands as long as nobody else
//! reads them and they have the root's shape. Since all readers of a member but the root are members, no value leaves
//! a group and comes back.

use std::collections::{BTreeMap, BTreeSet};

use repops::dtype::DType;
use repops::ops::infer::broadcast;
use repops::ops::{OpClass, SymType};
use repops::region::{INSTRUCTIONS_MAX, PARAMS_MAX};

use super::Session;
use crate::Result;
use crate::mlir::module::New;
use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{At, Block, Key, Op, Value, ops, origin};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    Fusion { session, types: SymTypes::default() }.block(session.body()?);
    Ok(())
}

struct Fusion<'a> {
    session: &'a Session<'a>,
    types: SymTypes,
}

/// Operations to be joined, in program order; the last is the root.
struct Group<'a> {
    members: Vec<Op<'a>>,
    /// The region's inputs, in order of first use.
    inputs: Vec<Value<'a>>,
}

impl<'a> Fusion<'a> {
    fn block(&mut self, block: Block<'a>) {
        let all = block.ops();
        let position: BTreeMap<Key, usize> = all.iter().enumerate().map(|(at, op)| (op.key(), at)).collect();
        let mut taken: BTreeSet<Key> = BTreeSet::new();
        for &root in all.iter().rev() {
            if root.name() != ops::REGION {
                root.bodies().for_each(|body| self.block(body));
            }
            if taken.contains(&root.key()) || !self.is_fusable(root) {
                continue;
            }
            let group = self.group(root, block, &position);
            if group.members.len() > 1 && self.has_shape_of_root(&group, root) {
                taken.extend(group.members.iter().map(|op| op.key()));
                self.join(&group, root);
            }
        }
    }

    /// Whether a region may hold the operator, on these types.
    fn is_fusable(&mut self, op: Op<'a>) -> bool {
        let Some(applied) = ops::applied(op) else { return false };
        let Some(OpClass::Elementwise(Some(lane))) = applied.def().map(|def| def.class) else { return false };
        let dtypes: Option<Vec<DType>> =
            op.operands().map(|v| self.types.get(v.ty()).map(|ty| ty.dtype)).collect();
        let (Some(dtypes), 1) = (dtypes, op.result_count()) else { return false };
        let result = self.types.get(op.result(0).ty()).map(|ty| ty.dtype);
        result.is_some() && lane(&applied.attrs).signature(&dtypes) == result
    }

    fn group(&mut self, root: Op<'a>, block: Block<'a>, position: &BTreeMap<Key, usize>) -> Group<'a> {
        let mut members: BTreeMap<usize, Op<'a>> = BTreeMap::new();
        let mut pending = vec![root];
        let Some(shape) = self.types.get(root.result(0).ty()) else {
            return Group { members: vec![root], inputs: Vec::new() };
        };
        while let Some(op) = pending.pop() {
            let Some(&at) = position.get(&op.key()) else { continue };
            members.insert(at, op);
            for operand in op.operands() {
                let Some(maker) = operand.defining_op() else { continue };
                let Some(&at) = position.get(&maker.key()) else { continue };
                let joins = !members.contains_key(&at)
                    && maker.block() == Some(block)
                    && self.is_fusable(maker)
                    && self.types.get(operand.ty()).is_some_and(|ty| same_extents(&ty, &shape))
                    && operand.uses().iter().all(|(user, _)| {
                        position.get(&user.key()).is_some_and(|at| members.contains_key(at))
                    });
                // One more member adds an instruction, and as many inputs as it has operands at the most.
                let fits = members.len() + pending.len() + 1 < INSTRUCTIONS_MAX
                    && count_inputs(members.values().chain(&pending).chain([&maker])) <= PARAMS_MAX;
                if joins && fits {
                    pending.push(maker);
                }
            }
        }
        let members: Vec<Op<'a>> = members.into_values().collect();
        let inputs = inputs(members.iter());
        Group { members, inputs }
    }

    /// A region's results have the shape that its inputs broadcast to: it must be the root's.
    fn has_shape_of_root(&mut self, group: &Group<'a>, root: Op<'a>) -> bool {
        let Some(shape) = self.types.get(root.result(0).ty()) else { return false };
        let inputs: Option<Vec<_>> = group.inputs.iter().map(|value| self.types.get(value.ty())).collect();
        let Some(inputs) = inputs.filter(|inputs| !inputs.is_empty()) else { return false };
        let shapes: Vec<&[_]> = inputs.iter().map(|ty| ty.shape.as_slice()).collect();
        let Ok(full) = broadcast(&shapes) else { return false };
        same_extents(&SymType { dtype: shape.dtype, shape: full }, &shape)
    }

    /// Puts a region in the place of the group's root.
    fn join(&mut self, group: &Group<'a>, root: Op<'a>) {
        let module = &self.session.module;
        let context = self.session.context();
        let element = |types: &mut SymTypes, value: Value<'a>| {
            let dtype = types.get(value.ty()).expect("a fusable operator's values have types").dtype;
            tensor::scalar(context, dtype)
        };
        let location = origin::fuse(context, group.members.iter().map(|op| op.location()));
        let params = group.inputs.iter().map(|&value| element(&mut self.types, value)).collect();
        let new = New {
            operands: group.inputs.clone(),
            results: vec![root.result(0).ty()],
            bodies: vec![params],
            ..New::default()
        };
        let region = module.create(At::Before(root), ops::REGION, location, &new);
        let body = region.body(0).expect("created with a body");
        let mut inner: BTreeMap<Key, Value<'a>> =
            group.inputs.iter().zip(body.arguments()).map(|(outer, param)| (outer.key(), param)).collect();
        for &op in &group.members {
            let applied = ops::applied(op).expect("a fusable operation applies an operator");
            let operands: Vec<Value<'a>> = op.operands().map(|value| inner[&value.key()]).collect();
            let result = element(&mut self.types, op.result(0));
            let copy = module.create_apply(At::End(body), op.location(), &applied, &operands, &[result]);
            inner.insert(op.result(0).key(), copy.result(0));
        }
        let result = inner[&root.result(0).key()];
        module.create_terminator(At::End(body), ops::YIELD, location, &[result]);
        module.replace(root, &[region.result(0)]);
        for &op in group.members.iter().rev().skip(1) {
            module.erase(op);
        }
    }
}

/// The values that the operations read but do not make, in order of first use.
fn inputs<'a, 'o>(members: impl Iterator<Item = &'o Op<'a>> + Clone) -> Vec<Value<'a>>
where
    'a: 'o,
{
    let made: BTreeSet<Key> = members.clone().flat_map(|op| op.results()).map(|value| value.key()).collect();
    let mut seen = BTreeSet::new();
    members
        .flat_map(|op| op.operands())
        .filter(|value| !made.contains(&value.key()) && seen.insert(value.key()))
        .collect()
}

fn count_inputs<'a, 'o>(members: impl Iterator<Item = &'o Op<'a>> + Clone) -> usize
where
    'a: 'o,
{
    inputs(members).len()
}

fn same_extents(a: &SymType, b: &SymType) -> bool {
    a.shape.len() == b.shape.len() && a.shape.iter().zip(&b.shape).all(|(a, b)| a.provably_equals(b))
}
