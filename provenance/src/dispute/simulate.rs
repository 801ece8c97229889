//! A whole dispute in one process: an honest party against one that lies in a chosen way.
//!
//! Invariant: the lie is made before the game begins and kept to; only a liar's manners (silence, stale or
//! damaged messages) act within it. Everything follows from the seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use repops::digest::sha256;
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent, Unobserved};
use repops::ops::dispute::{Evaluator, OpenInputs, STRIDE, Stop, Subject, TensorType, Term, claims, rule};
use repops::program::{Program, Step};
use repops::trace::{StepRecord, Trace};
use repops::{Digest, Tensor};

use super::message::{Body, Message, Party};
use super::player::{Player, PlayerError};
use super::referee::{NoDispute, Terms};
use super::transcript::{Recorded, Transcript};
use super::verdict::Verdict;
use crate::diff::step_at;
use crate::keys::Key;
use crate::receipt::{Claim, Info, Receipt, TraceClaim};
use crate::verify::{self, Unverifiable};

/// What the liar lies about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A bit of one term of an element, and everything computed from it.
    Output,
    /// The digest of an input.
    Input,
    /// Another value's digest as an input.
    Wiring,
    Operator,
    Attribute,
    /// Another constant's digest, or a changed one, for a constant.
    Constant,
    /// A record too few.
    Length,
    /// An output's digest that no bytes have.
    Digest,
    /// An old message again, as an answer.
    Stale,
    /// A damaged answer.
    Proof,
    Silence,
    /// The claim's outputs, not the trace.
    Outcome,
    /// A fault that does not happen.
    Fault,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Output,
        Kind::Input,
        Kind::Wiring,
        Kind::Operator,
        Kind::Attribute,
        Kind::Constant,
        Kind::Length,
        Kind::Digest,
        Kind::Stale,
        Kind::Proof,
        Kind::Silence,
        Kind::Outcome,
        Kind::Fault,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Output => "output",
            Kind::Input => "input",
            Kind::Wiring => "wiring",
            Kind::Operator => "operator",
            Kind::Attribute => "attribute",
            Kind::Constant => "constant",
            Kind::Length => "length",
            Kind::Digest => "digest",
            Kind::Stale => "stale",
            Kind::Proof => "proof",
            Kind::Silence => "silence",
            Kind::Outcome => "outcome",
            Kind::Fault => "fault",
        }
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A dispute to be played.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub kind: Kind,
    /// The record with the lie; `None`: the seed chooses.
    pub step: Option<u64>,
    pub seed: u64,
    /// The side on which the liar stands.
    pub liar: Party,
}

/// Why there was no game.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(transparent)]
    Run(#[from] Unverifiable),
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error(transparent)]
    Player(#[from] PlayerError),
    #[error(transparent)]
    Open(#[from] NoDispute),
    #[error("a term: {0}")]
    Term(#[from] Stop),
    #[error("the trace has {count} records; there is no record {step}")]
    NoStep { step: u64, count: u64 },
    #[error("record {step} has nothing that a lie of kind {kind} could change")]
    NoLie { step: u64, kind: &'static str },
}

/// What a game came to.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The record with the lie.
    pub step: u64,
    pub recorded: Recorded,
    pub rounds: u32,
    pub bytes: u64,
    /// The referee's own time.
    pub referee: Duration,
    pub transcript: Transcript,
    /// Steps that the honest party ran again.
    pub steps_rerun: u64,
    /// The term that was made wrong.
    pub term: Option<Term>,
}

/// Numbers from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.roll() % n }
    }
}

/// An honest run, from which any number of games can be played.
pub struct Stage<'a> {
    pub program: &'a Program,
    pub inputs: &'a [Tensor],
    pub executor: &'a dyn Executor,
    pub trace: Trace,
    pub claim: Claim,
}

impl<'a> Stage<'a> {
    pub fn new(
        program: &'a Program,
        inputs: &'a [Tensor],
        executor: &'a dyn Executor,
        hash: verify::BytesDigest,
    ) -> Result<Stage<'a>, SimulateError> {
        let level = HashLevel::Operators;
        let run = verify::run(program, inputs, level, executor, hash, &mut Unobserved)?;
        let trace = run.execution.trace.unwrap_or_default();
        Ok(Stage { program, inputs, executor, trace, claim: run.claim })
    }

    /// A party that tells the truth, and its claim.
    pub fn honest(&self) -> (Player<'a>, Claim) {
        (self.player(self.trace.clone()), self.claim.clone())
    }

    /// A party that lies as the scenario says, and its claim.
    pub fn liar(&self, scenario: &Scenario) -> Result<(Player<'a>, Claim), SimulateError> {
        let actor = self.lie(scenario, &mut Dice(scenario.seed))?;
        Ok((actor.player, actor.claim))
    }

    fn player(&self, trace: Trace) -> Player<'a> {
        Player::new(self.program, self.inputs, trace, self.executor)
    }

    /// Plays an honest party against a liar, to the end.
    pub fn play(&self, scenario: &Scenario) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenario.seed);
        let liar = self.lie(scenario, &mut dice)?;
        let honest = Actor {
            player: self.player(self.trace.clone()),
            claim: self.claim.clone(),
            manners: Manners::Honest,
            step: liar.step,
            term: None,
            last: None,
        };
        self.duel(if scenario.liar == Party::First { [liar, honest] } else { [honest, liar] }, dice)
    }

    /// Plays two liars against each other; each lies on its own side.
    pub fn play_liars(&self, scenarios: [&Scenario; 2]) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenarios[0].seed);
        let first = self.lie(scenarios[0], &mut dice)?;
        let mut other = Dice(scenarios[1].seed);
        let second = self.lie(scenarios[1], &mut other)?;
        self.duel([first, second], dice)
    }

    fn duel(&self, mut actors: [Actor<'a>; 2], mut dice: Dice) -> Result<Outcome, SimulateError> {
        let keys = party_keys();
        let sign =
            |party: Party| actors[party as usize].claim.clone().sign(&keys[party as usize], Info::default());
        let mut game = Game::new([sign(Party::First), sign(Party::Second)], keys)?;
        while game.recorded.referee.verdict().is_none() {
            for party in Party::BOTH {
                if game.recorded.referee.owes(party) {
                    actors[party as usize].answer(&mut game, party, &mut dice)?;
                }
            }
            game.pass();
        }
        let recorded = game.recorded;
        let verdict = recorded.referee.verdict().cloned();
        let liar = actors.iter().find(|actor| actor.manners != Manners::Honest);
        let honest = actors.iter().find(|actor| actor.manners == Manners::Honest);
        Ok(Outcome {
            verdict: verdict.ok_or(PlayerError::Unknown("the verdict"))?,
            step: liar.map_or(0, |liar| liar.step),
            rounds: recorded.referee.round() + 1,
            bytes: recorded.referee.bytes(),
            referee: game.referee_time,
            transcript: recorded.transcript.clone(),
            steps_rerun: honest.map_or(0, |honest| honest.player.steps_rerun),
            term: liar.and_then(|liar| liar.term),
            recorded,
        })
    }

    /// Makes the lie of a scenario.
    fn lie(&self, scenario: &Scenario, dice: &mut Dice) -> Result<Actor<'a>, SimulateError> {
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
            Kind::Fault => {
                if honest.fault.is_some() {
                    return Ok(None);
                }
                record.fault = Some(repops::ops::Fault::IndexOutOfRange);
                record.outputs.clear();
            }
            Kind::Length | Kind::Outcome => {}
        }
        let mut trace = self.trace.clone();
        let mut claim = self.claim.clone();
        match kind {
            Kind::Length => trace.records.truncate(index),
            Kind::Outcome => {
                let Some(name) = claim.outputs.keys().next().cloned() else { return Ok(None) };
                claim.outputs.insert(name, sha256(&[b"another"]));
            }
            Kind::Fault => {
                trace.records.truncate(index);
                trace.records.push(record);
                claim.outputs.clear();
                claim.fault =
                    Some(crate::receipt::FaultClaim { fault: repops::ops::Fault::IndexOutOfRange, step: at });
            }
            _ => {
                trace.records[index] = record;
                spread(&mut trace, index, &self.trace, &mut claim);
            }
        }
        claim.trace = Some(TraceClaim { root: trace.root(), steps: trace.records.len() as u64 });
        let mut player = self.player(trace);
        if let Some(tensor) = kept {
            player.keep(&tensor);
        }
        if let Some((term, bits)) = preset {
            player.preset(term, bits);
        }
        Ok(Some(Actor { player, claim, manners, step: at, term: preset.map(|p| p.0), last: None }))
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
        let mut open = OpenInputs(&inputs);
        let mut right = Evaluator::default();
        right.run_ahead(&subject, &inputs)?;
        let honest = right.value(&subject, top, &mut open)?;
        for _ in 0..16 {
            // A walk down to a term of random depth.
            let mut term = top;
            for _ in 0..dice.below(6) {
                let finer = claims(&subject, term, &mut open)?;
                if finer.is_empty() {
                    break;
                }
                term = finer[dice.below(finer.len() as u64) as usize];
            }
            let bits = right.value(&subject, term, &mut open)?;
            let width = match term {
                Term::Output { output, .. } => 8 * output_types[output as usize].dtype.size() as u64,
                _ => 23,
            };
            let flipped = bits ^ 1 << dice.below(width.min(23));
            let mut faulty = Evaluator::default();
            faulty.set(term, flipped);
            let found = faulty.value(&subject, top, &mut open)?;
            if found != honest {
                return Ok(Some((term, flipped, found)));
            }
        }
        Ok(None)
    }
}

/// Flips a bit of an element; a bool is inverted, a NaN becomes a number.
fn flip(bytes: &mut [u8], dtype: repops::DType, dice: &mut Dice) {
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

/// Gives everything that follows from a wrong record other digests, as a run that went on would have.
fn spread(trace: &mut Trace, from: usize, honest: &Trace, claim: &mut Claim) {
    let mut changed: BTreeMap<Digest, Digest> = BTreeMap::new();
    let note = |changed: &mut BTreeMap<Digest, Digest>, a: &StepRecord, b: &StepRecord| {
        changed.extend(a.outputs.iter().copied().zip(b.outputs.iter().copied()).filter(|(a, b)| a != b));
    };
    note(&mut changed, &honest.records[from], &trace.records[from]);
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
        note(&mut changed, &honest.records[at], &trace.records[at]);
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

/// How a party behaves within the game.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manners {
    Honest,
    /// A liar that answers as if it believed what it says.
    Good,
    Silent {
        round: u32,
    },
    Damaged {
        round: u32,
    },
    Stale,
}

/// A liar.
struct Actor<'a> {
    player: Player<'a>,
    claim: Claim,
    manners: Manners,
    step: u64,
    term: Option<Term>,
    /// Its last message.
    last: Option<Vec<u8>>,
}

impl Actor<'_> {
    fn answer(&mut self, game: &mut Game, party: Party, dice: &mut Dice) -> Result<(), SimulateError> {
        let round = game.recorded.referee.round();
        match (self.manners, self.last.take()) {
            (Manners::Silent { round: from }, _) if round >= from => return Ok(()),
            (Manners::Stale, Some(last)) => {
                // It says once more what it has said, and nothing else.
                game.deliver(&last);
                self.last = Some(last);
                return Ok(());
            }
            _ => {}
        }
        let body = match (self.player.answer(&game.recorded.referee, party), self.manners) {
            (Ok(body), _) => body,
            (Err(error), Manners::Honest) => return Err(error.into()),
            // A liar that has no answer says nothing.
            (Err(_), _) => return Ok(()),
        };
        let body = match self.manners {
            Manners::Damaged { round: at } if round >= at => damaged(body, dice),
            _ => body,
        };
        self.last = Some(game.send(party, &body));
        Ok(())
    }
}

/// An answer with one bit changed.
fn damaged(body: Body, dice: &mut Dice) -> Body {
    let mut bytes = body.encode();
    for _ in 0..64 {
        let at = dice.below(bytes.len() as u64) as usize;
        let bit = 1 << dice.below(8);
        bytes[at] ^= bit;
        match Body::decode(&bytes) {
            Ok(other) if other != body => return other,
            _ => bytes[at] ^= bit,
        }
    }
    body
}

/// A referee and the time.
struct Game {
    recorded: Recorded,
    keys: [Key; 2],
    now: u64,
    referee_time: Duration,
}

impl Game {
    #[expect(
        clippy::disallowed_methods,
        reason = "the referee's time is measured for people; no message holds it"
    )]
    fn new(receipts: [Receipt; 2], keys: [Key; 2]) -> Result<Game, NoDispute> {
        let terms = Terms { answer_ms: 1000, number: 0 };
        let start = Instant::now();
        let recorded = Recorded::open(receipts, terms, 0)?;
        Ok(Game { recorded, keys, now: 0, referee_time: start.elapsed() })
    }

    fn send(&mut self, party: Party, body: &Body) -> Vec<u8> {
        let referee = &self.recorded.referee;
        let message = Message::sign(referee.id(), referee.round(), party, body, &self.keys[party as usize]);
        let bytes = message.encode();
        self.deliver(&bytes);
        bytes
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the referee's time is measured for people; no message holds it"
    )]
    fn deliver(&mut self, bytes: &[u8]) {
        let start = Instant::now();
        self.recorded.receive(self.now, bytes);
        self.referee_time += start.elapsed();
    }

    /// Time goes by; half of what an answer may take.
    fn pass(&mut self) {
        self.now += 500;
        self.recorded.tick(self.now);
    }
}

/// The chunk, block or group of a term, and the run of [`STRIDE`] terms within, where it has them.
pub fn part_of(term: Term) -> (Option<u64>, Option<u64>) {
    match term {
        Term::Output { .. } => (None, None),
        Term::Part { index, level, .. } => ((level == 0).then_some(index), None),
        Term::Lane { part, step, .. } => (Some(part), Some(u64::from(step) * STRIDE as u64)),
    }
}

/// Replays a transcript of [`Stage::play`] with every message signed anew, so that damage to bodies gets past
/// the signatures; for hostile tests. Whether the transcript could be opened.
pub fn replay_signed_anew(bytes: &[u8]) -> bool {
    let Ok(transcript) = Transcript::decode(bytes) else { return false };
    assert_eq!(Transcript::decode(&transcript.encode()).as_ref(), Ok(&transcript), "not read as written");
    let _ = transcript.replay();
    let [a, b] = &transcript.receipts;
    let (Ok(a), Ok(b)) = (Receipt::parse(a), Receipt::parse(b)) else { return false };
    let keys = party_keys();
    let Ok(mut referee) = super::referee::Referee::open([a, b], transcript.terms, transcript.start) else {
        return false;
    };
    for event in &transcript.events {
        let Some(message) = event.message.as_ref().and_then(|bytes| Message::decode(bytes).ok()) else {
            referee.tick(event.time);
            continue;
        };
        let mut own = Message { dispute: referee.id(), round: referee.round(), ..message };
        own.signature = keys[own.party as usize].sign(&own.digest());
        referee.receive(event.time, &own.encode());
    }
    true
}

/// The keys that simulated parties sign with.
fn party_keys() -> [Key; 2] {
    [Key::from_seed([0x51; 32]), Key::from_seed([0x52; 32])]
}
