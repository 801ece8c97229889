//! A party's view of a dispute: the referee's state, from the messages that the referee passes on.
//!
//! A party checks that its own receipt is disputed, and nobody's signatures. Invariant: it signs nothing but statements about
//! its own trace, and each names the course of the dispute in which it was asked for: the receipts, and every message before.
//! A referee takes it in that course alone, so one that shows what nobody has signed gets answers that count nowhere.

use super::claimed::Claimed;
use super::message::Party;
use super::referee::Referee;
use super::transcript::{Event, Transcript, TranscriptError, tell};

/// A dispute that a party is in, as far as it was passed on.
#[derive(Clone, Debug)]
pub struct Followed {
    referee: Referee,
    party: Party,
    events: u64,
}

impl Followed {
    /// Follows a dispute from its beginning; `None` where neither receipt is the party's own.
    pub fn new(transcript: &Transcript, own: &Claimed) -> Result<Option<Followed>, TranscriptError> {
        let [a, b] = &transcript.receipts;
        let receipts = [Claimed::parse(a)?, Claimed::parse(b)?];
        let own = own.digest();
        let Some(party) = Party::BOTH.into_iter().find(|p| receipts[*p as usize].digest() == own) else {
            return Ok(None);
        };
        let mut referee = Referee::of(receipts, transcript.terms, transcript.start)?;
        referee.checks_signatures = false;
        let mut followed = Followed { referee, party, events: 0 };
        followed.go_on(&transcript.events);
        Ok(Some(followed))
    }

    /// Takes what has happened since.
    pub fn go_on(&mut self, events: &[Event]) {
        events.iter().for_each(|event| tell(&mut self.referee, event));
        self.events += events.len() as u64;
    }

    /// How much has happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// On which side the party is.
    pub fn party(&self) -> Party {
        self.party
    }

    /// What a referee's state is after these messages, if they are signed.
    pub fn state(&self) -> &Referee {
        &self.referee
    }

    /// Whether the party is asked something that it has not answered.
    pub fn owes(&self) -> bool {
        self.referee.owes(self.party)
    }
}
