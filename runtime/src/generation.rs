//! Generation: several requests at once over one session, each with the bits that it would have alone.
//!
//! Requests join and leave between steps; prompts are read in pieces between others' tokens; what finished sequences leave is
//! used again by those that begin alike. Invariant: none of this changes a token, a log-probability or a root.

use std::collections::VecDeque;
use std::sync::Arc;

use repops::Digest;
use repops::Program;
use repops::exec::HashLevel;
use repops::sequence::reference::{RowsError, RowsExecutor};
use repops::sequence::sampling::{Draw, Sampling, SamplingError, choose, likeliest, log_probabilities};

use crate::session::{Chosen, Feed, Given, ROWS_MAX, SequenceState, Session, SessionError, Vectorized, Wish};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// At least 1.
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub seed: u64,
    pub nonce: u64,
    /// Tokens that end the generation; the one that does is its last.
    pub stop: Vec<u32>,
    /// How many of the likeliest tokens are told of beside each chosen one. No receipt speaks of them.
    pub alternatives: usize,
}

/// Names a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// A token of the request's `stop`, or the caller's [`Scheduler::finish`].
    Stop,
    /// `max_tokens`.
    Length,
}

/// What a finished request gave.
#[derive(Clone, Debug)]
pub struct Finished {
    pub request: Request,
    pub tokens: Vec<u32>,
    /// Of each token, as the model gives it.
    pub logprobs: Vec<f32>,
    /// The sequence root over all tokens but the last, where a log is kept.
    pub root: Option<Digest>,
    pub finish: Finish,
}

/// What a step brought.
#[derive(Debug)]
pub enum Event {
    /// `alternatives`: the likeliest tokens, the likeliest first, and their log-probabilities.
    Token {
        id: RequestId,
        token: u32,
        logprob: f32,
        alternatives: Vec<(u32, f32)>,
    },
    Finished {
        id: RequestId,
        finished: Box<Finished>,
    },
    Failed {
        id: RequestId,
        error: GenerationError,
    },
}

/// Why a request cannot be answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerationError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("no token is asked for")]
    NoTokens,
    #[error("prompt and answer take {wanted} bytes of keys and values; the limit is {limit}")]
    TooLong { wanted: usize, limit: usize },
    #[error("seed and nonce are at most {SEED_MAX}, the largest integer that receipts carry")]
    Seed,
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// The largest seed and nonce: receipts are JSON.
pub const SEED_MAX: u64 = (1 << 53) - 1;

/// How requests share a session. None of this changes a bit.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// The most rows of prompts that one step reads.
    pub prefill_rows: usize,
    /// The most requests that generate at once.
    pub requests: usize,
    /// Finished sequences that are kept for others that begin alike.
    pub kept: usize,
}

impl Default for SchedulerOptions {
    fn default() -> SchedulerOptions {
        SchedulerOptions { prefill_rows: 512, requests: 64, kept: 16 }
    }
}

struct Active {
    id: RequestId,
    request: Request,
    /// Prompt and generated tokens.
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    state: SequenceState,
    /// Bytes of keys and values that it may come to need.
    reserved: usize,
}

impl Active {
    fn generated(&self) -> &[u32] {
        &self.tokens[self.request.prompt.len()..]
    }

    /// Tokens whose rows are to be computed.
    fn waiting(&self) -> &[u32] {
        &self.tokens[self.state.tokens().len()..]
    }
}

/// What follows a request's last row.
enum Next {
    Logits(Vec<f32>),
    Chosen(Chosen),
}

/// The noise of the token that follows `position`.
fn draw(request: &Request, position: usize) -> Draw {
    Draw { seed: request.seed, nonce: request.nonce, position: position as u32 }
}

/// Answers requests.
pub struct Scheduler {
    session: Arc<Session>,
    options: SchedulerOptions,
    functions: Vectorized,
    queue: VecDeque<(RequestId, Request)>,
    active: Vec<Active>,
    /// The newest last.
    kept: VecDeque<SequenceState>,
    next: u64,
    reserved: usize,
}

impl Scheduler {
    pub fn new(session: Arc<Session>, options: SchedulerOptions) -> Scheduler {
        let functions = Vectorized::new(session.runtime().isa());
        let options = SchedulerOptions {
            prefill_rows: options.prefill_rows.clamp(1, ROWS_MAX / 2),
            requests: options.requests.clamp(1, ROWS_MAX / 2),
            ..options
        };
        let (queue, kept) = (VecDeque::new(), VecDeque::new());
        Scheduler { session, options, functions, queue, active: Vec::new(), kept, next: 0, reserved: 0 }
    }

    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Requests that generate, and requests that wait.
    pub fn load(&self) -> (usize, usize) {
        (self.active.len(), self.queue.len())
    }

    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.queue.is_empty()
    }

    /// Checks a request and queues it.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, GenerationError> {
        if request.prompt.is_empty() {
            return Err(GenerationError::EmptyPrompt);
        }
        if request.max_tokens == 0 {
            return Err(GenerationError::NoTokens);
        }
        if request.seed > SEED_MAX || request.nonce > SEED_MAX {
            return Err(GenerationError::Seed);
        }
        request.sampling.check()?;
        let vocabulary = self.session.sequence().vocabulary;
        if let Some(&token) = request.prompt.iter().find(|t| **t as usize >= vocabulary) {
            return Err(SessionError::Token { token, vocabulary }.into());
        }
        let (wanted, limit) = (self.need(&request), self.session.cache_limit());
        if wanted > limit {
            return Err(GenerationError::TooLong { wanted, limit });
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.queue.push_back((id, request));
        Ok(id)
    }

    /// Forgets a request. Its tokens so far stay with whoever saw them.
    pub fn cancel(&mut self, id: RequestId) {
        self.queue.retain(|(queued, _)| *queued != id);
        if let Some(at) = self.active.iter().position(|active| active.id == id) {
            let active = self.active.remove(at);
            self.retire(active);
        }
    }

    /// Ends a request as if its last token so far had been a stop; `None` if it is not generating or has no token yet.
    pub fn finish(&mut self, id: RequestId) -> Option<Finished> {
        let at = self.active.iter().position(|active| active.id == id && !active.generated().is_empty())?;
        let active = self.active.remove(at);
        Some(self.finished(active, Finish::Stop))
    }

    /// Computes the next rows: a token for each request that generates, and pieces of the prompts of those
    /// that joined.
    pub fn step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.admit();
        if self.active.is_empty() {
            return events;
        }
        let shares = self.shares();
        match self.feed(&shares) {
            Ok(rows) => self.choose(rows, &mut events),
            Err(_) => {
                // One of them, or all together: each alone, so that it hurts nobody else.
                for at in (0..self.active.len()).rev() {
                    let mut alone = vec![0; self.active.len()];
                    alone[at] = shares[at];
                    match if shares[at] == 0 { Ok(Vec::new()) } else { self.feed(&alone) } {
                        Ok(rows) => self.choose(rows, &mut events),
                        Err(error) => {
                            let active = self.active.remove(at);
                            let id = active.id;
                            self.release(&active);
                            events.push(Event::Failed { id, error: error.into() });
                        }
                    }
                }
            }
        }
        events
    }

    /// Lets waiting requests join, first come, first served, as far as there is room.
    fn admit(&mut self) {
        while self.active.len() < self.options.requests {
            let Some((_, request)) = self.queue.front() else { return };
            let (need, limit) = (self.need(request), self.session.cache_limit());
            if self.reserved + need > limit {
                return;
            }
            // What is kept for others gives way.
            while self.reserved + need + self.kept_bytes() > limit && self.kept.pop_front().is_some() {}
            let (id, request) = self.queue.pop_front().expect("it is there");
            self.reserved += need;
            let state = self.beginning(&request.prompt);
            let tokens = request.prompt.clone();
            self.active.push(Active { id, request, tokens, logprobs: Vec::new(), state, reserved: need });
        }
    }

    /// The state after the longest beginning that a known sequence shares, but for the prompt's last token.
    fn beginning(&self, prompt: &[u32]) -> SequenceState {
        let known = self.kept.iter().chain(self.active.iter().map(|active| &active.state));
        let shared = |state: &SequenceState| {
            state.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count().min(prompt.len() - 1)
        };
        match known.max_by_key(|state| shared(state)) {
            Some(state) if shared(state) > 0 => state.prefix(shared(state)),
            _ => self.session.begin(),
        }
    }

    /// How many rows of each request the next step computes.
    fn shares(&mut self) -> Vec<usize> {
        let mut left = self.options.prefill_rows;
        let mut shares: Vec<usize> =
            self.active.iter().map(|active| usize::from(active.waiting().len() == 1)).collect();
        let reading: Vec<usize> = (0..shares.len()).filter(|at| shares[*at] == 0).collect();
        // Prompts share what is left; a short one leaves its part to the others.
        for (nth, &at) in reading.iter().enumerate() {
            let fair = left.div_ceil(reading.len() - nth);
            shares[at] = self.active[at].waiting().len().min(fair);
            left -= shares[at];
        }
        shares
    }

    /// Computes rows; gives what follows those whose next token is to be chosen, by their place in `active`.
    fn feed(&mut self, shares: &[usize]) -> Result<Vec<(usize, Next)>, SessionError> {
        let (mut feeds, mut wishes) = (Vec::new(), Vec::new());
        let mut fed = Vec::new();
        for (at, (active, &share)) in
            self.active.iter_mut().zip(shares).enumerate().filter(|(_, (_, s))| **s > 0)
        {
            let Active { request, tokens, state, .. } = active;
            let (from, prompt) = (state.tokens().len(), request.prompt.len());
            let (request, tokens): (&Request, &[u32]) = (request, tokens);
            // Alternatives are chosen by the host.
            let wish =
                Wish { sampling: &request.sampling, tokens, prompt, draw: draw(request, tokens.len() - 1) };
            wishes.push((request.alternatives == 0).then_some(wish));
            feeds.push(Feed { tokens: &tokens[from..from + share], logits_from: prompt - 1, state });
            fed.push(at);
        }
        let fed = fed.into_iter().enumerate();
        Ok(match self.session.step_choosing(&mut feeds, &wishes)? {
            Given::Logits(logits) => {
                let last = |(feed, at)| Some((at, Next::Logits(logits.of(feed).last()?.to_vec())));
                fed.filter_map(last).collect()
            }
            Given::Chosen(mut chosen) => {
                fed.filter_map(|(feed, at)| Some((at, Next::Chosen(chosen[feed].take()?)))).collect()
            }
        })
    }

    fn choose(&mut self, rows: Vec<(usize, Next)>, events: &mut Vec<Event>) {
        // From the back, so that places stay right while requests leave.
        for (at, next) in rows.into_iter().rev() {
            let active = &mut self.active[at];
            let (id, request) = (active.id, &active.request);
            let chosen = match next {
                Next::Chosen(chosen) => chosen.map(|(token, logprob)| (token, logprob, Vec::new())),
                Next::Logits(logits) => {
                    let (prompt, draw) = (request.prompt.len(), draw(request, active.tokens.len() - 1));
                    let functions = &self.functions;
                    let token = choose(&logits, &request.sampling, &active.tokens, prompt, draw, functions);
                    token.map(|token| {
                        let mut named = likeliest(&logits, request.alternatives);
                        named.push(token);
                        let mut logprobs = log_probabilities(&logits, &named, functions);
                        let logprob = logprobs.pop().expect("one for each token");
                        (token, logprob, named.into_iter().zip(logprobs).collect())
                    })
                }
            };
            let (token, logprob, alternatives) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => {
                    let active = self.active.remove(at);
                    self.release(&active);
                    events.push(Event::Failed { id, error: error.into() });
                    continue;
                }
            };
            active.tokens.push(token);
            active.logprobs.push(logprob);
            events.push(Event::Token { id, token, logprob, alternatives });
            let finish = match () {
                () if active.request.stop.contains(&token) => Finish::Stop,
                () if active.generated().len() >= active.request.max_tokens => Finish::Length,
                () => continue,
            };
            let active = self.active.remove(at);
            let finished = Box::new(self.finished(active, finish));
            events.push(Event::Finished { id, finished });
        }
    }

    fn finished(&mut self, active: Active, finish: Finish) -> Finished {
        let finished = Finished {
            tokens: active.generated().to_vec(),
            logprobs: active.logprobs.clone(),
            root: active.state.root(active.request.prompt.len() - 1),
            request: active.request.clone(),
            finish,
        };
        self.retire(active);
        finished
    }

    /// Keeps a sequence for others that begin alike.
    fn retire(&mut self, active: Active) {
        self.release(&active);
        if self.options.kept > 0 && !active.state.tokens().is_empty() {
            self.kept.push_back(active.state);
            while self.kept.len() > self.options.kept {
                self.kept.pop_front();
            }
        }
    }

    fn release(&mut self, active: &Active) {
        self.reserved -= active.reserved;
    }

    fn need(&self, request: &Request) -> usize {
        let rows = request.prompt.len().saturating_add(request.max_tokens);
        self.session.growth(&self.session.begin(), rows)
    }

    fn kept_bytes(&self) -> usize {
        self.kept.iter().map(|state| self.session.growth(&self.session.begin(), state.tokens().len())).sum()
    }
}

/// Known rows that are computed at once: more take more memory, and hardly less time.
const KNOWN_ROWS: usize = 64;

/// Rows of a sequence whose tokens are all known, in pieces.
impl RowsExecutor for Session {
    fn rows(
        &self,
        program: &Program,
        tokens: &[u32],
        first: usize,
        traced: bool,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<(), RowsError>,
    ) -> Result<Option<Digest>, RowsError> {
        if program.digest() != self.program().digest() {
            return Err(SessionError::Foreign.into());
        }
        let mut state = self.begin();
        for piece in tokens.chunks(KNOWN_ROWS) {
            self.step_visiting(Feed { state: &mut state, tokens: piece, logits_from: first }, visit)?;
        }
        let traced = traced && self.level() == HashLevel::Operators;
        Ok(if traced { state.root(first) } else { None })
    }
}
