//! Disputes inside of a step: what one element of an output is made of, down to sixteen terms.
//!
//! Two parties agree on a step and its inputs but not on an element. The element is a *term*; every term
//! has a value that follows from the values of finer terms (*claims*, which the parties state) and from
//! elements of inputs (which can be opened). [`claims`] lists the finer terms, [`value`] computes a term
//! from them. SPEC.md, "Disputes".
//!
//! Invariant: for every operator, [`evaluate`] of an output's element gives the bits of the operator's
//! own `eval`; a test holds that over the rows. Nothing here allocates in proportion to a tensor, but for
//! what [`Inputs::whole`] grants.

mod attention;
mod contract;
mod crop;
mod deformed;
mod einsum;
mod fourier;
mod local;
mod movement;
mod normalize;
mod pick;
mod pool;
mod products;
mod recurrence;
mod reduce;
mod resize;
mod rules;
mod sequence;
mod series;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_deep;
mod wide;

use std::collections::BTreeMap;

use super::{Fault, OpDef, OpError};
use crate::attrs::Attrs;
use crate::dtype::DType;
use crate::region::Region;
use crate::tensor::{Tensor, TensorError, byte_len};

pub use crop::Cut;
pub use rules::{BOUNDED, Rule, exceeds, rule};

/// Terms of a contraction or lane between two claims of its accumulator.
pub const STRIDE: usize = 16;
/// Parts of a tree that are claimed together.
pub const FAN: usize = 16;
/// The most bytes of inputs that a step may have where a rule reads them all.
pub const WHOLE_BYTES_MAX: usize = 128 << 10;

/// Type and shape of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl TensorType {
    pub fn new(dtype: DType, shape: &[usize]) -> TensorType {
        TensorType { dtype, shape: shape.to_vec() }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The step that is disputed: types are agreed and have passed inference.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub def: &'static OpDef,
    pub attrs: &'a Attrs,
    pub region: Option<&'a Region>,
    pub inputs: &'a [Option<TensorType>],
    pub outputs: &'a [TensorType],
}

/// A scalar of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Term {
    /// An element of an output.
    Output { output: u32, element: u64 },
    /// Of a series: the combination of parts `FAN^level * index ..`; level 0 is one part (a chunk of a
    /// contraction, a block of a row sum, [`STRIDE`] elements of a maximum).
    Part { series: u8, row: u64, level: u8, index: u64 },
    /// The accumulator of lane `lane` of a part after `STRIDE * (step + 1)` terms; contractions have lane 0 alone.
    Lane { series: u8, row: u64, part: u64, lane: u8, step: u16 },
}

/// Why a term has no value here.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Stop {
    /// The element was not opened.
    #[error("input {input} is not open where it is needed")]
    Closed { input: usize },
    #[error("the rule reads {bytes} bytes of inputs; at most {WHOLE_BYTES_MAX} are read")]
    TooLarge { bytes: usize },
    #[error("the step has no such term")]
    NoTerm,
    #[error(transparent)]
    Operator(#[from] OpError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Operator(OpError::Fault(fault))
    }
}

impl From<TensorError> for Stop {
    fn from(error: TensorError) -> Stop {
        Stop::Operator(OpError::Tensor(error))
    }
}

/// The inputs of a step, of which perhaps only parts are open.
pub trait Inputs {
    /// The bits of an element, zero-extended; `at` is its row-major position.
    fn element(&mut self, input: usize, at: u64) -> Result<u64, Stop>;
    /// The whole tensor, where it has at most [`WHOLE_BYTES_MAX`] bytes.
    fn whole(&mut self, input: usize) -> Result<Tensor, Stop>;
}

impl<'a> Subject<'a> {
    /// Type of an input that must be there.
    fn input(&self, index: usize) -> Result<&'a TensorType, Stop> {
        self.optional(index).ok_or(Stop::Operator(OpError::MissingInput { index }))
    }

    fn optional(&self, index: usize) -> Option<&'a TensorType> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    fn output(&self, index: u32) -> Result<&'a TensorType, Stop> {
        self.outputs.get(index as usize).ok_or(Stop::NoTerm)
    }

    /// Integers of an input, read whole; `None` when it is absent.
    fn integers(&self, inputs: &mut dyn Inputs, index: usize) -> Result<Option<Vec<i64>>, Stop> {
        if self.optional(index).is_none() {
            return Ok(None);
        }
        let tensor = inputs.whole(index)?;
        let values = tensor.view().to_i64s();
        values.map(Some).ok_or(Stop::Operator(OpError::shape("an input holds no integers")))
    }
}

/// The finer terms that `term` is computed from, in the order in which [`value`] takes them.
pub fn claims(subject: &Subject<'_>, term: Term, inputs: &mut dyn Inputs) -> Result<Vec<Term>, Stop> {
    match rules::dispatch(subject, term, rules::Ask::Claims { inputs })? {
        rules::Answer::Claims(terms) => Ok(terms),
        rules::Answer::Value(_) => Err(Stop::NoTerm),
    }
}

/// The bits of `term`, given those of its claims.
pub fn value(
    subject: &Subject<'_>,
    term: Term,
    claims: &[u64],
    inputs: &mut dyn Inputs,
) -> Result<u64, Stop> {
    match rules::dispatch(subject, term, rules::Ask::Value { claims, inputs })? {
        rules::Answer::Value(bits) => Ok(bits),
        rules::Answer::Claims(_) => Err(Stop::NoTerm),
    }
}

/// Evaluates terms from open inputs, remembering what it found.
#[derive(Default)]
pub struct Evaluator {
    known: BTreeMap<Term, u64>,
    states: Option<recurrence::States>,
}

impl Evaluator {
    /// The bits of `term`. What [`Evaluator::set`] said of a finer term is believed. Terms may lie deep beneath each
    /// other (the steps of a recurrence), so what waits is kept in a list and not on the stack.
    pub fn value(&mut self, subject: &Subject<'_>, term: Term, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
        if let Some(bits) = self.known(&term) {
            return Ok(bits);
        }
        // Terms that wait, their finer terms, and how many of these are known.
        let mut waiting = vec![(term, claims(subject, term, inputs)?, 0)];
        let mut found = 0;
        while let Some((term, finer, done)) = waiting.last_mut() {
            let next = finer[*done..].iter().position(|claim| self.known(claim).is_none());
            if let Some(next) = next {
                *done += next;
                let claim = finer[*done];
                waiting.push((claim, claims(subject, claim, inputs)?, 0));
                continue;
            }
            let bits: Vec<u64> = finer.iter().filter_map(|claim| self.known(claim)).collect();
            found = value(subject, *term, &bits, inputs)?;
            self.known.insert(*term, found);
            waiting.pop();
        }
        Ok(found)
    }

    fn known(&self, term: &Term) -> Option<u64> {
        let state = || self.states.as_ref().and_then(|states| states.bits(term));
        self.known.get(term).copied().or_else(state)
    }

    /// Fixes the value of a term: how a fault is put into a computation.
    pub fn set(&mut self, term: Term, bits: u64) {
        self.known.insert(term, bits);
    }

    /// Whether [`Evaluator::run_ahead`] does anything.
    pub fn runs_ahead(subject: &Subject<'_>) -> bool {
        rule(subject.def) == Rule::Recurrence
    }

    /// Runs the operator once, where that makes its terms cheaper: all states of a recurrence. What
    /// [`Evaluator::set`] fixed would not show in them.
    pub fn run_ahead(&mut self, subject: &Subject<'_>, inputs: &[Option<Tensor>]) -> Result<(), Stop> {
        if Evaluator::runs_ahead(subject) {
            self.states = Some(recurrence::States::run(subject, inputs)?);
        }
        Ok(())
    }
}

/// [`Evaluator::value`] from scratch.
pub fn evaluate(subject: &Subject<'_>, term: Term, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
    Evaluator::default().value(subject, term, inputs)
}

/// All outputs of a step again, its inputs being at hand; the operator's own evaluation.
pub fn evaluate_whole(
    def: &OpDef,
    attrs: &Attrs,
    region: Option<&Region>,
    inputs: &[Option<Tensor>],
    outputs: usize,
) -> Result<Vec<Tensor>, Stop> {
    let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    if let Some(region) = region {
        return Ok(crate::reference::evaluate_region(region, &views)?);
    }
    for inferred in super::infer_known(def, attrs, &views, outputs)? {
        let bytes = inferred.ty.extents().map(|shape| byte_len(inferred.ty.dtype, &shape));
        if let Some(Ok(bytes)) = bytes
            && bytes > 8 * WHOLE_BYTES_MAX
        {
            return Err(Stop::TooLarge { bytes });
        }
    }
    Ok(def.evaluate(&super::EvalCtx { attrs, inputs: &views, outputs })?)
}

/// The bits of the element at `at` in row-major bytes, zero-extended; `None` past the end.
pub fn bits_at(dtype: DType, bytes: &[u8], at: usize) -> Option<u64> {
    let size = dtype.size();
    let element = bytes.get(at.checked_mul(size)?..)?.get(..size)?;
    let mut wide = [0; 8];
    wide[..size].copy_from_slice(element);
    Some(u64::from_le_bytes(wide))
}

/// Tensors at hand as open inputs.
pub struct OpenInputs<'a>(pub &'a [Option<Tensor>]);

impl Inputs for OpenInputs<'_> {
    fn element(&mut self, input: usize, at: u64) -> Result<u64, Stop> {
        let tensor = self.0.get(input).and_then(Option::as_ref).ok_or(Stop::Closed { input })?;
        bits_at(tensor.dtype(), tensor.bytes(), at as usize).ok_or(Stop::Closed { input })
    }

    fn whole(&mut self, input: usize) -> Result<Tensor, Stop> {
        let tensor = self.0.get(input).and_then(Option::as_ref).ok_or(Stop::Closed { input })?;
        match tensor.bytes().len() {
            bytes if bytes > WHOLE_BYTES_MAX => Err(Stop::TooLarge { bytes }),
            _ => Ok(tensor.clone()),
        }
    }
}
