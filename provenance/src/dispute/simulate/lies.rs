//! Making lies: a run's records with one thing changed, and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::digest::sha256;
use repops::exec::{ExecError, HashLevel, Observer, StepEvent};
use repops::ops::Fault;
use repops::ops::dispute::{Evaluator, OpenInputs, Subject, TensorType, Term, claims, rule};
use repops::program::Step;
use repops::trace::{StepRecord, Trace};
use repops::{Digest, Tensor};

use super::game::{Actor, Manners, Stated};
use super::{Dice, Kind, Scenario, SimulateError, Stage};
use crate::diff::step_at;
use crate::dispute::held::Records;
use crate::receipt::{Claim, TraceClaim};

impl<'a> Stage<'a> {
    /// Makes the lie of a scenario.
    pub(super) fn lie(&self, scenario: &Scenario, dice: &mut Dice) -> Result<Actor<'a>, SimulateError> {
        let count = self.trace.records.len() as u64;
        // Where the seed chooses, it chooses until there is something to lie about.
        for attempt in 0..1000 {
            let step = scenario.step.unwrap_or_else(|| dice.below(count));
            if step >= count {
                return Err(SimulateError::NoStep { step, count });
            }
            match self.lie_at(scenario.kind, step, dice)? {
                Some(lie) => return Ok(lie),
                None if scenario.step.is_some() && attempt > 20 => {
                    return Err(SimulateError::NoLie { step, kind: scenario.kind.name() });
                }
                None => {}
            }
        }
        Err(SimulateError::NoLie { step: 0, kind: scenario.kind.name() })
    }

    fn lie_at(&self, kind: Kind, at: u64, dice: &mut Dice) -> Result<Option<Actor<'a>>, SimulateError> {
        let index = at as usize;
        let honest = &self.trace.records[index];
        let mut record = honest.clone();
        let mut manners = Manners::Good;
        let (mut kept, mut preset) = (None, None);
        let constant = |digest: &Option<Digest>| {
            digest.is_some_and(|d| self.program.constants().iter().any(|c| c.digest == d))
        };
        let pick = |dice: &mut Dice, which: &dyn Fn(&Option<Digest>) -> bool| {
            let slots: Vec<usize> = (0..honest.inputs.len()).filter(|&i| which(&honest.inputs[i])).collect();
            (!slots.is_empty()).then(|| slots[dice.below(slots.len() as u64) as usize])
        };
        match kind {
            Kind::Output | Kind::Stale | Kind::Proof | Kind::Silence => {
                let Some((output, tensor, term)) = self.fault(at, dice)? else { return Ok(None) };
                record.outputs[output] = repops::digest::tensor_digest(tensor.view());
                (kept, preset) = (Some(tensor), term);
                manners = match kind {
                    Kind::Stale => Manners::Stale,
                    Kind::Proof => Manners::Damaged { round: dice.below(6) as u32 },
                    Kind::Silence => Manners::Silent { round: dice.below(6) as u32 },
                    _ => Manners::Good,
                };
            }
            Kind::Input | Kind::Constant => {
                let which: &dyn Fn(&Option<Digest>) -> bool = match kind {
                    Kind::Constant => &constant,
                    _ => &|d| d.is_some() && !constant(d),
                };
                let Some(slot) = pick(dice, which) else { return Ok(None) };
                record.inputs[slot] = Some(sha256(&[b"another", &dice.roll().to_le_bytes()]));
            }
            Kind::Wiring => {
                let Some(slot) = pick(dice, &|d| d.is_some()) else { return Ok(None) };
                let known = self.trace.records[..index].iter().flat_map(|r| &r.outputs);
                let inputs = self.claim.inputs.values();
                let others: Vec<Digest> =
                    known.chain(inputs).copied().filter(|d| Some(*d) != honest.inputs[slot]).collect();
                if others.is_empty() {
                    return Ok(None);
                }
                record.inputs[slot] = Some(others[dice.below(others.len() as u64) as usize]);
            }
            Kind::Operator => record.op ^= 1 + dice.below(400) as u16,
            Kind::Attribute => record.body = sha256(&[b"another"]),
            Kind::Digest => {
                let Some(output) = record.outputs.first_mut() else { return Ok(None) };
                *output = sha256(&[b"no bytes", &dice.roll().to_le_bytes()]);
            }
            Kind::Fault => match honest.fault {
                None => {
                    record.fault = Some(Fault::ALL[dice.below(Fault::ALL.len() as u64) as usize]);
                    record.outputs.clear();
                }
                Some(fault) if dice.below(2) == 0 => {
                    record.fault = Fault::ALL.into_iter().find(|other| *other != fault);
                }
                Some(_) => {
                    let Some(step) = step_at(self.program, &record.path) else { return Ok(None) };
                    record.fault = None;
                    record.outputs = vec![sha256(&[b"no fault"]); step.outputs.len()];
                }
            },
            Kind::Token => return Ok(None),
            Kind::Length | Kind::Outcome | Kind::Path => {}
        }
        let mut trace = Trace { records: self.trace.records.clone() };
        let mut claim = self.claim.clone();
        match kind {
            Kind::Length => trace.records.truncate(index),
            Kind::Outcome => {
                let Some(name) = claim.outputs.keys().next().cloned() else { return Ok(None) };
                claim.outputs.insert(name, sha256(&[b"another"]));
            }
            Kind::Fault => {
                trace.records.truncate(index);
                claim.fault = record.fault.map(|fault| crate::receipt::FaultClaim { fault, step: at });
                let names = self.program.header().outputs.iter().filter(|_| record.fault.is_none());
                claim.outputs = names.map(|name| (name.clone(), sha256(&[b"no fault"]))).collect();
                trace.records.push(record);
            }
            Kind::Path => detour(&mut trace, index, dice),
            _ => {
                trace.records[index] = record;
                spread(&mut trace, index, &self.trace.records, &mut claim);
            }
        }
        let run = Records::of(trace);
        claim.trace = Some(TraceClaim { root: run.root(), steps: run.records.len() as u64 });
        let mut player = self.player(Arc::new(run));
        if let Some(tensor) = kept {
            player.keep(&tensor);
        }
        if let Some((term, bits)) = preset {
            player.preset(term, bits);
        }
        let mut actor = Actor::new(player, Stated::Run(claim), manners, at);
        actor.term = preset.map(|p| p.0);
        Ok(Some(actor))
    }

    /// The output of a step with a single-bit fault somewhere in the computation of one element.
    fn fault(
        &self,
        at: u64,
        dice: &mut Dice,
    ) -> Result<Option<(usize, Tensor, Option<(Term, u64)>)>, SimulateError> {
        let record = &self.trace.records[at as usize];
        let Some(step) = step_at(self.program, &record.path) else { return Ok(None) };
        if record.outputs.is_empty() {
            return Ok(None);
        }
        let mut catcher = Run { index: at, outputs: None };
        match self.executor.execute(self.program, self.inputs, HashLevel::None, &mut catcher) {
            Ok(_) | Err(ExecError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(outputs) = catcher.outputs else { return Ok(None) };
        let output = dice.below(outputs.len() as u64) as usize;
        let mut tensor = outputs[output].clone();
        if tensor.is_empty() {
            return Ok(None);
        }
        let element = dice.below(tensor.len() as u64);
        let term = Term::Output { output: output as u32, element };
        let preset = match rule(step.def()).has_terms() {
            true => self.deep_fault(at, step, &outputs, term, dice)?,
            false => None,
        };
        let size = tensor.dtype().size();
        let own = element as usize * size..(element as usize + 1) * size;
        match preset {
            Some((_, _, found)) => {
                let bytes = found.to_le_bytes();
                tensor.bytes_mut()[own].copy_from_slice(&bytes[..size]);
            }
            None => flip(&mut tensor.bytes_mut()[own], outputs[output].dtype(), dice),
        }
        Ok(Some((output, tensor, preset.map(|(term, bits, _)| (term, bits)))))
    }

    /// A flipped bit in a term beneath `top` that shows in the element: the term, its bits, the element's.
    fn deep_fault(
        &self,
        at: u64,
        step: &Step,
        outputs: &[Tensor],
        top: Term,
        dice: &mut Dice,
    ) -> Result<Option<(Term, u64, u64)>, SimulateError> {
        let record = &self.trace.records[at as usize];
        let mut player = self.player(self.trace.clone());
        let inputs = player.tensors_of(&record.inputs)?;
        let ty = |t: &Tensor| TensorType::new(t.dtype(), t.shape());
        let input_types: Vec<_> = inputs.iter().map(|t| t.as_ref().map(ty)).collect();
        let output_types: Vec<_> = outputs.iter().map(ty).collect();
        let subject = Subject {
            def: step.def(),
            attrs: &step.attrs,
            region: step.region.as_ref(),
            inputs: &input_types,
            outputs: &output_types,
        };
        deep_fault(&subject, &inputs, top, dice)
    }
}

/// A flipped bit in a term beneath `top` that shows in the element: the term, its bits, the element's.
pub(super) fn deep_fault(
    subject: &Subject<'_>,
    inputs: &[Option<Tensor>],
    top: Term,
    dice: &mut Dice,
) -> Result<Option<(Term, u64, u64)>, SimulateError> {
    let mut open = OpenInputs(inputs);
    let mut right = Evaluator::default();
    right.run_ahead(subject, inputs)?;
    let honest = right.value(subject, top, &mut open)?;
    for _ in 0..16 {
        // A walk down to a term of random depth.
        let mut term = top;
        for _ in 0..dice.below(6) {
            let finer = claims(subject, term, &mut open)?;
            if finer.is_empty() {
                break;
            }
            term = finer[dice.below(finer.len() as u64) as usize];
        }
        let bits = right.value(subject, term, &mut open)?;
        let width = match term {
            Term::Output { output, .. } => 8 * subject.outputs[output as usize].dtype.size() as u64,
            _ => 23,
        };
        let flipped = bits ^ 1 << dice.below(width.min(23));
        let mut faulty = Evaluator::default();
        faulty.set(term, flipped);
        let found = faulty.value(subject, top, &mut open)?;
        if found != honest {
            return Ok(Some((term, flipped, found)));
        }
    }
    Ok(None)
}

/// Flips a bit of an element; a bool is inverted, a NaN becomes a number.
pub(super) fn flip(bytes: &mut [u8], dtype: repops::DType, dice: &mut Dice) {
    if dtype == repops::DType::Bool {
        bytes[0] ^= 1;
        return;
    }
    // The low bytes of a number make no NaN of it.
    bytes[0] ^= 1 << dice.below(8);
    let last = bytes.len() - 1;
    if dtype.is_float() && bytes[last] & 0x7f >= 0x7c {
        bytes.fill(0);
    }
}

/// Leads another way from a record on.
fn detour(trace: &mut Trace, at: usize, dice: &mut Dice) {
    let record = trace.records[at].clone();
    let inner = record.path.len() - 1;
    match dice.below(4) {
        // The step is left out, with what it holds.
        0 => trace.records.retain(|other| !other.path.starts_with(&record.path)),
        1 => trace.records.insert(at, record),
        // An iteration ends early: the rest of it and those after it are left out.
        2 if inner > 0 => {
            let depth = dice.below(inner as u64) as usize;
            let holder = &record.path[..=depth];
            let is_within =
                |other: &StepRecord| other.path.len() > holder.len() && other.path.starts_with(holder);
            let mut number = 0..;
            trace.records.retain(|other| number.next().is_some_and(|n: usize| n < at) || !is_within(other));
        }
        way => {
            let frame = &mut trace.records[at].path[inner];
            match way {
                2 => frame.step ^= 1,
                _ => frame.iteration += 1,
            }
        }
    }
}

/// Gives everything that follows from a wrong record other digests, as a run that went on would have.
fn spread(trace: &mut Trace, from: usize, honest: &[StepRecord], claim: &mut Claim) {
    let mut changed: BTreeMap<Digest, Digest> = BTreeMap::new();
    let note = |changed: &mut BTreeMap<Digest, Digest>, a: &StepRecord, b: &StepRecord| {
        changed.extend(a.outputs.iter().copied().zip(b.outputs.iter().copied()).filter(|(a, b)| a != b));
    };
    note(&mut changed, &honest[from], &trace.records[from]);
    for at in from + 1..trace.records.len() {
        let record = &mut trace.records[at];
        let mut touched = false;
        for input in record.inputs.iter_mut().flatten() {
            if let Some(other) = changed.get(input) {
                *input = *other;
                touched = true;
            }
        }
        if touched {
            for output in &mut record.outputs {
                *output = sha256(&[b"follows", &output.0]);
            }
        }
        note(&mut changed, &honest[at], &trace.records[at]);
    }
    for digest in claim.outputs.values_mut() {
        if let Some(other) = changed.get(digest) {
            *digest = *other;
        }
    }
}

/// Keeps the outputs of one step.
struct Run {
    index: u64,
    outputs: Option<Vec<Tensor>>,
}

impl Observer for Run {
    fn step(&mut self, event: StepEvent<'_>) {
        if event.index as u64 == self.index {
            self.outputs = event.outputs.iter().map(|view| view.to_tensor().ok()).collect();
        }
    }

    fn interrupted(&mut self) -> bool {
        self.outputs.is_some()
    }
}
