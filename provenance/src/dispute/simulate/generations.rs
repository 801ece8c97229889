//! Disputes about a generation in one process.
//!
//! A lie is about a *record*: the row of a step at a position, numbered `position * steps + step`.

use std::sync::Arc;

use repops::ops::dispute::{Subject, TensorType, Term, rule};
use repops::program::Program;
use repops::sequence::trace::bind_entries;
use repops::{Digest, Tensor, digest};

use super::game::{Actor, Manners, Stated};
use super::lies::{deep_fault, flip};
use super::{Dice, Kind, Outcome, Scenario, SimulateError, duel, game_of};
use crate::dispute::held::{ProgramHashes, SharedHashes};
use crate::dispute::kept::{Checkpoints, Keep};
use crate::dispute::log::{Logged, SequenceLog};
use crate::dispute::player::{Player, PlayerError};
use crate::generation::GenerationClaim;
use crate::verify::BytesDigest;
use repops::exec::Executor;

/// An honest generation, about which any number of games can be played.
pub struct GenerationStage<'a> {
    pub program: &'a Program,
    pub executor: &'a dyn Executor,
    pub claim: GenerationClaim,
    pub log: SequenceLog,
    pub inputs: Vec<Tensor>,
    pub kept: Arc<Checkpoints>,
    hashes: SharedHashes,
}

impl<'a> GenerationStage<'a> {
    /// Runs a claim's sequence again; root and log-probabilities of the claim become those of this run, its tokens stay.
    pub fn regenerate(
        program: &'a Program,
        claim: GenerationClaim,
        executor: &'a dyn Executor,
        hash: BytesDigest,
        keep: Keep,
    ) -> Result<GenerationStage<'a>, SimulateError> {
        let Logged { log, inputs, kept } = SequenceLog::run(program, &claim, executor, hash, keep)?;
        let mut claim = claim;
        claim.trace_root = Some(log.sequence_root());
        claim.logprobs = log.logprobs_digest();
        let hashes = Arc::new(ProgramHashes::of(program));
        Ok(GenerationStage { program, executor, claim, log, inputs, kept: Arc::new(kept), hashes })
    }

    /// Hashes the program's constants once for all disputes; without it each is when something of it is opened.
    pub fn prepare(&self) {
        self.hashes.prepare(self.program);
    }

    /// The number of records.
    pub fn records(&self) -> u64 {
        self.log.positions() * self.log.heads.steps
    }

    /// Position and step of a record.
    pub fn place(&self, record: u64) -> (u64, u64) {
        let steps = self.log.heads.steps.max(1);
        (record / steps, record % steps)
    }

    fn player<'s>(&'s self, log: SequenceLog) -> Player<'s> {
        let mut player =
            Player::of_generation(self.hashes.clone(), self.program, &self.inputs, log, self.executor);
        player.keep_checkpoints(self.kept.clone());
        player
    }

    /// A party that tells the truth.
    pub fn honest(&self) -> (Player<'_>, GenerationClaim) {
        (self.player(self.log.clone()), self.claim.clone())
    }

    /// A party that lies as the scenario says, and its claim.
    pub fn liar(&self, scenario: &Scenario) -> Result<(Player<'_>, GenerationClaim), SimulateError> {
        let actor = self.lie(scenario, &mut Dice(scenario.seed))?;
        match actor.claim {
            Stated::Generation(claim) => Ok((actor.player, claim)),
            Stated::Run(_) => Err(PlayerError::Unknown("a generation").into()),
        }
    }

    /// Plays an honest party against a liar, to the end.
    pub fn play(&self, scenario: &Scenario) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenario.seed);
        let liar = self.lie(scenario, &mut dice)?;
        let (player, claim) = self.honest();
        let honest = Actor::new(player, Stated::Generation(claim), Manners::Honest, liar.step);
        duel(scenario.liar, liar, honest, dice, self.records())
    }

    /// Plays two liars against each other.
    pub fn play_liars(&self, scenarios: [&Scenario; 2]) -> Result<Outcome, SimulateError> {
        let mut dice = Dice(scenarios[0].seed);
        let first = self.lie(scenarios[0], &mut dice)?;
        let second = self.lie(scenarios[1], &mut Dice(scenarios[1].seed))?;
        game_of([first, second], dice, self.records())
    }

    fn lie(&self, scenario: &Scenario, dice: &mut Dice) -> Result<Actor<'_>, SimulateError> {
        let count = self.records();
        for attempt in 0..1000 {
            let record = scenario.step.unwrap_or_else(|| dice.below(count));
            if record >= count {
                return Err(SimulateError::NoStep { step: record, count });
            }
            match self.lie_at(scenario.kind, record, dice)? {
                Some(lie) => return Ok(lie),
                None if scenario.step.is_some() && attempt > 20 => {
                    return Err(SimulateError::NoLie { step: record, kind: scenario.kind.name() });
                }
                None => {}
            }
        }
        Err(SimulateError::NoLie { step: 0, kind: scenario.kind.name() })
    }

    fn lie_at(&self, kind: Kind, record: u64, dice: &mut Dice) -> Result<Option<Actor<'_>>, SimulateError> {
        let (position, step) = self.place(record);
        let mut claim = self.claim.clone();
        let mut log = self.log.clone();
        let manners = match kind {
            Kind::Stale => Manners::Stale,
            Kind::Proof => Manners::Damaged { round: dice.below(12) as u32 },
            Kind::Silence => Manners::Silent { round: dice.below(12) as u32 },
            _ => Manners::Good,
        };
        let (mut kept, mut preset, mut twist) = (None, None, None);
        match kind {
            Kind::Output | Kind::Stale | Kind::Proof | Kind::Silence | Kind::Wiring => {
                let Some(fault) = self.fault(position, step, dice)? else { return Ok(None) };
                log.lie(position, step as u32, fault.outputs);
                (kept, preset) = (Some((fault.output, fault.bytes)), fault.preset);
                if kind == Kind::Wiring {
                    // Says of a step that it is the head, or is not.
                    let other = dice.below(log.heads.steps);
                    match log.heads.head.binary_search(&other) {
                        Ok(at) => drop(log.heads.head.remove(at)),
                        Err(at) => log.heads.head.insert(at, other),
                    }
                }
            }
            Kind::Digest | Kind::Operator => {
                if !log.has(position, step) {
                    return Ok(None);
                }
                let own = self.player(log.clone()).row(position, step as u32)?;
                let none = digest::sha256(&[b"no bytes", &dice.roll().to_le_bytes()]);
                let outputs = match kind {
                    Kind::Operator => [own.as_slice(), &[none]].concat(),
                    _ => std::iter::once(none).chain(own.iter().skip(1).copied()).collect(),
                };
                log.lie(position, step as u32, outputs);
            }
            Kind::Length => {
                let root = digest::merkle_root(&log.entries);
                let count = log.positions().saturating_sub(1);
                claim.trace_root = Some(bind_entries(count, claim.prompt.len() as u64 - 1, &root));
            }
            Kind::Outcome => {
                let at = dice.below(claim.tokens.len() as u64) as usize;
                let bytes = log.logprobs.bytes_mut();
                bytes[4 * at] ^= 1 << dice.below(8);
                claim.logprobs = log.logprobs_digest();
            }
            Kind::Token => {
                let at = dice.below(claim.tokens.len() as u64) as usize;
                let vocabulary =
                    repops::sequence::Sequence::of(self.program).map_or(1, |s| s.vocabulary as u64);
                let other = dice.below(vocabulary) as u32;
                if other == claim.tokens[at] {
                    return Ok(None);
                }
                claim.tokens[at] = other;
                log.read_another(claim.prompt.len() + at, other);
                twist = Some(Dice(dice.roll()));
            }
            // A log names neither inputs nor attributes: they are the program's. Nor does a sequence program branch.
            Kind::Input | Kind::Attribute | Kind::Constant | Kind::Fault | Kind::Path => return Ok(None),
        }
        if kind != Kind::Length {
            claim.trace_root = Some(log.sequence_root());
        }
        let mut player = self.player(log);
        if let Some((output, bytes)) = kept
            && let Some(row) = self.log.rows_of(step as u32).and_then(|rows| rows.get(output))
        {
            player.keep_row(row, &bytes);
        }
        if let Some((term, bits)) = preset {
            player.preset(term, bits);
        }
        if let Some(twist) = twist {
            player.twist(twist);
        }
        let mut actor = Actor::new(player, Stated::Generation(claim), manners, record);
        actor.term = preset.map(|p| p.0);
        Ok(Some(actor))
    }

    /// The row of a step's output with a single-bit fault somewhere in the computation of one element.
    fn fault(&self, position: u64, step: u64, dice: &mut Dice) -> Result<Option<RowFault>, SimulateError> {
        if !self.log.has(position, step) {
            return Ok(None);
        }
        let index = step as u32;
        let mut player = self.player(self.log.clone());
        let mut outputs = player.row(position, index)?;
        let own = &self.program.main().steps[step as usize];
        let rows = self.log.rows_of(index).unwrap_or_default();
        let output = dice.below(outputs.len() as u64) as usize;
        let row = &rows[output];
        let elements = row.shape.iter().product::<usize>() as u64;
        if elements == 0 {
            return Ok(None);
        }
        let at = dice.below(elements);
        let size = row.dtype.size();
        let mut bytes = player
            .tensors_of(&[Some(outputs[output])])?
            .swap_remove(0)
            .map_or(Vec::new(), |t| t.bytes().to_vec());
        let place = at as usize * size..(at as usize + 1) * size;
        let term = Term::Output { output: output as u32, element: position * elements + at };
        let mut preset = None;
        if rule(own.def()).has_terms() {
            let constants = self.program.constants();
            let name = |value: &repops::program::ValueId| match constants.get(value.index()) {
                Some(decl) => decl.digest,
                None => crate::dispute::rows::value_name(value.0),
            };
            let names: Vec<Option<Digest>> = own.inputs.iter().map(|v| v.as_ref().map(name)).collect();
            let inputs = player.tensors_of(&names)?;
            let is_row = |at: usize| own.inputs[at].is_some_and(|v| v.index() >= constants.len());
            let ty = |(input, tensor): (usize, &Option<Tensor>)| {
                let tensor = tensor.as_ref()?;
                let mut ty = TensorType::new(tensor.dtype(), tensor.shape());
                if is_row(input) {
                    ty.shape[0] = position as usize + 1;
                }
                Some(ty)
            };
            let input_types: Vec<_> = inputs.iter().enumerate().map(ty).collect();
            let full = |row: &repops::sequence::Row| {
                TensorType::new(row.dtype, &[&[position as usize + 1], row.shape.as_slice()].concat())
            };
            let output_types: Vec<_> = rows.iter().map(full).collect();
            let subject = Subject {
                def: own.def(),
                attrs: &own.attrs,
                region: own.region.as_ref(),
                inputs: &input_types,
                outputs: &output_types,
            };
            preset = deep_fault(&subject, &inputs, term, dice)?;
        }
        match preset {
            Some((_, _, found)) => bytes[place].copy_from_slice(&found.to_le_bytes()[..size]),
            None => flip(&mut bytes[place], row.dtype, dice),
        }
        outputs[output] = repops::sequence::trace::row_digest(row, &bytes);
        Ok(Some(RowFault { output, bytes, outputs, preset: preset.map(|(term, bits, _)| (term, bits)) }))
    }
}

/// A wrong row.
struct RowFault {
    output: usize,
    bytes: Vec<u8>,
    outputs: Vec<Digest>,
    preset: Option<(Term, u64)>,
}
