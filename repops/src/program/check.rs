//! The checks that make parts a [`Program`](super::Program).

use std::collections::BTreeSet;

use super::{Block, BlockId, Output, ProgramParts, Step, ValueId};
use crate::attrs::Attrs;
use crate::digest::{Digest, Layout};
use crate::dtype::DType;
use crate::ops::{self, OpClass, OpDef, OpError};
use crate::region::{Region, RegionError};

/// The version of SPEC.md that this crate implements: major, minor.
pub const SPEC_VERSION: (u32, u32) = (0, 1);
/// Blocks may nest this deep.
pub const NESTING_MAX: usize = 16;

/// What is wrong with a program.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProgramError {
    #[error("this is no RepOps program: the first bytes are not the format's")]
    Magic,
    #[error("format version {found} is not supported; this reads version {supported}")]
    Version { found: u32, supported: u32 },
    #[error("specification version {}.{} is not supported; this implements {}.{}", found.0, found.1, SPEC_VERSION.0, SPEC_VERSION.1)]
    Spec { found: (u32, u32) },
    #[error("the file is cut or its lengths are wrong: {needed} bytes needed, {found} found")]
    Truncated { needed: u64, found: u64 },
    #[error("bytes that belong to nothing start at offset {at}")]
    TrailingBytes { at: u64 },
    #[error("{what}: {problem}")]
    Encoding { what: String, problem: String },
    #[error("the encoding is not the canonical one")]
    NotCanonical,
    #[error("the program's parts have digest {found}, but the file declares {declared}")]
    Digest { declared: Digest, found: Digest },
    #[error("constant {constant} ({name:?}) has digest {found}, but {declared} is declared")]
    ConstantDigest { constant: usize, name: String, declared: Digest, found: Digest },
    #[error("constant {constant} ({name:?}) holds a NaN or bool that is not canonical at byte {offset}")]
    ConstantValue { constant: usize, name: String, offset: usize },
    #[error("constant {name:?} is too large or its layout does not suit its shape")]
    ConstantSize { name: String },
    #[error("constant {name:?} has {found} bytes; its type needs {expected}")]
    ConstantLength { name: String, expected: usize, found: usize },
    #[error("the program has {names} {what} names for {values} values")]
    Names { what: &'static str, names: usize, values: usize },
    #[error("the {what} name {name:?} occurs twice")]
    DuplicateName { what: &'static str, name: String },
    #[error("the program has no main block")]
    NoMainBlock,
    #[error("the program has more values than can be numbered")]
    TooManyValues,
    #[error("{place} refers to value {value}, which is not defined there")]
    UndefinedValue { place: String, value: u32 },
    #[error("{place} refers to block {block}, which cannot be used there")]
    BlockUse { place: String, block: u32 },
    #[error("{place}: operator {op} version {version} is unknown to this version")]
    UnknownOperator { place: String, op: u16, version: u16 },
    #[error("{place} ({op}): {error}")]
    Operator { place: String, op: &'static str, error: OpError },
    #[error("{place}: {error}")]
    Region { place: String, error: RegionError },
    #[error("{place}: slot {slot} still holds value {holds}, which is used later")]
    SlotLive { place: String, slot: u32, holds: u32 },
    #[error("{place}: slot {slot} is out of range")]
    Slot { place: String, slot: u32 },
}

/// Checks everything; returns the first value of each block, and after them the number of values.
pub(super) fn check(parts: &ProgramParts) -> Result<Vec<u32>, ProgramError> {
    if parts.header.spec != SPEC_VERSION {
        return Err(ProgramError::Spec { found: parts.header.spec });
    }
    let main = parts.blocks.first().ok_or(ProgramError::NoMainBlock)?;
    names("input", &parts.header.inputs, main.params.len())?;
    names("output", &parts.header.outputs, main.results.len())?;
    constants(parts)?;
    let block_values = number_values(parts)?;
    let outputs = parts.blocks.iter().flat_map(|b| &b.steps).map(|s| s.outputs.len()).sum();
    Checker { parts, block_values: &block_values, outputs, used: BTreeSet::from([0]) }.check_main()?;
    Ok(block_values)
}

fn names(what: &'static str, names: &[String], values: usize) -> Result<(), ProgramError> {
    if names.len() != values {
        return Err(ProgramError::Names { what, names: names.len(), values });
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(ProgramError::DuplicateName { what, name: name.clone() }),
        None => Ok(()),
    }
}

fn constants(parts: &ProgramParts) -> Result<(), ProgramError> {
    if parts.data.len() != parts.constants.len() {
        return Err(ProgramError::Names {
            what: "constant",
            names: parts.constants.len(),
            values: parts.data.len(),
        });
    }
    for (decl, data) in parts.constants.iter().zip(&parts.data) {
        let expected = decl.byte_len().ok_or(ProgramError::ConstantSize { name: decl.name.clone() })?;
        let backing = (*data.backing).as_ref();
        let fits = data.offset.checked_add(data.len).is_some_and(|end| end <= backing.len());
        if !fits || data.len != expected {
            return Err(ProgramError::ConstantLength { name: decl.name.clone(), expected, found: data.len });
        }
    }
    Ok(())
}

fn number_values(parts: &ProgramParts) -> Result<Vec<u32>, ProgramError> {
    let mut next = parts.constants.len();
    let mut firsts = Vec::with_capacity(parts.blocks.len() + 1);
    for block in &parts.blocks {
        firsts.push(next as u32);
        next += block.params.len() + block.steps.iter().map(|s| s.outputs.len()).sum::<usize>();
        // One is kept free: inputs are stored as the id plus 1.
        if next >= u32::MAX as usize {
            return Err(ProgramError::TooManyValues);
        }
    }
    firsts.push(next as u32);
    Ok(firsts)
}

struct Checker<'a> {
    parts: &'a ProgramParts,
    block_values: &'a [u32],
    /// Outputs of all steps: more slots than that have no use.
    outputs: usize,
    /// Blocks that a step holds already; each is held once.
    used: BTreeSet<u32>,
}

/// What can be checked of a step without its program.
pub(super) fn check_alone(step: &Step) -> Result<(), ProgramError> {
    let place = || "a step".to_string();
    let unknown = || ProgramError::UnknownOperator { place: place(), op: step.op, version: step.version };
    let def = ops::by_id(step.op, step.version).ok_or_else(unknown)?;
    let wrong = |error| ProgramError::Operator { place: place(), op: def.name, error };
    let present: Vec<bool> = step.inputs.iter().map(Option::is_some).collect();
    def.check_arity(&present, step.outputs.len()).map_err(wrong)?;
    if def.check_attrs(&step.attrs).map_err(wrong)? != step.attrs {
        return Err(wrong(OpError::Unsupported("defaults of attributes are not filled in".to_string())));
    }
    match &step.region {
        Some(region) => check_body(step, def, region, &place),
        None if !def.has_body() => Ok(()),
        None => Err(wrong(OpError::Unsupported(NO_BODY.to_string()))),
    }
}

const NO_BODY: &str = "a region step has no body";

/// A step's body, and that the step fits it.
fn check_body(
    step: &Step,
    def: &'static OpDef,
    region: &Region,
    place: &dyn Fn() -> String,
) -> Result<(), ProgramError> {
    let wrong = |problem: &str| {
        let error = OpError::Unsupported(problem.to_string());
        Err(ProgramError::Operator { place: place(), op: def.name, error })
    };
    if !def.has_body() {
        return wrong("only a region step has a body");
    }
    region.check().map_err(|error| ProgramError::Region { place: place(), error })?;
    if region.is_elementwise() != (def.id == ops::REGION) {
        return wrong("products belong into the body of a ProductRegion, and only there");
    }
    let counts = region.input_count() == step.inputs.len()
        && step.inputs.iter().all(Option::is_some)
        && region.results.len() == step.outputs.len();
    if counts { Ok(()) } else { wrong("inputs or outputs are not the body's") }
}

/// Values visible at a point: ranges `[first, end)` of the enclosing blocks.
type Scope = Vec<(u32, u32)>;

impl Checker<'_> {
    fn check_main(&mut self) -> Result<(), ProgramError> {
        let constants = self.parts.constants.len() as u32;
        self.check_block(BlockId(0), &vec![(0, constants)], 0)?;
        match (0..self.parts.blocks.len() as u32).find(|b| !self.used.contains(b)) {
            Some(block) => Err(ProgramError::BlockUse { place: "no step".to_string(), block }),
            None => Ok(()),
        }
    }

    fn check_block(&mut self, id: BlockId, outer: &Scope, depth: usize) -> Result<(), ProgramError> {
        let block = &self.parts.blocks[id.index()];
        if depth > NESTING_MAX {
            return Err(ProgramError::BlockUse {
                place: format!("nesting deeper than {NESTING_MAX}"),
                block: id.0,
            });
        }
        let first = self.block_values[id.index()];
        let mut scope = outer.clone();
        scope.push((first, first + block.params.len() as u32));
        for (index, step) in block.steps.iter().enumerate() {
            let place = || place(id, index, step);
            self.check_step(step, &scope, &place)?;
            for &inner in &step.blocks {
                // Inner blocks come later, so there are no cycles.
                let known = inner.0 > id.0 && inner.index() < self.parts.blocks.len();
                if !known || !self.used.insert(inner.0) {
                    return Err(ProgramError::BlockUse { place: place(), block: inner.0 });
                }
                self.check_block(inner, &scope, depth + 1)?;
            }
            scope.last_mut().expect("just pushed").1 += step.outputs.len() as u32;
        }
        for &value in &block.results {
            let place = || format!("block {}'s result", id.0);
            defined(&scope, value, &place)?;
            if self.parts.constants.get(value.index()).is_some_and(|c| c.layout != Layout::RowMajor) {
                return Err(ProgramError::UndefinedValue { place: place(), value: value.0 });
            }
        }
        self.check_slots(id, block)
    }

    fn check_step(&self, step: &Step, scope: &Scope, place: &dyn Fn() -> String) -> Result<(), ProgramError> {
        let unknown = || ProgramError::UnknownOperator { place: place(), op: step.op, version: step.version };
        let def = ops::by_id(step.op, step.version).ok_or_else(unknown)?;
        let wrong = |error| ProgramError::Operator { place: place(), op: def.name, error };
        for value in step.inputs.iter().flatten() {
            defined(scope, *value, place)?;
        }
        let present: Vec<bool> = step.inputs.iter().map(Option::is_some).collect();
        def.check_arity(&present, step.outputs.len()).map_err(wrong)?;
        let checked = def.check_attrs(&step.attrs).map_err(wrong)?;
        if checked != step.attrs {
            return Err(wrong(OpError::Unsupported("defaults of attributes are not filled in".to_string())));
        }
        let blocks = match def.id {
            ops::IF => 2,
            ops::LOOP | ops::SCAN => 1,
            _ => 0,
        };
        if step.blocks.len() != blocks {
            return Err(wrong(OpError::Unsupported(format!(
                "{blocks} blocks belong here, not {}",
                step.blocks.len()
            ))));
        }
        self.check_layouts(step, def).map_err(wrong)?;
        match &step.region {
            Some(region) => check_body(step, def, region, place),
            None if def.has_body() => Err(wrong(OpError::Unsupported(NO_BODY.to_string()))),
            None => Ok(()),
        }
    }

    /// A constant in panels is read by contractions alone, as their right operand, one in groups of bytes by those of
    /// integers; one in blocks of filters by convolutions of one group of f32.
    fn check_layouts(&self, step: &Step, def: &OpDef) -> Result<(), OpError> {
        for (index, value) in step.inputs.iter().enumerate() {
            let constant = value.and_then(|v| self.parts.constants.get(v.index()));
            let Some(constant) = constant.filter(|c| c.layout != Layout::RowMajor) else { continue };
            let reads = reader(step, def, index).is_some_and(|(def, attrs, index)| {
                match (constant.layout, def.name) {
                    (Layout::Panel16, "MatMul") => index == 1,
                    (Layout::Panel16, "Gemm") => index == 1 && attrs.int("transB") == 0,
                    (Layout::Panel16, "Embedding") => index == 1 && attrs.int("transposed") == 0,
                    (Layout::Filters16, "Conv") => {
                        constant.dtype == DType::F32 && index == 1 && attrs.int("group") == 1
                    }
                    (Layout::Groups4, "MatMulInteger") => is_byte(constant.dtype) && index == 1,
                    (Layout::Groups4, "QLinearMatMul") => is_byte(constant.dtype) && index == 3,
                    _ => false,
                }
            });
            if !reads {
                let layout = match constant.layout {
                    Layout::Panel16 => "panels",
                    Layout::Groups4 => "groups of bytes",
                    _ => "blocks of filters",
                };
                return Err(OpError::Unsupported(format!("input {index} is a constant in {layout}")));
            }
        }
        Ok(())
    }

    /// No slot is given a new value while the old one, or a view of it, is still to be used.
    fn check_slots(&self, id: BlockId, block: &Block) -> Result<(), ProgramError> {
        let last_uses = LastUses::of(self.parts, self.block_values, id);
        // Slot -> (value, index of the last step that needs it).
        let mut held = std::collections::BTreeMap::<u32, (u32, usize)>::new();
        let mut value = self.block_values[id.index()] + block.params.len() as u32;
        for (index, step) in block.steps.iter().enumerate() {
            for Output { slot, .. } in &step.outputs {
                if let Some(slot) = slot {
                    if slot.index() >= self.outputs {
                        return Err(ProgramError::Slot { place: place(id, index, step), slot: slot.0 });
                    }
                    let last = last_uses.of_value(value);
                    if let Some((holds, until)) = held.insert(slot.0, (value, last))
                        && until >= index
                    {
                        return Err(ProgramError::SlotLive {
                            place: place(id, index, step),
                            slot: slot.0,
                            holds,
                        });
                    }
                }
                value += 1;
            }
        }
        Ok(())
    }
}

/// The operator that reads an input of a step, and which of its own inputs that is: the step's, or one of its products.
/// `None` for an input that a region reads element by element.
fn reader<'a>(step: &'a Step, def: &'a OpDef, index: usize) -> Option<(&'a OpDef, &'a Attrs, usize)> {
    let Some(region) = &step.region else { return Some((def, &step.attrs, index)) };
    let mut products = region.products();
    let (product, inputs) = products.find(|(_, inputs)| inputs.contains(&index))?;
    Some((ops::by_id(product.op, product.version)?, &product.attrs, index - inputs.start))
}

fn is_byte(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8)
}

/// For each value of a block, the last step of that block that needs it: directly, through a view, or
/// from within a block that a step holds. Results of the block are needed until its end.
pub(super) struct LastUses {
    first: u32,
    last: Vec<usize>,
}

impl LastUses {
    /// Views keep what they view alive.
    fn of(parts: &ProgramParts, block_values: &[u32], id: BlockId) -> LastUses {
        let mut uses = LastUses::direct(parts, block_values, id);
        uses.extend_through_views(&parts.blocks[id.index()]);
        uses
    }

    /// Without regard to views.
    pub(super) fn direct(parts: &ProgramParts, block_values: &[u32], id: BlockId) -> LastUses {
        let block = &parts.blocks[id.index()];
        let first = block_values[id.index()];
        let count = block_values[id.index() + 1] - first;
        let mut uses = LastUses { first, last: vec![0; count as usize] };
        for (index, step) in block.steps.iter().enumerate() {
            for value in step.inputs.iter().flatten() {
                uses.extend(*value, index);
            }
            for &inner in &step.blocks {
                uses.extend_by_block(parts, inner, index);
            }
        }
        for &value in &block.results {
            uses.extend(value, usize::MAX);
        }
        uses
    }

    /// Backwards, so that chains of views are followed.
    fn extend_through_views(&mut self, block: &Block) {
        let mut value = self.first + self.last.len() as u32;
        for step in block.steps.iter().rev() {
            value -= step.outputs.len() as u32;
            let is_view = ops::by_id(step.op, step.version).is_some_and(|d| matches!(d.class, OpClass::View));
            if let (true, Some(Some(input))) = (is_view, step.inputs.first()) {
                let last = self.of_value(value);
                self.extend(*input, last);
            }
        }
    }

    fn extend_by_block(&mut self, parts: &ProgramParts, id: BlockId, index: usize) {
        let Some(block) = parts.blocks.get(id.index()) else { return };
        for value in block.steps.iter().flat_map(|s| s.inputs.iter().flatten()).chain(&block.results) {
            self.extend(*value, index);
        }
        for inner in block.steps.iter().flat_map(|s| &s.blocks).filter(|inner| inner.0 > id.0) {
            self.extend_by_block(parts, *inner, index);
        }
    }

    fn extend(&mut self, value: ValueId, index: usize) {
        let slot = value.0.checked_sub(self.first).and_then(|at| self.last.get_mut(at as usize));
        if let Some(last) = slot {
            *last = (*last).max(index);
        }
    }

    pub(super) fn of_value(&self, value: u32) -> usize {
        self.last[(value - self.first) as usize]
    }
}

fn defined(scope: &Scope, value: ValueId, place: &dyn Fn() -> String) -> Result<(), ProgramError> {
    if scope.iter().any(|&(first, end)| (first..end).contains(&value.0)) {
        return Ok(());
    }
    Err(ProgramError::UndefinedValue { place: place(), value: value.0 })
}

fn place(block: BlockId, index: usize, step: &Step) -> String {
    let node = step.origins.first().map_or("", |o| o.name.as_str());
    format!("step {index} of block {} (ONNX node {node:?})", block.0)
}
