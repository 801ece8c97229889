//! GGUF's tokenizer metadata as Hugging Face's `tokenizer.json`, and the other texts of a model.
//!
//! Two kinds are converted: byte-level BPE (`gpt2`), whose way of splitting text the file only names, and SentencePiece's BPE
//! (`llama`), whose merges follow from the scores. An unknown way of splitting is an error: guessing would give
//! other tokens.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::Gguf;
use crate::decoder::{Generation, ModelError, Texts};

/// Tokens of a vocabulary.
const TOKENS_MAX: usize = 1 << 21;
/// Tokens that end an answer wherever a model has them.
const ENDS: &[&str] =
    &["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>"];

const LETTERS_AND_NUMBERS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LETTERS_AND_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Token types of GGUF.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

fn wrong(problem: impl Into<String>) -> ModelError {
    ModelError::Tokenizer { problem: problem.into() }
}

/// Tokenizer, template and what the file says of generating.
pub fn texts(gguf: &Gguf, context: u64) -> Result<Texts, ModelError> {
    let template = gguf.str("tokenizer.chat_template")?.map(str::to_string);
    let Some(kind) = gguf.str("tokenizer.ggml.model")? else {
        let generation = Generation { context_length: context, ..Generation::default() };
        return Ok(Texts { tokenizer: None, chat_template: template, generation });
    };
    let vocabulary = Vocabulary::of(gguf)?;
    let tokenizer = match kind {
        "gpt2" => byte_level(gguf, &vocabulary)?,
        "llama" => sentence_piece(gguf, &vocabulary)?,
        other => return Err(wrong(format!("kind {other:?} is not supported; gpt2 and llama are"))),
    };
    let tokenizer = serde_json::to_vec(&tokenizer).expect("strings and numbers");
    let generation = vocabulary.generation(gguf, context)?;
    Ok(Texts { tokenizer: Some(tokenizer), chat_template: template, generation })
}

/// The tokens by number.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    /// As many as tokens.
    types: Vec<u64>,
}

impl<'a> Vocabulary<'a> {
    fn of(gguf: &'a Gguf) -> Result<Vocabulary<'a>, ModelError> {
        let tokens = strings(gguf, "tokenizer.ggml.tokens", TOKENS_MAX)?
            .ok_or_else(|| ModelError::NoKey { key: "tokenizer.ggml.tokens".to_string() })?;
        let types = match gguf.array("tokenizer.ggml.token_type")? {
            Some(types) if types.len() == tokens.len() => {
                let of = |value: Result<super::Value, _>| value.ok().and_then(|value| value.to_u64());
                types
                    .values()
                    .map(|value| of(value).ok_or_else(|| wrong("a token's type is no number")))
                    .collect::<Result<_, _>>()?
            }
            Some(types) => {
                return Err(wrong(format!("{} tokens have {} types", tokens.len(), types.len())));
            }
            None => vec![1; tokens.len()],
        };
        let mut seen = BTreeSet::new();
        match tokens.iter().find(|token| !seen.insert(**token)) {
            Some(token) => Err(wrong(format!("token {token:?} is there twice"))),
            None => Ok(Vocabulary { tokens, types }),
        }
    }

    fn id(&self, gguf: &Gguf, name: &str) -> Result<Option<u64>, ModelError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = gguf.u64(&key)? else { return Ok(None) };
        if id < self.tokens.len() as u64 {
            return Ok(Some(id));
        }
        let problem = format!("{id} is no token of {}", self.tokens.len());
        Err(ModelError::Key { key, problem })
    }

    fn text(&self, id: Option<u64>) -> Option<String> {
        id.map(|id| self.tokens[id as usize].to_string())
    }

    fn generation(&self, gguf: &Gguf, context: u64) -> Result<Generation, ModelError> {
        let (bos, eos) = (self.id(gguf, "bos")?, self.id(gguf, "eos")?);
        let mut ends: Vec<u64> = Vec::new();
        let named = ENDS.iter().filter_map(|end| {
            let at = self.tokens.iter().position(|token| token == end)?;
            (self.types[at] == CONTROL).then_some(at as u64)
        });
        for id in [eos, self.id(gguf, "eot")?, self.id(gguf, "eom")?].into_iter().flatten().chain(named) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        Ok(Generation {
            bos_token: self.text(bos),
            bos_token_id: bos,
            context_length: context,
            eos_token: self.text(eos),
            eos_token_ids: ends,
            ..Generation::default()
        })
    }

    /// Tokens that are found in text before it is split.
    fn added(&self) -> Vec<AddedToken<'a>> {
        let tokens = self.tokens.iter().zip(&self.types).enumerate();
        tokens
            .filter(|(_, (_, ty))| matches!(**ty, UNKNOWN | CONTROL | USER_DEFINED))
            .map(|(id, (content, ty))| AddedToken {
                id: id as u64,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: *ty != USER_DEFINED,
            })
            .collect()
    }
}

fn strings<'a>(gguf: &'a Gguf, key: &str, limit: usize) -> Result<Option<Vec<&'a str>>, ModelError> {
    let Some(array) = gguf.array(key)? else { return Ok(None) };
    let wrong = |problem: String| ModelError::Key { key: key.to_string(), problem };
    if array.len() > limit {
        return Err(wrong(format!("{} strings are above the limit of {limit}", array.len())));
    }
    let strs = array.strs().ok_or_else(|| wrong("its elements are no strings".to_string()))?;
    strs.map(|text| text.map_err(|problem| wrong(problem.to_string()))).collect::<Result<_, _>>().map(Some)
}

/// `tokenizer.json`. Fields are written in this order.
#[derive(Serialize)]
struct Tokenizer<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Option<Ordered>,
    pre_tokenizer: Option<Ordered>,
    post_processor: Option<Ordered>,
    decoder: Ordered,
    model: Bpe<'a>,
}

#[derive(Serialize)]
struct AddedToken<'a> {
    id: u64,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
struct Bpe<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<()>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<()>,
    end_of_word_suffix: Option<()>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: ById<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// Tokens with their numbers, ascending.
struct ById<'a>(&'a [&'a str]);

impl Serialize for ById<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// A small JSON value, objects' keys sorted however `serde_json` was built.
struct Ordered(Json);

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Json::Object(map) => {
                let sorted: BTreeMap<&String, Ordered> =
                    map.iter().map(|(key, value)| (key, Ordered(value.clone()))).collect();
                serializer.collect_map(sorted)
            }
            Json::Array(items) => serializer.collect_seq(items.iter().map(|item| Ordered(item.clone()))),
            other => other.serialize(serializer),
        }
    }
}

/// Byte-level BPE: tokens are written in its alphabet already.
fn byte_level<'a>(gguf: &'a Gguf, vocabulary: &'a Vocabulary<'a>) -> Result<Tokenizer<'a>, ModelError> {
    let pre = gguf.str("tokenizer.ggml.pre")?.ok_or_else(|| {
        wrong("tokenizer.ggml.pre is missing, which says how text is split: the file is too old")
    })?;
    let bytes = |own_split: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own_split});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let sequence = |parts: &[Json]| json!({"type": "Sequence", "pretokenizers": parts});
    let mut normalizer = None;
    let pre_tokenizer = match pre {
        "gpt-2" | "gpt2" => bytes(true),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            sequence(&[json!({"type": "Digits", "individual_digits": true}), bytes(true)])
        }
        "llama-bpe" | "llama3" | "llama-v3" => sequence(&[split(LETTERS_AND_NUMBERS), bytes(false)]),
        "qwen2" | "deepseek-r1-qwen" => {
            normalizer = Some(Ordered(json!({"type": "NFC"})));
            sequence(&[split(LETTERS_AND_DIGITS), bytes(false)])
        }
        other => {
            return Err(wrong(format!(
                "splitting text as {other:?} is not supported; gpt-2, smollm, starcoder, refact, command-r, codeshell, \
                 llama-bpe and qwen2 are"
            )));
        }
    };
    let is_llama = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    let merges = strings(gguf, "tokenizer.ggml.merges", TOKENS_MAX)?
        .ok_or_else(|| ModelError::NoKey { key: "tokenizer.ggml.merges".to_string() })?;
    let known: BTreeSet<&str> = vocabulary.tokens.iter().copied().collect();
    let pair = |merge: &&'a str| {
        let (left, right) =
            merge.split_once(' ').ok_or_else(|| wrong(format!("merge {merge:?} is no pair")))?;
        let all = [left, right].iter().all(|part| known.contains(part));
        if all && known.contains(format!("{left}{right}").as_str()) {
            return Ok((left, right));
        }
        Err(wrong(format!("merge {merge:?} is of tokens that are not there")))
    };
    Ok(Tokenizer {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: vocabulary.added(),
        normalizer,
        pre_tokenizer: Some(Ordered(pre_tokenizer)),
        post_processor: specials(gguf, vocabulary, is_llama)?.or(Some(Ordered(bytes(true)))),
        decoder: Ordered(bytes(true)),
        model: Bpe {
            kind: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: is_llama,
            vocab: ById(&vocabulary.tokens),
            merges: merges.iter().map(pair).collect::<Result<_, _>>()?,
        },
    })
}

/// SentencePiece's BPE: the pair whose result has the highest score is merged first.
fn sentence_piece<'a>(gguf: &'a Gguf, vocabulary: &'a Vocabulary<'a>) -> Result<Tokenizer<'a>, ModelError> {
    let scores = gguf
        .array("tokenizer.ggml.scores")?
        .filter(|scores| scores.len() == vocabulary.tokens.len())
        .ok_or_else(|| wrong("there is no score for every token"))?;
    let scores: Vec<f64> = scores
        .values()
        .map(|value| value.ok().and_then(|value| value.to_f64()).filter(|score| !score.is_nan()))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("a score is no number"))?;
    let prefix = gguf.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let unknown = vocabulary.id(gguf, "unknown")?;
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let normalizer = if prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}, replace]})
    } else {
        replace
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Tokenizer {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: vocabulary.added(),
        normalizer: Some(Ordered(normalizer)),
        pre_tokenizer: None,
        post_processor: specials(gguf, vocabulary, true)?,
        decoder: Ordered(json!({"type": "Sequence", "decoders": decoders})),
        model: Bpe {
            kind: "BPE",
            dropout: None,
            unk_token: unknown.map(|id| vocabulary.tokens[id as usize]),
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: true,
            byte_fallback: true,
            ignore_merges: false,
            vocab: ById(&vocabulary.tokens),
            merges: merges_of_scores(vocabulary, &scores)?,
        },
    })
}

/// Characters of the longest token whose merges are sought.
const PIECE_BYTES_MAX: usize = 1 << 10;

/// Every way to make a token of two others, the highest score first; among equals longer left parts first, then
/// right ones, then the token's and the parts' order.
fn merges_of_scores<'a>(
    vocabulary: &'a Vocabulary<'a>,
    scores: &[f64],
) -> Result<Vec<(&'a str, &'a str)>, ModelError> {
    let ids: BTreeMap<&str, usize> =
        vocabulary.tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if vocabulary.types[id] != 1 {
            continue;
        }
        if token.len() > PIECE_BYTES_MAX {
            return Err(wrong(format!("token {id} has {} bytes", token.len())));
        }
        let mut of_token: Vec<(usize, usize, usize)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((id, *ids.get(left)?, *ids.get(right)?))
            })
            .collect();
        of_token.sort_by_key(|&(_, left, right)| (left, right));
        found.extend(of_token);
    }
    let length = |id: usize| vocabulary.tokens[id].chars().count();
    found.sort_by(|a, b| {
        scores[b.0]
            .total_cmp(&scores[a.0])
            .then_with(|| length(b.1).cmp(&length(a.1)))
            .then_with(|| length(b.2).cmp(&length(a.2)))
    });
    Ok(found.into_iter().map(|(_, l, r)| (vocabulary.tokens[l], vocabulary.tokens[r])).collect())
}

/// Tokens before and after every text, where the file wants them.
fn specials(
    gguf: &Gguf,
    vocabulary: &Vocabulary<'_>,
    bos_default: bool,
) -> Result<Option<Ordered>, ModelError> {
    let wanted = |name: &str, default: bool| {
        gguf.bool(&format!("tokenizer.ggml.add_{name}_token")).map(|w| w.unwrap_or(default))
    };
    let bos = if wanted("bos", bos_default)? { vocabulary.id(gguf, "bos")? } else { None };
    let eos = if wanted("eos", false)? { vocabulary.id(gguf, "eos")? } else { None };
    if bos.is_none() && eos.is_none() {
        return Ok(None);
    }
    let text = |id: u64| vocabulary.tokens[id as usize];
    let special = |id: u64| json!({"SpecialToken": {"id": text(id), "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let template = |names: &[&str]| {
        let mut parts = Vec::new();
        for name in names {
            parts.extend(bos.map(special));
            parts.push(sequence(name));
            parts.extend(eos.map(special));
        }
        parts
    };
    let mut tokens = serde_json::Map::new();
    for id in [bos, eos].into_iter().flatten() {
        tokens.insert(text(id).to_string(), json!({"id": text(id), "ids": [id], "tokens": [text(id)]}));
    }
    Ok(Some(Ordered(json!({
        "type": "TemplateProcessing",
        "single": template(&["A"]),
        "pair": template(&["A", "B"]),
        "special_tokens": tokens,
    }))))
}
