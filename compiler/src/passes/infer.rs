//! Types: finds the element type and symbolic shape of every value, by the operators' own inference.
//!
//! One walk in program order. A result whose type cannot be known before a run (its operator needs an input's value)
//! stays unknown, and so does what depends on it. Integer values that follow from sizes are carried along, as far as
//! operators do so, since shapes are computed from them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use repops::dim::DimExpr;
use repops::dtype::DType;
use repops::ops::{InferCtx, InferInput, Inferred, OpError, SymTensor, SymType};

use super::Session;
use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{Block, Key, Op, Value, ops, origin};
use crate::weights::Weight;
use crate::{CompileError, Result};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    Inference::new(session).block(session.body()?)
}

/// What is known while walking.
pub(super) struct Inference<'a> {
    session: &'a Session<'a>,
    types: SymTypes,
    /// Values known in terms of sizes.
    syms: BTreeMap<Key, SymTensor>,
}

/// How often the body of a loop is inferred before its carried values' types are given up.
const LOOP_ROUNDS_MAX: usize = 8;

impl<'a> Inference<'a> {
    pub(super) fn new(session: &'a Session<'a>) -> Self {
        Self { session, types: SymTypes::default(), syms: BTreeMap::new() }
    }

    pub(super) fn ty(&mut self, value: Value<'a>) -> Option<Rc<SymType>> {
        self.types.get(value.ty())
    }

    pub(super) fn sym(&self, value: Value<'a>) -> Option<&SymTensor> {
        self.syms.get(&value.key())
    }

    fn set(&mut self, value: Value<'a>, ty: Option<&SymType>) {
        value.set_type(tensor::of(self.session.context(), ty));
    }

    fn block(&mut self, block: Block<'a>) -> Result<()> {
        for op in block.ops() {
            self.op(op)?;
        }
        Ok(())
    }

    /// Infers one operation, and what it holds.
    pub(super) fn op(&mut self, op: Op<'a>) -> Result<()> {
        match op.name() {
            ops::APPLY => self.apply(op),
            ops::IF => self.branch(op),
            ops::LOOP => self.loop_(op),
            ops::SCAN => self.scan(op),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, op: Op<'a>) -> Result<()> {
        let at = |error| CompileError::Op { origin: origin::describe(op), error };
        let Some(inferred) = self.inferred(op).map_err(at)? else { return Ok(()) };
        for (result, Inferred { ty, sym }) in op.results().zip(inferred) {
            self.set(result, Some(&ty));
            if let Some(sym) = sym {
                self.syms.insert(result.key(), sym);
            }
        }
        Ok(())
    }

    /// What the operator says of its results; `None` where it must wait for a run.
    fn inferred(&mut self, op: Op<'a>) -> std::result::Result<Option<Vec<Inferred>>, OpError> {
        let unknown = || OpError::Unsupported("the operator is not in the table".to_owned());
        let applied = ops::applied(op).ok_or_else(unknown)?;
        let def = applied.def().ok_or_else(unknown)?;
        let mut types: Vec<Option<Rc<SymType>>> = Vec::new();
        for operand in op.operands() {
            let ty = self.ty(operand);
            if ty.is_none() && !is_absent(operand) {
                return Ok(None);
            }
            types.push(ty);
        }
        let weights: Vec<Option<Arc<Weight>>> =
            op.operands().map(|operand| constant(self.session, operand)).collect();
        let inputs: Vec<Option<InferInput<'_>>> = op
            .operands()
            .zip(types.iter().zip(&weights))
            .map(|(operand, (ty, weight))| {
                let tensor = weight.as_ref().and_then(|weight| weight.view());
                Some(InferInput { ty: ty.as_deref()?, tensor, sym: self.sym(operand) })
            })
            .collect();
        let ctx = InferCtx {
            attrs: &applied.attrs,
            inputs: &inputs,
            outputs: op.result_count(),
            fresh: &self.session.fresh,
        };
        match def.infer(&ctx) {
            Ok(inferred) => Ok(Some(inferred)),
            Err(OpError::ValueUnknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn branch(&mut self, op: Op<'a>) -> Result<()> {
        let mut yields: Vec<Vec<Value<'a>>> = Vec::new();
        for body in op.bodies() {
            // Exporters write branches that do not fit the shapes at hand and are never taken. One that is taken
            // fails when it runs, by the same inference.
            match self.block(body) {
                Ok(()) | Err(CompileError::Op { .. }) => {}
                Err(other) => return Err(other),
            }
            yields.push(yielded(body));
        }
        let [then, otherwise] = &yields[..] else { return Ok(()) };
        for ((result, &then), &otherwise) in op.results().zip(then).zip(otherwise) {
            let (then, otherwise) = (self.ty(then), self.ty(otherwise));
            let joined = then.zip(otherwise).and_then(|(a, b)| self.join(&a, &b));
            self.set(result, joined.as_ref());
        }
        Ok(())
    }

    /// Body: iteration, condition, carried ...; yields: condition, carried ..., slices ...
    fn loop_(&mut self, op: Op<'a>) -> Result<()> {
        let Some(body) = op.body(0) else { return Ok(()) };
        let scalar = |dtype| SymType { dtype, shape: Vec::new() };
        self.set(body.argument(0), Some(&scalar(DType::I64)));
        self.set(body.argument(1), Some(&scalar(DType::Bool)));
        let initial: Vec<Value<'a>> = op.operands().skip(2).collect();
        let params: Vec<Value<'a>> = body.arguments().skip(2).collect();
        self.carry(body, &initial, &params, 1)?;

        let yields = yielded(body);
        for (index, (result, &last)) in op.results().zip(&yields[1..]).enumerate() {
            let ty = self.ty(last);
            let ty = match (index < params.len(), ty) {
                // No iteration at all leaves the initial value.
                (true, Some(last)) => self.ty(initial[index]).and_then(|first| self.join(&first, &last)),
                (false, Some(slice)) => {
                    let mut shape = vec![self.fresh_dim()];
                    shape.extend(slice.shape.iter().map(|dim| self.outside(dim)));
                    Some(SymType { dtype: slice.dtype, shape })
                }
                (_, None) => None,
            };
            self.set(result, ty.as_ref());
        }
        Ok(())
    }

    /// Body: states ..., slices ...; yields: states ..., slices ...
    fn scan(&mut self, op: Op<'a>) -> Result<()> {
        let Some(body) = op.body(0) else { return Ok(()) };
        let applied = ops::applied(op);
        let attrs = applied.map(|applied| applied.attrs).unwrap_or_default();
        let scanned = attrs.opt_int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let states = op.operand_count().saturating_sub(scanned);
        let axis = |name: &str, index: usize| {
            attrs.opt_ints(name).and_then(|axes| axes.get(index)).copied().unwrap_or(0)
        };

        let mut length = None;
        for (index, (input, param)) in op.operands().zip(body.arguments()).skip(states).enumerate() {
            let ty = self.ty(input).map(|ty| (*ty).clone()).and_then(|mut ty| {
                let axis = repops::ops::infer::normalize_axis(axis("scan_input_axes", index), ty.shape.len())
                    .ok()?;
                length.get_or_insert(ty.shape.remove(axis));
                Some(ty)
            });
            self.set(param, ty.as_ref());
        }
        let initial: Vec<Value<'a>> = op.operands().take(states).collect();
        let params: Vec<Value<'a>> = body.arguments().take(states).collect();
        self.carry(body, &initial, &params, 0)?;

        let yields = yielded(body);
        for (index, (result, &last)) in op.results().zip(&yields).enumerate() {
            let ty = match (index.checked_sub(states), self.ty(last)) {
                (None, Some(last)) => self.ty(initial[index]).and_then(|first| self.join(&first, &last)),
                (Some(output), Some(slice)) => {
                    let mut shape: Vec<DimExpr> = slice.shape.iter().map(|dim| self.outside(dim)).collect();
                    let at =
                        repops::ops::infer::normalize_axis(axis("scan_output_axes", output), shape.len() + 1)
                            .ok();
                    at.zip(length.clone()).map(|(at, length)| {
                        shape.insert(at, length);
                        SymType { dtype: slice.dtype, shape }
                    })
                }
                (_, None) => None,
            };
            self.set(result, ty.as_ref());
        }
        Ok(())
    }

    /// Infers a body whose `params` start as `initial` and are then what it yields from `first` on: until their types
    /// hold for every iteration.
    fn carry(
        &mut self,
        body: Block<'a>,
        initial: &[Value<'a>],
        params: &[Value<'a>],
        first: usize,
    ) -> Result<()> {
        for (&param, &value) in params.iter().zip(initial) {
            let ty = self.ty(value);
            self.set(param, ty.as_deref());
        }
        // Extents that differ between iterations, named by this loop.
        let mut own: Vec<DimExpr> = Vec::new();
        for round in 0..LOOP_ROUNDS_MAX {
            self.block(body)?;
            let yields = yielded(body);
            let mut changed = false;
            for (&param, &next) in params.iter().zip(&yields[first..]) {
                let Some(now) = self.ty(param) else { continue };
                let joined = self.ty(next).and_then(|next| self.join_within(&now, &next, &mut own));
                // The last round must end it.
                let joined = joined.filter(|joined| round + 2 < LOOP_ROUNDS_MAX || *joined == *now);
                if joined.as_ref() != Some(&*now) {
                    self.set(param, joined.as_ref());
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }

    /// A type that both have: where extents differ, one known only at run time.
    fn join(&self, a: &SymType, b: &SymType) -> Option<SymType> {
        self.join_within(a, b, &mut Vec::new())
    }

    /// [`Inference::join`], where extents of `a` that are among `own` stay: they stand for any already. New ones are
    /// added to `own`.
    fn join_within(&self, a: &SymType, b: &SymType, own: &mut Vec<DimExpr>) -> Option<SymType> {
        if a.dtype != b.dtype || a.shape.len() != b.shape.len() {
            return None;
        }
        let shape = a.shape.iter().zip(&b.shape).map(|(a, b)| {
            if a.provably_equals(b) || own.contains(a) {
                return a.clone();
            }
            own.push(self.fresh_dim());
            own[own.len() - 1].clone()
        });
        Some(SymType { dtype: a.dtype, shape: shape.collect() })
    }

    /// An extent of the last iteration as seen from outside of the loop: one that depends on data says nothing there.
    fn outside(&self, dim: &DimExpr) -> DimExpr {
        if dim.depends_on_data() { self.fresh_dim() } else { dim.clone() }
    }

    fn fresh_dim(&self) -> DimExpr {
        let number = self.session.fresh.get();
        self.session.fresh.set(number.wrapping_add(1));
        DimExpr::unknown(number)
    }
}

/// Whether the value stands for an absent input.
pub(super) fn is_absent(value: Value<'_>) -> bool {
    value.defining_op().is_some_and(|op| op.name() == ops::NONE)
}

/// The constant that a value is, if it is one.
pub(super) fn constant(session: &Session<'_>, value: Value<'_>) -> Option<Arc<Weight>> {
    session.weight_of(value.defining_op()?).ok()?
}

/// What the terminator of a body yields.
pub(super) fn yielded(body: Block<'_>) -> Vec<Value<'_>> {
    body.terminator().map(|terminator| terminator.operands().collect()).unwrap_or_default()
}
