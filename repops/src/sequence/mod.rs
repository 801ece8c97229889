//! Sequence programs: functions of a whole sequence of tokens of which every row depends on earlier rows alone.
//!
//! A sequence program is an ordinary program with the inputs `tokens` i64 [S] and, if it wants them, `positions` i64 [S]
//! (0, 1, 2 ...), and the output `logits` f32 [S, V]. [`Sequence::of`] proves that axis 0 of every value that
//! depends on the inputs is the position, and that no step but SequenceAttention reads another row than its own.
//! Hence rows may be computed in one piece, in pieces, one by one, or beside the rows of other sequences, and
//! the bits are the same. SPEC.md, "Sequence programs".

pub mod choice;
pub mod example;
pub mod reference;
pub mod sampling;
pub mod spot;
pub mod trace;

use std::cell::Cell;
use std::ops::Range;

use crate::attrs::Attrs;
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::exec::node_name;
use crate::ops::infer::{InferCtx, InferInput};
use crate::ops::{OpClass, SymType};
use crate::program::{BlockId, ConstantId, Program, Step, ValueId};

/// The input that holds the tokens.
pub const TOKENS: &str = "tokens";
/// The input that holds the positions, 0, 1, 2 ...
pub const POSITIONS: &str = "positions";
/// The output.
pub const LOGITS: &str = "logits";
/// The most tokens of a vocabulary.
pub const VOCABULARY_MAX: usize = 1 << 24;

/// A row of a value: what one position holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub dtype: DType,
    /// The value's shape without its first axis.
    pub shape: Vec<usize>,
}

impl Row {
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// What was proven of a sequence program.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Which of the program's inputs the tokens are.
    pub tokens: usize,
    pub positions: Option<usize>,
    /// Tokens are below this.
    pub vocabulary: usize,
    /// For each value that has one row a position, what a row is; constants and what follows from them alone have none.
    pub rows: Vec<Option<Row>>,
    /// For each step whether it is *carried*: whether a later row may depend on it.
    pub carried: Vec<bool>,
    /// The steps of SequenceAttention, ascending.
    pub attention: Vec<usize>,
}

/// Why a program is no sequence program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SequenceError {
    #[error("the program has no input {0:?}; a sequence program has \"tokens\", and may have \"positions\"")]
    Inputs(String),
    #[error("the program's outputs are {found}; a sequence program has \"logits\" alone")]
    Outputs { found: String },
    #[error("{what} is {found}; a sequence program needs {expected}")]
    Type { what: &'static str, found: String, expected: &'static str },
    #[error("{op} (node {node}) keeps this from being a sequence program: {reason}")]
    Step { op: String, node: String, reason: String },
}

/// The size that stands for the number of positions.
fn rows_dim() -> DimExpr {
    DimExpr::sym("positions of the sequence")
}

impl Sequence {
    /// Proves that `program` is a sequence program.
    pub fn of(program: &Program) -> Result<Sequence, SequenceError> {
        let header = program.header();
        let at = |name: &str| header.inputs.iter().position(|input| input == name);
        let tokens = at(TOKENS).ok_or_else(|| SequenceError::Inputs(TOKENS.to_string()))?;
        let positions = at(POSITIONS);
        if let Some(other) = header.inputs.iter().find(|name| *name != TOKENS && *name != POSITIONS) {
            let expected = "inputs tokens and positions alone";
            return Err(SequenceError::Type { what: "an input", found: format!("{other:?}"), expected });
        }
        if header.outputs != [LOGITS] {
            return Err(SequenceError::Outputs { found: format!("{:?}", header.outputs) });
        }
        let types = infer(program)?;
        let is_row = |ty: &SymType| ty.shape.first() == Some(&rows_dim());
        let row = |ty: &SymType| {
            let extents = ty.shape[1..].iter().map(DimExpr::as_extent).collect::<Option<Vec<usize>>>()?;
            Some(Row { dtype: ty.dtype, shape: extents })
        };
        let mut rows: Vec<Option<Row>> = vec![None; program.value_count()];
        for (slot, ty) in rows.iter_mut().zip(&types) {
            *slot = ty.as_ref().filter(|ty| is_row(ty)).and_then(row);
        }
        let firsts = program.first_outputs(BlockId(0));
        for (step, first) in program.main().steps.iter().zip(&firsts) {
            check_step(program, step, *first, &rows, &types)?;
        }
        let logits = program.main().results[0];
        let vocabulary = match &rows[logits.index()] {
            Some(Row { dtype: DType::F32, shape }) if shape.len() == 1 && shape[0] <= VOCABULARY_MAX => {
                shape[0]
            }
            _ => {
                let found =
                    types[logits.index()].as_ref().map_or("unknown".to_string(), |t| format!("{t:?}"));
                let expected = "f32 [positions, vocabulary], at most 2^24 tokens";
                return Err(SequenceError::Type { what: "logits", found, expected });
            }
        };
        let carried = carried(program, &firsts);
        let is_attention = |step: &Step| step.def().name == "SequenceAttention";
        let steps = program.main().steps.iter().enumerate();
        let attention = steps.filter(|(_, step)| is_attention(step)).map(|(at, _)| at).collect();
        Ok(Sequence { tokens, positions, vocabulary, rows, carried, attention })
    }

    /// The token's input for the program, if it is one of the vocabulary.
    pub fn token(&self, token: u32) -> Option<i64> {
        ((token as usize) < self.vocabulary).then_some(i64::from(token))
    }
}

/// The types of all values, the number of positions being a name of its own.
fn infer(program: &Program) -> Result<Vec<Option<SymType>>, SequenceError> {
    let mut types: Vec<Option<SymType>> = vec![None; program.value_count()];
    let mut syms = vec![None; program.value_count()];
    for (slot, decl) in types.iter_mut().zip(program.constants()) {
        *slot = Some(SymType::of(decl.dtype, &decl.shape));
    }
    let first = program.first_param(BlockId(0)).index();
    for (index, param) in program.main().params.iter().enumerate() {
        let expected = "i64 with one axis";
        let one_axis = |ty: &SymType| ty.dtype == DType::I64 && ty.shape.len() == 1;
        if !param.as_ref().is_some_and(one_axis) {
            let found = param.as_ref().map_or("unknown".to_string(), |ty| format!("{ty:?}"));
            return Err(SequenceError::Type { what: "an input", found, expected });
        }
        types[first + index] = Some(SymType::new(DType::I64, vec![rows_dim()]));
    }
    let fresh = Cell::new(0);
    for (step, first) in program.main().steps.iter().zip(program.first_outputs(BlockId(0))) {
        let wrong = |reason: String| SequenceError::Step {
            op: step.def().name.to_string(),
            node: node_name(step),
            reason,
        };
        if matches!(step.def().class, OpClass::Control) {
            return Err(wrong("it is control flow".to_string()));
        }
        let inferred = {
            let inputs: Vec<Option<InferInput<'_>>> = step
                .inputs
                .iter()
                .map(|value| {
                    let value = (*value)?;
                    let tensor = program.as_constant(value).and_then(|c: ConstantId| program.constant(c));
                    let sym = syms[value.index()].as_ref();
                    types[value.index()].as_ref().map(|ty| InferInput { ty, tensor, sym })
                })
                .collect();
            match &step.region {
                Some(region) => {
                    let inferred = region.infer(&inputs, &fresh).map_err(|e| wrong(e.to_string()))?;
                    inferred.into_iter().map(|i| (i.ty, i.sym)).collect::<Vec<_>>()
                }
                None => {
                    let attrs: &Attrs = &step.attrs;
                    let ctx = InferCtx { attrs, inputs: &inputs, outputs: step.outputs.len(), fresh: &fresh };
                    let inferred = step.def().infer(&ctx).map_err(|e| wrong(e.to_string()))?;
                    inferred.into_iter().map(|i| (i.ty, i.sym)).collect()
                }
            }
        };
        for (index, (ty, sym)) in inferred.into_iter().enumerate() {
            types[first.index() + index] = Some(ty);
            syms[first.index() + index] = sym;
        }
    }
    Ok(types)
}

/// Proves that each row of the step's outputs follows from the same row of its inputs.
fn check_step(
    program: &Program,
    step: &Step,
    first: ValueId,
    rows: &[Option<Row>],
    types: &[Option<SymType>],
) -> Result<(), SequenceError> {
    let wrong = |reason: &str| {
        let (op, node) = (step.def().name.to_string(), node_name(step));
        SequenceError::Step { op, node, reason: reason.to_string() }
    };
    let depends = |value: &Option<ValueId>| value.is_some_and(|v| rows[v.index()].is_some());
    let inputs: Vec<bool> = step.inputs.iter().map(depends).collect();
    // What has the positions elsewhere than on axis 0, or mixed with others, is no row and no constant.
    let fixed = |value: ValueId| {
        let ty = types[value.index()].as_ref();
        ty.is_some_and(|ty| ty.shape.iter().all(|d| d.as_const().is_some()))
    };
    let bad = step.inputs.iter().flatten().find(|v| rows[v.index()].is_none() && !fixed(**v));
    if bad.is_some() {
        return Err(wrong("an input has the positions elsewhere than on its first axis"));
    }
    if inputs.iter().all(|depends| !depends) {
        return Err(wrong("it depends on no input of the program: compile with folding"));
    }
    let outputs = first.index()..first.index() + step.outputs.len();
    if outputs.clone().any(|v| rows[v].is_none()) {
        return Err(wrong("an output's first axis is not the position"));
    }
    let rank =
        |value: Option<ValueId>| value.map_or(0, |v| types[v.index()].as_ref().map_or(0, |t| t.shape.len()));
    let full = rank(Some(first));
    let only =
        |allowed: &[usize]| inputs.iter().enumerate().all(|(i, depends)| !depends || allowed.contains(&i));
    // An axis given as an attribute, for an input of the given rank, that is not the first one.
    let later_axis = |name: &str, rank: usize| {
        let axis = step.attrs.int(name);
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        axis >= 1
    };
    let leading =
        |value: &Option<ValueId>| value.and_then(|v| types[v.index()].as_ref()?.shape.first()?.as_const());
    // Aligned at the last axis: rows must have all axes, and others must not have the first.
    let by_elements = |first: usize| {
        step.inputs.iter().zip(&inputs).skip(first).all(|(value, depends)| {
            let rank = rank(*value);
            if *depends { rank == full } else { rank < full || leading(value) == Some(1) }
        })
    };
    // A product of the inputs `range`, of which the first are rows.
    let product = |name: &str, attrs: &Attrs, range: Range<usize>| {
        let only = |allowed: &[usize]| {
            range.clone().enumerate().all(|(own, i)| !inputs[i] || allowed.contains(&own))
        };
        let own = |index: usize| step.inputs[range.clone()].get(index).copied().flatten();
        match name {
            "MatMulBlocks" => only(&[0]) && full >= 2,
            "MatMul" => only(&[0]) && full >= 2 && rank(own(1)) == 2,
            "Gemm" => {
                let c = own(2);
                let c_is_row = rank(c) < 2 || leading(&c).is_none_or(|n| n == 1);
                only(&[0, 2]) && attrs.int("transA") == 0 && c_is_row
            }
            _ => false,
        }
    };
    let ok = match (step.def().name, step.def().class) {
        (_, OpClass::Elementwise(_)) | ("Region" | "Cast" | "Where" | "Clip", _) => by_elements(0),
        ("ProductRegion", _) => step.region.as_ref().is_some_and(|region| {
            let depends = |range: &Range<usize>| inputs.get(range.start) == Some(&true);
            let mut products = region.products();
            products.all(|(p, range)| depends(&range) && product(p.def().name, &p.attrs, range))
                && by_elements(region.first_elementwise())
        }),
        ("SequenceAttention" | "SequenceRotary", _) => true,
        ("Embedding", _) => only(&[0]),
        ("Gather", _) => only(&[1]) && step.attrs.int("axis") == 0,
        (name @ ("MatMulBlocks" | "MatMul" | "Gemm"), _) => product(name, &step.attrs, 0..step.inputs.len()),
        ("RMSNormalization" | "LayerNormalization", _) => only(&[0]) && later_axis("axis", full),
        ("Softmax" | "LogSoftmax", _) => later_axis("axis", full),
        ("ReduceMean" | "ReduceSum" | "ReduceSumSquare" | "ReduceL2" | "ReduceMax" | "ReduceMin", _) => {
            only(&[0]) && reduces_later_axes(program, step, rank(step.inputs[0]))
        }
        ("Concat", _) => later_axis("axis", full) && inputs.iter().all(|depends| *depends),
        ("Split", _) => only(&[0]) && later_axis("axis", full),
        ("Transpose", _) => step.attrs.opt_ints("perm").is_some_and(|perm| perm.first() == Some(&0)),
        // Row-major, and the first axis stays.
        ("Reshape" | "Squeeze" | "Unsqueeze" | "Flatten", OpClass::View) => only(&[0]),
        ("Identity", _) => true,
        ("Slice", _) => only(&[0]) && slices_later_axes(program, step, full),
        _ => false,
    };
    if ok { Ok(()) } else { Err(wrong("its rows are not known to follow from the same rows of its inputs")) }
}

/// Whether a reduction leaves the first axis alone.
fn reduces_later_axes(program: &Program, step: &Step, rank: usize) -> bool {
    let axes = step.inputs.get(1).copied().flatten();
    let axes = axes.and_then(|v| program.as_constant(v)).and_then(|c| program.constant(c)?.to_i64s());
    let later = |axis: i64| if axis < 0 { axis + rank as i64 >= 1 } else { axis >= 1 };
    axes.is_some_and(|axes| !axes.is_empty() && axes.into_iter().all(later))
}

/// Whether a Slice leaves the first axis alone.
fn slices_later_axes(program: &Program, step: &Step, rank: usize) -> bool {
    let axes = step.inputs.get(3).copied().flatten();
    let axes = axes.and_then(|v| program.as_constant(v)).and_then(|c| program.constant(c)?.to_i64s());
    let axes = axes.unwrap_or_else(|| vec![0]);
    axes.iter().all(|&axis| if axis < 0 { axis + rank as i64 >= 1 } else { axis >= 1 })
}

/// Which steps a later row may depend on: those from which keys or values of a SequenceAttention follow.
fn carried(program: &Program, firsts: &[ValueId]) -> Vec<bool> {
    let steps = &program.main().steps;
    let mut needed = vec![false; program.value_count()];
    let mut carried = vec![false; steps.len()];
    for (at, step) in steps.iter().enumerate().rev() {
        let outputs = firsts[at].index()..firsts[at].index() + step.outputs.len();
        carried[at] = outputs.clone().any(|v| needed[v]);
        for (index, input) in step.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            let read_later = step.def().name == "SequenceAttention" && index > 0;
            needed[input.index()] |= carried[at] || read_later;
        }
    }
    carried
}

#[cfg(test)]
mod tests;
