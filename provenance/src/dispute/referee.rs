//! The referee: a state machine that takes signed messages and the time, and ends in a verdict.
//!
//! Invariants: no input or output, no clock of its own, no allocation in proportion to the model; the same
//! messages at the same times give the same verdict. A party that is honest, and answers in time, never
//! loses: at every step the parties differ about something, and whoever is right about it can show it.
//! What nobody signed is ignored, so that no third party can make anybody lose; so is what was signed in answer to anything
//! but what both have said before, so that nobody loses by an answer to a question that another dispute, or a referee that
//! shows what nobody said, has put.

use std::collections::BTreeMap;

use repops::Digest;
use repops::digest::{merkle_root, sha256};
use repops::ops::dispute::{TensorType, Term};
use repops::sequence::choice::TOKEN;
use repops::sequence::trace::bind_entries;
use repops::trace::{StepRecord, bind_steps};

use super::ask::{self, Ask, NoDispute, Received, Terms, Tree};
use super::claimed::Claimed;
use super::facts::{Gap, Shared, Verified};
use super::generation::{RowState, Sequences};
use super::judge::{self, Claims, Context, Disputed, Finding, Learned, Place, Question};
use super::message::{Body, Evidence, Message, Party};
use super::partial;
use super::verdict::{Loser, Reason, Verdict};
use crate::trace_file::decode_record;

/// Levels of a tree that one answer goes down.
pub const LEVELS: u32 = 4;
/// No dispute has so many rounds.
const ROUNDS_MAX: u32 = 4096;

/// A dispute under way.
#[derive(Clone, Debug)]
pub struct Referee {
    pub(super) receipts: [Claimed; 2],
    /// Roots and numbers of records, or of positions.
    pub(super) traces: [(Digest, u64); 2],
    /// Where the dispute is about a generation.
    pub(super) sequence: Option<Sequences>,
    pub(super) terms: Terms,
    pub(super) id: Digest,
    pub(super) round: u32,
    pub(super) deadline: u64,
    pub(super) ask: Ask,
    pub(super) asked: [bool; 2],
    pub(super) answers: [Option<Body>; 2],
    pub(super) rounds: Vec<Round>,
    /// A party that follows need not: see `follow.rs`.
    pub(super) checks_signatures: bool,
    pub(super) state: State,
    pub(super) verdict: Option<Verdict>,
    pub(super) bytes: u64,
}

/// A round that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// What its messages carry.
    pub(super) course: Digest,
    /// Digests of its messages.
    pub(super) seen: [Option<Digest>; 2],
}

impl Round {
    fn new(course: Digest) -> Round {
        Round { course, seen: [None, None] }
    }

    /// The course of the next one.
    fn next_course(&self) -> Digest {
        let [a, b] = self.seen.map(Option::unwrap_or_default);
        sha256(&[b"repops.course.0\0", &self.course.0, &a.0, &b.0])
    }
}

/// What has been found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) facts: Verified,
    /// The hashes about which the parties differ.
    pub(super) hashes: [Digest; 2],
    pub(super) records: Option<[StepRecord; 2]>,
    pub(super) place: Option<Place>,
    pub(super) disputed: Option<Disputed>,
    pub(super) output_types: Option<[TensorType; 2]>,
    pub(super) frontiers: [Vec<Digest>; 2],
    pub(super) types: Option<(Vec<Option<TensorType>>, Vec<TensorType>)>,
    pub(super) term: Option<(Term, [u64; 2])>,
    pub(super) first_term: Option<Term>,
    pub(super) agreed: BTreeMap<Term, u64>,
    pub(super) row: RowState,
}

impl Referee {
    /// Begins the dispute of two receipts, of runs or of generations, at the time `now`, in milliseconds.
    pub fn open<R: Into<Claimed>>(receipts: [R; 2], terms: Terms, now: u64) -> Result<Referee, NoDispute> {
        let receipts = receipts.map(Into::into);
        for (which, receipt) in ["first", "second"].into_iter().zip(&receipts) {
            receipt.validate().map_err(|error| NoDispute::Receipt { which, error })?;
        }
        Referee::of(receipts, terms, now)
    }

    /// The same, whoever signed the receipts.
    pub(super) fn of(receipts: [Claimed; 2], terms: Terms, now: u64) -> Result<Referee, NoDispute> {
        let [a, b] = &receipts;
        if a.signer() == b.signer() {
            return Err(NoDispute::OneParty);
        }
        if a.program() != b.program() {
            return Err(NoDispute::Different("programs"));
        }
        let trace = |which, receipt: &Claimed| receipt.trace().ok_or(NoDispute::NoTrace { which });
        let (ask, asked, facts, sequence, traces);
        match (a, b) {
            (Claimed::Run(one), Claimed::Run(two)) => {
                if one.claim.inputs != two.claim.inputs {
                    return Err(NoDispute::Different("inputs"));
                }
                traces = [trace("first", a)?, trace("second", b)?];
                let same_end = one.claim.outputs == two.claim.outputs && one.claim.fault == two.claim.fault;
                if traces[0] == traces[1] && same_end {
                    return Err(NoDispute::Agreement);
                }
                facts = Verified::new(one.claim.program, traces[0].0, traces[0].1);
                (ask, asked) = match traces.map(|trace| trace.1) {
                    _ if traces[0] == traces[1] => (Ask::Evidence(Question::Outcome), [true, false]),
                    // Each root binds the one record.
                    [1, 1] => (Ask::Record { index: 0 }, [true, true]),
                    [a, b] => (Ask::Frontier { common: a.min(b) }, [true, true]),
                };
                sequence = None;
            }
            (Claimed::Generation(one), Claimed::Generation(two)) => {
                let found = Sequences::of([&one.claim, &two.claim])?;
                traces = [trace("first", a)?, trace("second", b)?];
                facts = Verified::of_log(one.claim.program, found.log(&one.claim, traces[0]));
                (ask, asked) = (found.first_ask(&traces), [true, true]);
                sequence = Some(found);
            }
            _ => return Err(NoDispute::Kinds),
        }
        let id = sha256(&[
            b"repops.dispute.0",
            &a.digest().0,
            &b.digest().0,
            &terms.answer_ms.to_le_bytes(),
            &terms.number.to_le_bytes(),
        ]);
        Ok(Referee {
            receipts,
            traces,
            sequence,
            terms,
            id,
            round: 0,
            deadline: now.saturating_add(terms.answer_ms),
            ask,
            asked,
            answers: [None, None],
            rounds: vec![Round::new(id)],
            checks_signatures: true,
            state: State { facts, ..State::default() },
            verdict: None,
            bytes: 0,
        })
    }

    pub fn id(&self) -> Digest {
        self.id
    }

    /// What messages of this round carry: the dispute, and everything that was said in it before the round.
    pub fn course(&self) -> Digest {
        self.course_of(self.round).unwrap_or(self.id)
    }

    /// What messages of a round that has begun carry.
    pub fn course_of(&self, round: u32) -> Option<Digest> {
        self.rounds.get(round as usize).map(|round| round.course)
    }

    pub fn round(&self) -> u32 {
        self.round
    }

    /// When the answers that are owed are late.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// What is asked now.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Whether the party owes an answer.
    pub fn owes(&self, party: Party) -> bool {
        self.verdict.is_none() && self.asked[party as usize] && self.answers[party as usize].is_none()
    }

    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    pub fn receipts(&self) -> &[Claimed; 2] {
        &self.receipts
    }

    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Bytes of accepted messages.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The step that was reached.
    pub fn place(&self) -> Option<&Place> {
        self.state.place.as_ref()
    }

    /// The tensor that differs.
    pub fn disputed(&self) -> Option<Disputed> {
        self.state.disputed
    }

    /// The tensor's element that differs, and the term that decides, with what the parties say of it.
    pub fn element(&self) -> Option<(Term, Term, [u64; 2])> {
        let (term, values) = self.state.term?;
        Some((self.state.first_term?, term, values))
    }

    /// The records that differ.
    pub fn records(&self) -> Option<&[StepRecord; 2]> {
        self.state.records.as_ref()
    }

    /// Agreed types of the step's inputs and outputs.
    pub fn types(&self) -> Option<&(Vec<Option<TensorType>>, Vec<TensorType>)> {
        self.state.types.as_ref()
    }

    /// The types of the disputed tensor that the parties state.
    pub fn output_types(&self) -> Option<&[TensorType; 2]> {
        self.state.output_types.as_ref()
    }

    /// The context of judgements: what a party needs to find out which evidence is asked for.
    pub fn context(&self) -> Context<'_> {
        let claims = match &self.receipts {
            [Claimed::Run(a), Claimed::Run(b)] => Claims::Runs([&a.claim, &b.claim]),
            [Claimed::Generation(a), Claimed::Generation(b)] => Claims::Generations([&a.claim, &b.claim]),
            // Not opened.
            [Claimed::Run(own), _] | [_, Claimed::Run(own)] => Claims::Runs([&own.claim, &own.claim]),
        };
        Context {
            claims,
            records: self.state.records.as_ref(),
            place: self.state.place.as_ref(),
            types: self.state.types.as_ref(),
            agreed: &self.state.agreed,
        }
    }

    /// Tells the time; whoever owes an answer after the deadline has lost.
    pub fn tick(&mut self, now: u64) {
        if self.verdict.is_some() || now <= self.deadline {
            return;
        }
        match Party::BOTH.map(|party| self.owes(party)) {
            [true, true] => self.lose(Loser::Both, Reason::Silent),
            [true, false] => self.lose(Loser::First, Reason::Silent),
            _ => self.lose(Loser::Second, Reason::Silent),
        }
    }

    /// Takes a message that arrived at `now`.
    pub fn receive(&mut self, now: u64, bytes: &[u8]) -> Received {
        self.tick(now);
        if self.verdict.is_some() {
            return Received::Ignored("the dispute is over");
        }
        let Ok(message) = Message::decode(bytes) else { return Received::Ignored("it is no message") };
        if self.course_of(message.round) != Some(message.course) {
            return Received::Ignored("it answers something else");
        }
        let (party, digest) = (message.party, message.digest());
        let signer = self.receipts[party as usize].signer();
        if self.checks_signatures && !signer.verifies(&digest, &message.signature) {
            return Received::Ignored("its signature is not the party's");
        }
        // From here on the party has said it.
        let round = message.round as usize;
        if let Some(seen) = self.rounds[round].seen[party as usize] {
            if seen == digest {
                return Received::Ignored("it has been received before");
            }
            self.bytes += bytes.len() as u64;
            self.lose(party.into(), Reason::Equivocation);
            return Received::Accepted;
        }
        self.bytes += bytes.len() as u64;
        if message.round != self.round || !self.asked[party as usize] {
            self.lose(party.into(), Reason::OutOfTurn);
            return Received::Accepted;
        }
        self.rounds[round].seen[party as usize] = Some(digest);
        match Body::decode(&message.body) {
            Ok(body) if ask::answers(&self.ask, &body) => self.answers[party as usize] = Some(body),
            _ => {
                self.lose(party.into(), Reason::Malformed);
                return Received::Accepted;
            }
        }
        if Party::BOTH.iter().all(|party| !self.owes(*party)) {
            self.advance(now);
        }
        Received::Accepted
    }

    pub(super) fn lose(&mut self, loser: Loser, reason: Reason) {
        self.verdict = Some(Verdict { loser, reason });
    }

    /// Ends the dispute for whoever is wrong; `true` when nobody is.
    pub(super) fn demand(&mut self, right: [bool; 2], reason: Reason) -> bool {
        match right {
            [true, true] => return true,
            [false, true] => self.lose(Loser::First, reason),
            [true, false] => self.lose(Loser::Second, reason),
            [false, false] => self.lose(Loser::Both, reason),
        }
        false
    }

    pub(super) fn next(&mut self, now: u64, ask: Ask, asked: [bool; 2]) {
        if self.round + 1 >= ROUNDS_MAX {
            return self.undecided("too many rounds".to_string());
        }
        self.round += 1;
        self.deadline = now.saturating_add(self.terms.answer_ms);
        self.ask = ask;
        self.asked = asked;
        self.answers = [None, None];
        let course = self.rounds.last().map_or(self.id, Round::next_course);
        self.rounds.push(Round::new(course));
    }

    pub(super) fn undecided(&mut self, why: String) {
        self.lose(Loser::Neither, Reason::Undecided(why));
    }

    /// All answers are there.
    fn advance(&mut self, now: u64) {
        let answers = std::mem::take(&mut self.answers);
        match (self.ask.clone(), answers) {
            (Ask::Frontier { common }, [Some(Body::Frontier(a)), Some(Body::Frontier(b))]) => {
                self.frontiers(now, common, [a, b]);
            }
            (Ask::Nodes { tree, first, height, levels }, [Some(Body::Nodes(a)), Some(Body::Nodes(b))]) => {
                self.nodes(now, tree, first, height - levels, [a, b]);
            }
            (Ask::Record { index }, [Some(Body::Record(a)), Some(Body::Record(b))]) => {
                self.differing_records(now, index, [a, b]);
            }
            (Ask::Tensor { of }, [Some(a), Some(b)]) => self.tensors(now, of, [a, b]),
            (Ask::Leaf { index }, [Some(Body::Leaf(a)), Some(Body::Leaf(b))]) => {
                self.leaves(now, index, [a, b])
            }
            (Ask::Claims { terms }, [Some(Body::Claims(a)), Some(Body::Claims(b))]) => {
                self.claims(now, &terms, [a, b]);
            }
            (Ask::Witness, [a, b]) => {
                let by = if a.is_some() { Party::First } else { Party::Second };
                if let Some(Body::Witness { output, element }) = a.or(b) {
                    self.present(now, Question::Fault { by, output, element });
                }
            }
            (
                Ask::Evidence(question),
                [Some(Body::Evidence(evidence)), _] | [_, Some(Body::Evidence(evidence))],
            ) => {
                self.judge(now, question, &evidence);
            }
            (Ask::Row { position }, [Some(Body::Nodes(a)), Some(Body::Nodes(b))]) => {
                self.rows(now, position, [a, b]);
            }
            (Ask::Heads, [Some(Body::Claims(a)), Some(Body::Claims(b))]) => self.heads(now, [a, b]),
            (Ask::Path { step }, [a, b]) => {
                let by = if a.is_some() { Party::First } else { Party::Second };
                if let Some(Body::Claims(path)) = a.or(b) {
                    self.present(now, Question::Path { by, step, path });
                }
            }
            (Ask::Steps { half, .. }, [Some(Body::Frontier(a)), Some(Body::Frontier(b))]) => {
                self.steps(now, half, [a, b]);
            }
            (Ask::Outputs { position, step }, [Some(Body::Nodes(a)), Some(Body::Nodes(b))]) => {
                self.outputs(now, position, step, [a, b]);
            }
            _ => self.undecided("answers that do not fit".to_string()),
        }
    }

    /// Whether a party's trace or log is this tree.
    fn is_claimed(&self, p: usize, tree: &Digest) -> bool {
        let (root, count) = self.traces[p];
        let bound = match &self.sequence {
            Some(sequence) => bind_entries(count, sequence.first, tree),
            None => bind_steps(count, tree),
        };
        bound == root
    }

    fn frontiers(&mut self, now: u64, common: u64, hashes: [Vec<Digest>; 2]) {
        let right = [0, 1].map(|p| {
            let tree = partial::frontier_root(self.traces[p].1, common, &hashes[p]);
            tree.is_some_and(|tree| self.is_claimed(p, &tree))
        });
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        match first_difference(common, &hashes) {
            Some((first, height, at)) => {
                let tree = if self.sequence.is_some() { Tree::Log } else { Tree::Trace };
                self.descend(now, tree, first, height, at);
            }
            None if self.sequence.is_some() => self.same_rows(now),
            None => {
                let shorter = if self.traces[0].1 < self.traces[1].1 { Party::First } else { Party::Second };
                self.present(now, Question::End { common, shorter });
            }
        }
    }

    pub(super) fn descend(&mut self, now: u64, tree: Tree, first: u64, height: u32, hashes: [Digest; 2]) {
        self.state.hashes = hashes;
        let ask = match (tree, height) {
            (Tree::Trace, 0) => Ask::Record { index: first },
            (Tree::Output, 0) => Ask::Leaf { index: first },
            (Tree::Log, 0) => Ask::Row { position: first },
            (Tree::Steps, 0) => match self.step_of_row(first) {
                Some((position, step)) => Ask::Outputs { position, step },
                None => return self.undecided("a step that is none".to_string()),
            },
            _ => Ask::Nodes { tree, first, height, levels: height.min(LEVELS) },
        };
        self.next(now, ask, [true, true]);
    }

    /// Nodes over `1 << below` leaves each, from leaf `first` on.
    fn nodes(&mut self, now: u64, tree: Tree, first: u64, below: u32, hashes: [Vec<Digest>; 2]) {
        let Ask::Nodes { levels, .. } = self.ask else { return };
        let right =
            [0, 1].map(|p| hashes[p].len() == 1 << levels && merkle_root(&hashes[p]) == self.state.hashes[p]);
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        let [a, b] = &hashes;
        match (0..a.len()).find(|&i| a[i] != b[i]) {
            Some(i) => self.descend(now, tree, first + ((i as u64) << below), below, [a[i], b[i]]),
            None => self.undecided("equal nodes under different ones".to_string()),
        }
    }

    fn differing_records(&mut self, now: u64, index: u64, bytes: [Vec<u8>; 2]) {
        let right = [0, 1].map(|p| {
            let found = sha256(&[&bytes[p]]);
            if self.round == 0 { self.is_claimed(p, &found) } else { found == self.state.hashes[p] }
        });
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        let records = bytes.each_ref().map(|bytes| decode_record(bytes).ok());
        if !self.demand(records.each_ref().map(Option::is_some), Reason::Malformed) {
            return;
        }
        if let [Some(a), Some(b)] = records {
            self.state.records = Some([a.clone(), b.clone()]);
            self.present(now, Question::Record { index, records: [a, b] });
        }
    }

    /// What evidence may open of the first party's trace or log: what both have.
    fn shared(&self, question: &Question) -> Shared {
        if self.sequence.is_some() {
            return self.shared_rows();
        }
        Shared::Records(match question {
            Question::Outcome => self.traces[0].1,
            Question::End { common, .. } => *common,
            Question::Record { index, .. } => *index,
            _ => self.state.place.as_ref().map_or(0, |place| place.index),
        })
    }

    /// Asks whoever has to for what a judgement needs.
    pub(super) fn present(&mut self, now: u64, question: Question) {
        let by = question.presenter();
        self.next(now, Ask::Evidence(question), Party::BOTH.map(|party| party == by));
    }

    fn judge(&mut self, now: u64, question: Question, evidence: &Evidence) {
        let (shared, by) = (self.shared(&question), question.presenter());
        if !self.state.facts.add(evidence, shared) {
            return self.lose(by.into(), Reason::Evidence);
        }
        let found = self.decide(&question);
        self.conclude(now, &question, found);
    }

    /// A judgement by what is open.
    pub(super) fn decide(&mut self, question: &Question) -> Result<(Finding, Learned), Gap> {
        let mut facts = std::mem::take(&mut self.state.facts);
        let found = judge::decide(&self.context(), question, &mut facts);
        self.state.facts = facts;
        found
    }

    /// Goes on from a judgement.
    pub(super) fn conclude(&mut self, now: u64, question: &Question, found: Result<(Finding, Learned), Gap>) {
        let (finding, learned) = match found {
            Ok(found) => found,
            Err(gap) => return self.stuck(gap, Some(question.presenter())),
        };
        match learned {
            Learned::Place(place) => self.state.place = place,
            Learned::Types(types) => self.state.types = Some(types),
            Learned::Row(place, inputs, types) => self.learn_row(question, place, &inputs, types),
            Learned::Nothing => {}
        }
        match finding {
            Finding::Lost(Loser::Neither, reason) => self.undecided(format!("nothing differs: {reason}")),
            Finding::Lost(loser, reason) => self.lose(loser, reason),
            Finding::Tensor(of) => self.next(now, Ask::Tensor { of }, [true, true]),
            Finding::Fault => {
                let claims = self.state.records.as_ref().is_some_and(|records| records[0].fault.is_some());
                self.next(now, Ask::Witness, [claims, !claims]);
            }
            Finding::Agreed => self.agreed_types(now),
            Finding::Term(term, values) => {
                self.state.disputed = Some(match term {
                    TOKEN if matches!(question, Question::Logits { .. }) => Disputed::Choice,
                    _ => Disputed::Logprobs,
                });
                self.state.first_term = Some(term);
                self.term(now, term, values);
            }
        }
    }

    /// A judgement could not be made.
    pub(super) fn stuck(&mut self, gap: Gap, by: Option<Party>) {
        match (gap, by) {
            (Gap::Missing(_), Some(by)) => self.lose(by.into(), Reason::Evidence),
            (Gap::Missing(what), None) => self.undecided(format!("{what} is missing")),
            (Gap::Program(problem), _) => self.undecided(format!("the program cannot be run: {problem}")),
            (Gap::Undecidable(what), _) => self.undecided(what.to_string()),
            (Gap::Stop(stop), _) => self.undecided(stop.to_string()),
        }
    }
}

/// The first complete subtree of a frontier of `common` leaves whose hashes differ: its first leaf, height,
/// and the hashes.
pub(super) fn first_difference(common: u64, hashes: &[Vec<Digest>; 2]) -> Option<(u64, u32, [Digest; 2])> {
    let ranges = partial::frontier(common, common);
    let differs = |(at, range): (usize, &(u64, u64))| {
        let (a, b) = (hashes[0].get(at)?, hashes[1].get(at)?);
        (a != b).then(|| (range.0, (range.1 - range.0).trailing_zeros(), [*a, *b]))
    };
    ranges.iter().enumerate().find_map(differs)
}
