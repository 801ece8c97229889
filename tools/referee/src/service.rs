//! Disputes over HTTP/2 (a browser gets pages by HTTP/1.1), their transcripts in a store.
//!
//! Invariant: what a dispute has accepted is on disk, synced, before anybody is told; a referee that was
//! killed goes on from its store with the same state.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use repops::Digest;
use repops_http::{Limits, Method, Reply, Request, Server};
use repops_provenance::dispute::{
    Claimed, MESSAGE_BYTES_MAX, Received, Recorded, Referee, Terms, Transcript,
};
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use serde_json::{Value, json};

use crate::describe::describe;
use crate::exchange::{Exchange, Heard};
use crate::games::{Games, Session, Wanted};
use crate::page;
use crate::store::Store;
use crate::{RefereeError, Result};

/// The most disputes that one referee holds.
const DISPUTES_MAX: usize = 4096;
/// Two receipts in JSON, with some room.
const OPEN_BYTES_MAX: usize = 2 * RECEIPT_BYTES_MAX + 4096;
const THREADS: usize = 4;
/// How often time passes in all disputes, and for requests that wait.
const TICK: Duration = Duration::from_millis(200);
/// The longest that a request waits: clients and connections have the patience for it.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A referee that ends sends what it has answered, for so long.
const FINISH: Duration = Duration::from_secs(2);

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a referee's deadlines are on its clock, and its log says when"
)]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
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

struct Service {
    store: Store,
    answer_ms: u64,
    games: Mutex<Games>,
}

/// Serves until `is_over` says so, and answers those that wait before it ends; `note` is told what people may want to know.
pub fn serve(
    options: &Options,
    note: &(dyn Fn(&str) + Sync),
    is_over: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let folder = options.data.clone();
    std::fs::create_dir_all(&folder).map_err(|source| RefereeError::File { path: folder.clone(), source })?;
    let store = Store::open(&folder.join("disputes.redb"))?;
    let mut games = Games::default();
    for bytes in store.transcripts()? {
        let transcript = Transcript::decode(&bytes)?;
        let (written, recorded) = (transcript.events.len(), transcript.recorded()?);
        games.add(Session { recorded, written });
    }
    let limits = Limits { body_bytes_max: OPEN_BYTES_MAX.max(MESSAGE_BYTES_MAX), ..Limits::default() };
    let server = Server::listen(&options.listen, limits)?;
    note(&format!("{} disputes; listening on http://{}", games.iter().len(), server.address()));
    let service = Service { store, answer_ms: options.answer_ms, games: Mutex::new(games) };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !is_over() {
                    if let Some(request) = server.next(TICK) {
                        service.answer(request);
                    }
                }
            });
        }
        // Whatever there is to answer.
        while !is_over() {
            std::thread::sleep(TICK);
            service.games().tick(now_ms(), &service.store, note);
        }
    });
    service.games().finish();
    server.finish(FINISH);
    Ok(())
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const HTML: &str = "text/html; charset=utf-8";

fn reply(status: u16, value: Value) -> Reply {
    Reply::new(status, JSON, format!("{value}\n"))
}

fn refused(status: u16, problem: impl std::fmt::Display) -> Reply {
    reply(status, json!({ "error": problem.to_string() }))
}

/// How many ticks somebody who asks for so many milliseconds waits.
fn ticks(wait_ms: u64) -> u32 {
    let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
    wait.as_millis().div_ceil(TICK.as_millis()) as u32
}

impl Service {
    fn games(&self) -> MutexGuard<'_, Games> {
        // A thread that panicked has not left anything half done that is not on disk.
        self.games.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn answer(&self, request: Request) {
        let reply = match (&request.method, request.parts().as_slice()) {
            (&Method::POST, ["exchange"]) => return self.exchange(request),
            (&Method::GET, ["disputes", id, "verdict", wait]) => match (Digest::from_hex(id), wait.parse()) {
                (Some(id), Ok(wait)) => {
                    return self.games().answer(request, Wanted::Verdict(id), ticks(wait));
                }
                _ => refused(404, "there is no such dispute"),
            },
            (&Method::GET, []) => self.index(),
            (&Method::GET, ["disputes"]) => self.list(),
            (&Method::POST, ["disputes"]) => self.open(&request.body),
            (&Method::GET, ["disputes", id]) => self.with(id, |session| {
                let object = describe(&session.recorded.referee);
                reply(200, Value::Object(object))
            }),
            (&Method::GET, ["disputes", id, "transcript"]) => {
                self.with(id, |session| Reply::new(200, BYTES, session.recorded.transcript.encode()))
            }
            (&Method::GET, ["disputes", id, "events", first]) => self.with(id, |session| {
                let events = first.parse().ok().and_then(|first| session.events(first));
                match events {
                    Some(events) => Reply::new(200, BYTES, events),
                    None => refused(404, "so much has not happened"),
                }
            }),
            (&Method::GET, ["disputes", id, "page"]) => {
                self.with(id, |session| Reply::new(200, HTML, page::dispute(&session.recorded.transcript)))
            }
            (&Method::POST, ["disputes", id, "messages"]) => match request.body.len() <= MESSAGE_BYTES_MAX {
                true => self.with(id, |session| receive(session, &request.body)),
                false => refused(413, format!("more than {MESSAGE_BYTES_MAX} bytes")),
            },
            _ => refused(404, "there is nothing here"),
        };
        request.answer(reply);
    }

    /// Acts on a dispute, and stores what has happened in it before anybody is told.
    fn with(&self, id: &str, act: impl FnOnce(&mut Session) -> Reply) -> Reply {
        let mut games = self.games();
        let session = Digest::from_hex(id).and_then(|id| games.get_mut(&id));
        let Some(session) = session else { return refused(404, "there is no such dispute") };
        session.recorded.tick(now_ms());
        let reply = act(session);
        let id = session.recorded.referee.id();
        match session.sync(&self.store) {
            Ok(is_changed) => {
                if is_changed {
                    games.changed(id);
                }
                reply
            }
            Err(problem) => refused(500, problem),
        }
    }

    /// Takes a party's message, if it has one, and answers when there is something for it to do.
    fn exchange(&self, request: Request) {
        let Exchange { key, wait_ms, known, said } = match Exchange::decode(&request.body) {
            Ok(exchange) => exchange,
            Err(problem) => return request.answer(refused(400, problem)),
        };
        let mut games = self.games();
        let mut heard = Heard::Nothing;
        if let Some((id, message)) = said {
            heard = match games.get_mut(&id) {
                None => Heard::Ignored("there is no such dispute".to_string()),
                Some(session) => {
                    let received = session.recorded.receive(now_ms(), &message);
                    match session.sync(&self.store) {
                        Ok(true) => games.changed(id),
                        Ok(false) => {}
                        Err(problem) => return request.answer(refused(500, problem)),
                    }
                    match received {
                        Received::Accepted => Heard::Accepted,
                        Received::Ignored(why) => Heard::Ignored(why.to_string()),
                    }
                }
            };
        }
        let known = known.into_iter().collect();
        games.answer(request, Wanted::News { key, known, heard }, ticks(wait_ms.into()));
    }

    fn list(&self) -> Reply {
        let games = self.games();
        let entry = |(id, session): (&Digest, &Session)| {
            json!({
                "id": id.to_hex(),
                "keys": session.recorded.referee.receipts().each_ref().map(|r| r.signer().to_string()),
                "over": session.is_over(),
            })
        };
        reply(200, Value::Array(games.iter().map(entry).collect()))
    }

    fn index(&self) -> Reply {
        let games = self.games();
        let rows = games.iter().map(|(id, session)| (*id, &session.recorded.referee));
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
        let mut games = self.games();
        if let Some(known) = games.get(&id) {
            return opened(&id, &known.recorded.referee);
        }
        if games.iter().len() >= DISPUTES_MAX {
            return refused(503, "there are too many disputes here");
        }
        if let Err(problem) = self.store.add_dispute(id, &recorded.transcript.encode()) {
            return refused(500, problem);
        }
        let reply = opened(&id, &recorded.referee);
        games.add(Session { recorded, written: 0 });
        reply
    }
}

fn opened(id: &Digest, referee: &Referee) -> Reply {
    reply(200, json!({ "id": id.to_hex(), "over": referee.verdict().is_some() }))
}

fn receive(session: &mut Session, message: &[u8]) -> Reply {
    match session.recorded.receive(now_ms(), message) {
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
