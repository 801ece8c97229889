//! Reading `tokenizer.json` without holding it several times over.
//!
//! The library reads a model twice into trees of values before it is one, which takes four times the memory that the tokenizer
//! has in the end, and most of what a small model's process has beside its weights. Byte-pair models whose merges are pairs are read straight
//! into what the library builds them from. Invariant: whatever else a file may hold goes the library's own way, and a file that
//! goes this one gives the same tokenizer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::{
    DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Token,
    Tokenizer, TokenizerImpl,
};

/// The tokenizer that the bytes describe.
pub fn parse(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
    type Direct =
        TokenizerImpl<Pairs, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    match serde_json::from_slice::<Direct>(bytes) {
        Ok(direct) => Ok(direct.into()),
        // Also what is wrong in any way: the library says what it is.
        Err(_) => Tokenizer::from_bytes(bytes),
    }
}

/// A byte-pair model that was written with pairs for merges.
struct Pairs(BPE);

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
    vocab: Vocab,
    merges: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let mut builder = BPE::builder()
            .vocab_and_merges(written.vocab, written.merges)
            .fuse_unk(written.fuse_unk.unwrap_or(false))
            .byte_fallback(written.byte_fallback.unwrap_or(false))
            .ignore_merges(written.ignore_merges.unwrap_or(false));
        if let Some(dropout) = written.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(unknown) = written.unk_token {
            builder = builder.unk_token(unknown);
        }
        if let Some(prefix) = written.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = written.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build().map(Pairs).map_err(serde::de::Error::custom)
    }
}

impl From<Pairs> for ModelWrapper {
    fn from(Pairs(model): Pairs) -> ModelWrapper {
        ModelWrapper::BPE(model)
    }
}

impl Model for Pairs {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        self.0.tokenize(sequence)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.id_to_token(id)
    }

    #[expect(clippy::disallowed_types, reason = "the library's interface")]
    fn get_vocab(&self) -> std::collections::HashMap<String, u32> {
        self.0.get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.0.save(folder, prefix)
    }

    fn get_trainer(&self) -> BpeTrainer {
        Model::get_trainer(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(merges: &str, more: &str) -> String {
        format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":4,"content":"<s>","single_word":false,
            "lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":null,
            "pre_tokenizer":{{"type":"Whitespace"}},"post_processor":null,"decoder":null,
            "model":{{{more}"vocab":{{"a":0,"b":1,"ab":2,"<unk>":3}},"merges":{merges}}}}}"#
        )
    }

    #[test]
    fn the_direct_way_is_the_librarys() {
        let all = r#""type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,
            "fuse_unk":true,"byte_fallback":false,"ignore_merges":true,"#;
        for (merges, more, direct) in [
            (r#"[["a","b"]]"#, all, true),
            (r#"[["a","b"]]"#, r#""type":"BPE","unknown":[1],"#, true),
            // The library reads these alone: merges as texts, and a model that does not say what it is.
            (r#"["a b"]"#, all, false),
            (r#"[["a","b"]]"#, "", false),
        ] {
            let text = written(merges, more);
            let library = Tokenizer::from_bytes(text.as_bytes()).unwrap();
            let ours = parse(text.as_bytes()).unwrap();
            let way = serde_json::from_str::<
                TokenizerImpl<
                    Pairs,
                    NormalizerWrapper,
                    PreTokenizerWrapper,
                    PostProcessorWrapper,
                    DecoderWrapper,
                >,
            >(&text);
            assert_eq!(way.is_ok(), direct, "{text}");
            assert_eq!(ours.to_string(false).unwrap(), library.to_string(false).unwrap());
            for sample in ["ab ba", "xx a", "<s>ab", ""] {
                let ids = |tokenizer: &Tokenizer| tokenizer.encode(sample, true).unwrap().get_ids().to_vec();
                assert_eq!(ids(&ours), ids(&library), "{sample}");
            }
        }
    }

    #[test]
    fn faults_are_the_librarys() {
        for text in
            ["", "{}", &written(r#"[["a","c"]]"#, r#""type":"BPE","#), &written("[]", r#""type":"XYZ","#)]
        {
            let library = Tokenizer::from_bytes(text.as_bytes()).map(|_| ()).unwrap_err();
            let ours = parse(text.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(ours.to_string(), library.to_string());
        }
    }
}
