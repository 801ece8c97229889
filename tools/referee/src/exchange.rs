//! What a party and a referee say to each other in one request: what the party knows and answers, and what it does not know yet.
//! SPEC.md, section 10.9.
//!
//! Invariant: hostile bytes cost no more than their length; every count is compared with the bytes that are there before anything is
//! allocated.

use repops::Digest;
use repops_provenance::PublicKey;

const TAG: &[u8; 16] = b"repops.turn.0\0\0\0";

/// Stands for the number of events where a party wants to hear nothing of a dispute.
pub const SPARE: u64 = u64::MAX;

/// A party's side of an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// Whose disputes they are.
    pub key: PublicKey,
    /// How long the referee may keep the request while there is nothing to tell.
    pub wait_ms: u32,
    /// Disputes that the party follows, and how many of their events it has.
    pub known: Vec<(Digest, u64)>,
    /// A message to one of them.
    pub said: Option<(Digest, Vec<u8>)>,
}

/// What became of the message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Heard {
    #[default]
    Nothing,
    Accepted,
    Ignored(String),
}

/// What is new in a dispute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The whole transcript, of one that the party did not know or of which it knew more than there is.
    Whole(Vec<u8>),
    /// The events after those that it knew.
    Events(Vec<u8>),
    /// There is no such dispute.
    Gone,
}

/// The referee's side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// How many disputes of the key there are, and how many of these are over.
    pub about: u32,
    pub over: u32,
    pub heard: Heard,
    /// Where the key owes an answer that it may not know of, or where it is over.
    pub entries: Vec<(Digest, Entry)>,
}

/// Why bytes are no exchange.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an exchange: {0}")]
pub struct ExchangeError(&'static str);

const CUT: ExchangeError = ExchangeError("it is cut");
const KIND: ExchangeError = ExchangeError("its kind is unknown");

/// Takes pieces off.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ExchangeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(CUT)?;
        self.0 = tail;
        Ok(*head)
    }

    fn digest(&mut self) -> Result<Digest, ExchangeError> {
        self.array().map(Digest)
    }

    fn u8(&mut self) -> Result<u8, ExchangeError> {
        self.array::<1>().map(|b| b[0])
    }

    fn u32(&mut self) -> Result<u32, ExchangeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ExchangeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], ExchangeError> {
        let len = self.u32()? as usize;
        let (head, tail) = self.0.split_at_checked(len).ok_or(CUT)?;
        self.0 = tail;
        Ok(head)
    }

    /// A count of things that take so many bytes each at least.
    fn count(&mut self, least: usize) -> Result<usize, ExchangeError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least { Err(CUT) } else { Ok(count) }
    }

    fn end(self) -> Result<(), ExchangeError> {
        if self.0.is_empty() { Ok(()) } else { Err(ExchangeError("something follows it")) }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl Exchange {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = TAG.to_vec();
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&self.wait_ms.to_le_bytes());
        out.extend_from_slice(&(self.known.len() as u32).to_le_bytes());
        for (id, events) in &self.known {
            out.extend_from_slice(&id.0);
            out.extend_from_slice(&events.to_le_bytes());
        }
        out.push(u8::from(self.said.is_some()));
        if let Some((id, message)) = &self.said {
            out.extend_from_slice(&id.0);
            put(&mut out, message);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Exchange, ExchangeError> {
        let rest = bytes.strip_prefix(TAG).ok_or(ExchangeError("it is none"))?;
        let mut rest = Reader(rest);
        let (key, wait_ms) = (PublicKey(rest.array()?), rest.u32()?);
        let known = (0..rest.count(40)?).map(|_| Ok((rest.digest()?, rest.u64()?)));
        let known = known.collect::<Result<_, ExchangeError>>()?;
        let said = match rest.u8()? {
            0 => None,
            1 => Some((rest.digest()?, rest.bytes()?.to_vec())),
            _ => return Err(KIND),
        };
        rest.end()?;
        Ok(Exchange { key, wait_ms, known, said })
    }
}

impl News {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.about.to_le_bytes());
        out.extend_from_slice(&self.over.to_le_bytes());
        match &self.heard {
            Heard::Nothing => out.push(0),
            Heard::Accepted => out.push(1),
            Heard::Ignored(why) => {
                out.push(2);
                put(&mut out, why.as_bytes());
            }
        }
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for (id, entry) in &self.entries {
            out.extend_from_slice(&id.0);
            let (kind, bytes) = match entry {
                Entry::Whole(bytes) => (0, bytes.as_slice()),
                Entry::Events(bytes) => (1, bytes.as_slice()),
                Entry::Gone => (2, [].as_slice()),
            };
            out.push(kind);
            put(&mut out, bytes);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<News, ExchangeError> {
        let mut rest = Reader(bytes);
        let (about, over) = (rest.u32()?, rest.u32()?);
        let heard = match rest.u8()? {
            0 => Heard::Nothing,
            1 => Heard::Accepted,
            2 => Heard::Ignored(String::from_utf8_lossy(rest.bytes()?).into_owned()),
            _ => return Err(KIND),
        };
        let mut entries = Vec::new();
        for _ in 0..rest.count(37)? {
            let (id, kind, bytes) = (rest.digest()?, rest.u8()?, rest.bytes()?);
            let entry = match kind {
                0 => Entry::Whole(bytes.to_vec()),
                1 => Entry::Events(bytes.to_vec()),
                2 if bytes.is_empty() => Entry::Gone,
                _ => return Err(KIND),
            };
            entries.push((id, entry));
        }
        rest.end()?;
        Ok(News { about, over, heard, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_read_as_they_were_written_and_cut_ones_refused() {
        let ids = [Digest([1; 32]), Digest([2; 32])];
        let key = PublicKey([3; 32]);
        for said in [None, Some((ids[0], b"words".to_vec()))] {
            let exchange = Exchange { key, wait_ms: 7, known: vec![(ids[0], 5), (ids[1], SPARE)], said };
            let bytes = exchange.encode();
            assert_eq!(Exchange::decode(&bytes), Ok(exchange));
            for len in 0..bytes.len() {
                assert!(Exchange::decode(&bytes[..len]).is_err(), "{len}");
            }
            assert!(Exchange::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
        for heard in [Heard::Nothing, Heard::Accepted, Heard::Ignored("late".to_string())] {
            let entries =
                vec![(ids[0], Entry::Whole(vec![1])), (ids[1], Entry::Events(vec![])), (ids[0], Entry::Gone)];
            let news = News { about: 3, over: 1, heard, entries };
            let bytes = news.encode();
            assert_eq!(News::decode(&bytes), Ok(news));
            for len in 0..bytes.len() {
                assert!(News::decode(&bytes[..len]).is_err(), "{len}");
            }
            assert!(News::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
        // A count of billions.
        let mut bytes = Exchange { key, wait_ms: 0, known: vec![], said: None }.encode();
        bytes[52..56].copy_from_slice(&[255; 4]);
        assert_eq!(Exchange::decode(&bytes), Err(CUT));
    }
}
