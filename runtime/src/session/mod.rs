//! Sessions: a sequence program computed row by row, in pieces, and for several sequences at once.
//!
//! Invariant: how rows are cut into pieces and put into batches, threads, instruction set and shared
//! beginnings change no bit of the logits or of the log: every row is what the program says of its sequence.

mod cache;
pub(crate) mod hashing;
mod on_device;
mod plan;
mod spot;
mod step;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repops::Program;
use repops::exec::HashLevel;
use repops::fma;
use repops::ops::OpError;
use repops::program::ConstantDecl;
use repops::sequence::sampling::{Draw, Sampling, SamplingError};
use repops::sequence::{Sequence, SequenceError};
use repops::tensor::{AlignedBytes, TensorError};
use repops_cuda::Device;
use repops_kernels::FloatEnv;

pub use cache::SequenceState;
pub use step::Vectorized;

use crate::Runtime;
use crate::device::Warn;
use cache::{Budget, HostPages, Pages};
use on_device::{DeviceWork, Pools};
use plan::Plan;
use step::Work;

/// The most rows of one step.
pub const ROWS_MAX: usize = 4096;

/// How a session works. None of this changes a bit.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// `None` and `Outputs` keep no log.
    pub level: HashLevel,
    /// Bytes that keys and values of all its sequences may take.
    pub cache_bytes: usize,
    /// Bytes of logits that are held at once where those of many rows are looked at one after the other: of one row at least,
    /// and where they are more than a MiB, no more than a 64th of the constants.
    pub logits_bytes: usize,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { level: HashLevel::Operators, cache_bytes: 4 << 30, logits_bytes: 4 << 20 }
    }
}

/// Why rows could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("token {token} is none of the {vocabulary} of the vocabulary")]
    Token { token: u32, vocabulary: usize },
    #[error("{rows} rows at once; a step takes 1 to {max}")]
    Rows { rows: usize, max: usize },
    #[error(
        "keys and values take {used} bytes and need {wanted} more; the limit is {limit}: allow more, or shorter texts"
    )]
    CacheFull { used: usize, wanted: usize, limit: usize },
    #[error("step {step}: {problem}")]
    Unsupported { step: String, problem: String },
    #[error("step {step} at position {position}: {error}")]
    Step { step: String, position: usize, error: OpError },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Fma(#[from] fma::FmaError),
    #[error("a step is given a state of another program or device")]
    Foreign,
    #[error("{device}: {problem}")]
    Device { device: String, problem: String },
}

/// What one sequence gets in a step.
pub struct Feed<'a> {
    pub state: &'a mut SequenceState,
    /// Tokens that follow those of the state.
    pub tokens: &'a [u32],
    /// The first position whose logits are wanted; those before it are not computed.
    pub logits_from: usize,
}

/// How the token after the last row of a feed is to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub sampling: &'a Sampling,
    /// All tokens, those of the feed included; the first `prompt` were given.
    pub tokens: &'a [u32],
    pub prompt: usize,
    pub draw: Draw,
}

/// A token and the logarithm of its probability.
pub type Chosen = Result<(u32, f32), SamplingError>;

/// What a step gives of its head rows.
pub enum Given {
    Logits(Logits),
    /// For each feed with a head row its next token. Logits have stayed where they were computed.
    Chosen(Vec<Option<Chosen>>),
}

/// Logits of some positions.
pub struct Logits {
    /// f32.
    values: AlignedBytes,
    vocabulary: usize,
    /// For each feed the range of its rows.
    ranges: Vec<std::ops::Range<usize>>,
}

impl Logits {
    /// The logits of feed `feed`, position after position.
    pub fn of(&self, feed: usize) -> impl ExactSizeIterator<Item = &[f32]> {
        let (v, values) = (self.vocabulary, step::floats(self.values.as_slice()));
        self.ranges[feed].clone().map(move |row| &values[row * v..][..v])
    }
}

/// A sequence program made ready to be stepped. Steps of one session take turns.
pub struct Session {
    runtime: Arc<Runtime>,
    program: Arc<Program>,
    sequence: Sequence,
    plan: Plan,
    level: HashLevel,
    logits_bytes: usize,
    budget: Arc<Budget>,
    pages: Arc<dyn Pages>,
    work: Mutex<Box<dyn Worker>>,
}

/// Who computes rows.
trait Worker: Send {
    /// As [`Session::step`], of tokens and states that fit the program.
    fn step(&mut self, session: &Session, feeds: &mut [Feed<'_>]) -> Result<Logits, SessionError>;

    /// The one that can compute the tail for some rows at a time.
    fn in_parts(&mut self) -> Option<&mut Work> {
        None
    }

    /// The same, but for tokens that are chosen where the logits are, if all that are wished for can be.
    fn step_choosing(
        &mut self,
        session: &Session,
        feeds: &mut [Feed<'_>],
        _wishes: &[Option<Wish<'_>>],
    ) -> Result<Given, SessionError> {
        self.step(session, feeds).map(Given::Logits)
    }
}

impl Session {
    /// Proves that `program` is a sequence program and prepares it.
    pub fn new(
        runtime: Arc<Runtime>,
        program: Arc<Program>,
        options: SessionOptions,
    ) -> Result<Session, SessionError> {
        let sequence = Sequence::of(&program)?;
        let plan = Plan::new(&program, &sequence, &runtime.regions, &runtime.tiles)?;
        let budget = Arc::new(Budget::new(options.cache_bytes));
        let work: Mutex<Box<dyn Worker>> = Mutex::new(Box::new(Work::default()));
        let pages = Arc::new(HostPages);
        let SessionOptions { level, logits_bytes, .. } = options;
        let constants: usize = program.constants().iter().filter_map(ConstantDecl::byte_len).sum();
        let logits_bytes = logits_bytes.min((constants / 64).max(1 << 20));
        Ok(Session { runtime, program, sequence, plan, level, logits_bytes, budget, pages, work })
    }

    /// The same on a device, where keys and values stay; a step that it has no kernel for runs on the CPU, of which `warn` is
    /// told once for each operator. `name` is for messages.
    pub fn on_device<D>(
        device: D,
        name: &str,
        warn: Option<Warn>,
        runtime: Arc<Runtime>,
        program: Arc<Program>,
        options: SessionOptions,
    ) -> Result<Session, SessionError>
    where
        D: Device + Send + Sync + 'static,
        D::Buffer: Send + Sync,
    {
        let mut session = Session::new(runtime, program, options)?;
        let pools = Arc::new(Pools::new(device, name, &session.plan.attention, options.cache_bytes)?);
        session.pages = pools.clone();
        session.work = Mutex::new(Box::new(DeviceWork::new(pools, &session.runtime.regions, warn)));
        Ok(session)
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// What was proven of the program.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    pub fn level(&self) -> HashLevel {
        self.level
    }

    /// Bytes that keys and values of all sequences may take.
    pub fn cache_limit(&self) -> usize {
        self.budget.limit()
    }

    /// Bytes that keys and values take now.
    pub fn cache_bytes(&self) -> usize {
        self.budget.used()
    }

    /// A sequence without tokens.
    pub fn begin(&self) -> SequenceState {
        SequenceState::new(self.plan.attention.len())
    }

    /// Bytes of keys and values that `count` more tokens of a state need.
    pub fn growth(&self, state: &SequenceState, count: usize) -> usize {
        state.growth(count, &self.plan.attention)
    }

    /// Computes the rows of the tokens of every feed and appends them to their states. On an error the
    /// states are as before.
    pub fn step(&self, feeds: &mut [Feed<'_>]) -> Result<Logits, SessionError> {
        self.work(feeds, |work, feeds| work.step(self, feeds))
    }

    /// The same, and on a device chooses the token that follows each feed's last row where its logits are: if there is a wish for
    /// each feed with a head row, which is its only one. `wishes`: one for each feed, as far as there are some.
    pub fn step_choosing(
        &self,
        feeds: &mut [Feed<'_>],
        wishes: &[Option<Wish<'_>>],
    ) -> Result<Given, SessionError> {
        self.work(feeds, |work, feeds| work.step_choosing(self, feeds, wishes))
    }

    /// As [`Session::step`] of one feed, whose logits `visit` is given row by row, with the position: few are held at once.
    pub(crate) fn step_visiting<E: From<SessionError>>(
        &self,
        feed: Feed<'_>,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = feed.state.tokens().len().max(feed.logits_from);
        let feeds = &mut [feed];
        self.check(feeds)?;
        let mut guard = self.worker();
        let Some(work) = guard.in_parts() else {
            drop(guard);
            let logits = self.step(feeds)?;
            return logits.of(0).enumerate().try_for_each(|(at, row)| visit(first + at, row));
        };
        let mut batch = self.install(|| {
            let batch = work.body(self, feeds)?;
            work.settle();
            Ok(batch)
        })?;
        let vocabulary = self.sequence.vocabulary.max(1);
        let (rows, most) = (batch.head.len(), (self.logits_bytes / (4 * vocabulary)).max(1));
        for start in (0..rows).step_by(most) {
            let part = start..rows.min(start + most);
            let logits = self.install(|| work.part(self, &mut batch, feeds, part))?;
            for (at, row) in logits.chunks_exact(vocabulary).enumerate() {
                visit(first + start + at, row)?;
            }
        }
        self.install(|| Ok(work.finish(self, batch, feeds, AlignedBytes::default())))?;
        Ok(())
    }

    fn work<T: Send>(
        &self,
        feeds: &mut [Feed<'_>],
        step: impl FnOnce(&mut dyn Worker, &mut [Feed<'_>]) -> Result<T, SessionError> + Send,
    ) -> Result<T, SessionError> {
        self.check(feeds)?;
        let mut guard = self.worker();
        let work: &mut dyn Worker = guard.as_mut();
        self.install(|| step(work, feeds))
    }

    /// Whether the program and this session's states have such feeds.
    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), SessionError> {
        let rows = feeds.iter().map(|feed| feed.tokens.len()).sum();
        if rows == 0 || rows > ROWS_MAX {
            return Err(SessionError::Rows { rows, max: ROWS_MAX });
        }
        for feed in feeds.iter() {
            if let Some(&token) = feed.tokens.iter().find(|t| self.sequence.token(**t).is_none()) {
                return Err(SessionError::Token { token, vocabulary: self.sequence.vocabulary });
            }
            let mut pages = feed.state.pages.iter().enumerate();
            let are_own = pages.all(|(at, pages)| pages.iter().all(|page| self.pages.owns(at, &page.place)));
            if feed.state.pages.len() != self.plan.attention.len() || !are_own {
                return Err(SessionError::Foreign);
            }
        }
        Ok(())
    }

    fn worker(&self) -> MutexGuard<'_, Box<dyn Worker>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install<T: Send>(
        &self,
        compute: impl FnOnce() -> Result<T, SessionError> + Send,
    ) -> Result<T, SessionError> {
        self.runtime.pool.install(|| {
            let _env = FloatEnv::enter();
            fma::check()?;
            compute()
        })
    }
}
