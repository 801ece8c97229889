//! From a module to a program.
//!
//! Everything is numbered in the order in which it stands: constants by first use and after them the attached ones, blocks outer before inner, values
//! as the program format says. So the same module gives the same bytes on every machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use repops::ops::{PRODUCT_REGION, REGION};
use repops::program::{
    Block as ProgramBlock, BlockId, Header, Output, Program, ProgramParts, SPEC_VERSION, SlotId,
};
use repops::program::{Step, ValueId};
use repops::region::{Instruction, Product, Region, is_product};

use crate::mlir::tensor::{self, SymTypes};
use crate::mlir::{Block, Key, Op, Value, attr, ops, origin};
use crate::passes::{SLOTS, Session, is_step};
use crate::weights::{Weight, WeightId};
use crate::{CompileError, Result};

/// Name and version of the compiler, as programs say who made them.
pub const COMPILER: &str = concat!("repops ", env!("CARGO_PKG_VERSION"));

/// The program that the session's module is.
pub fn emit(session: &Session<'_>) -> Result<Program> {
    let program = session.module.program()?;
    let names = |name: &str| program.attribute(name).and_then(attr::strings).unwrap_or_default();
    let mut emitter = Emitter {
        session,
        types: SymTypes::default(),
        blocks: Vec::new(),
        held: BTreeMap::new(),
        constants: Vec::new(),
        weights: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    emitter.enumerate(session.body()?)?;
    emitter.constants.extend(session.attached.iter().cloned());
    emitter.number()?;
    let blocks =
        emitter.blocks.clone().into_iter().map(|block| emitter.block(block)).collect::<Result<_>>()?;
    let parts = ProgramParts {
        header: Header {
            spec: SPEC_VERSION,
            compiler: COMPILER.to_owned(),
            sources: session.sources.clone(),
            inputs: names("inputs"),
            outputs: names("outputs"),
        },
        // Few tensors are most of the bytes, so both tensors and their leaves are hashed in parallel.
        constants: emitter.constants.par_iter().map(|weight| weight.decl()).collect(),
        data: emitter.constants.iter().map(|weight| weight.data.clone()).collect(),
        blocks,
    };
    Ok(Program::new(parts)?)
}

struct Emitter<'a> {
    session: &'a Session<'a>,
    types: SymTypes,
    /// Every block, by its id.
    blocks: Vec<Block<'a>>,
    /// The blocks that an operation holds.
    held: BTreeMap<Key, Vec<BlockId>>,
    constants: Vec<Arc<Weight>>,
    /// The constants' places in `constants`.
    weights: BTreeMap<WeightId, u32>,
    values: BTreeMap<Key, ValueId>,
}

impl<'a> Emitter<'a> {
    /// Finds blocks and constants, in order.
    fn enumerate(&mut self, block: Block<'a>) -> Result<()> {
        self.blocks.push(block);
        for op in block.ops() {
            for operand in op.operands() {
                self.constant(operand)?;
            }
            if op.name() == ops::REGION {
                continue;
            }
            for body in op.bodies() {
                let id = BlockId(self.blocks.len() as u32);
                self.held.entry(op.key()).or_default().push(id);
                self.enumerate(body)?;
            }
        }
        Ok(())
    }

    fn constant(&mut self, value: Value<'a>) -> Result<()> {
        let Some(id) = value.defining_op().and_then(ops::constant_id).map(WeightId) else { return Ok(()) };
        let at = match self.weights.get(&id) {
            Some(&at) => at,
            None => {
                let weight = self
                    .session
                    .weights
                    .borrow()
                    .get(id)
                    .ok_or(CompileError::UnknownConstant { id: id.0 })?;
                let aligned = weight
                    .aligned()
                    .map_err(|error| CompileError::Op { origin: weight.name.clone(), error: error.into() })?;
                let at = self.constants.len() as u32;
                self.constants.push(Arc::new(aligned));
                self.weights.insert(id, at);
                at
            }
        };
        self.values.insert(value.key(), ValueId(at));
        Ok(())
    }

    /// Numbers the values: constants first, then each block's parameters and its steps' results.
    fn number(&mut self) -> Result<()> {
        let mut next = self.constants.len() as u32;
        for block in &self.blocks {
            let results = block.ops().into_iter().filter(|op| is_step(*op)).flat_map(|op| op.results());
            for value in block.arguments().chain(results) {
                self.values.insert(value.key(), ValueId(next));
                next += 1;
            }
        }
        Ok(())
    }

    fn block(&mut self, block: Block<'a>) -> Result<ProgramBlock> {
        let params = block.arguments().map(|value| self.ty(value)).collect();
        let steps = block.ops().into_iter().filter(|op| is_step(*op)).map(|op| self.step(op));
        let steps = steps.collect::<Result<_>>()?;
        let results = block.terminator().into_iter().flat_map(|op| op.operands());
        let results = results.map(|value| self.values[&value.key()]).collect();
        Ok(ProgramBlock { params, steps, results })
    }

    fn ty(&mut self, value: Value<'a>) -> Option<repops::ops::SymType> {
        self.types.get(value.ty()).map(|ty| (*ty).clone())
    }

    fn step(&mut self, op: Op<'a>) -> Result<Step> {
        let slots = op.attribute(SLOTS).and_then(attr::i64s).unwrap_or_default();
        let outputs = op.results().enumerate().map(|(index, value)| Output {
            ty: self.ty(value),
            slot: slots.get(index).and_then(|&slot| u32::try_from(slot).ok()).map(SlotId),
        });
        let outputs = outputs.collect();
        let inputs = op.operands().map(|value| self.values.get(&value.key()).copied()).collect();
        let origins = origin::origins(op.location());
        if op.name() == ops::REGION {
            let region = region(op)?;
            let (version, attrs) = (1, repops::attrs::Attrs::new());
            return Ok(Step {
                op: if region.is_elementwise() { REGION } else { PRODUCT_REGION },
                version,
                attrs,
                inputs,
                outputs,
                region: Some(region),
                blocks: Vec::new(),
                origins,
            });
        }
        let (def, attrs) = applied(op)?;
        let blocks = self.held.get(&op.key()).cloned().unwrap_or_default();
        Ok(Step { op: def.id, version: def.version, attrs, inputs, outputs, region: None, blocks, origins })
    }
}

/// The operator that an operation applies.
fn applied(op: Op<'_>) -> Result<(&'static repops::ops::OpDef, repops::attrs::Attrs)> {
    let applied = ops::applied(op).ok_or_else(|| CompileError::UnknownOperator {
        origin: origin::describe(op),
        op: op.name().to_owned(),
        version: 0,
    })?;
    let def = applied.def().ok_or_else(|| CompileError::UnknownOperator {
        origin: origin::describe(op),
        op: applied.op.to_owned(),
        version: applied.version,
    })?;
    Ok((def, applied.attrs))
}

/// The body of a fused step.
fn region(op: Op<'_>) -> Result<Region> {
    let malformed = || CompileError::Op {
        origin: origin::describe(op),
        error: repops::ops::OpError::Unsupported("a region of other than scalar operators".to_owned()),
    };
    let dtype = |value: Value<'_>| tensor::dtype(value.ty()).ok_or_else(malformed);
    let body = op.body(0).ok_or_else(malformed)?;
    let mut numbers: BTreeMap<Key, u16> = BTreeMap::new();
    let number = |numbers: &mut BTreeMap<Key, u16>, value: Value<'_>| {
        let next = u16::try_from(numbers.len()).map_err(|_| malformed())?;
        numbers.insert(value.key(), next);
        Ok::<(), CompileError>(())
    };
    // Products come first, and take the first parameters.
    let (mut products, mut params, mut taken) = (Vec::new(), Vec::new(), 0);
    let inner = body.ops();
    for &product in &inner {
        let Ok((def, attrs)) = applied(product) else { break };
        if !is_product(def) {
            break;
        }
        let inputs = u16::try_from(product.operand_count()).map_err(|_| malformed())?;
        let own = body.arguments().skip(taken).map(|argument| argument.key());
        if !product.operands().map(|operand| operand.key()).eq(own.take(product.operand_count())) {
            return Err(malformed());
        }
        let result = product.results().next().ok_or_else(malformed)?;
        number(&mut numbers, result)?;
        params.push(dtype(result)?);
        products.push(Product { op: def.id, version: def.version, attrs, inputs });
        taken += product.operand_count();
    }
    for param in body.arguments().skip(taken) {
        number(&mut numbers, param)?;
        params.push(dtype(param)?);
    }
    let mut instructions = Vec::new();
    let mut results = Vec::new();
    for &inner in &inner[products.len()..] {
        let args = inner.operands().map(|value| numbers.get(&value.key()).copied().ok_or_else(malformed));
        let args: Vec<u16> = args.collect::<Result<_>>()?;
        if inner.name() == ops::YIELD {
            results = args;
            continue;
        }
        let (def, attrs) = applied(inner)?;
        let result = inner.results().next().ok_or_else(malformed)?;
        instructions.push(Instruction {
            op: def.id,
            version: def.version,
            attrs,
            args,
            dtype: dtype(result)?,
        });
        number(&mut numbers, result)?;
    }
    Ok(Region { products, params, instructions, results })
}
