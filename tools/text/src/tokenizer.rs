//! `tokenizer.json`, read once and held small.
//!
//! The library reads a model twice into trees of values and holds every text in two hash tables, which is most of what a small
//! model's process has beside its weights. Byte-pair models become sorted tables (`bpe.rs`) as they are read. Invariant: whatever else a file
//! may hold goes the library's own way, and a file that goes this one gives the same tokens.

use tokenizers::{
    DecoderWrapper, Encoding, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::bpe::Pairs;

type Small =
    TokenizerImpl<Pairs, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Texts to tokens and back.
pub enum Tokenizer {
    Small(Box<Small>),
    Library(Box<tokenizers::Tokenizer>),
}

impl Tokenizer {
    pub fn parse(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
        match serde_json::from_slice::<Small>(bytes) {
            Ok(small) => Ok(Tokenizer::Small(Box::new(small))),
            // Also what is wrong in any way: the library says what it is.
            Err(_) => Ok(Tokenizer::Library(Box::new(tokenizers::Tokenizer::from_bytes(bytes)?))),
        }
    }

    pub fn encode(&self, text: &str, special: bool) -> tokenizers::Result<Encoding> {
        match self {
            Tokenizer::Small(tokenizer) => tokenizer.encode_fast(text, special),
            Tokenizer::Library(tokenizer) => tokenizer.encode_fast(text, special),
        }
    }

    pub fn decode(&self, tokens: &[u32]) -> tokenizers::Result<String> {
        match self {
            Tokenizer::Small(tokenizer) => tokenizer.decode(tokens, true),
            Tokenizer::Library(tokenizer) => tokenizer.decode(tokens, true),
        }
    }

    pub fn token(&self, token: u32) -> Option<String> {
        match self {
            Tokenizer::Small(tokenizer) => tokenizer.id_to_token(token),
            Tokenizer::Library(tokenizer) => tokenizer.id_to_token(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of the letters a to d, their bytes, and merges among them, of which some give the same token in two ways.
    fn written(model: &str) -> String {
        let mut vocab: Vec<String> =
            ["a", "b", "c", "d", "ä", "<unk>", "<0xC3>", "<0xB6>"].map(String::from).into();
        let mut merges = Vec::new();
        for (left, right) in [
            ("b", "c"),
            ("a", "b"),
            ("a", "bc"),
            ("ab", "c"),
            ("c", "d"),
            ("abc", "d"),
            ("a", "a"),
            ("aa", "aa"),
            ("ab", "cd"),
            ("d", "ä"),
        ] {
            let both = format!("{left}{right}");
            if !vocab.contains(&both) {
                vocab.push(both);
            }
            merges.push(format!("[\"{left}\",\"{right}\"]"));
        }
        let vocab: Vec<String> =
            vocab.iter().enumerate().map(|(id, token)| format!("\"{token}\":{}", 3 * id)).collect();
        format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":400,"content":"<s>","single_word":false,
            "lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":null,
            "pre_tokenizer":{{"type":"WhitespaceSplit"}},"post_processor":null,"decoder":{{"type":"Fuse"}},
            "model":{{{model}"vocab":{{{}}},"merges":[{}]}}}}"#,
            vocab.join(","),
            merges.join(","),
        )
    }

    /// Words of the letters, of what is no token, and of both, the same every time.
    fn words() -> Vec<String> {
        let letters = ["a", "b", "c", "d", "ä", "ö", "x", "語", " ", "<s>"];
        let mut state = 7u64;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut word = || {
            let kinds = 1 + draw(letters.len() as u64);
            (0..draw(40)).map(|_| letters[draw(kinds) as usize]).collect::<String>()
        };
        (0..3000).map(|_| word()).collect()
    }

    #[test]
    fn small_tokenizers_are_the_librarys() {
        let settings = |unknown: &str, fuse: bool, bytes: bool, ignore: bool| {
            format!(
                r#""type":"BPE","dropout":null,"unk_token":{unknown},"continuing_subword_prefix":null,"end_of_word_suffix":null,
                "fuse_unk":{fuse},"byte_fallback":{bytes},"ignore_merges":{ignore},"#
            )
        };
        let mut cases = vec![
            (r#""type":"BPE","unknown":[1],"#.to_string(), true),
            // The library reads these alone.
            (String::new(), false),
            (r#""type":"BPE","continuing_subword_prefix":"","#.to_string(), false),
        ];
        for unknown in ["null", "\"<unk>\""] {
            for bits in 0..8 {
                cases.push((settings(unknown, bits & 1 > 0, bits & 2 > 0, bits & 4 > 0), true));
            }
        }
        let words = words();
        for (model, small) in cases {
            let text = written(&model);
            let library = tokenizers::Tokenizer::from_bytes(text.as_bytes()).unwrap();
            let ours = Tokenizer::parse(text.as_bytes()).unwrap();
            assert_eq!(matches!(ours, Tokenizer::Small(_)), small, "{model}");
            for word in &words {
                let (a, b) =
                    (ours.encode(word, true).unwrap(), library.encode_fast(word.as_str(), true).unwrap());
                assert_eq!(a.get_ids(), b.get_ids(), "{model} {word}");
                assert_eq!(a.get_tokens(), b.get_tokens(), "{model} {word}");
                assert_eq!(ours.decode(a.get_ids()).unwrap(), library.decode(b.get_ids(), true).unwrap());
            }
            for id in 0..410 {
                assert_eq!(ours.token(id), library.id_to_token(id));
            }
        }
    }

    #[test]
    fn faults_are_the_librarys() {
        let whole = written(r#""type":"BPE","#);
        for text in ["", "{}", &whole.replace("[\"a\",\"b\"]", "[\"a\",\"z\"]"), &written(r#""type":"XYZ","#)]
        {
            let library = tokenizers::Tokenizer::from_bytes(text.as_bytes()).map(|_| ()).unwrap_err();
            let ours = Tokenizer::parse(text.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(ours.to_string(), library.to_string());
        }
        // An unknown token that is none, met in a text.
        let text = written(r#""type":"BPE","unk_token":"<none>","#);
        assert!(Tokenizer::parse(text.as_bytes()).unwrap().encode("axb", true).is_err());
    }
}
