//! The judgements that only disputes about generations have: which steps are the head, what a step of a position reads, and
//! what follows from logits, a token or its log-probability.

use std::ops::Range;

use repops::attrs::Attrs;
use repops::ops::dispute::{Inputs, Stop, TensorType, Term};
use repops::program::{Output, Step, ValueId};
use repops::sequence::choice::{Choice, Logits, TOKEN};
use repops::sequence::sampling::Draw;
use repops::trace::Frame;
use repops::{DType, Digest, ops};

use super::facts::{Facts, Gap};
use super::judge::{Context, Disputed, Finding, Learned, Place, StepTypes, losers};
use super::message::Party;
use super::opened::StepInputs;
use super::rows::{RowPlace, RowValue, RowView, inputs_of, source, value_name};
use super::types::read_for_types;
use super::verdict::{Loser, Reason};

/// The most steps from a step to keys or values that a party may name.
const PATH_MAX: usize = 256;

/// How many steps the program has.
pub(super) fn steps(counts: &[u64; 2], facts: &mut dyn Facts) -> Result<Finding, Gap> {
    let plan = facts.plan()?;
    let steps = plan.blocks.first().map_or(0, |main| u64::from(main.steps));
    Ok(losers(counts.map(|count| count == steps), Reason::Heads))
}

/// Whether the steps that a party names lead from a step's output to keys or values of an attention.
pub(super) fn path(by: Party, step: u64, path: &[u64], facts: &mut dyn Facts) -> Result<Finding, Gap> {
    let plan = facts.plan()?;
    let lost = |party: Party| Ok(Finding::Lost(party.into(), Reason::Heads));
    let steps = plan.blocks.first().map_or(0, |main| u64::from(main.steps));
    if step >= steps {
        return lost(by.other());
    }
    let mut outputs = |step: u64| -> Result<Option<(Step, Range<u32>)>, Gap> {
        if step >= steps {
            return Ok(None);
        }
        let fact = facts.step(0, step as u32)?;
        let end = fact.first_output + fact.step.outputs.len() as u32;
        Ok(Some((fact.step, fact.first_output..end)))
    };
    let Some((_, mut given)) = outputs(step)? else { return lost(by) };
    let mut last = step;
    for (number, next) in path.iter().enumerate() {
        if *next <= last || number >= PATH_MAX {
            return lost(by);
        }
        let Some((reader, own)) = outputs(*next)? else { return lost(by) };
        let read = |value: &Option<ValueId>| value.is_some_and(|value| given.contains(&value.0));
        let slots: Vec<usize> = (0..reader.inputs.len()).filter(|slot| read(&reader.inputs[*slot])).collect();
        let is_kept = reader.def().name == "SequenceAttention" && slots.iter().any(|slot| *slot > 0);
        if is_kept && number + 1 == path.len() {
            return lost(by.other());
        }
        if slots.is_empty() {
            return lost(by);
        }
        (given, last) = (own, *next);
    }
    lost(by)
}

/// What the parties state that a step gave at a position.
pub(super) fn row(
    context: &Context<'_>,
    position: u64,
    step: u64,
    outputs: &[Vec<Digest>; 2],
    facts: &mut dyn Facts,
) -> Result<(Finding, Learned), Gap> {
    let index = u32::try_from(step).map_err(|_| Gap::Undecidable("a step of that number"))?;
    let step = facts.step(0, index)?.step;
    let (inputs, values) = inputs_of(&step, facts)?;
    let count = step.outputs.len();
    let right = outputs.each_ref().map(|own| own.len() == count);
    let finding = match (0..count).find(|k| outputs[0].get(*k) != outputs[1].get(*k)) {
        _ if right != [true; 2] => losers(right, Reason::OutputCount),
        Some(output) => Finding::Tensor(Disputed::Output(output as u32)),
        None => losers([true; 2], Reason::Hashes),
    };
    let place = place(index, step, RowPlace { position, values, is_choice: false });
    if let (Finding::Tensor(of), Some(row)) = (&finding, &place.row) {
        let records = outputs.each_ref().map(|own| place.record(&inputs, own.clone()));
        let tokens = context.generations()?[0].rows();
        let next = Context { records: Some(&records), place: Some(&place), ..*context };
        read_for_types(&next, *of, &mut RowView { inner: facts, place: row, tokens: &tokens })?;
    }
    Ok((finding, Learned::Row(place, inputs, None)))
}

fn place(index: u32, step: Step, row: RowPlace) -> Place {
    let path = vec![Frame { block: 0, step: index, iteration: 0 }];
    Place { index: u64::from(index), path, step, row: Some(row) }
}

/// The step that gives the logits, and their value's name and source.
fn logits_of(facts: &mut dyn Facts) -> Result<(u32, Step, Digest, RowValue), Gap> {
    let plan = facts.plan()?;
    let result = plan.blocks.first().and_then(|main| main.results.first());
    let value = result.ok_or_else(|| Gap::Program("a program without a result".into()))?.0;
    match source(value, facts)? {
        Ok(found @ RowValue::Step { step, .. }) => {
            Ok((step, facts.step(0, step)?.step, value_name(value), found))
        }
        _ => Err(Gap::Program("logits that no step gives".into())),
    }
}

/// Opens what the choice of a token is judged by.
pub(super) fn logits(
    context: &Context<'_>,
    position: u64,
    tokens: [u64; 2],
    facts: &mut dyn Facts,
) -> Result<(Finding, Learned), Gap> {
    let (index, step, name, value) = logits_of(facts)?;
    let row = RowPlace { position, values: vec![(name, value)], is_choice: true };
    let all = context.generations()?[0].rows();
    let view = &mut RowView { inner: facts, place: &row, tokens: &all };
    finer(context, &row, TOKEN, tokens, view)?;
    Ok((Finding::Term(TOKEN, tokens), Learned::Row(place(index, step, row), vec![Some(name)], None)))
}

/// Makes the log-probability of a token an element of LogSoftmax of the logits.
pub(super) fn logprob(
    context: &Context<'_>,
    position: u64,
    token: u64,
    values: [u64; 2],
    facts: &mut dyn Facts,
) -> Result<(Finding, Learned), Gap> {
    let (index, logits, name, value) = logits_of(facts)?;
    let row = RowPlace { position, values: vec![(name, value)], is_choice: false };
    let all = context.generations()?[0].rows();
    let header = RowView { inner: facts, place: &row, tokens: &all }.header(name)?;
    let def = ops::by_name("LogSoftmax").ok_or(Gap::Undecidable("log-probabilities"))?;
    let attrs =
        def.check_attrs(&Attrs::new().with_int("axis", 1)).map_err(|e| Gap::Program(e.to_string()))?;
    let step = Step {
        op: def.id,
        version: def.version,
        attrs,
        inputs: vec![None],
        outputs: vec![Output::default()],
        region: None,
        blocks: Vec::new(),
        origins: logits.origins,
    };
    let ty = TensorType { dtype: header.dtype, shape: header.shape };
    let vocabulary = ty.shape.get(1).filter(|_| ty.dtype == DType::F32 && ty.shape.len() == 2);
    let vocabulary = *vocabulary.ok_or_else(|| Gap::Program("logits are f32 with one axis".into()))? as u64;
    let element = position.saturating_mul(vocabulary).saturating_add(token.min(vocabulary));
    let types: StepTypes = (vec![Some(ty.clone())], vec![ty]);
    let term = Term::Output { output: 0, element };
    Ok((Finding::Term(term, values), Learned::Row(place(index, step, row), vec![Some(name)], Some(types))))
}

/// The logits of a position as far as they are open.
struct OpenLogits<'a> {
    inputs: StepInputs<'a>,
    first: u64,
    vocabulary: u64,
}

impl Logits for OpenLogits<'_> {
    fn logit(&mut self, token: u64) -> Result<f32, Stop> {
        if token >= self.vocabulary {
            return Err(Stop::NoTerm);
        }
        self.inputs.element(0, self.first + token).map(|bits| f32::from_bits(bits as u32))
    }
}

/// Asks something of the choice at a place.
fn with_choice<T>(
    context: &Context<'_>,
    place: &RowPlace,
    facts: &mut dyn Facts,
    ask: impl FnOnce(&Choice, &dyn Fn(Term) -> Option<u64>, &mut dyn Logits) -> Result<T, Stop>,
) -> Result<T, Gap> {
    let claim = context.generations()?[0];
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    let known = all.get(..=place.position as usize).ok_or(Gap::Undecidable("a position past the end"))?;
    let name = place.values.first().map(|value| value.0).ok_or(Gap::Missing("the logits"))?;
    let header = facts.header(name)?;
    let [_, vocabulary] = *header.shape.as_slice() else {
        return Err(Gap::Program("logits are f32 with one axis".into()));
    };
    if header.dtype != DType::F32 || vocabulary > repops::sequence::VOCABULARY_MAX {
        return Err(Gap::Program("logits are f32 with one axis".into()));
    }
    let vocabulary = vocabulary as u64;
    let draw = Draw { seed: claim.seed, nonce: claim.nonce, position: place.position as u32 };
    let choice = Choice::new(claim.sampling, known, claim.prompt.len(), draw, vocabulary);
    let names = [Some(name)];
    let first = place.position * vocabulary;
    let mut logits = OpenLogits { inputs: StepInputs::new(facts, &names), first, vocabulary };
    let agreed = |term: Term| context.agreed.get(&term).copied();
    let found = ask(&choice, &agreed, &mut logits);
    found.map_err(|stop| logits.inputs.gap.take().unwrap_or_else(|| stop.into()))
}

/// The finer terms of a term of a choice.
pub(super) fn finer(
    context: &Context<'_>,
    place: &RowPlace,
    term: Term,
    values: [u64; 2],
    facts: &mut dyn Facts,
) -> Result<Vec<Term>, Gap> {
    with_choice(context, place, facts, |choice, agreed, logits| choice.finer(term, values, agreed, logits))
}

/// Who is right about a term of a choice whose finer terms are agreed.
pub(super) fn judge(
    context: &Context<'_>,
    place: &RowPlace,
    term: Term,
    values: [u64; 2],
    facts: &mut dyn Facts,
) -> Result<Finding, Gap> {
    let right = with_choice(context, place, facts, |choice, agreed, logits| {
        choice.judge(term, values, agreed, logits)
    })?;
    Ok(match losers(right, Reason::Token) {
        Finding::Lost(Loser::Neither, _) => return Err(Gap::Undecidable("two right values of a term")),
        lost => lost,
    })
}
