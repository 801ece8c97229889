//! A whole dispute in one process: an honest party against one that lies in a chosen way.
//!
//! Invariant: the lie is made before the game begins and kept to; only a liar's manners (silence, stale or
//! damaged messages) act within it. Everything follows from the seed.

mod game;
mod generations;
mod lies;
mod size;

pub use generations::GenerationStage;
pub use size::Size;

use std::sync::Arc;
use std::time::Duration;

use repops::Tensor;
use repops::exec::{ExecError, Executor, HashLevel, Unobserved};
use repops::ops::dispute::{STRIDE, Stop, Term};
use repops::program::Program;

use super::ask::NoDispute;
use super::claimed::Claimed;
use super::held::{ProgramHashes, Records, SharedHashes};
use super::kept::{Checkpoints, Keep, Keeper};
use super::message::{Message, MessageError, Party};
use super::player::{Player, PlayerError};
use super::transcript::{Recorded, Transcript, TranscriptError};
use super::verdict::Verdict;
use crate::keys::Key;
use crate::receipt::Claim;
use crate::verify::{self, Unverifiable};
use game::{Actor, Game, Manners, Stated};

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
    /// Another token, in a generation.
    Token,
    /// Another way through the program: a step left out, done twice, or of another iteration or branch.
    Path,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
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
        Kind::Token,
        Kind::Path,
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
            Kind::Token => "token",
            Kind::Path => "path",
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
    Log(#[from] super::log::LogError),
    #[error("the claim's sequence root is not that of this run")]
    Root,
    #[error(transparent)]
    Open(#[from] NoDispute),
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    #[error(transparent)]
    Message(#[from] MessageError),
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
    /// What it was about.
    pub size: Size,
    pub bytes: u64,
    /// The referee's own time.
    pub referee: Duration,
    pub transcript: Transcript,
    /// Steps that the honest party ran again.
    pub steps_rerun: u64,
    /// The honest party's time for all that it does (reading and following what the referee passes on, answers and their
    /// signatures), and of it that of running steps again, in so many runs.
    pub honest: Duration,
    pub rerun: Duration,
    pub reruns: u32,
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
    pub trace: Arc<Records>,
    pub claim: Claim,
    pub kept: Arc<Checkpoints>,
    hashes: SharedHashes,
}

impl<'a> Stage<'a> {
    pub fn new(
        program: &'a Program,
        inputs: &'a [Tensor],
        executor: &'a dyn Executor,
        hash: verify::BytesDigest,
    ) -> Result<Stage<'a>, SimulateError> {
        Stage::keeping(program, inputs, executor, hash, Keep::Nothing)
    }

    /// The same with checkpoints of the run.
    pub fn keeping(
        program: &'a Program,
        inputs: &'a [Tensor],
        executor: &'a dyn Executor,
        hash: verify::BytesDigest,
        keep: Keep,
    ) -> Result<Stage<'a>, SimulateError> {
        let mut unobserved = Unobserved;
        let mut keeper = Keeper::new(program, keep, &mut unobserved);
        let run = verify::run(program, inputs, HashLevel::Operators, executor, hash, &mut keeper)?;
        let kept = Arc::new(keeper.checkpoints());
        let records = run.execution.trace.unwrap_or_default().records;
        let digests = run.steps.ok_or(Unverifiable::NoTrace)?;
        let trace = Arc::new(Records { records, digests });
        let hashes = Arc::new(ProgramHashes::of(program));
        Ok(Stage { program, inputs, executor, trace, claim: run.claim, kept, hashes })
    }

    /// Hashes the program's constants once for all disputes; without it each is when something of it is opened.
    pub fn prepare(&self) {
        self.hashes.prepare(self.program);
    }

    /// A party that tells the truth, and its claim.
    pub fn honest(&self) -> (Player<'a>, Claim) {
        (self.player(self.trace.clone()), self.claim.clone())
    }

    /// A party that lies as the scenario says, and its claim.
    pub fn liar(&self, scenario: &Scenario) -> Result<(Player<'a>, Claim), SimulateError> {
        let actor = self.lie(scenario, &mut Dice(scenario.seed))?;
        match actor.claim {
            Stated::Run(claim) => Ok((actor.player, claim)),
            Stated::Generation(_) => Err(PlayerError::Unknown("a run").into()),
        }
    }

    fn player(&self, trace: Arc<Records>) -> Player<'a> {
        let mut player =
            Player::sharing(self.hashes.clone(), self.program, self.inputs, trace, self.executor);
        player.keep_checkpoints(self.kept.clone());
        player
    }

    /// Plays an honest party against a liar, to the end.
    pub fn play(&self, scenario: &Scenario) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenario.seed);
        let liar = self.lie(scenario, &mut dice)?;
        let claim = Stated::Run(self.claim.clone());
        let honest = Actor::new(self.player(self.trace.clone()), claim, Manners::Honest, liar.step);
        duel(scenario.liar, liar, honest, dice, self.trace.records.len() as u64)
    }

    /// Plays two liars against each other; each lies on its own side.
    pub fn play_liars(&self, scenarios: [&Scenario; 2]) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenarios[0].seed);
        let first = self.lie(scenarios[0], &mut dice)?;
        let mut other = Dice(scenarios[1].seed);
        let second = self.lie(scenarios[1], &mut other)?;
        game_of([first, second], dice, self.trace.records.len() as u64)
    }
}

/// An honest party against a liar, to the end.
fn duel<'a>(
    at: Party,
    liar: Actor<'a>,
    honest: Actor<'a>,
    dice: Dice,
    steps: u64,
) -> Result<Outcome, SimulateError> {
    game_of(if at == Party::First { [liar, honest] } else { [honest, liar] }, dice, steps)
}

fn game_of(mut actors: [Actor<'_>; 2], mut dice: Dice, steps: u64) -> Result<Outcome, SimulateError> {
    let keys = party_keys();
    let sign = |party: Party| actors[party as usize].claim.sign(&keys[party as usize]);
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
    // Counted before whatever the size of the dispute makes a party look up.
    let honest = actors.iter().find(|actor| actor.manners == Manners::Honest);
    let (steps_rerun, rerun, reruns) = honest.map_or((0, Duration::ZERO, 0), |honest| {
        (honest.player.steps_rerun, honest.player.rerun_time, honest.player.reruns)
    });
    let honest = honest.map_or(Duration::ZERO, |honest| honest.time);
    let liar = actors.iter().position(|actor| actor.manners != Manners::Honest);
    let size = Size::of(&recorded.referee, &mut actors[liar.map_or(0, |liar| 1 - liar)].player, steps);
    let liar = liar.map(|liar| &actors[liar]);
    Ok(Outcome {
        size,
        verdict: verdict.ok_or(PlayerError::Unknown("the verdict"))?,
        step: liar.map_or(0, |liar| liar.step),
        rounds: recorded.referee.round() + 1,
        bytes: recorded.referee.bytes(),
        referee: game.referee_time,
        transcript: recorded.transcript.clone(),
        honest,
        steps_rerun,
        rerun,
        reruns,
        term: liar.and_then(|liar| liar.term),
        recorded,
    })
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
    let (Ok(a), Ok(b)) = (Claimed::parse(a), Claimed::parse(b)) else { return false };
    let keys = party_keys();
    let Ok(mut referee) = super::Referee::open([a, b], transcript.terms, transcript.start) else {
        return false;
    };
    for event in &transcript.events {
        let Some(message) = event.message.as_ref().and_then(|bytes| Message::decode(bytes).ok()) else {
            referee.tick(event.time);
            continue;
        };
        let mut own = Message { course: referee.course(), round: referee.round(), ..message };
        own.signature = keys[own.party as usize].sign(&own.digest());
        referee.receive(event.time, &own.encode());
    }
    true
}

/// The keys that simulated parties sign with.
fn party_keys() -> [Key; 2] {
    [Key::from_seed([0x51; 32]), Key::from_seed([0x52; 32])]
}
