//! The thread that generates.
//!
//! It owns the scheduler. Requests come through a queue; what becomes of each goes back through a channel of its own, whose
//! length the request's own limit bounds. A client that is gone cancels its request; one that reads slowly delays nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use repops::Program;
use repops_provenance::generation::{GenerationClaim, logprobs_digest};
use repops_provenance::{Info, Key};
use repops_runtime::generation::{Event, Finish, Finished, Request, RequestId, Scheduler};
use repops_runtime::session::Session;
use repops_text::{Stopped, Stops, Stream, Text};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::ServeOptions;
use crate::receipts::{Kept, Receipts};

/// What is to be generated.
pub struct Job {
    /// Under which the receipt is kept.
    pub id: String,
    /// Which of the answers to a request this is.
    pub choice: usize,
    pub request: Request,
    pub stops: Vec<String>,
}

/// What became of a job.
#[derive(Debug)]
pub enum Update {
    /// It will be answered.
    Accepted,
    /// It cannot be; the client's fault.
    Refused(String),
    Token(Token),
    Done(Done),
    /// It began, and cannot be ended.
    Failed(String),
}

/// A token and the text that it completes.
#[derive(Clone, Debug)]
pub struct Token {
    pub token: u32,
    pub logprob: f32,
    /// The likeliest tokens, if they were asked for.
    pub alternatives: Vec<(u32, f32)>,
    pub text: String,
}

/// The end of an answer.
#[derive(Clone, Debug)]
pub struct Done {
    /// Text that was held back.
    pub text: String,
    pub reason: &'static str,
    pub completion_tokens: usize,
    /// Of the receipt, under which it is kept.
    pub id: String,
    /// Of the receipt's claim.
    pub digest: String,
}

/// What becomes of the jobs of a request, each told by its choice.
pub type Updates = UnboundedReceiver<(usize, Update)>;
type Told = UnboundedSender<(usize, Update)>;

/// What is counted.
#[derive(Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub finished: AtomicU64,
    pub cancelled: AtomicU64,
    pub refused: AtomicU64,
    pub failed: AtomicU64,
    pub prompt_tokens: AtomicU64,
    pub tokens: AtomicU64,
    pub steps: AtomicU64,
    pub active: AtomicUsize,
    pub waiting: AtomicUsize,
    /// Jobs that were given to the engine and are not over.
    pub open: AtomicUsize,
    /// No new requests.
    pub closing: AtomicBool,
    /// No old ones either.
    pub abandon: AtomicBool,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A handle to the thread.
#[derive(Clone)]
pub struct Engine {
    jobs: SyncSender<(Job, Told)>,
    pub counters: Arc<Counters>,
    pub receipts: Arc<Receipts>,
    pub session: Arc<Session>,
    pub text: Arc<Text>,
    requests_max: usize,
}

impl Engine {
    pub fn start(
        session: Arc<Session>,
        text: Arc<Text>,
        key: Key,
        options: &ServeOptions,
    ) -> (Engine, JoinHandle<()>) {
        let (jobs, incoming) = sync_channel(options.requests_max.max(1));
        let counters = Arc::new(Counters::default());
        let receipts = Arc::new(Receipts::new(options.receipts_max.max(1)));
        let scheduler = Scheduler::new(session.clone(), options.scheduler);
        let (to_worker, signer) = ((counters.clone(), receipts.clone(), text.clone()), key);
        let worker = std::thread::spawn(move || {
            let (counters, receipts, text) = to_worker;
            Worker {
                scheduler,
                text: &text,
                key: signer,
                counters: &counters,
                receipts: &receipts,
                jobs: BTreeMap::new(),
            }
            .run(&incoming);
        });
        let requests_max = options.requests_max.max(1);
        (Engine { jobs, counters, receipts, session, text, requests_max }, worker)
    }

    /// Hands the jobs of a request to the thread, all or none; `None` when there are too many.
    pub fn submit(&self, jobs: Vec<Job>) -> Option<Updates> {
        let open = &self.counters.open;
        let count = jobs.len();
        let room = |open: usize| (open + count <= self.requests_max).then_some(open + count);
        open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).ok()?;
        let (sender, receiver) = unbounded_channel();
        for (sent, job) in jobs.into_iter().enumerate() {
            if self.jobs.try_send((job, sender.clone())).is_err() {
                // Those before it see that nobody listens.
                open.fetch_sub(count - sent, Ordering::SeqCst);
                return None;
            }
        }
        Some(receiver)
    }
}

/// A job that is being answered.
struct Answer<'t> {
    id: String,
    choice: usize,
    sender: Told,
    stream: Stream<'t>,
    stops: Stops,
    /// By one of them.
    stopped: bool,
}

impl Answer<'_> {
    /// Nobody may be there to read it; that shows at the next look.
    fn tell(&self, update: Update) {
        let _ = self.sender.send((self.choice, update));
    }
}

struct Worker<'w> {
    scheduler: Scheduler,
    text: &'w Text,
    key: Key,
    counters: &'w Counters,
    receipts: &'w Receipts,
    jobs: BTreeMap<RequestId, Answer<'w>>,
}

impl Worker<'_> {
    fn run(mut self, incoming: &Receiver<(Job, Told)>) {
        loop {
            if self.scheduler.is_idle() {
                // Nothing to do until somebody asks; nobody can once all handles are gone.
                match incoming.recv() {
                    Ok((job, sender)) => self.accept(job, sender),
                    Err(_) => return,
                }
            }
            while let Ok((job, sender)) = incoming.try_recv() {
                self.accept(job, sender);
            }
            self.forget_gone();
            for event in self.scheduler.step() {
                self.event(event);
            }
            count(&self.counters.steps, 1);
            self.publish();
        }
    }

    fn publish(&self) {
        let (active, waiting) = self.scheduler.load();
        self.counters.active.store(active, Ordering::Relaxed);
        self.counters.waiting.store(waiting, Ordering::Relaxed);
    }

    fn accept(&mut self, job: Job, sender: Told) {
        let Job { id, choice, request, stops } = job;
        let prompt = request.prompt.len() as u64;
        match self.scheduler.submit(request) {
            Ok(request) => {
                count(&self.counters.accepted, 1);
                count(&self.counters.prompt_tokens, prompt);
                let (stream, stops) = (self.text.stream(), Stops::new(stops));
                let answer = Answer { id, choice, sender, stream, stops, stopped: false };
                answer.tell(Update::Accepted);
                self.jobs.insert(request, answer);
            }
            Err(error) => {
                count(&self.counters.refused, 1);
                self.over();
                // Nobody may be there any more.
                let _ = sender.send((choice, Update::Refused(error.to_string())));
            }
        }
    }

    /// Cancels what nobody waits for any more.
    fn forget_gone(&mut self) {
        let abandon = self.counters.abandon.load(Ordering::SeqCst);
        let gone = |(_, answer): &(&RequestId, &Answer<'_>)| abandon || answer.sender.is_closed();
        let gone: Vec<RequestId> = self.jobs.iter().filter(gone).map(|(id, _)| *id).collect();
        for id in gone {
            self.scheduler.cancel(id);
            self.jobs.remove(&id);
            count(&self.counters.cancelled, 1);
            self.over();
        }
    }

    fn over(&self) {
        self.counters.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Token { id, token, logprob, alternatives } => {
                self.token(id, Token { token, logprob, alternatives, text: String::new() });
            }
            Event::Finished { id, finished } => self.end(id, &finished),
            Event::Failed { id, error } => {
                if let Some(answer) = self.jobs.remove(&id) {
                    count(&self.counters.failed, 1);
                    self.over();
                    answer.tell(Update::Failed(error.to_string()));
                }
            }
        }
    }

    fn token(&mut self, id: RequestId, mut token: Token) {
        count(&self.counters.tokens, 1);
        let Some(answer) = self.jobs.get_mut(&id) else { return };
        if !self.text.is_end(token.token) {
            match answer.stream.push(token.token).map(|piece| answer.stops.push(&piece)) {
                Ok(Stopped::No(piece)) => token.text = piece,
                Ok(Stopped::Yes(piece, _)) => {
                    token.text = piece;
                    answer.stopped = true;
                }
                // A token without text shows nothing.
                Err(_) => {}
            }
        }
        let stopped = answer.stopped;
        answer.tell(Update::Token(token));
        // Where this gives nothing, the answer's end is an event of this very step.
        if stopped && let Some(finished) = self.scheduler.finish(id) {
            self.end(id, &finished);
        }
    }

    fn end(&mut self, id: RequestId, finished: &Finished) {
        let Some(mut answer) = self.jobs.remove(&id) else { return };
        self.over();
        let mut text = String::new();
        if !answer.stopped {
            match answer.stops.push(&answer.stream.finish().unwrap_or_default()) {
                Stopped::No(rest) => text = rest + &answer.stops.finish(),
                Stopped::Yes(rest, _) => {
                    text = rest;
                    answer.stopped = true;
                }
            }
        }
        let stopped = answer.stopped || finished.finish == Finish::Stop;
        let claim = claim(self.scheduler.session().program(), finished);
        let receipt = claim.sign(&self.key, Info::default());
        let (id, digest) = (answer.id.clone(), receipt.claim.digest().to_hex());
        self.receipts.add(&id, Kept { receipt: receipt.to_json(), logprobs: finished.logprobs.clone() });
        count(&self.counters.finished, 1);
        let done = Done {
            text,
            reason: if stopped { "stop" } else { "length" },
            completion_tokens: finished.tokens.len(),
            id,
            digest,
        };
        answer.tell(Update::Done(done));
    }
}

/// What a receipt of a finished generation claims.
pub fn claim(program: &Program, finished: &Finished) -> GenerationClaim {
    GenerationClaim {
        program: program.digest(),
        prompt: finished.request.prompt.clone(),
        tokens: finished.tokens.clone(),
        sampling: finished.request.sampling,
        seed: finished.request.seed,
        nonce: finished.request.nonce,
        logprobs: logprobs_digest(&finished.logprobs),
        trace_root: finished.root,
    }
}
