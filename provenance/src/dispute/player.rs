//! A party that can answer: it has the program, the inputs and its trace, and runs the program again for
//! whatever else is asked.
//!
//! Invariant: what it says of the disputed step follows from the step's inputs by the rules of
//! `repops::ops::dispute`; what it opens is what the judgement asked for and nothing more.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use repops::digest::tensor_digest;
use repops::exec::{ExecError, Executor};
use repops::ops::dispute::{Evaluator, OpenInputs, Stop, Subject, Term, WHOLE_BYTES_MAX};
use repops::ops::{self, Fault};
use repops::program::Program;
use repops::sequence::Row;
use repops::sequence::choice::{Choice, Known};
use repops::sequence::sampling::Draw;
use repops::sequence::trace::row_digest;
use repops::trace::Trace;
use repops::{Digest, Tensor, TensorView};

use super::ask::{Ask, Tree};
use super::faults::control_witness;
use super::held::{Held, HeldInputs, ProgramHashes, Records, SharedHashes, Stored};
use super::judge::{Disputed, decide};
use super::kept::Checkpoints;
use super::log::{self, SequenceLog};
use super::message::{Body, Party};
use super::near::Near;
use super::partial::{self, Subtrees};
use super::referee::Referee;
use super::rows::value_name;
use super::simulate::Dice;

/// Why a party cannot answer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PlayerError {
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error("{0} is not known here")]
    Unknown(&'static str),
    #[error("a term: {0}")]
    Term(#[from] Stop),
    #[error("the program: {0}")]
    Program(#[from] repops::program::ProgramError),
}

/// The time since some moment.
fn passing() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a party's time is measured for people")]
    static SOME: LazyLock<Instant> = LazyLock::new(Instant::now);
    SOME.elapsed()
}

/// One party's knowledge.
pub struct Player<'a> {
    pub(super) program: &'a Program,
    pub(super) inputs: &'a [Tensor],
    pub(super) executor: &'a dyn Executor,
    pub(super) hashes: SharedHashes,
    pub(super) run: Arc<Records>,
    pub(super) tensors: Held<'a>,
    /// Values put in place of what the rules give: a fault of this party.
    presets: Vec<(Term, u64)>,
    pub(super) kept: Arc<Checkpoints>,
    /// The step whose terms are evaluated.
    step: Option<(u64, Evaluator)>,
    pub(super) near: Near,
    /// Of a generation.
    pub(super) log: Option<SequenceLog>,
    /// The choice whose terms are stated, by its position.
    choice: Option<(u64, Known)>,
    /// Changes one of the values stated of a choice, now and then: a fault of this party.
    twist: Option<Dice>,
    /// What tells the time of runs, for people; by default the time that passes.
    pub clock: fn() -> Duration,
    /// Steps that were run again, in how many runs, and the time of these.
    pub steps_rerun: u64,
    pub reruns: u32,
    pub rerun_time: Duration,
}

impl<'a> Player<'a> {
    /// A party that ran `program` on `inputs` and got `trace`.
    pub fn new(
        program: &'a Program,
        inputs: &'a [Tensor],
        trace: Trace,
        executor: &'a dyn Executor,
    ) -> Player<'a> {
        let run = Arc::new(Records::of(trace));
        Player::sharing(Arc::new(ProgramHashes::of(program)), program, inputs, run, executor)
    }

    /// The same, with hashes that others have too.
    pub(super) fn sharing(
        hashes: SharedHashes,
        program: &'a Program,
        inputs: &'a [Tensor],
        run: Arc<Records>,
        executor: &'a dyn Executor,
    ) -> Player<'a> {
        Player {
            program,
            inputs,
            executor,
            hashes,
            run,
            tensors: Held::new(),
            presets: Vec::new(),
            kept: Arc::default(),
            step: None,
            near: Near::default(),
            log: None,
            choice: None,
            twist: None,
            clock: passing,
            steps_rerun: 0,
            reruns: 0,
            rerun_time: Duration::ZERO,
        }
    }

    /// A party that generated, and has the log of it. `inputs` are the program's for the whole sequence.
    pub(super) fn of_generation(
        hashes: SharedHashes,
        program: &'a Program,
        inputs: &'a [Tensor],
        log: SequenceLog,
        executor: &'a dyn Executor,
    ) -> Player<'a> {
        let run = Arc::new(Records::of(log.records(program)));
        let mut player = Player::sharing(hashes, program, inputs, run, executor);
        let first = program.first_param(repops::program::BlockId(0)).0;
        for (value, input) in (first..).zip(inputs) {
            player.store(value_name(value), Arc::new(input.clone()));
        }
        player.keep(&log.logprobs);
        player.log = Some(log);
        player
    }

    /// Makes it lie about terms of a choice.
    pub fn twist(&mut self, dice: Dice) {
        self.twist = Some(dice);
    }

    /// Gives it a row that no run gives.
    pub fn keep_row(&mut self, row: &Row, bytes: &[u8]) -> Digest {
        let digest = row_digest(row, bytes);
        let view = TensorView { dtype: row.dtype, shape: &row.shape, bytes };
        if let Ok(tensor) = view.to_tensor() {
            self.store(digest, Arc::new(tensor));
        }
        digest
    }

    /// The digests of what a step gave at a position; its rows are at hand then, as far as the dispute needs them.
    pub(super) fn row(&mut self, position: u64, step: u32) -> Result<Vec<Digest>, PlayerError> {
        let log = self.log.as_ref().ok_or(PlayerError::Unknown("the log"))?;
        if let Some(outputs) = log.stated.get(&(position, step)) {
            return Ok(outputs.clone());
        }
        let record = self.run.records.get(step as usize).ok_or(PlayerError::Unknown("a step"))?;
        let rows = log.rows_of(step).ok_or(PlayerError::Unknown("a step"))?.to_vec();
        let names = record.outputs.clone();
        let known = log.digests_of(position, step).map(<[Digest]>::to_vec);
        let is_near = names.iter().any(|name| self.tensors.contains_key(name));
        let mut outputs = Vec::new();
        for (at, (name, row)) in names.iter().zip(&rows).enumerate() {
            // Of what a step gives besides what the dispute is about, the digest is enough.
            if let Some(known) = known.as_ref().filter(|_| is_near && !self.tensors.contains_key(name)) {
                outputs.push(known[at]);
                continue;
            }
            let (size, start) = (row.bytes(), position as usize * row.bytes());
            let bytes = self.stored(*name)?.bytes.get(start..start + size);
            let bytes = bytes.ok_or(PlayerError::Unknown("a position"))?.to_vec();
            outputs.push(self.keep_row(row, &bytes));
        }
        Ok(outputs)
    }

    pub(super) fn program(&self) -> &'a Program {
        self.program
    }

    /// Gives it checkpoints of its run.
    pub fn keep_checkpoints(&mut self, kept: Arc<Checkpoints>) {
        self.kept = kept;
    }

    /// Makes this party's computation faulty at a term of the disputed step.
    pub fn preset(&mut self, term: Term, bits: u64) {
        self.presets.push((term, bits));
    }

    /// Gives it a tensor that no run gives.
    pub fn keep(&mut self, tensor: &Tensor) -> Digest {
        let digest = tensor_digest(tensor.view());
        self.store(digest, Arc::new(tensor.clone()));
        digest
    }

    pub(super) fn store(&mut self, digest: Digest, tensor: Arc<Tensor>) {
        self.tensors.insert(digest, Stored::tensor(tensor));
    }

    /// The answer to what the referee asks.
    pub fn answer(&mut self, referee: &Referee, party: Party) -> Result<Body, PlayerError> {
        if self.near.turn_to(referee) {
            (self.step, self.choice) = (None, None);
            self.forget();
        }
        Ok(match referee.ask() {
            Ask::Frontier { common } => Body::Frontier(match &self.log {
                Some(log) => partial::frontier_hashes(&log.entries, *common),
                None => partial::frontier_hashes(&self.run.digests, *common),
            }),
            Ask::Nodes { tree: tree @ (Tree::Log | Tree::Steps), first, height, levels } => {
                let (log, row) = (self.own_log()?, referee.row());
                let leaves =
                    if *tree == Tree::Log { &log.entries } else { log.leaves(row.position, row.half) };
                let nodes = partial::nodes(leaves, *first, *height, *levels);
                Body::Nodes(nodes.ok_or(PlayerError::Unknown("a node of the log"))?)
            }
            Ask::Row { position } => {
                let log = self.own_log()?;
                Body::Nodes([0, 1].map(|half| log.root(*position, half)).to_vec())
            }
            Ask::Heads => Body::Claims(self.own_log()?.heads.stated()),
            Ask::Path { step } => Body::Claims(log::path(self.program, *step)),
            Ask::Steps { position, half } => {
                let leaves = self.own_log()?.leaves(*position, *half);
                Body::Frontier(partial::frontier_hashes(leaves, leaves.len() as u64))
            }
            Ask::Outputs { position, step } => {
                let step = u32::try_from(*step).map_err(|_| PlayerError::Unknown("a step"))?;
                let names = self.run.records.get(step as usize).map(|record| record.outputs.clone());
                self.fetch(&names.unwrap_or_default())?;
                Body::Nodes(self.row(*position, step)?)
            }
            Ask::Nodes { tree: Tree::Trace, first, height, levels } => {
                let nodes = partial::nodes(&self.run.digests, *first, *height, *levels);
                Body::Nodes(nodes.ok_or(PlayerError::Unknown("a node of the trace"))?)
            }
            Ask::Nodes { tree: Tree::Output, first, height, levels } => {
                let program = self.hashes.clone();
                let hashes = self.output(referee, party)?.hashes(&program);
                let nodes = partial::nodes(&hashes, *first, *height, *levels);
                Body::Nodes(nodes.ok_or(PlayerError::Unknown("a node of the output"))?)
            }
            Ask::Record { index } => {
                let record = self.run.records.get(*index as usize).ok_or(PlayerError::Unknown("a record"))?;
                Body::Record(record.encode())
            }
            Ask::Tensor { .. } => {
                // One run for the tensor and for what its elements will be computed from.
                if let Some(records) = referee.records() {
                    let record = &records[party as usize];
                    let inputs = record.inputs.iter().flatten();
                    self.fetch(&inputs.chain(&record.outputs).copied().collect::<Vec<_>>())?;
                }
                let program = self.hashes.clone();
                let output = self.output(referee, party)?;
                let (header, hashes) = (&output.header, output.hashes(&program));
                let shape = header.shape.iter().map(|&d| d as u64).collect();
                let hashes = partial::frontier_hashes(&hashes, hashes.count());
                Body::Output { dtype: header.dtype, shape, hashes }
            }
            Ask::Leaf { index } => {
                let leaf = self.output(referee, party)?.leaf(*index);
                Body::Leaf(leaf.ok_or(PlayerError::Unknown("a leaf"))?.to_vec())
            }
            Ask::Claims { terms } => Body::Claims(self.claims(referee, terms)?),
            Ask::Witness => self.witness(referee, party)?,
            Ask::Evidence(question) => {
                let index = referee.records().and(referee.place()).map_or(u64::MAX, |p| p.index);
                if let Some(records) = referee.records().filter(|_| index != u64::MAX) {
                    let digests: Vec<Digest> = records[0].inputs.iter().flatten().copied().collect();
                    self.fetch(&digests)?;
                }
                // What the judgement finds is the referee's business; what it reads is asked for.
                Body::Evidence(self.evidence(|facts| drop(decide(&referee.context(), question, facts))))
            }
        })
    }

    fn own_log(&self) -> Result<&SequenceLog, PlayerError> {
        self.log.as_ref().ok_or(PlayerError::Unknown("the log"))
    }

    /// The disputed tensor as this party has it.
    fn output(&mut self, referee: &Referee, party: Party) -> Result<&Stored<'a>, PlayerError> {
        let is_logprobs = matches!(referee.ask(), Ask::Tensor { of: Disputed::Logprobs })
            || referee.disputed() == Some(Disputed::Logprobs);
        if is_logprobs {
            let claim = referee.receipts()[party as usize].generation();
            let digest = claim.map(|claim| claim.logprobs);
            return self.stored(digest.ok_or(PlayerError::Unknown("log-probabilities"))?);
        }
        if let Some(row) = referee.place().and_then(|place| place.row.as_ref()) {
            let (position, step) = (row.position, referee.place().map_or(0, |place| place.index as u32));
            self.row(position, step)?;
        }
        let records = referee.records().ok_or(PlayerError::Unknown("the record"))?;
        let of = match referee.ask() {
            Ask::Tensor { of } => Some(*of),
            _ => referee.disputed(),
        };
        let digest = of.and_then(|of| of.digest(&records[party as usize]));
        self.stored(digest.ok_or(PlayerError::Unknown("the disputed tensor"))?)
    }

    /// The inputs of the step under dispute, row-major.
    fn step_inputs(&mut self, referee: &Referee) -> Result<Vec<Option<Tensor>>, PlayerError> {
        let records = referee.records().ok_or(PlayerError::Unknown("the record"))?;
        self.tensors_of(&records[0].inputs)
    }

    /// Tensors by their digests, row-major.
    pub fn tensors_of(&mut self, digests: &[Option<Digest>]) -> Result<Vec<Option<Tensor>>, PlayerError> {
        self.fetch(&digests.iter().flatten().copied().collect::<Vec<_>>())?;
        let tensor = |digest: &Option<Digest>| {
            let Some(digest) = digest else { return Ok(None) };
            let stored = self.tensors.get(digest).ok_or(PlayerError::Unknown("an input"))?;
            stored.to_tensor().map(Some).map_err(|_| PlayerError::Unknown("an input"))
        };
        digests.iter().map(tensor).collect()
    }

    /// Evaluates terms of the step under dispute.
    pub fn claims(&mut self, referee: &Referee, terms: &[Term]) -> Result<Vec<u64>, PlayerError> {
        let place = referee.place().ok_or(PlayerError::Unknown("the step"))?;
        if let Some(row) = place.row.as_ref().filter(|row| row.is_choice) {
            return self.choice_terms(referee, row.position, terms);
        }
        let (inputs, outputs) = referee.types().ok_or(PlayerError::Unknown("the types"))?;
        let step = &place.step;
        let subject =
            Subject { def: step.def(), attrs: &step.attrs, region: step.region.as_ref(), inputs, outputs };
        let records = referee.records().ok_or(PlayerError::Unknown("the record"))?;
        let digests = &records[0].inputs;
        self.fetch(&digests.iter().flatten().copied().collect::<Vec<_>>())?;
        if self.step.as_ref().is_none_or(|step| step.0 != place.index) {
            let mut evaluator = Evaluator::default();
            self.presets.iter().for_each(|(term, bits)| evaluator.set(*term, *bits));
            if self.presets.is_empty() && Evaluator::runs_ahead(&subject) {
                evaluator.run_ahead(&subject, &self.tensors_of(digests)?)?;
            }
            self.step = Some((place.index, evaluator));
        }
        let Some((_, evaluator)) = &mut self.step else { return Ok(Vec::new()) };
        let mut open = HeldInputs { held: &self.tensors, digests };
        terms.iter().map(|term| Ok(evaluator.value(&subject, *term, &mut open)?)).collect()
    }

    /// Values of terms of a choice.
    fn choice_terms(
        &mut self,
        referee: &Referee,
        position: u64,
        terms: &[Term],
    ) -> Result<Vec<u64>, PlayerError> {
        let claim = referee.receipts()[0].generation().ok_or(PlayerError::Unknown("the claim"))?;
        let name = referee.records().and_then(|records| records[0].inputs.first().copied().flatten());
        if self.choice.as_ref().is_none_or(|choice| choice.0 != position) {
            let logits = self.stored(name.ok_or(PlayerError::Unknown("the logits"))?)?;
            let vocabulary = logits.header.shape.get(1).copied().unwrap_or(0);
            let start = position as usize * vocabulary * 4;
            let bytes = logits.bytes.get(start..start + vocabulary * 4);
            let tensor = bytes.and_then(|b| Tensor::from_bytes(repops::DType::F32, &[vocabulary], b).ok());
            let tensor = tensor.ok_or(PlayerError::Unknown("the logits"))?;
            let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
            let known = all.get(..=position as usize).ok_or(PlayerError::Unknown("a position"))?;
            let draw = Draw { seed: claim.seed, nonce: claim.nonce, position: position as u32 };
            let choice = Choice::new(claim.sampling, known, claim.prompt.len(), draw, vocabulary as u64);
            self.choice = Some((position, Known::new(choice, tensor.as_slice())?));
        }
        let Some((_, known)) = &self.choice else { return Ok(Vec::new()) };
        // Terms that nobody has a value of are asked about by liars alone.
        let mut values: Vec<u64> = terms.iter().map(|term| known.value(*term).unwrap_or(0)).collect();
        if let Some(dice) = &mut self.twist
            && dice.below(8) > 0
            && !values.is_empty()
        {
            let at = dice.below(values.len() as u64) as usize;
            values[at] = if dice.below(2) == 0 { values[at] ^ 1 } else { dice.below(1000) };
        }
        Ok(values)
    }

    /// The element that meets the fault this party claims.
    fn witness(&mut self, referee: &Referee, party: Party) -> Result<Body, PlayerError> {
        let place = referee.place().ok_or(PlayerError::Unknown("the step"))?;
        let claimed = referee.records().and_then(|records| records[party as usize].fault);
        let whole = Body::Witness { output: 0, element: u64::MAX };
        if matches!(place.step.def().class, ops::OpClass::Control) {
            let context = referee.context();
            let found = self.search(|facts| control_witness(&context, facts));
            return Ok(found.map_or(whole, |(output, element)| Body::Witness { output, element }));
        }
        let tensors = self.step_inputs(referee)?;
        let bytes: usize = tensors.iter().flatten().map(|t| t.bytes().len()).sum();
        if bytes <= WHOLE_BYTES_MAX / 2 {
            return Ok(whole);
        }
        let step = &place.step;
        let views: Vec<_> = tensors.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let Ok(inferred) = ops::infer_known(step.def(), &step.attrs, &views, step.outputs.len()) else {
            return Ok(whole);
        };
        let ty = |t: &Tensor| ops::dispute::TensorType::new(t.dtype(), t.shape());
        let inputs: Vec<_> = tensors.iter().map(|t| t.as_ref().map(ty)).collect();
        let outputs: Vec<_> = inferred
            .iter()
            .map(|i| ops::dispute::TensorType::new(i.ty.dtype, &i.ty.extents().unwrap_or_default()))
            .collect();
        let subject = Subject {
            def: step.def(),
            attrs: &step.attrs,
            region: step.region.as_ref(),
            inputs: &inputs,
            outputs: &outputs,
        };
        for (output, ty) in outputs.iter().enumerate() {
            for element in 0..ty.len() as u64 {
                let term = Term::Output { output: output as u32, element };
                let found = ops::dispute::evaluate(&subject, term, &mut OpenInputs(&tensors));
                if is_fault(&found, claimed) {
                    return Ok(Body::Witness { output: output as u32, element });
                }
            }
        }
        Ok(whole)
    }
}

fn is_fault(found: &Result<u64, Stop>, claimed: Option<Fault>) -> bool {
    matches!(found, Err(Stop::Operator(ops::OpError::Fault(fault))) if Some(*fault) == claimed)
}
