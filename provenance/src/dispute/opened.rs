//! The inputs of the step under dispute, as far as they are open: their types, what inference makes of them, the step again.

use std::cell::Cell;
use std::collections::BTreeSet;

use repops::digest::LEAF_BYTES;
use repops::ops::dispute::{self, Stop, Subject, TensorType, Term, WHOLE_BYTES_MAX};
use repops::ops::{Fault, InferCtx, InferInput, OpError, SymType};
use repops::program::{Step, stored_byte_len};
use repops::{Digest, Tensor};

use super::facts::{Facts, Gap, stored_offset};

/// The inputs of the step under dispute as open tensors.
pub struct StepInputs<'a> {
    pub facts: &'a mut dyn Facts,
    pub digests: &'a [Option<Digest>],
    /// What went wrong beneath a [`Stop::Closed`].
    pub gap: Option<Gap>,
    /// Leaves that were read: a judgement reads few, so that its evidence fits a message.
    read: BTreeSet<(Digest, usize)>,
}

/// The most leaves that one judgement reads.
pub const LEAVES_MAX: usize = WHOLE_BYTES_MAX / LEAF_BYTES + 8;

impl<'a> StepInputs<'a> {
    pub fn new(facts: &'a mut dyn Facts, digests: &'a [Option<Digest>]) -> StepInputs<'a> {
        StepInputs { facts, digests, gap: None, read: BTreeSet::new() }
    }

    /// Counts leaves of a tensor.
    fn meter(&mut self, input: usize, leaves: std::ops::Range<usize>) -> Result<(), Stop> {
        let digest = self.digests.get(input).copied().flatten().ok_or(Stop::Closed { input })?;
        for leaf in leaves {
            self.read.insert((digest, leaf));
            if self.read.len() > LEAVES_MAX {
                return Err(Stop::TooLarge { bytes: self.read.len() * LEAF_BYTES });
            }
        }
        Ok(())
    }

    fn open<T>(
        &mut self,
        input: usize,
        read: impl FnOnce(&mut dyn Facts, Digest) -> Result<T, Gap>,
    ) -> Result<T, Stop> {
        let digest = self.digests.get(input).copied().flatten().ok_or(Stop::Closed { input })?;
        read(self.facts, digest).map_err(|gap| match gap {
            Gap::Stop(stop) => stop,
            other => {
                self.gap = Some(other);
                Stop::Closed { input }
            }
        })
    }
}

impl dispute::Inputs for StepInputs<'_> {
    fn element(&mut self, input: usize, at: u64) -> Result<u64, Stop> {
        let header = self.open(input, |facts, digest| facts.header(digest))?;
        let offset = stored_offset(&header, at).ok_or(Stop::NoTerm)?;
        self.meter(input, offset / LEAF_BYTES..offset / LEAF_BYTES + 1)?;
        self.open(input, |facts, digest| facts.element(digest, at))
    }

    fn whole(&mut self, input: usize) -> Result<Tensor, Stop> {
        let header = self.open(input, |facts, digest| facts.header(digest))?;
        let bytes = stored_byte_len(header.dtype, &header.shape, header.layout).ok_or(Stop::NoTerm)?;
        if bytes > WHOLE_BYTES_MAX {
            return Err(Stop::TooLarge { bytes });
        }
        self.meter(input, 0..bytes.div_ceil(LEAF_BYTES))?;
        self.open(input, |facts, digest| facts.whole(digest))
    }
}

/// Types of the inputs, as the agreed digests bind them.
pub(super) fn input_types(
    digests: &[Option<Digest>],
    facts: &mut dyn Facts,
) -> Result<Vec<Option<TensorType>>, Gap> {
    let ty = |digest: &Option<Digest>| {
        let Some(digest) = digest else { return Ok(None) };
        let header = facts.header(*digest)?;
        Ok(Some(TensorType { dtype: header.dtype, shape: header.shape }))
    };
    digests.iter().map(ty).collect()
}

/// Inference over open inputs: an input is read whole where its value is asked for, and nowhere else.
pub(super) fn infer(
    step: &Step,
    digests: &[Option<Digest>],
    inputs: &[Option<TensorType>],
    facts: &mut dyn Facts,
) -> Result<Vec<SymType>, Gap> {
    if let Some(region) = &step.region {
        let types: Vec<Option<SymType>> =
            inputs.iter().map(|t| t.as_ref().map(|t| SymType::of(t.dtype, &t.shape))).collect();
        let known = types.iter().map(|ty| ty.as_ref().map(|ty| InferInput { ty, tensor: None, sym: None }));
        let inferred = region.infer(&known.collect::<Vec<_>>(), &Cell::new(0));
        return Ok(inferred.map_err(|e| Gap::Stop(e.into()))?.into_iter().map(|i| i.ty).collect());
    }
    let symbolic: Vec<Option<SymType>> =
        inputs.iter().map(|t| t.as_ref().map(|t| SymType::of(t.dtype, &t.shape))).collect();
    let mut values: Vec<Option<Tensor>> = vec![None; inputs.len()];
    for _ in 0..=inputs.len() {
        let known: Vec<Option<InferInput<'_>>> = symbolic
            .iter()
            .zip(&values)
            .map(|(ty, tensor)| {
                let ty = ty.as_ref()?;
                Some(InferInput { ty, tensor: tensor.as_ref().map(Tensor::view), sym: None })
            })
            .collect();
        let context = InferCtx {
            attrs: &step.attrs,
            inputs: &known,
            outputs: step.outputs.len(),
            fresh: &Cell::new(0),
        };
        match step.def().infer(&context) {
            Ok(inferred) => return Ok(inferred.into_iter().map(|i| i.ty).collect()),
            Err(OpError::ValueUnknown { index }) if values.get(index).is_some_and(Option::is_none) => {
                let digest = digests[index].ok_or(Gap::Missing("an input"))?;
                values[index] = Some(facts.whole(digest)?);
            }
            Err(error) => return Err(Gap::Stop(Stop::Operator(error))),
        }
    }
    Err(Gap::Undecidable("an operator's types"))
}

/// The whole step again, where its inputs are small.
pub(super) fn whole(
    step: &Step,
    digests: &[Option<Digest>],
    inputs: &[Option<TensorType>],
    facts: &mut dyn Facts,
) -> Result<Result<Vec<Tensor>, Fault>, Gap> {
    let bytes = inputs.iter().flatten().map(|t| t.len().saturating_mul(t.dtype.size()));
    let bytes = bytes.fold(0, usize::saturating_add);
    if bytes > dispute::WHOLE_BYTES_MAX {
        return Err(Gap::Stop(Stop::TooLarge { bytes }));
    }
    let tensors = digests.iter().map(|d| d.map(|d| facts.whole(d)).transpose());
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    match dispute::evaluate_whole(step.def(), &step.attrs, step.region.as_ref(), &tensors, step.outputs.len())
    {
        Ok(found) => Ok(Ok(found)),
        Err(Stop::Operator(OpError::Fault(fault))) => Ok(Err(fault)),
        Err(stop) => Err(Gap::Stop(stop)),
    }
}

/// Reads what the claims of the output's elements depend on besides types (lengths of sequences, scales): it is the same
/// for all elements, and is opened before any claim is asked for.
pub(super) fn read_for_claims(
    step: &Step,
    digests: &[Option<Digest>],
    types: &(Vec<Option<TensorType>>, Vec<TensorType>),
    output: u32,
    facts: &mut dyn Facts,
) -> Result<(), Gap> {
    let subject = Subject {
        def: step.def(),
        attrs: &step.attrs,
        region: step.region.as_ref(),
        inputs: &types.0,
        outputs: &types.1,
    };
    let mut open = StepInputs::new(facts, digests);
    let found = dispute::claims(&subject, Term::Output { output, element: 0 }, &mut open);
    match (found, open.gap.take()) {
        (Err(Stop::Closed { .. }), Some(gap)) => Err(gap),
        // What stops here stops again where it matters.
        _ => Ok(()),
    }
}
