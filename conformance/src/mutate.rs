//! Makes damaged inputs out of good ones, for the tests of everything that reads what a stranger sent.
//!
//! Invariant: the same seed, corpus and index give the same bytes, on every machine; a failing case is named by
//! these three numbers. Never reads a clock, never asks the system for randomness.

/// The lengths and counts that parsers get wrong, as little-endian words of every width.
const WORDS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x4000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Damaged inputs grow by no more than this.
const GROWTH_MAX: usize = 4096;

/// SplitMix64 (Steele, Lea, Flood, 2014): a counter, mixed.
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The remainder's bias is of no importance here, and usize has at most 64 bits on what we run on.
        (self.draw() % (end.max(1) as u64)) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// The `index`-th damaged input: one of the corpus with one to eight changes.
pub fn damaged(corpus: &[Vec<u8>], seed: u64, index: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
    let mut bytes = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    let length_max = bytes.len() + GROWTH_MAX;
    for _ in 0..1 + random.below(8) {
        change(&mut bytes, corpus, &mut random);
        bytes.truncate(length_max);
        if random.chance(2) {
            break;
        }
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.draw() as u8);
        return;
    }
    let at = place(bytes.len(), random);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.draw() as u8,
        2 => write_word(bytes, at, random),
        3 => bytes.truncate(at),
        4 => {
            let end = at + 1 + random.below((bytes.len() - at).min(64));
            bytes.drain(at..end.min(bytes.len()));
        }
        5 => {
            let piece = piece_of(bytes, random);
            splice(bytes, at, &piece);
        }
        6 => {
            let other = corpus.get(random.below(corpus.len())).map_or(&[][..], Vec::as_slice);
            let piece = piece_of(other, random);
            splice(bytes, at, &piece);
        }
        7 => write_varint(bytes, at, random),
        _ => add_to_byte(bytes, at, random),
    }
}

/// A position: half of the time among the first 512 bytes, where headers are.
fn place(len: usize, random: &mut Random) -> usize {
    if random.chance(2) { random.below(len.min(512)) } else { random.below(len) }
}

fn write_word(bytes: &mut [u8], at: usize, random: &mut Random) {
    let word = WORDS[random.below(WORDS.len())];
    let mut word = if random.chance(2) { word.wrapping_add(random.draw() % 16) } else { word }.to_le_bytes();
    if random.chance(4) {
        word.reverse();
    }
    let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
    bytes[at..at + width].copy_from_slice(&word[..width]);
}

/// A protobuf length or number: seven bits a byte, the rest to follow.
fn write_varint(bytes: &mut [u8], at: usize, random: &mut Random) {
    let mut value = WORDS[random.below(WORDS.len())];
    for byte in &mut bytes[at..] {
        *byte = (value & 0x7f) as u8 | if value > 0x7f { 0x80 } else { 0 };
        value >>= 7;
        if value == 0 {
            break;
        }
    }
}

fn add_to_byte(bytes: &mut [u8], at: usize, random: &mut Random) {
    let by = 1 + random.below(16) as u8;
    bytes[at] = if random.chance(2) { bytes[at].wrapping_add(by) } else { bytes[at].wrapping_sub(by) };
}

fn piece_of(from: &[u8], random: &mut Random) -> Vec<u8> {
    let start = random.below(from.len());
    let len = random.below((from.len() - start).min(128) + 1);
    from[start..start + len].to_vec()
}

/// Puts the piece in, over what is there or between.
fn splice(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let replaced = if piece.len().is_multiple_of(2) { piece.len().min(bytes.len() - at) } else { 0 };
    bytes.splice(at..at + replaced, piece.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn corpus() -> Vec<Vec<u8>> {
        vec![(0..=255).collect(), b"a header and then a body".to_vec(), vec![7; 2000]]
    }

    #[test]
    fn the_same_numbers_give_the_same_bytes() {
        for index in 0..200 {
            assert_eq!(damaged(&corpus(), 5, index), damaged(&corpus(), 5, index));
        }
        // A recorded value: it must not change between machines either.
        assert_eq!(Random::new(1).draw(), 0x910a_2dec_8902_5cc1);
    }

    #[test]
    fn damage_is_varied_and_bounded() {
        let corpus = corpus();
        let made: BTreeSet<Vec<u8>> = (0..2000).map(|index| damaged(&corpus, 1, index)).collect();
        assert!(made.len() > 1800, "only {} different ones", made.len());
        assert!(made.iter().all(|bytes| bytes.len() <= 2000 + GROWTH_MAX));
        assert!(made.iter().any(|bytes| bytes.len() > 2000));
    }

    #[test]
    fn an_empty_corpus_is_no_trouble() {
        for index in 0..100 {
            damaged(&[], 1, index);
            damaged(&[Vec::new()], 1, index);
        }
    }
}
