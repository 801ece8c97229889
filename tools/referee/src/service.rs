//! Disputes over HTTP/2 (a browser gets pages by HTTP/1.1), their transcripts in a store.
//!
//! Invariant: what a dispute has accepted is on disk, synced, before anybody is told; a referee that was
//! killed goes on from its store with the same state.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use repops::Digest;
use repops_http::{Limits, Method, Reply, Request, Server};
use repops_provenance::dispute::transcript::encode_event;
use repops_provenance::dispute::{
    Claimed, MESSAGE_BYTES_MAX, Received, Recorded, Referee, Terms, Transcript,
};
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use serde_json::{Value, json};

use crate::describe::describe;
use crate::page;
use crate::store::Store;
use crate::{RefereeError, Result};

/// The most disputes that one referee holds.
const DISPUTES_MAX: usize = 4096;
/// Two receipts in JSON, with some room.
const OPEN_BYTES_MAX: usize = 2 * RECEIPT_BYTES_MAX + 4096;
const THREADS: usize = 4;
/// How often time passes in all disputes.
const TICK: Duration = Duration::from_millis(200);

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a referee's deadlines are on its clock, and its log says when"
)]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A dispute.
struct Session {
    recorded: Recorded,
    /// Events on disk.
    written: usize,
}

impl Session {
    /// Stores what has happened since, and waits until it is on disk.
    fn sync(&mut self, store: &Store) -> Result<()> {
        let events = &self.recorded.transcript.events[self.written..];
        if events.is_empty() {
            return Ok(());
        }
        let bytes: Vec<Vec<u8>> = events.iter().map(encode_event).collect();
        store.add_events(self.recorded.referee.id(), self.written as u64, &bytes)?;
        self.written = self.recorded.transcript.events.len();
        Ok(())
    }
}

/// How a referee behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address and port.
    pub listen: String,
    /// Where disputes are kept.
    pub data: PathBuf,
    /// Time for each answer.
    pub answer_ms: u64,
}

struct Service<'a> {
    note: &'a (dyn Fn(&str) + Sync),
    store: Store,
    answer_ms: u64,
    sessions: Mutex<BTreeMap<Digest, Session>>,
}

/// Serves for as long as the process lives; `note` is told what people may want to know.
pub fn serve(options: &Options, note: &(dyn Fn(&str) + Sync)) -> Result<Infallible> {
    let folder = options.data.clone();
    std::fs::create_dir_all(&folder).map_err(|source| RefereeError::File { path: folder.clone(), source })?;
    let store = Store::open(&folder.join("disputes.redb"))?;
    let mut sessions = BTreeMap::new();
    for bytes in store.transcripts()? {
        let transcript = Transcript::decode(&bytes)?;
        let (written, recorded) = (transcript.events.len(), transcript.recorded()?);
        sessions.insert(recorded.referee.id(), Session { recorded, written });
    }
    let limits = Limits { body_bytes_max: OPEN_BYTES_MAX.max(MESSAGE_BYTES_MAX), ..Limits::default() };
    let server = Server::listen(&options.listen, limits)?;
    note(&format!("{} disputes; listening on http://{}", sessions.len(), server.address()));
    let service = Service { note, store, answer_ms: options.answer_ms, sessions: Mutex::new(sessions) };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    if let Some(request) = server.next(TICK) {
                        let reply = service.answer(&request);
                        request.answer(reply);
                    }
                }
            });
        }
        // Whatever there is to answer.
        loop {
            std::thread::sleep(TICK);
            service.tick();
        }
    })
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

fn reply(status: u16, value: Value) -> Reply {
    Reply::new(status, JSON, format!("{value}\n"))
}

fn refused(status: u16, problem: impl std::fmt::Display) -> Reply {
    reply(status, json!({ "error": problem.to_string() }))
}

impl Service<'_> {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Digest, Session>> {
        // A thread that panicked has not left anything half done that is not on disk.
        self.sessions.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets the time pass in every dispute.
    fn tick(&self) {
        let now = now_ms();
        for session in self.sessions().values_mut() {
            session.recorded.tick(now);
            if let Err(problem) = session.sync(&self.store) {
                (self.note)(&problem.to_string());
            }
        }
    }

    fn answer(&self, request: &Request) -> Reply {
        match (&request.method, request.parts().as_slice()) {
            (&Method::GET, []) => self.index(),
            (&Method::GET, ["disputes"]) => self.list(),
            (&Method::POST, ["disputes"]) => self.open(&request.body),
            (&Method::GET, ["disputes", id]) => self.with(id, |session| {
                let object = describe(&session.recorded.referee);
                reply(200, Value::Object(object))
            }),
            (&Method::GET, ["disputes", id, "transcript"]) => self.with(id, |session| {
                Reply::new(200, "application/octet-stream", session.recorded.transcript.encode())
            }),
            (&Method::GET, ["disputes", id, "events", first]) => self.with(id, |session| {
                let events = &session.recorded.transcript.events;
                let first = first.parse().ok().filter(|first| *first <= events.len());
                let Some(first) = first else { return refused(404, "so much has not happened") };
                let events: Vec<u8> = events[first..].iter().flat_map(encode_event).collect();
                Reply::new(200, "application/octet-stream", events)
            }),
            (&Method::GET, ["disputes", id, "page"]) => {
                self.with(id, |session| Reply::new(200, HTML, page::dispute(&session.recorded.transcript)))
            }
            (&Method::POST, ["disputes", id, "messages"]) => match request.body.len() <= MESSAGE_BYTES_MAX {
                true => self.with(id, |session| receive(session, &self.store, &request.body)),
                false => refused(413, format!("more than {MESSAGE_BYTES_MAX} bytes")),
            },
            _ => refused(404, "there is nothing here"),
        }
    }

    fn with(&self, id: &str, act: impl FnOnce(&mut Session) -> Reply) -> Reply {
        let mut sessions = self.sessions();
        let session = Digest::from_hex(id).and_then(|id| sessions.get_mut(&id));
        let Some(session) = session else { return refused(404, "there is no such dispute") };
        session.recorded.tick(now_ms());
        if let Err(problem) = session.sync(&self.store) {
            return refused(500, problem);
        }
        act(session)
    }

    fn list(&self) -> Reply {
        let sessions = self.sessions();
        let entry = |(id, session): (&Digest, &Session)| {
            let referee = &session.recorded.referee;
            json!({
                "id": id.to_hex(),
                "keys": referee.receipts().each_ref().map(|r| r.signer().to_string()),
                "over": referee.verdict().is_some(),
            })
        };
        reply(200, Value::Array(sessions.iter().map(entry).collect()))
    }

    fn index(&self) -> Reply {
        let sessions = self.sessions();
        let rows = sessions.iter().map(|(id, session)| (*id, &session.recorded.referee));
        Reply::new(200, HTML, page::index(rows))
    }

    fn open(&self, body: &[u8]) -> Reply {
        let receipts = match receipts_of(body) {
            Ok(receipts) => receipts,
            Err(problem) => return refused(400, problem),
        };
        let (receipts, number) = receipts;
        let terms = Terms { answer_ms: self.answer_ms, number };
        let recorded = match Recorded::open(receipts, terms, now_ms()) {
            Ok(recorded) => recorded,
            Err(error) => return refused(400, error),
        };
        let id = recorded.referee.id();
        let mut sessions = self.sessions();
        if let Some(known) = sessions.get(&id) {
            return opened(&id, &known.recorded.referee);
        }
        if sessions.len() >= DISPUTES_MAX {
            return refused(503, "there are too many disputes here");
        }
        if let Err(problem) = self.store.add_dispute(id, &recorded.transcript.encode()) {
            return refused(500, problem);
        }
        let reply = opened(&id, &recorded.referee);
        sessions.insert(id, Session { recorded, written: 0 });
        reply
    }
}

fn opened(id: &Digest, referee: &Referee) -> Reply {
    reply(200, json!({ "id": id.to_hex(), "over": referee.verdict().is_some() }))
}

fn receive(session: &mut Session, store: &Store, message: &[u8]) -> Reply {
    let received = session.recorded.receive(now_ms(), message);
    if let Err(problem) = session.sync(store) {
        return refused(500, problem);
    }
    match received {
        Received::Accepted => reply(200, json!({ "received": "accepted" })),
        Received::Ignored(why) => reply(200, json!({ "received": "ignored", "why": why })),
    }
}

fn receipts_of(body: &[u8]) -> std::result::Result<([Claimed; 2], u64), String> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let receipt = |field: &str| {
        let text = value[field].as_str().ok_or(format!("{field}: the text of a receipt is needed"))?;
        Claimed::parse(text.as_bytes()).map_err(|e| format!("{field}: {e}"))
    };
    Ok(([receipt("first")?, receipt("second")?], value["number"].as_u64().unwrap_or(0)))
}
