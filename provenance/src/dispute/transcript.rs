//! A dispute as a file: everything that the referee was told, from which anyone gets the same verdict.
//!
//! Invariant: what is replayed is exactly what was received; times are the referee's word, everything else
//! is signed by the parties.

use super::ask::{NoDispute, Received, Terms};
use super::claimed::Claimed;
use super::message::{MESSAGE_BYTES_MAX, MessageError, Reader, Writer};
use super::referee::Referee;
use crate::receipt::{RECEIPT_BYTES_MAX, ReceiptError};

const TAG: &[u8; 16] = b"repops.game.0\0\0\0";

/// Something that the referee was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Milliseconds.
    pub time: u64,
    /// A message, or nothing but the time.
    pub message: Option<Vec<u8>>,
}

/// An event as it stands in a transcript.
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Writer(Vec::new());
    out.u64(event.time);
    out.bytes(event.message.as_deref().unwrap_or_default());
    out.0
}

/// Events that stand one after the other.
pub fn decode_events(bytes: &[u8]) -> Result<Vec<Event>, MessageError> {
    let mut rest = Reader(bytes);
    let events = events(&mut rest)?;
    rest.end()?;
    Ok(events)
}

/// Takes events off, up to one that is cut.
fn events(rest: &mut Reader<'_>) -> Result<Vec<Event>, MessageError> {
    let mut found = Vec::new();
    let mut next = Reader(rest.0);
    while let (Ok(time), Ok(message)) = (next.u64(), next.bytes()) {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError("a message is too large"));
        }
        found.push(Event { time, message: (!message.is_empty()).then(|| message.to_vec()) });
        rest.0 = next.0;
    }
    Ok(found)
}

/// A whole dispute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    /// JSON.
    pub receipts: [Vec<u8>; 2],
    pub terms: Terms,
    pub start: u64,
    pub events: Vec<Event>,
}

/// Why a transcript cannot be replayed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TranscriptError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    NoDispute(#[from] NoDispute),
}

impl Transcript {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(TAG.to_vec());
        self.receipts.iter().for_each(|receipt| out.bytes(receipt));
        out.u64(self.terms.answer_ms);
        out.u64(self.terms.number);
        out.u64(self.start);
        self.events.iter().for_each(|event| out.0.extend_from_slice(&encode_event(event)));
        out.0
    }

    pub fn decode(bytes: &[u8]) -> Result<Transcript, MessageError> {
        match Transcript::decode_prefix(bytes)? {
            (transcript, len) if len == bytes.len() => Ok(transcript),
            _ => Err(MessageError("its last event is cut")),
        }
    }

    /// The transcript without an event that is cut at the end, and the bytes that it takes.
    pub fn decode_prefix(bytes: &[u8]) -> Result<(Transcript, usize), MessageError> {
        let rest = bytes.strip_prefix(TAG).ok_or(MessageError("it is no transcript"))?;
        let mut rest = Reader(rest);
        let mut receipt = || {
            let bytes = rest.bytes()?;
            match bytes.len() > RECEIPT_BYTES_MAX {
                true => Err(MessageError("a receipt is too large")),
                false => Ok(bytes.to_vec()),
            }
        };
        let receipts = [receipt()?, receipt()?];
        let terms = Terms { answer_ms: rest.u64()?, number: rest.u64()? };
        let start = rest.u64()?;
        let events = events(&mut rest)?;
        Ok((Transcript { receipts, terms, start, events }, bytes.len() - rest.0.len()))
    }

    /// The referee's state after all that happened.
    pub fn replay(&self) -> Result<Referee, TranscriptError> {
        let [a, b] = &self.receipts;
        let receipts = [Claimed::parse(a)?, Claimed::parse(b)?];
        let mut referee = Referee::open(receipts, self.terms, self.start)?;
        self.events.iter().for_each(|event| tell(&mut referee, event));
        Ok(referee)
    }

    /// The same with the transcript itself, so that it can go on.
    pub fn recorded(self) -> Result<Recorded, TranscriptError> {
        Ok(Recorded { referee: self.replay()?, transcript: self })
    }
}

pub(super) fn tell(referee: &mut Referee, event: &Event) {
    match &event.message {
        Some(message) => drop(referee.receive(event.time, message)),
        None => referee.tick(event.time),
    }
}

/// A referee that keeps its transcript.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub referee: Referee,
    pub transcript: Transcript,
}

impl Recorded {
    pub fn open<R: Into<Claimed>>(receipts: [R; 2], terms: Terms, now: u64) -> Result<Recorded, NoDispute> {
        let receipts: [Claimed; 2] = receipts.map(Into::into);
        let texts = receipts.each_ref().map(|receipt| receipt.to_json().into_bytes());
        let referee = Referee::open(receipts, terms, now)?;
        let transcript = Transcript { receipts: texts, terms, start: now, events: Vec::new() };
        Ok(Recorded { referee, transcript })
    }

    /// Takes a message; what is ignored leaves no trace, unless the time it came at ended the dispute.
    pub fn receive(&mut self, now: u64, message: &[u8]) -> Received {
        self.tick(now);
        let received = self.referee.receive(now, message);
        if received == Received::Accepted {
            self.transcript.events.push(Event { time: now, message: Some(message.to_vec()) });
        }
        received
    }

    pub fn tick(&mut self, now: u64) {
        let was_over = self.referee.verdict().is_some();
        self.referee.tick(now);
        if !was_over && self.referee.verdict().is_some() {
            self.transcript.events.push(Event { time: now, message: None });
        }
    }
}
