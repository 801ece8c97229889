//! Audits: some steps of a run, chosen by whoever checks, computed again from what the provider opens.
//!
//! An audit of a step shows that its record is the one that the program and the records before it demand, and that its
//! outputs are those of its inputs. Invariant: a check relies on the claim, the program and nothing that is not bound by
//! the claim's digests; an honest provider's openings pass.

use std::collections::BTreeMap;

use repops::exec::{ExecError, Executor, HashLevel};
use repops::ops::{Fault, OpClass};
use repops::program::{Part, Program, Step};
use repops::trace::{Frame, StepRecord};
use repops::{DType, Digest, Tensor};

use super::facts::{Facts, Gap, Shared, Verified};
use super::faults::{control_fault, control_witness};
use super::judge::{ClaimInputs, Claims, Context, Place, is_over, paths};
use super::message::{Body, Evidence, MessageError, Reader, Writer};
use super::paths::{Slice, Value, carried};
use super::player::{Player, PlayerError};
use super::section;
use super::verdict::Reason;
use crate::receipt::Claim;
use crate::verify::BytesDigest;

const TAG: &[u8; 16] = b"repops.open.0\0\0\0";

/// What is opened of one record, or with the number of records of the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub index: u64,
    pub evidence: Evidence,
    /// The tensors that the step reads, whole.
    pub tensors: Vec<Tensor>,
}

impl Opening {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(TAG.to_vec());
        out.u64(self.index);
        out.bytes(&Body::Evidence(self.evidence.clone()).encode());
        out.u32(self.tensors.len() as u32);
        for tensor in &self.tensors {
            out.u32(u32::from(tensor.dtype().code()));
            out.u32(tensor.shape().len() as u32);
            tensor.shape().iter().for_each(|extent| out.u64(*extent as u64));
            out.u64(tensor.bytes().len() as u64);
            out.0.extend_from_slice(tensor.bytes());
        }
        out.0
    }

    pub fn decode(bytes: &[u8]) -> Result<Opening, MessageError> {
        let rest = bytes.strip_prefix(TAG).ok_or(MessageError("it is no opening"))?;
        let mut rest = Reader(rest);
        let index = rest.u64()?;
        let Body::Evidence(evidence) = Body::decode(rest.bytes()?)? else {
            return Err(MessageError("it holds no evidence"));
        };
        let mut tensors = Vec::new();
        for _ in 0..rest.u32()? {
            let dtype = DType::from_code(rest.u32()?).ok_or(MessageError("an element type is unknown"))?;
            let rank = rest.u32()? as usize;
            if rank > repops::tensor::RANK_MAX {
                return Err(MessageError("a shape has too many axes"));
            }
            let extent = |rest: &mut Reader<'_>| Ok::<usize, MessageError>(rest.u64()? as usize);
            let shape = (0..rank).map(|_| extent(&mut rest)).collect::<Result<Vec<_>, _>>()?;
            let len = rest.u64()? as usize;
            let (own, tail) = rest.0.split_at_checked(len).ok_or(MessageError("it is cut"))?;
            rest.0 = tail;
            let tensor = Tensor::from_bytes(dtype, &shape, own);
            tensors
                .push(tensor.map_err(|_| MessageError("a tensor has other bytes than its shape asks for"))?);
        }
        rest.end()?;
        let opening = Opening { index, evidence, tensors };
        // A NaN with a payload, say, would be another tensor than the bytes that were sent.
        if opening.encode() != bytes {
            return Err(MessageError("it is not in canonical form"));
        }
        Ok(opening)
    }
}

/// What an audit of a step found.
#[derive(Clone, PartialEq, Debug)]
pub enum Finding {
    Right,
    Wrong(Reason),
    /// The rules do not reach this far, or it cannot be run here.
    Unknown(String),
}

/// What remains to be compared once the record is known to be the right one.
struct Remaining {
    step: Step,
    record: StepRecord,
    /// Inputs that are slices of scanned tensors.
    slices: Vec<(usize, Slice)>,
    /// Outputs stacked from slices, with these.
    stacks: Vec<(usize, i64, Vec<Digest>)>,
    /// Whether a control-flow step meets the fault of its record.
    meets_fault: bool,
}

impl Remaining {
    /// The tensors that have to be opened whole.
    fn tensors(&self, program: &Program) -> Vec<Digest> {
        let mut wanted: Vec<Digest> = self.slices.iter().map(|(_, slice)| slice.source).collect();
        if matches!(self.step.def().class, OpClass::Control) {
            for (output, _, slices) in &self.stacks {
                wanted.push(self.record.outputs[*output]);
                wanted.extend(slices);
            }
        } else {
            // The auditor has the constants.
            let pairs = self.step.inputs.iter().zip(&self.record.inputs);
            let others = pairs.filter(|(value, _)| value.is_some_and(|v| program.as_constant(v).is_none()));
            wanted.extend(others.filter_map(|(_, digest)| *digest));
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

type Checked = Result<Remaining, Reason>;

/// Whether a record is the one that follows, as far as records and program tell.
fn record(facts: &mut dyn Facts, claim: &Claim, index: u64) -> Result<Checked, Gap> {
    let inputs = ClaimInputs(claim);
    let record = facts.record(index)?;
    let before = match index.checked_sub(1) {
        Some(last) => Some(facts.record(last)?),
        None => None,
    };
    let expected = match &before {
        Some(record) if record.fault.is_some() => None,
        Some(record) => paths(facts, &inputs, index).after(&record.path)?,
        None => paths(facts, &inputs, 0).first()?,
    };
    let Some(path) = expected.filter(|path| record.path == *path) else { return Ok(Err(Reason::Path)) };
    let last = *path.last().ok_or(Gap::Undecidable("an empty path"))?;
    let step = facts.step(last.block, last.step)?.step;
    if (record.op, record.version) != (step.op, step.version) {
        return Ok(Err(Reason::Operator));
    }
    if record.body != step.body_digest() {
        return Ok(Err(Reason::Body));
    }
    if record.inputs.len() != step.inputs.len() {
        return Ok(Err(Reason::InputCount));
    }
    let mut slices = Vec::new();
    for (at, value) in step.inputs.iter().enumerate() {
        let expected = match value {
            Some(value) => match paths(facts, &inputs, index).value_of(value.0, &path)? {
                Value::Digest(digest) => Some(digest),
                Value::Slice(slice) => {
                    slices.push((at, slice));
                    continue;
                }
            },
            None => None,
        };
        if record.inputs[at] != expected {
            return Ok(Err(Reason::Input(at as u32)));
        }
    }
    let outputs = if record.fault.is_some() { 0 } else { step.outputs.len() };
    if record.outputs.len() != outputs {
        return Ok(Err(Reason::OutputCount));
    }
    let mut stacks = Vec::new();
    if matches!(step.def().class, OpClass::Control) {
        let last = before.as_ref().map(|record| record.path.as_slice());
        for output in 0..outputs {
            if output < carried(&step) {
                let digest = paths(facts, &inputs, index).control_output(&step, output, &path, last)?;
                if record.outputs[output] != digest {
                    return Ok(Err(Reason::Output(output as u32)));
                }
                continue;
            }
            let stack = paths(facts, &inputs, index).stack(&step, output, &path, last)?;
            let slices = (0..stack.count).map(|at| paths(facts, &inputs, index).stacked(&stack, &path, at));
            stacks.push((output, stack.axis, slices.collect::<Result<Vec<_>, _>>()?));
        }
    }
    let mut meets_fault = false;
    if let Some(fault) = record.fault.filter(|_| matches!(step.def().class, OpClass::Control)) {
        let place = Place { index, path, step: step.clone(), row: None };
        let (claims, agreed) = (Claims::Runs([claim, claim]), BTreeMap::new());
        let context = Context { claims, records: None, place: Some(&place), types: None, agreed: &agreed };
        meets_fault = match fault {
            Fault::BadShape => control_witness(&context, facts).is_some(),
            fault => control_fault(&context, fault, 0, 0, facts)?,
        };
    }
    Ok(Ok(Remaining { step, record, slices, stacks, meets_fault }))
}

/// Whether the trace ends where it must, and the claim's outputs and fault are its last record's and the main block's.
fn end(facts: &mut dyn Facts, claim: &Claim, steps: u64) -> Result<Result<(), Reason>, Gap> {
    let inputs = ClaimInputs(claim);
    if !is_over(claim, steps, facts)? {
        return Ok(Err(Reason::Length));
    }
    let fault = match steps.checked_sub(1) {
        Some(last) => facts.record(last)?.fault.map(|fault| (fault, last)),
        None => None,
    };
    if claim.fault.map(|claimed| (claimed.fault, claimed.step)) != fault {
        return Ok(Err(Reason::Fault));
    }
    let Part::Header { outputs, .. } = facts.part(0)? else {
        return Err(Gap::Program("there is no header".into()));
    };
    let expected = if fault.is_some() { 0 } else { outputs.len() };
    if claim.outputs.len() != expected {
        return Ok(Err(Reason::Outcome));
    }
    let main = facts.plan()?.blocks[0].clone();
    let path = [Frame { block: 0, step: main.steps, iteration: 0 }];
    for (name, value) in outputs.iter().zip(&main.results).take(expected) {
        let digest = paths(facts, &inputs, steps).digest_of(value.0, &path)?;
        if claim.outputs.get(name) != Some(&digest) {
            return Ok(Err(Reason::Outcome));
        }
    }
    Ok(Ok(()))
}

impl Player<'_> {
    /// Opens what an audit of a record needs; with the number of records, of the end.
    pub fn open_record(&mut self, claim: &Claim, index: u64) -> Result<Opening, PlayerError> {
        let steps = claim.trace.map_or(0, |trace| trace.steps);
        let (mut wanted, program) = (Vec::new(), self.program());
        let evidence = self.evidence(|facts| {
            // What is found is the auditor's business.
            if index >= steps {
                let _ = end(facts, claim, steps);
            } else if let Ok(Ok(remaining)) = record(facts, claim, index) {
                wanted = remaining.tensors(program);
            }
        });
        let wanted: Vec<_> = wanted.into_iter().map(Some).collect();
        let tensors = self.tensors_of(&wanted)?.into_iter().flatten().collect();
        Ok(Opening { index, evidence, tensors })
    }
}

/// Checks an opening of a claim's trace. `hash` hashes tensors.
pub fn check(
    program: &Program,
    claim: &Claim,
    opening: &Opening,
    executor: &dyn Executor,
    hash: BytesDigest,
) -> Finding {
    let Some(trace) = claim.trace else { return Finding::Unknown("the claim is of no trace".to_string()) };
    let mut facts = Verified::new(claim.program, trace.root, trace.steps);
    if program.digest() != claim.program || !facts.add(&opening.evidence, Shared::Records(trace.steps)) {
        return Finding::Wrong(Reason::Evidence);
    }
    let unknown = |gap: Gap| match gap {
        Gap::Missing(_) => Finding::Wrong(Reason::Evidence),
        Gap::Program(problem) => Finding::Unknown(problem),
        Gap::Undecidable(what) => Finding::Unknown(what.to_string()),
        Gap::Stop(stop) => Finding::Unknown(stop.to_string()),
    };
    if opening.index >= trace.steps {
        return match end(&mut facts, claim, trace.steps) {
            Ok(Ok(())) => Finding::Right,
            Ok(Err(reason)) => Finding::Wrong(reason),
            Err(gap) => unknown(gap),
        };
    }
    match record(&mut facts, claim, opening.index) {
        Ok(Ok(remaining)) => computed(program, &remaining, opening, executor, hash),
        Ok(Err(reason)) => Finding::Wrong(reason),
        Err(gap) => unknown(gap),
    }
}

/// Computes what the records alone do not tell.
fn computed(
    program: &Program,
    remaining: &Remaining,
    opening: &Opening,
    executor: &dyn Executor,
    hash: BytesDigest,
) -> Finding {
    let Remaining { step, record, slices, stacks, meets_fault } = remaining;
    let digest =
        |tensor: &Tensor| hash(tensor.dtype(), repops::Layout::RowMajor, tensor.shape(), tensor.bytes());
    let tensors: BTreeMap<Digest, &Tensor> = opening.tensors.iter().map(|t| (digest(t), t)).collect();
    let is_slice = |whole: Digest, axis: usize, at: usize, expected: Digest| -> Option<bool> {
        let whole = tensors.get(&whole)?;
        (axis < whole.shape().len() && at < whole.shape()[axis])
            .then(|| repops::control::slice(whole, axis, at).is_ok_and(|slice| digest(&slice) == expected))
            .or(Some(false))
    };
    for (at, slice) in slices {
        let expected = record.inputs[*at].unwrap_or_default();
        match is_slice(slice.source, slice.axis, slice.at as usize, expected) {
            None => return Finding::Wrong(Reason::Evidence),
            Some(false) => return Finding::Wrong(Reason::Input(*at as u32)),
            Some(true) => {}
        }
    }
    for (output, axis, list) in stacks {
        let stacked = record.outputs[*output];
        let Some(whole) = tensors.get(&stacked) else { return Finding::Wrong(Reason::Evidence) };
        let axis = repops::ops::infer::normalize_axis(*axis, whole.shape().len());
        let fits = axis.is_ok_and(|axis| {
            whole.shape()[axis] == list.len()
                && list
                    .iter()
                    .enumerate()
                    .all(|(at, slice)| is_slice(stacked, axis, at, *slice) == Some(true))
        });
        if !fits {
            return Finding::Wrong(Reason::Output(*output as u32));
        }
    }
    if matches!(step.def().class, OpClass::Control) {
        return match record.fault {
            Some(_) if !meets_fault => Finding::Wrong(Reason::Fault),
            _ => Finding::Right,
        };
    }
    let digest_of = |value| {
        let at = step.inputs.iter().position(|input| *input == Some(value))?;
        tensors.get(&record.inputs[at]?).copied()
    };
    let Some(section) = section::of_step(program, step, digest_of) else {
        return Finding::Wrong(Reason::Evidence);
    };
    let section = match section {
        Ok(section) => section,
        Err(error) => return Finding::Unknown(error.to_string()),
    };
    let inputs: Vec<Tensor> = section.inputs.iter().filter_map(|value| digest_of(*value).cloned()).collect();
    let mut outputs = Outputs(None);
    match executor.execute(&section.program, &inputs, HashLevel::None, &mut outputs) {
        Err(error @ (ExecError::Interrupted | ExecError::Fma(_))) => Finding::Unknown(error.to_string()),
        // The records before it made it another step than one that can be computed.
        Err(error) => Finding::Unknown(error.to_string()),
        Ok(execution) => match (execution.result, record.fault) {
            (Err(found), Some(claimed)) if found.fault == claimed => Finding::Right,
            (Err(_), _) | (Ok(_), Some(_)) => Finding::Wrong(Reason::Fault),
            (Ok(_), None) => match outputs.0 {
                Some(found) if found.iter().map(digest).eq(record.outputs.iter().copied()) => Finding::Right,
                Some(_) => Finding::Wrong(Reason::Element),
                None => Finding::Unknown("its outputs could not be copied".to_string()),
            },
        },
    }
}

/// Keeps the outputs of the only step.
struct Outputs(Option<Vec<Tensor>>);

impl repops::exec::Observer for Outputs {
    fn step(&mut self, event: repops::exec::StepEvent<'_>) {
        self.0 = event.outputs.iter().map(|view| view.to_tensor().ok()).collect();
    }
}
