//! The referee's part of disputes about generations: from two logs to a position, a step of its row, and from there on as with
//! runs; or, where all rows are the same, to a token or the log-probability of one.
//!
//! Invariant: a step's inputs are rows of earlier positions, or leaves of its own row before it, and both are agreed on when
//! the step is reached: carried steps are searched before the head, each half in the program's order.

use repops::DType;
use repops::Digest;
use repops::ops::dispute::TensorType;
use repops::sequence::trace::{Entry, step_leaf};

use super::ask::{Ask, NoDispute, Tree};
use super::facts::{LogRoot, Shared};
use super::judge::{Disputed, Place, Question, StepTypes};
use super::message::Party;
use super::partial;
use super::referee::{Referee, first_difference};
use super::rows::Heads;
use super::verdict::Reason;
use crate::generation::GenerationClaim;

/// What two claims of generations have in common, and where they part.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// Positions whose rows both must have alike.
    pub common: u64,
    /// The first position whose logits count.
    pub first: u64,
    /// The first place in prompt and tokens where the claims have different ones, and these.
    pub token: Option<(u64, [u64; 2])>,
    /// Numbers of chosen tokens.
    pub chosen: [u64; 2],
}

/// How far a dispute about rows has got.
#[derive(Clone, Debug, Default)]
pub struct RowState {
    pub position: u64,
    /// The roots that the parties state of both halves of the row.
    pub halves: [[Digest; 2]; 2],
    pub heads: Option<Heads>,
    pub half: usize,
    /// The leaf that differs, once it is found.
    pub leaf: Option<u64>,
    pub aim: Aim,
}

/// What a row is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Aim {
    #[default]
    Step,
    Token,
    Logprob {
        token: u64,
        values: [u64; 2],
    },
}

impl Sequences {
    pub fn of([a, b]: [&GenerationClaim; 2]) -> Result<Sequences, NoDispute> {
        if a.prompt != b.prompt {
            return Err(NoDispute::Different("prompts"));
        }
        if (a.sampling, a.seed, a.nonce) != (b.sampling, b.seed, b.nonce) {
            return Err(NoDispute::Different("parameters"));
        }
        let parts = || a.tokens.iter().zip(&b.tokens);
        let differs = parts().position(|(one, other)| one != other);
        let prompt = a.prompt.len() as u64;
        let token = differs.map(|at| {
            let tokens = [a.tokens[at], b.tokens[at]].map(u64::from);
            (prompt + at as u64, tokens)
        });
        if token.is_none()
            && a.tokens.len() == b.tokens.len()
            && (a.trace_root, a.logprobs) == (b.trace_root, b.logprobs)
        {
            return Err(NoDispute::Agreement);
        }
        let rows = prompt + parts().len() as u64 - 1;
        Ok(Sequences {
            common: token.map_or(rows, |token| token.0),
            first: prompt - 1,
            token,
            chosen: [a.tokens.len() as u64, b.tokens.len() as u64],
        })
    }

    pub(super) fn log(&self, claim: &GenerationClaim, (root, count): (Digest, u64)) -> LogRoot {
        LogRoot { root, count, first: self.first, tokens: claim.rows(), heads: None }
    }

    /// The first question: equal roots stand over equal rows.
    pub(super) fn first_ask(&self, traces: &[(Digest, u64); 2]) -> Ask {
        match (traces[0] == traces[1], self.token) {
            (false, _) => Ask::Frontier { common: self.common },
            (true, Some(_)) => Ask::Heads,
            (true, None) => Ask::Tensor { of: Disputed::Logprobs },
        }
    }
}

impl Referee {
    /// What both claims of a generation have in common; `None` of runs.
    pub fn sequence(&self) -> Option<&Sequences> {
        self.sequence.as_ref()
    }

    /// The row under dispute.
    pub fn row(&self) -> &RowState {
        &self.state.row
    }

    /// The rows are the same as far as both claim them.
    pub(super) fn same_rows(&mut self, now: u64) {
        let Some(sequence) = &self.sequence else { return };
        match sequence.token {
            Some(_) => self.next(now, Ask::Heads, [true, true]),
            None if sequence.chosen[0] == sequence.chosen[1] => {
                self.next(now, Ask::Tensor { of: Disputed::Logprobs }, [true, true]);
            }
            None => self.undecided("both claims may be true: one goes on where the other ends".to_string()),
        }
    }

    /// What is shared of the first party's log.
    pub(super) fn shared_rows(&self) -> Shared {
        let (row, common) = (&self.state.row, self.sequence.as_ref().map_or(0, |s| s.common));
        match (row.aim, row.leaf) {
            (Aim::Step, Some(leaves)) => Shared::Rows { positions: row.position, half: row.half, leaves },
            (Aim::Step, None) if self.state.row.halves[0] != self.state.row.halves[1] => {
                Shared::Rows { positions: row.position, half: 0, leaves: 0 }
            }
            _ => Shared::Rows { positions: common, half: 0, leaves: 0 },
        }
    }

    /// The roots of both halves of the row whose entries differ.
    pub(super) fn rows(&mut self, now: u64, position: u64, stated: [Vec<Digest>; 2]) {
        let Some(first) = self.sequence.as_ref().map(|s| s.first) else { return };
        let token = self.receipts.each_ref().map(|receipt| {
            let rows = receipt.generation().map(GenerationClaim::rows);
            rows.and_then(|rows| rows.get(position as usize).copied())
        });
        let right = [0, 1].map(|p| match (stated[p].as_slice(), token[p]) {
            ([carried, head], Some(token)) => {
                let entry = Entry { token, carried: *carried, head: Some(*head) };
                let may_be = position >= first || *head == Digest::default();
                may_be && entry.digest(position) == self.state.hashes[p]
            }
            _ => false,
        });
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        let halves = stated.map(|own| [own[0], own[1]]);
        let half = usize::from(halves[0][0] == halves[1][0]);
        self.state.row = RowState { position, halves, half, ..RowState::default() };
        self.next(now, Ask::Heads, [true, true]);
    }

    /// Which steps are the head.
    pub(super) fn heads(&mut self, now: u64, stated: [Vec<u64>; 2]) {
        let heads = stated.each_ref().map(|own| Heads::of(own));
        if !self.demand(heads.each_ref().map(Option::is_some), Reason::Malformed) {
            return;
        }
        let [Some(a), Some(b)] = heads else { return };
        if a.steps != b.steps {
            return self.present(now, Question::Steps { counts: [a.steps, b.steps] });
        }
        // A step that one party alone counts to the head: the other can show how it is carried.
        let alone = |one: &Heads, other: &Heads| {
            one.head.iter().copied().find(|step| other.head.binary_search(step).is_err())
        };
        let (first, second) = (alone(&a, &b), alone(&b, &a));
        let (step, asked) = match (first, second) {
            (None, None) => {
                self.state.facts.agree_on_heads(a.clone());
                self.state.row.heads = Some(a);
                return self.with_heads(now);
            }
            (Some(one), Some(other)) if one > other => (other, [true, false]),
            (Some(one), _) => (one, [false, true]),
            (None, Some(other)) => (other, [true, false]),
        };
        self.next(now, Ask::Path { step }, asked);
    }

    fn with_heads(&mut self, now: u64) {
        let Some(sequence) = &self.sequence else { return };
        let row = &mut self.state.row;
        match (row.aim, sequence.token) {
            (Aim::Step, _) if row.halves[0] != row.halves[1] => {
                let (position, half) = (row.position, row.half);
                self.next(now, Ask::Steps { position, half }, [true, true]);
            }
            (Aim::Logprob { token, values }, _) => {
                let position = row.position;
                self.present(now, Question::Logprob { position, token, values });
            }
            (_, Some((at, tokens))) => {
                (row.aim, row.position) = (Aim::Token, at - 1);
                let position = row.position;
                self.present(now, Question::Logits { position, tokens });
            }
            _ => self.undecided("equal rows under different entries".to_string()),
        }
    }

    /// The trees of the row's half that differs.
    pub(super) fn steps(&mut self, now: u64, half: usize, hashes: [Vec<Digest>; 2]) {
        let count = self.state.row.heads.as_ref().map_or(0, |heads| heads.count(half));
        let halves = self.state.row.halves;
        let right = [0, 1].map(|p| partial::frontier_root(count, count, &hashes[p]) == Some(halves[p][half]));
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        match first_difference(count, &hashes) {
            Some((first, height, at)) => self.descend(now, Tree::Steps, first, height, at),
            None => self.undecided("equal leaves under different roots".to_string()),
        }
    }

    /// The step at a leaf of the half under dispute.
    pub(super) fn step_of_row(&self, leaf: u64) -> Option<(u64, u64)> {
        let row = &self.state.row;
        Some((row.position, row.heads.as_ref()?.step(row.half, leaf)?))
    }

    /// What the step that differs gave.
    pub(super) fn outputs(&mut self, now: u64, position: u64, step: u64, outputs: [Vec<Digest>; 2]) {
        let right = [0, 1].map(|p| step_leaf(step as u32, &outputs[p]) == self.state.hashes[p]);
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        let place = self.state.row.heads.as_ref().and_then(|heads| heads.place(step));
        self.state.row.leaf = place.map(|place| place.1);
        self.present(now, Question::Row { position, step, outputs });
    }

    /// Takes the place of a step of a row: from here on it is as a record's step.
    pub(super) fn learn_row(
        &mut self,
        question: &Question,
        place: Place,
        inputs: &[Option<Digest>],
        types: Option<StepTypes>,
    ) {
        let outputs = match question {
            Question::Row { outputs, .. } => outputs.clone(),
            _ => [Vec::new(), Vec::new()],
        };
        self.state.records = Some(outputs.map(|outputs| place.record(inputs, outputs)));
        self.state.place = Some(place);
        if types.is_some() {
            self.state.types = types;
        }
    }

    /// The type that a row's value has over all positions up to its own.
    pub(super) fn all_rows(&self, mut ty: TensorType) -> TensorType {
        if let Some(row) = self.state.place.as_ref().and_then(|place| place.row.as_ref()) {
            ty.shape.insert(0, row.position as usize + 1);
        }
        ty
    }

    /// Elements before those of the row under dispute, whose type is given.
    pub(super) fn elements_before(&self, ty: &TensorType) -> u64 {
        let row = self.state.place.as_ref().and_then(|place| place.row.as_ref());
        row.map_or(0, |row| row.position * ty.len() as u64)
    }

    pub(super) fn logprobs(&self) -> [Option<Digest>; 2] {
        self.receipts.each_ref().map(|receipt| receipt.generation().map(|claim| claim.logprobs))
    }

    /// Log-probabilities are f32, one for each token.
    pub(super) fn logprob_types(&mut self, now: u64, types: [TensorType; 2]) {
        let chosen = self.sequence.as_ref().map_or(0, |s| s.chosen[0] as usize);
        let right = types.map(|ty| ty == TensorType::new(DType::F32, &[chosen]));
        if self.demand(right, Reason::Outcome) {
            self.agreed_types(now);
        }
    }

    /// A log-probability differs: that of the token chosen at that place.
    pub(super) fn logprob(&mut self, now: u64, element: u64, values: [u64; 2]) {
        let claim = self.receipts[Party::First as usize].generation();
        let token = claim.and_then(|claim| claim.tokens.get(element as usize)).map(|t| u64::from(*t));
        let (Some(token), Some(sequence)) = (token, &self.sequence) else { return };
        self.state.row.position = sequence.first + element;
        self.state.row.aim = Aim::Logprob { token, values };
        self.next(now, Ask::Heads, [true, true]);
    }
}
