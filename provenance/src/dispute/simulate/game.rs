//! The game between two parties in one process, with the time that goes by.

use std::time::{Duration, Instant};

use repops::ops::dispute::Term;

use super::{Dice, SimulateError};
use crate::dispute::ask::{NoDispute, Terms};
use crate::dispute::claimed::Claimed;
use crate::dispute::follow::Followed;
use crate::dispute::message::{Body, Message, Party};
use crate::dispute::player::{Player, PlayerError};
use crate::dispute::referee::Referee;
use crate::dispute::transcript::{Recorded, Transcript, decode_events, encode_event};
use crate::generation::GenerationClaim;
use crate::keys::Key;
use crate::receipt::{Claim, Info};

/// How a party behaves within the game.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Manners {
    Honest,
    /// A liar that answers as if it believed what it says.
    Good,
    Silent {
        round: u32,
    },
    Damaged {
        round: u32,
    },
    Stale,
}

/// A claim before it is signed.
pub(super) enum Stated {
    Run(Claim),
    Generation(GenerationClaim),
}

impl Stated {
    pub fn sign(&self, key: &Key) -> Claimed {
        match self {
            Stated::Run(claim) => claim.clone().sign(key, Info::default()).into(),
            Stated::Generation(claim) => claim.clone().sign(key, Info::default()).into(),
        }
    }
}

/// A liar, or an honest party.
pub(super) struct Actor<'a> {
    pub player: Player<'a>,
    pub claim: Stated,
    pub manners: Manners,
    pub step: u64,
    pub term: Option<Term>,
    /// Its last message.
    pub last: Option<Vec<u8>>,
    /// The dispute as this party sees it.
    pub followed: Option<Followed>,
    /// Spent on all that it does in the dispute: reading and following what the referee passes on, answers, signatures.
    pub time: Duration,
}

impl<'a> Actor<'a> {
    pub fn new(player: Player<'a>, claim: Stated, manners: Manners, step: u64) -> Actor<'a> {
        Actor { player, claim, manners, step, term: None, last: None, followed: None, time: Duration::ZERO }
    }

    pub fn answer(&mut self, game: &mut Game, party: Party, dice: &mut Dice) -> Result<(), SimulateError> {
        let round = game.recorded.referee.round();
        match (self.manners, self.last.take()) {
            (Manners::Silent { round: from }, _) if round >= from => return Ok(()),
            (Manners::Stale, Some(last)) => {
                // It says once more what it has said, and nothing else.
                game.deliver(&last);
                self.last = Some(last);
                return Ok(());
            }
            _ => {}
        }
        let news = game.news(self.followed.as_ref());
        #[expect(clippy::disallowed_methods, reason = "a party's time is measured for people")]
        let start = Instant::now();
        let followed = match self.followed.take() {
            Some(mut followed) => {
                followed.go_on(&decode_events(&news)?);
                followed
            }
            None => {
                Followed::new(&Transcript::decode(&news)?, &game.recorded.referee.receipts()[party as usize])?
                    .ok_or(PlayerError::Unknown("the dispute"))?
            }
        };
        let followed = self.followed.insert(followed);
        let answer = self.player.answer(followed.state(), followed.party());
        let body = match (answer, self.manners) {
            (Ok(body), _) => body,
            (Err(error), Manners::Honest) => return Err(error.into()),
            // A liar that has no answer says nothing.
            (Err(_), _) => return Ok(()),
        };
        let body = match self.manners {
            Manners::Damaged { round: at } if round >= at => damaged(body, dice),
            _ => body,
        };
        let message = game.sign(followed.state(), party, &body);
        self.time += start.elapsed();
        game.deliver(&message);
        self.last = Some(message);
        Ok(())
    }
}

/// An answer with one bit changed.
fn damaged(body: Body, dice: &mut Dice) -> Body {
    let mut bytes = body.encode();
    for _ in 0..64 {
        let at = dice.below(bytes.len() as u64) as usize;
        let bit = 1 << dice.below(8);
        bytes[at] ^= bit;
        match Body::decode(&bytes) {
            Ok(other) if other != body => return other,
            _ => bytes[at] ^= bit,
        }
    }
    body
}

/// A referee and the time.
pub(super) struct Game {
    pub recorded: Recorded,
    keys: [Key; 2],
    now: u64,
    pub referee_time: Duration,
}

impl Game {
    #[expect(
        clippy::disallowed_methods,
        reason = "the referee's time is measured for people; no message holds it"
    )]
    pub fn new(receipts: [Claimed; 2], keys: [Key; 2]) -> Result<Game, NoDispute> {
        let terms = Terms { answer_ms: 1000, number: 0 };
        let start = Instant::now();
        let recorded = Recorded::open(receipts, terms, 0)?;
        Ok(Game { recorded, keys, now: 0, referee_time: start.elapsed() })
    }

    fn sign(&self, state: &Referee, party: Party, body: &Body) -> Vec<u8> {
        Message::sign(state.course(), state.round(), party, body, &self.keys[party as usize]).encode()
    }

    /// What the referee gives a party that has followed so far: the whole transcript, or what has happened since.
    fn news(&self, followed: Option<&Followed>) -> Vec<u8> {
        let transcript = &self.recorded.transcript;
        match followed {
            None => transcript.encode(),
            Some(followed) => {
                transcript.events[followed.events() as usize..].iter().flat_map(encode_event).collect()
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the referee's time is measured for people; no message holds it"
    )]
    fn deliver(&mut self, bytes: &[u8]) {
        let start = Instant::now();
        self.recorded.receive(self.now, bytes);
        self.referee_time += start.elapsed();
    }

    /// Time goes by; half of what an answer may take.
    pub fn pass(&mut self) {
        self.now += 500;
        self.recorded.tick(self.now);
    }
}
