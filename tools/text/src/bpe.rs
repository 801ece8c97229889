//! Byte-pair encoding over sorted tables: what a tokenizer holds in a fifth of the memory that hash tables of texts take.
//!
//! A word's characters are tokens (or, where a character is none, its bytes, or the unknown token); then, again and again, the
//! neighbours whose merge comes first in the list become one, the leftmost such pair first. Invariant: the tokens are those of the library's
//! model of the same file. Dropout, prefixes, suffixes and numbers that several tokens share are left to the library.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Token};

/// No neighbour.
const NONE: u32 = u32::MAX;

/// Texts one after the other.
#[derive(Default)]
struct Texts {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    /// Adds a text, unless all would be too long for 32 bits.
    fn push(&mut self, text: &str) -> Option<()> {
        self.text.push_str(text);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        Some(())
    }
}

/// The neighbours that become a token, and when.
struct Merge {
    pair: (u32, u32),
    rank: u32,
    to: u32,
}

/// The model.
pub struct Pairs {
    tokens: Texts,
    /// The number of each token, as they stand in `tokens`.
    ids: Vec<u32>,
    /// Places in `tokens`, by text.
    by_text: Vec<u32>,
    /// Places in `tokens`, by number.
    by_id: Vec<u32>,
    /// By pair.
    merges: Vec<Merge>,
    unknown: Option<String>,
    fuse_unknown: bool,
    byte_fallback: bool,
    ignore_merges: bool,
}

/// A token at work in a word.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    /// 0: merged into the one before.
    bytes: u32,
    before: u32,
    after: u32,
}

impl Pairs {
    fn id(&self, text: &str) -> Option<u32> {
        let place = self.by_text.binary_search_by(|&at| self.tokens.get(at as usize).cmp(text)).ok()?;
        Some(self.ids[self.by_text[place] as usize])
    }

    fn text(&self, id: u32) -> Option<&str> {
        let place = self.by_id.binary_search_by_key(&id, |&at| self.ids[at as usize]).ok()?;
        Some(self.tokens.get(self.by_id[place] as usize))
    }

    fn merge(&self, pair: (u32, u32)) -> Option<&Merge> {
        Some(&self.merges[self.merges.binary_search_by_key(&pair, |merge| merge.pair).ok()?])
    }

    /// The tokens of a word before anything is merged, and their bytes.
    fn characters(&self, word: &str) -> tokenizers::Result<Vec<(u32, u32)>> {
        let mut out = Vec::with_capacity(word.len());
        // Characters that are no token, not yet written.
        let mut unknown: Option<(u32, u32)> = None;
        let mut buffer = [0; 4];
        for character in word.chars() {
            let character: &str = character.encode_utf8(&mut buffer);
            let bytes = character.len() as u32;
            if let Some(id) = self.id(character) {
                out.extend(unknown.take());
                out.push((id, bytes));
                continue;
            }
            if self.byte_fallback {
                let bytes = character.bytes().map(|byte| self.id(&format!("<0x{byte:02X}>")));
                if let Some(bytes) = bytes.collect::<Option<Vec<u32>>>() {
                    out.extend(bytes.into_iter().map(|id| (id, 1)));
                    continue;
                }
            }
            let Some(token) = &self.unknown else { continue };
            unknown = match unknown {
                Some((id, before)) if self.fuse_unknown => Some((id, before + bytes)),
                before => {
                    out.extend(before);
                    let id = self.id(token).ok_or_else(|| format!("the unknown token {token:?} is none"))?;
                    Some((id, bytes))
                }
            };
        }
        out.extend(unknown);
        Ok(out)
    }

    /// The tokens of a word.
    fn word(&self, word: &str) -> tokenizers::Result<Vec<Symbol>> {
        let characters = self.characters(word)?;
        let count = u32::try_from(characters.len())?;
        let mut symbols: Vec<Symbol> = (0..count)
            .zip(characters)
            .map(|(at, (id, bytes))| Symbol {
                id,
                bytes,
                before: at.wrapping_sub(1),
                after: if at + 1 < count { at + 1 } else { NONE },
            })
            .collect();
        // Rank, place of the left one, and what both become.
        let mut queue = BinaryHeap::new();
        let consider = |queue: &mut BinaryHeap<Reverse<(u32, u32, u32)>>, symbols: &[Symbol], at: u32| {
            let Some(left) = symbols.get(at as usize) else { return };
            let Some(right) = symbols.get(left.after as usize) else { return };
            if let Some(merge) = self.merge((left.id, right.id)) {
                queue.push(Reverse((merge.rank, at, merge.to)));
            }
        };
        (0..count).for_each(|at| consider(&mut queue, &symbols, at));
        while let Some(Reverse((_, at, to))) = queue.pop() {
            let left = symbols[at as usize];
            // What stood here when this was queued may have been merged meanwhile.
            let Some(&right) = symbols.get(left.after as usize).filter(|_| left.bytes > 0) else { continue };
            if self.merge((left.id, right.id)).is_none_or(|merge| merge.to != to) {
                continue;
            }
            symbols[left.after as usize].bytes = 0;
            if let Some(next) = symbols.get_mut(right.after as usize) {
                next.before = at;
            }
            symbols[at as usize] =
                Symbol { id: to, bytes: left.bytes + right.bytes, after: right.after, ..left };
            consider(&mut queue, &symbols, left.before);
            consider(&mut queue, &symbols, at);
        }
        symbols.retain(|symbol| symbol.bytes > 0);
        Ok(symbols)
    }
}

impl Model for Pairs {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        if word.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(id) = self.id(word).filter(|_| self.ignore_merges) {
            return Ok(vec![Token::new(id, word.to_string(), (0, word.len()))]);
        }
        let mut at = 0;
        let token = |symbol: Symbol| {
            let start = at;
            at += symbol.bytes as usize;
            Token::new(symbol.id, self.text(symbol.id).unwrap_or_default().to_string(), (start, at))
        };
        Ok(self.word(word)?.into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.text(id).map(str::to_string)
    }

    #[expect(clippy::disallowed_types, reason = "the library's interface")]
    fn get_vocab(&self) -> std::collections::HashMap<String, u32> {
        self.ids.iter().enumerate().map(|(at, &id)| (self.tokens.get(at).to_string(), id)).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.ids.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a tokenizer is read, never written".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "BPE")]
    Bpe,
}

/// As the library writes it.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    _kind: Kind,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Vocabulary,
    merges: PairsOfTexts,
}

/// An object of texts and numbers.
struct Vocabulary(Texts, Vec<u32>);

/// Lists of two texts, one after the other.
struct PairsOfTexts(Texts);

/// Adds one text.
struct Push<'a>(&'a mut Texts);

impl<'de> DeserializeSeed<'de> for Push<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        self.0.push(&text).ok_or_else(|| D::Error::custom("texts of 4 GiB"))
    }
}

/// Adds two texts.
struct PushTwo<'a>(&'a mut Texts);

impl<'de> DeserializeSeed<'de> for PushTwo<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for PushTwo<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("two texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for at in 0..2 {
            let found = list.next_element_seed(Push(self.0))?;
            found.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vocabulary, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tokens and their numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let (mut tokens, mut ids) = (Texts::default(), Vec::new());
                while map.next_key_seed(Push(&mut tokens))?.is_some() {
                    ids.push(map.next_value()?);
                }
                Ok(Vocabulary(tokens, ids))
            }
        }
        deserializer.deserialize_map(Tokens)
    }
}

impl<'de> Deserialize<'de> for PairsOfTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PairsOfTexts, D::Error> {
        struct Lists;
        impl<'de> Visitor<'de> for Lists {
            type Value = PairsOfTexts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("pairs of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PairsOfTexts, A::Error> {
                let mut texts = Texts::default();
                while list.next_element_seed(PushTwo(&mut texts))?.is_some() {}
                Ok(PairsOfTexts(texts))
            }
        }
        deserializer.deserialize_seq(Lists)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let others = written.dropout.is_some()
            || written.continuing_subword_prefix.is_some()
            || written.end_of_word_suffix.is_some();
        let Vocabulary(mut tokens, ids) = written.vocab;
        tokens.text.shrink_to_fit();
        let places = || (0..ids.len() as u32).collect::<Vec<u32>>();
        let (mut by_text, mut by_id) = (places(), places());
        by_text.sort_unstable_by_key(|&at| tokens.get(at as usize));
        by_id.sort_unstable_by_key(|&at| ids[at as usize]);
        let twice = by_text.windows(2).any(|two| tokens.get(two[0] as usize) == tokens.get(two[1] as usize))
            || by_id.windows(2).any(|two| ids[two[0] as usize] == ids[two[1] as usize]);
        if others || twice {
            return Err(D::Error::custom("the library's"));
        }
        let mut model = Pairs {
            tokens,
            ids,
            by_text,
            by_id,
            merges: Vec::new(),
            unknown: written.unk_token,
            fuse_unknown: written.fuse_unk.unwrap_or(false),
            byte_fallback: written.byte_fallback.unwrap_or(false),
            ignore_merges: written.ignore_merges.unwrap_or(false),
        };
        let PairsOfTexts(texts) = written.merges;
        let mut merges = Vec::with_capacity(texts.ends.len() / 2);
        for rank in 0..texts.ends.len() / 2 {
            let (left, right) = (texts.get(2 * rank), texts.get(2 * rank + 1));
            let ids = (model.id(left), model.id(right), model.id(&format!("{left}{right}")));
            let (Some(left), Some(right), Some(to)) = ids else {
                return Err(D::Error::custom("a merge of what is no token"));
            };
            merges.push(Merge { pair: (left, right), rank: rank as u32, to });
        }
        // Of a pair that is listed several times the last one counts.
        merges.sort_unstable_by_key(|merge| (merge.pair, Reverse(merge.rank)));
        merges.dedup_by_key(|merge| merge.pair);
        model.merges = merges;
        Ok(model)
    }
}
