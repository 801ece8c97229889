//! The judgements: who is wrong about a record, an end, an output's type, an element, a fault.
//!
//! Each is a function of the question, the claims and [`Facts`], and of nothing else.

use repops::Digest;
use repops::ops::OpClass;
use repops::ops::dispute::{self, Stop, Subject, TensorType, Term};
use repops::program::{Part, Step};
use repops::trace::{Frame, StepRecord};

use super::choice;
use super::facts::{Facts, Gap};
use super::faults::fault;
use super::message::Party;
use super::moved::{moved, moved_element};
use super::opened::StepInputs;
use super::paths::{Inputs, Paths, Value, carried};
use super::rows::{RowPlace, RowView};
use super::types::{read_for_types, types};
use super::verdict::{Loser, Reason};
use crate::generation::GenerationClaim;
use crate::receipt::Claim;

/// The tensor of a record that the parties state differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disputed {
    Output(u32),
    /// An input that is a slice of a scanned tensor.
    Slice(u32),
    /// The log-probabilities of a generation's tokens.
    Logprobs,
    /// The token that follows from logits.
    Choice,
}

impl Disputed {
    /// Its digest in a record.
    pub fn digest(self, record: &StepRecord) -> Option<Digest> {
        match self {
            Disputed::Output(at) => record.outputs.get(at as usize).copied(),
            Disputed::Slice(at) => record.inputs.get(at as usize).copied().flatten(),
            Disputed::Logprobs | Disputed::Choice => None,
        }
    }

    /// As the first part of a term that names one of its elements.
    pub fn number(self) -> u32 {
        match self {
            Disputed::Output(at) | Disputed::Slice(at) => at,
            Disputed::Logprobs | Disputed::Choice => 0,
        }
    }

    pub(super) fn type_reason(self) -> Reason {
        match self {
            Disputed::Output(at) => Reason::OutputType(at),
            Disputed::Slice(at) => Reason::Input(at),
            Disputed::Logprobs | Disputed::Choice => Reason::Outcome,
        }
    }
}

/// What is to be judged once evidence is there.
#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    /// Both traces are over; the claims' outputs or faults differ.
    Outcome,
    /// One trace ends where the other goes on; the record before `common` is the last that both have.
    End {
        common: u64,
        shorter: Party,
    },
    /// The records that differ.
    Record {
        index: u64,
        records: [StepRecord; 2],
    },
    /// Types of the differing tensor.
    Types {
        of: Disputed,
        types: [TensorType; 2],
    },
    Element {
        of: Disputed,
        term: Term,
        values: [u64; 2],
    },
    Fault {
        by: Party,
        output: u32,
        element: u64,
    },
    /// How many steps the program has.
    Steps {
        counts: [u64; 2],
    },
    /// Whether a step's output gets into keys or values, by the steps that a party names.
    Path {
        by: Party,
        step: u64,
        path: Vec<u64>,
    },
    /// What a step gave at a position.
    Row {
        position: u64,
        step: u64,
        outputs: [Vec<Digest>; 2],
    },
    /// The logits of a position, from which different tokens were chosen.
    Logits {
        position: u64,
        tokens: [u64; 2],
    },
    /// The logits of a position, which give different log-probabilities of a token.
    Logprob {
        position: u64,
        token: u64,
        values: [u64; 2],
    },
}

impl Question {
    /// Who opens what is needed.
    pub fn presenter(&self) -> Party {
        match self {
            Question::Path { by, .. } => *by,
            _ => Party::First,
        }
    }
}

/// What a judgement found.
#[derive(Clone, PartialEq, Debug)]
pub enum Finding {
    Lost(Loser, Reason),
    /// The records differ in a tensor that is to be searched.
    Tensor(Disputed),
    /// They differ in the fault.
    Fault,
    /// The types are agreed.
    Agreed,
    /// A term differs.
    Term(Term, [u64; 2]),
}

/// The step under dispute, once its record has been judged.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub index: u64,
    pub path: Vec<Frame>,
    pub step: Step,
    /// In a dispute about a generation.
    pub row: Option<RowPlace>,
}

impl Place {
    /// The record that the step would have, with these inputs and outputs.
    pub(super) fn record(&self, inputs: &[Option<Digest>], outputs: Vec<Digest>) -> StepRecord {
        StepRecord {
            path: self.path.clone(),
            op: self.step.op,
            version: self.step.version,
            body: self.step.body_digest(),
            inputs: inputs.to_vec(),
            outputs,
            fault: None,
        }
    }
}

/// What the parties claim.
#[derive(Clone, Copy)]
pub enum Claims<'a> {
    Runs([&'a Claim; 2]),
    Generations([&'a GenerationClaim; 2]),
}

/// What judgements know besides facts.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub claims: Claims<'a>,
    pub records: Option<&'a [StepRecord; 2]>,
    pub place: Option<&'a Place>,
    pub types: Option<&'a (Vec<Option<TensorType>>, Vec<TensorType>)>,
    /// Claims that both parties made.
    pub agreed: &'a std::collections::BTreeMap<Term, u64>,
}

impl<'a> Context<'a> {
    pub(super) fn runs(&self) -> Result<[&'a Claim; 2], Gap> {
        match self.claims {
            Claims::Runs(claims) => Ok(claims),
            Claims::Generations(_) => Err(Gap::Undecidable("a generation is no run")),
        }
    }

    pub(super) fn generations(&self) -> Result<[&'a GenerationClaim; 2], Gap> {
        match self.claims {
            Claims::Generations(claims) => Ok(claims),
            Claims::Runs(_) => Err(Gap::Undecidable("a run is no generation")),
        }
    }
}

pub(super) struct ClaimInputs<'a>(pub &'a Claim);

impl Inputs for ClaimInputs<'_> {
    fn input(&self, name: &str) -> Option<Digest> {
        self.0.inputs.get(name).copied()
    }
}

/// Who is wrong when `right` says whose statement is as it must be.
pub(super) fn losers(right: [bool; 2], reason: Reason) -> Finding {
    let loser = match right {
        [true, false] => Loser::Second,
        [false, true] => Loser::First,
        [false, false] => Loser::Both,
        [true, true] => Loser::Neither,
    };
    Finding::Lost(loser, reason)
}

pub(super) fn paths<'a>(facts: &'a mut dyn Facts, inputs: &'a ClaimInputs<'a>, before: u64) -> Paths<'a> {
    Paths { facts, inputs, before }
}

/// Whether a trace of `common` records is over.
pub(super) fn is_over(claim: &Claim, common: u64, facts: &mut dyn Facts) -> Result<bool, Gap> {
    let inputs = ClaimInputs(claim);
    let Some(last) = common.checked_sub(1) else {
        return Ok(paths(facts, &inputs, 0).first()?.is_none());
    };
    let record = facts.record(last)?;
    if record.fault.is_some() {
        return Ok(true);
    }
    Ok(paths(facts, &inputs, common).after(&record.path)?.is_none())
}

/// The end of a trace.
pub fn end(
    context: &Context<'_>,
    common: u64,
    shorter: Party,
    facts: &mut dyn Facts,
) -> Result<Finding, Gap> {
    let over = is_over(context.runs()?[0], common, facts)?;
    let loser = if over { shorter.other() } else { shorter };
    Ok(Finding::Lost(loser.into(), Reason::Length))
}

/// Claims that differ although their traces do not.
pub fn outcome(context: &Context<'_>, facts: &mut dyn Facts) -> Result<Finding, Gap> {
    let [a, b] = context.runs()?;
    let steps = a.trace.map_or(0, |t| t.steps);
    let fault = match steps.checked_sub(1) {
        Some(last) => facts.record(last)?.fault.map(|fault| (fault, last)),
        None => None,
    };
    let faults = [a, b].map(|claim| claim.fault.map(|f| (f.fault, f.step)) == fault);
    if faults != [true; 2] {
        return Ok(losers(faults, Reason::Fault));
    }
    if fault.is_some() {
        return Ok(losers([a, b].map(|claim| claim.outputs.is_empty()), Reason::Outcome));
    }
    let Part::Header { outputs, .. } = facts.part(0)? else {
        return Err(Gap::Program("there is no header".into()));
    };
    let unknown = |claim: &Claim| claim.outputs.keys().all(|name| outputs.contains(name));
    let known = [unknown(a), unknown(b)];
    if known != [true; 2] {
        return Ok(losers(known, Reason::Outcome));
    }
    let differing = outputs.iter().enumerate().find(|(_, name)| a.outputs.get(*name) != b.outputs.get(*name));
    let Some((index, name)) = differing else { return Ok(losers([true; 2], Reason::Outcome)) };
    let plan = facts.plan()?;
    let main = &plan.blocks[0];
    let value = main.results.get(index).ok_or(Gap::Program("a result is missing".into()))?;
    let inputs = ClaimInputs(a);
    let end = [Frame { block: 0, step: main.steps, iteration: 0 }];
    let expected = paths(facts, &inputs, steps).digest_of(value.0, &end)?;
    Ok(losers([a, b].map(|claim| claim.outputs.get(name) == Some(&expected)), Reason::Outcome))
}

/// The first field in which two records differ, against what it must be. Gives the step as well.
pub fn record(
    context: &Context<'_>,
    index: u64,
    records: &[StepRecord; 2],
    facts: &mut dyn Facts,
) -> Result<(Finding, Option<Place>), Gap> {
    let inputs = ClaimInputs(context.runs()?[0]);
    let before = match index.checked_sub(1) {
        Some(last) => Some(facts.record(last)?),
        None => None,
    };
    let expected = match &before {
        Some(record) if record.fault.is_some() => None,
        Some(record) => paths(facts, &inputs, index).after(&record.path)?,
        None => paths(facts, &inputs, index).first()?,
    };
    let [a, b] = records;
    let lost = |right: [bool; 2], reason| losers(right, reason);
    let Some(path) = expected else { return Ok((Finding::Lost(Loser::Both, Reason::Path), None)) };
    let right = records.each_ref().map(|r| r.path == path);
    let last = *path.last().ok_or(Gap::Undecidable("an empty path"))?;
    let step = facts.step(last.block, last.step)?.step;
    let place = Place { index, path: path.clone(), step: step.clone(), row: None };
    let finding = 'found: {
        if right != [true; 2] {
            break 'found lost(right, Reason::Path);
        }
        let right = records.each_ref().map(|r| (r.op, r.version) == (step.op, step.version));
        if right != [true; 2] {
            break 'found lost(right, Reason::Operator);
        }
        let body = step.body_digest();
        let right = records.each_ref().map(|r| r.body == body);
        if right != [true; 2] {
            break 'found lost(right, Reason::Body);
        }
        let right = records.each_ref().map(|r| r.inputs.len() == step.inputs.len());
        if right != [true; 2] {
            break 'found lost(right, Reason::InputCount);
        }
        for (at, value) in step.inputs.iter().enumerate() {
            if a.inputs[at] == b.inputs[at] {
                continue;
            }
            let expected = match value {
                Some(value) => match paths(facts, &inputs, index).value_of(value.0, &path)? {
                    Value::Digest(digest) => Some(digest),
                    Value::Slice(_) => {
                        let there = records.each_ref().map(|r| r.inputs[at].is_some());
                        break 'found match there {
                            [true, true] => Finding::Tensor(Disputed::Slice(at as u32)),
                            _ => lost(there, Reason::Input(at as u32)),
                        };
                    }
                },
                None => None,
            };
            break 'found lost(
                records.each_ref().map(|r| r.inputs[at] == expected),
                Reason::Input(at as u32),
            );
        }
        // A fault leaves no outputs; without one there are as many as the step has.
        let count = |r: &StepRecord| if r.fault.is_some() { 0 } else { step.outputs.len() };
        let right = records.each_ref().map(|r| r.outputs.len() == count(r));
        if right != [true; 2] {
            break 'found lost(right, Reason::OutputCount);
        }
        if a.fault != b.fault {
            break 'found Finding::Fault;
        }
        let Some(output) = (0..a.outputs.len()).find(|&k| a.outputs[k] != b.outputs[k]) else {
            break 'found lost([true; 2], Reason::Path);
        };
        let is_control = matches!(step.def().class, OpClass::Control);
        if !is_control || output >= carried(&step) {
            break 'found Finding::Tensor(Disputed::Output(output as u32));
        }
        let last = before.as_ref().map(|r| r.path.as_slice());
        let expected = paths(facts, &inputs, index).control_output(&step, output, &path, last)?;
        lost(records.each_ref().map(|r| r.outputs[output] == expected), Reason::Output(output as u32))
    };
    Ok((finding, Some(place)))
}

pub(super) fn step_and_inputs<'a>(context: &Context<'a>) -> Result<(&'a Step, &'a [Option<Digest>]), Gap> {
    match (context.place, context.records) {
        (Some(place), Some(records)) => Ok((&place.step, &records[0].inputs)),
        _ => Err(Gap::Undecidable("no step is under dispute")),
    }
}

/// The finer terms of a term. Types are agreed.
pub fn claims(
    context: &Context<'_>,
    of: Disputed,
    term: Term,
    facts: &mut dyn Facts,
) -> Result<Vec<Term>, Gap> {
    let (step, digests) = step_and_inputs(context)?;
    if !matches!(of, Disputed::Output(_)) && !matches!(of, Disputed::Logprobs)
        || matches!(step.def().class, OpClass::Control)
    {
        return Ok(Vec::new());
    }
    let (inputs, outputs) = context.types.ok_or(Gap::Undecidable("types are not agreed"))?;
    let subject =
        Subject { def: step.def(), attrs: &step.attrs, region: step.region.as_ref(), inputs, outputs };
    let mut open = StepInputs::new(facts, digests);
    let found = dispute::claims(&subject, term, &mut open);
    found.map_err(|stop| open.gap.take().unwrap_or_else(|| stop.into()))
}

/// The value of a term whose claims are agreed, against the parties'.
pub fn element(
    context: &Context<'_>,
    of: Disputed,
    term: Term,
    values: &[u64; 2],
    facts: &mut dyn Facts,
) -> Result<Finding, Gap> {
    if let Some(moved) = moved(context, of, facts)? {
        let ty = context.types.and_then(|types| types.1.first());
        let (Some(ty), Term::Output { element, .. }) = (ty, term) else {
            return Err(Gap::Undecidable("types are not agreed"));
        };
        let found = moved_element(context, &moved, ty, element, facts)?;
        return Ok(losers(values.map(|v| v == found), Reason::Element));
    }
    let finer = claims(context, of, term, facts)?;
    let bits: Option<Vec<u64>> = finer.iter().map(|t| context.agreed.get(t).copied()).collect();
    let bits = bits.ok_or(Gap::Undecidable("a claim was not made"))?;
    let (step, digests) = step_and_inputs(context)?;
    let (inputs, outputs) = context.types.ok_or(Gap::Undecidable("types are not agreed"))?;
    let subject =
        Subject { def: step.def(), attrs: &step.attrs, region: step.region.as_ref(), inputs, outputs };
    let mut open = StepInputs::new(facts, digests);
    match dispute::value(&subject, term, &bits, &mut open) {
        Ok(found) => Ok(losers(values.map(|v| v == found), Reason::Element)),
        // Neither claimed the fault that computing it meets.
        Err(Stop::Operator(_)) => Ok(Finding::Lost(Loser::Both, Reason::Fault)),
        Err(stop) => Err(open.gap.take().unwrap_or_else(|| stop.into())),
    }
}

/// What a judgement taught besides its finding.
pub enum Learned {
    Nothing,
    Place(Option<Place>),
    Types(StepTypes),
    /// A place of a sequence, what its step reads by name, and types where they are known.
    Row(Place, Vec<Option<Digest>>, Option<StepTypes>),
}

/// Types of a step's inputs and outputs.
pub type StepTypes = (Vec<Option<TensorType>>, Vec<TensorType>);

/// Answers a question from facts.
pub fn decide(
    context: &Context<'_>,
    question: &Question,
    facts: &mut dyn Facts,
) -> Result<(Finding, Learned), Gap> {
    let alone = |finding: Result<Finding, Gap>| finding.map(|f| (f, Learned::Nothing));
    if let Some(place) = context.place.and_then(|place| place.row.as_ref()) {
        let tokens = context.generations()?[0].rows();
        let view = &mut RowView { inner: facts, place, tokens: &tokens };
        match question {
            Question::Types { of, types: claimed } => {
                return types(context, *of, claimed, view).map(|(f, types)| (f, Learned::Types(types)));
            }
            Question::Element { term, values, .. } if place.is_choice => {
                return alone(choice::judge(context, place, *term, *values, view));
            }
            Question::Element { of, term, values } => {
                return alone(element(context, *of, *term, values, view));
            }
            _ => {}
        }
    }
    match question {
        Question::Outcome => alone(outcome(context, facts)),
        Question::End { common, shorter } => alone(end(context, *common, *shorter, facts)),
        Question::Record { index, records } => {
            let (finding, place) = record(context, *index, records, facts)?;
            if let Finding::Tensor(of) = finding {
                let next = Context { records: Some(records), place: place.as_ref(), ..*context };
                read_for_types(&next, of, facts)?;
            }
            Ok((finding, Learned::Place(place)))
        }
        Question::Types { of, types: claimed } => {
            types(context, *of, claimed, facts).map(|(f, types)| (f, Learned::Types(types)))
        }
        Question::Element { of, term, values } => alone(element(context, *of, *term, values, facts)),
        Question::Fault { by, output, element } => alone(fault(context, *by, *output, *element, facts)),
        Question::Steps { counts } => alone(choice::steps(counts, facts)),
        Question::Path { by, step, path } => alone(choice::path(*by, *step, path, facts)),
        Question::Row { position, step, outputs } => choice::row(context, *position, *step, outputs, facts),
        Question::Logits { position, tokens } => choice::logits(context, *position, *tokens, facts),
        Question::Logprob { position, token, values } => {
            choice::logprob(context, *position, *token, *values, facts)
        }
    }
}

/// The finer terms of a term about which the parties differ: [`claims`], of whatever is under dispute.
pub fn finer(
    context: &Context<'_>,
    of: Disputed,
    term: Term,
    values: [u64; 2],
    facts: &mut dyn Facts,
) -> Result<Vec<Term>, Gap> {
    let Some(place) = context.place.and_then(|place| place.row.as_ref()) else {
        return claims(context, of, term, facts);
    };
    let tokens = context.generations()?[0].rows();
    let view = &mut RowView { inner: facts, place, tokens: &tokens };
    if place.is_choice {
        return choice::finer(context, place, term, values, view);
    }
    claims(context, of, term, view)
}
