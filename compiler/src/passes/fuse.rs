//! Fusion: neighbouring element-wise operators become one region.
//!
//! Every operator rounds in the region as it does alone, so fusing changes no bit. From the last operation of a block
//! to the first, each becomes the root of a group, which takes in the makers of its operands that have the root's
//! shape, as long as whoever else reads them stands behind the root: the region stands in the root's place, and gives
//! what is read outside as results. Since all readers of a member are members or stand behind the root, no value
//! leaves a group and comes back.

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

/// A value with more readers stays what it is: to look at all of them for each would take too long.
const USES_MAX: usize = 256;

struct Fusion<'a> {
    session: &'a Session<'a>,
    types: SymTypes,
}

/// Operations to be joined, in program order; the last is the root.
struct Group<'a> {
    members: Vec<Op<'a>>,
    /// The region's inputs, in order of first use.
    inputs: Vec<Value<'a>>,
    /// Members' results that are read outside, in order.
    results: Vec<Value<'a>>,
}

impl<'a> Fusion<'a> {
    fn block(&mut self, block: Block<'a>) {
        let all = block.ops();
        let mut position: BTreeMap<Key, usize> =
            all.iter().enumerate().map(|(at, op)| (op.key(), at)).collect();
        let mut taken: BTreeSet<Key> = BTreeSet::new();
        for &root in all.iter().rev() {
            if root.name() != ops::REGION {
                root.bodies().for_each(|body| self.block(body));
            }
            if taken.contains(&root.key()) || !is_fusable(&mut self.types, root) {
                continue;
            }
            let group = self.group(root, block, &position);
            if group.members.len() > 1 && self.has_shape_of_root(&group, root) {
                taken.extend(group.members.iter().map(|op| op.key()));
                let region = self.join(&group, root);
                position.insert(region.key(), position[&root.key()]);
            }
        }
    }

    fn group(&mut self, root: Op<'a>, block: Block<'a>, position: &BTreeMap<Key, usize>) -> Group<'a> {
        let mut members: BTreeMap<usize, Op<'a>> = BTreeMap::new();
        let mut pending = vec![root];
        let mut reads = Reads::default();
        reads.add(root);
        let mut outside = 1;
        let place = |user: Op<'a>| place(user, block).and_then(|op| position.get(&op.key()).copied());
        let end = position[&root.key()];
        let shape = self.types.get(root.result(0).ty());
        while let Some(op) = pending.pop() {
            let Some(&at) = position.get(&op.key()) else { continue };
            if members.insert(at, op).is_some() {
                continue;
            }
            for operand in op.operands() {
                let Some(maker) = operand.defining_op().filter(|maker| maker.block() == Some(block)) else {
                    continue;
                };
                let Some(&at) = position.get(&maker.key()) else { continue };
                let has_shape = |fusion: &mut Self| {
                    let ty = fusion.types.get(operand.ty());
                    shape.as_ref().zip(ty).is_some_and(|(shape, ty)| same_extents(shape, &ty))
                };
                let is_fusable = is_fusable(&mut self.types, maker);
                if members.contains_key(&at) || !is_fusable || !has_shape(self) {
                    continue;
                }
                let Some(uses) = operand.uses_up_to(USES_MAX) else { continue };
                // Readers that are no members, by their places.
                let others: Vec<Option<usize>> = uses
                    .into_iter()
                    .map(|(user, _)| place(user))
                    .filter(|at| at.is_none_or(|at| !members.contains_key(&at)))
                    .collect();
                // One more member adds an instruction, and as many inputs as it has operands at the most.
                let fits = members.len() + pending.len() + 1 < INSTRUCTIONS_MAX
                    && outside < PARAMS_MAX
                    && reads.with(maker) <= PARAMS_MAX;
                if fits && others.iter().all(|at| at.is_some_and(|at| at > end)) {
                    outside += usize::from(!others.is_empty());
                    reads.add(maker);
                    pending.push(maker);
                }
            }
        }
        let is_outside = |value: &Value<'a>| {
            value.uses().into_iter().any(|(user, _)| place(user).is_none_or(|at| !members.contains_key(&at)))
        };
        let results = members.values().map(|op| op.result(0)).filter(is_outside).collect();
        let inputs = inputs(members.values());
        Group { members: members.into_values().collect(), inputs, results }
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
    fn join(&mut self, group: &Group<'a>, root: Op<'a>) -> Op<'a> {
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
            results: group.results.iter().map(|value| value.ty()).collect(),
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
        let yielded: Vec<Value<'a>> = group.results.iter().map(|value| inner[&value.key()]).collect();
        module.create_terminator(At::End(body), ops::YIELD, location, &yielded);
        for (&value, result) in group.results.iter().zip(region.results()) {
            value.replace_all_uses_with(result);
        }
        // Readers first. Inside of the region nothing reads the members, only their copies.
        for &op in group.members.iter().rev() {
            module.erase(op);
        }
        region
    }
}

/// What a group reads and does not make, while it grows towards the front of its block.
#[derive(Default)]
struct Reads {
    made: BTreeSet<Key>,
    read: BTreeSet<Key>,
}

impl Reads {
    fn add(&mut self, op: Op<'_>) {
        for value in op.results() {
            self.made.insert(value.key());
            self.read.remove(&value.key());
        }
        let new = op.operands().map(|value| value.key()).filter(|key| !self.made.contains(key));
        self.read.extend(new.collect::<Vec<_>>());
    }

    /// How many there are once `op` is added, too.
    fn with(&self, op: Op<'_>) -> usize {
        let ends = op.results().filter(|value| self.read.contains(&value.key())).count();
        let is_new = |key: &Key| !self.made.contains(key) && !self.read.contains(key);
        let new: BTreeSet<Key> = op.operands().map(|value| value.key()).filter(is_new).collect();
        self.read.len() - ends + new.len()
    }
}

/// The operation of `block` that is `op` or holds it.
fn place<'a>(op: Op<'a>, block: Block<'a>) -> Option<Op<'a>> {
    std::iter::successors(Some(op), |op| op.parent()).find(|op| op.block() == Some(block))
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

/// Whether a region may hold the operator, on these types.
pub(super) fn is_fusable(types: &mut SymTypes, op: Op<'_>) -> bool {
    let Some(applied) = ops::applied(op) else { return false };
    let Some(OpClass::Elementwise(Some(lane))) = applied.def().map(|def| def.class) else { return false };
    let dtypes: Option<Vec<DType>> = op.operands().map(|v| types.get(v.ty()).map(|ty| ty.dtype)).collect();
    let (Some(dtypes), 1) = (dtypes, op.result_count()) else { return false };
    let result = types.get(op.result(0).ty()).map(|ty| ty.dtype);
    result.is_some() && lane(&applied.attrs).signature(&dtypes) == result
}

pub(super) fn same_extents(a: &SymType, b: &SymType) -> bool {
    a.shape.len() == b.shape.len() && a.shape.iter().zip(&b.shape).all(|(a, b)| a.provably_equals(b))
}
