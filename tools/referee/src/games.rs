//! Disputes under way, and requests that wait for something to happen in them.
//!
//! A request that waits is an entry in a list and takes no thread; whatever changes a dispute answers those that wait for it. Invariant:
//! under one lock a request either finds what it asks for or is in the list, so nothing happens unheard in between.

use std::collections::BTreeMap;

use repops::Digest;
use repops_http::{Reply, Request};
use repops_provenance::PublicKey;
use repops_provenance::dispute::transcript::encode_event;
use repops_provenance::dispute::{Party, Recorded};

use crate::Result;
use crate::describe::describe;
use crate::exchange::{Entry, Heard, News, SPARE};
use crate::store::Store;

/// Requests that wait, in all and for one key or dispute; more are answered at once.
pub(crate) const WAITING_MAX: usize = 256;
pub(crate) const WAITING_OF_ONE_MAX: usize = 8;
/// A request that waits holds its body's room; one with a larger body does not wait.
const WAITING_BYTES_MAX: usize = 32 << 10;
/// Of news with more bytes than this the rest is told the next time.
const NEWS_BYTES_MAX: usize = 1 << 20;

/// A dispute.
pub(crate) struct Session {
    pub recorded: Recorded,
    /// Events on disk.
    pub written: usize,
}

impl Session {
    /// Stores what has happened since, and waits until it is on disk; whether anything has.
    pub fn sync(&mut self, store: &Store) -> Result<bool> {
        let events = &self.recorded.transcript.events[self.written..];
        if events.is_empty() {
            return Ok(false);
        }
        let bytes: Vec<Vec<u8>> = events.iter().map(encode_event).collect();
        store.add_events(self.recorded.referee.id(), self.written as u64, &bytes)?;
        self.written = self.recorded.transcript.events.len();
        Ok(true)
    }

    /// The events after the first so many, if there are so many.
    pub fn events(&self, first: usize) -> Option<Vec<u8>> {
        Some(self.recorded.transcript.events.get(first..)?.iter().flat_map(encode_event).collect())
    }

    fn keys(&self) -> [PublicKey; 2] {
        self.recorded.referee.receipts().each_ref().map(|receipt| receipt.signer())
    }

    /// Whether all that has happened is on disk, so that it may be told.
    fn is_stored(&self) -> bool {
        self.written == self.recorded.transcript.events.len()
    }

    pub fn is_over(&self) -> bool {
        self.recorded.referee.verdict().is_some()
    }

    fn is_owed_by(&self, key: PublicKey) -> bool {
        let keys = self.keys();
        Party::BOTH.into_iter().any(|party| keys[party as usize] == key && self.recorded.referee.owes(party))
    }

    /// What a party with a key is to hear that has so many events, or knows nothing of the dispute.
    fn entry(&self, key: PublicKey, known: Option<u64>) -> Option<Entry> {
        let all = self.recorded.transcript.events.len() as u64;
        let whole = || Entry::Whole(self.recorded.transcript.encode());
        match known {
            _ if !self.is_stored() => None,
            Some(SPARE) => None,
            None if self.is_over() => None,
            None => Some(whole()),
            Some(known) if known > all => Some(whole()),
            Some(known) if known < all && (self.is_over() || self.is_owed_by(key)) => {
                self.events(known as usize).map(Entry::Events)
            }
            Some(_) => None,
        }
    }
}

/// What a request waits for.
pub(crate) enum Wanted {
    /// Something to do for a key that has so many events of some disputes.
    News { key: PublicKey, known: BTreeMap<Digest, u64>, heard: Heard },
    /// The end of a dispute.
    Verdict(Digest),
}

impl Wanted {
    fn topic(&self) -> [u8; 32] {
        match self {
            Wanted::News { key, .. } => key.0,
            Wanted::Verdict(id) => id.0,
        }
    }
}

struct Waiting {
    request: Request,
    wanted: Wanted,
    /// Ticks that it may still wait.
    ticks: u32,
}

#[derive(Default)]
pub(crate) struct Games {
    sessions: BTreeMap<Digest, Session>,
    of_key: BTreeMap<PublicKey, Vec<Digest>>,
    /// By keys and names of disputes.
    waiting: BTreeMap<[u8; 32], Vec<Waiting>>,
}

impl Games {
    pub fn add(&mut self, session: Session) {
        let id = session.recorded.referee.id();
        for key in session.keys() {
            self.of_key.entry(key).or_default().push(id);
        }
        self.sessions.insert(id, session);
        self.changed(id);
    }

    pub fn get(&self, id: &Digest) -> Option<&Session> {
        self.sessions.get(id)
    }

    pub fn get_mut(&mut self, id: &Digest) -> Option<&mut Session> {
        self.sessions.get_mut(id)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Digest, &Session)> {
        self.sessions.iter()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Lets the time pass in every dispute; what cannot be stored is told.
    pub fn tick(&mut self, now: u64, store: &Store, note: &dyn Fn(&str)) {
        let mut changed = Vec::new();
        for (id, session) in &mut self.sessions {
            session.recorded.tick(now);
            match session.sync(store) {
                Ok(true) => changed.push(*id),
                Ok(false) => {}
                Err(problem) => note(&problem.to_string()),
            }
        }
        changed.into_iter().for_each(|id| self.changed(id));
        let mut late = Vec::new();
        for list in self.waiting.values_mut() {
            list.retain(|waiting| !waiting.request.is_abandoned());
            list.iter_mut().for_each(|waiting| waiting.ticks = waiting.ticks.saturating_sub(1));
            late.extend(list.extract_if(.., |waiting| waiting.ticks == 0));
        }
        self.waiting.retain(|_, list| !list.is_empty());
        for Waiting { request, wanted, .. } in late {
            request.answer(self.reply(&wanted).1);
        }
    }

    /// Answers a request, perhaps later: at once when there is something to tell, or too many wait already.
    pub fn answer(&mut self, mut request: Request, wanted: Wanted, ticks: u32) {
        let (is_something, reply) = self.reply(&wanted);
        let topic = wanted.topic();
        let is_full = || {
            self.waiting.get(&topic).is_some_and(|list| list.len() >= WAITING_OF_ONE_MAX)
                || self.waiting() >= WAITING_MAX
        };
        if is_something || ticks == 0 || request.body.len() > WAITING_BYTES_MAX || is_full() {
            return request.answer(reply);
        }
        request.body = Vec::new();
        self.waiting.entry(topic).or_default().push(Waiting { request, wanted, ticks });
    }

    /// Answers whoever waits for something that has now happened in a dispute.
    pub fn changed(&mut self, id: Digest) {
        let Some(session) = self.sessions.get(&id) else { return };
        let [a, b] = session.keys();
        for topic in [a.0, b.0, id.0] {
            let Some(list) = self.waiting.remove(&topic) else { continue };
            let mut rest = Vec::new();
            for waiting in list {
                match self.reply(&waiting.wanted) {
                    (true, reply) => waiting.request.answer(reply),
                    (false, _) => rest.push(waiting),
                }
            }
            if !rest.is_empty() {
                self.waiting.insert(topic, rest);
            }
        }
    }

    /// Answers all that wait, whatever there is to tell.
    pub fn finish(&mut self) {
        for Waiting { request, wanted, .. } in std::mem::take(&mut self.waiting).into_values().flatten() {
            request.answer(self.reply(&wanted).1);
        }
    }

    /// What there is to tell now, and whether it is anything.
    fn reply(&self, wanted: &Wanted) -> (bool, Reply) {
        match wanted {
            Wanted::News { key, known, heard } => {
                let news = self.news(*key, known, heard);
                let is_something = !news.entries.is_empty() || matches!(news.heard, Heard::Ignored(_));
                (is_something, Reply::new(200, "application/octet-stream", news.encode()))
            }
            Wanted::Verdict(id) => match self.sessions.get(id) {
                None => {
                    (true, Reply::new(404, "application/json", "{\"error\":\"there is no such dispute\"}\n"))
                }
                Some(session) => {
                    let object = serde_json::Value::Object(describe(&session.recorded.referee));
                    (
                        session.is_over() && session.is_stored(),
                        Reply::new(200, "application/json", format!("{object}\n")),
                    )
                }
            },
        }
    }

    fn news(&self, key: PublicKey, known: &BTreeMap<Digest, u64>, heard: &Heard) -> News {
        let mut news = News { heard: heard.clone(), ..News::default() };
        let mut bytes = 0;
        for id in self.of_key.get(&key).into_iter().flatten() {
            let Some(session) = self.sessions.get(id) else { continue };
            news.about += 1;
            news.over += u32::from(session.is_over());
            if bytes < NEWS_BYTES_MAX
                && let Some(entry) = session.entry(key, known.get(id).copied())
            {
                bytes += match &entry {
                    Entry::Whole(bytes) | Entry::Events(bytes) => bytes.len(),
                    Entry::Gone => 0,
                };
                news.entries.push((*id, entry));
            }
        }
        let gone = known.keys().filter(|id| !self.sessions.contains_key(id));
        news.entries.extend(gone.map(|id| (*id, Entry::Gone)));
        news
    }
}
