//! Tokens to text and back, whole and in pieces.

use repops_text::{Message, Text, TextError};

/// Byte-level BPE of all bytes and a few merges, as a model would carry it.
fn tokenizer() -> Vec<u8> {
    // The alphabet of byte-level BPE: printable bytes are themselves, the others follow from U+0100 on.
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    let mut alphabet: Vec<String> = Vec::new();
    for byte in 0..256u32 {
        let code = if printable(byte) { byte } else { next };
        next += u32::from(!printable(byte));
        alphabet.push(char::from_u32(code).unwrap().to_string());
    }
    let mut vocab: Vec<String> = alphabet;
    vocab.extend(["he", "ll", "hell", "hello"].map(str::to_string));
    let vocab: serde_json::Map<String, serde_json::Value> =
        vocab.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
    let added = |id: u32, content: &str, special: bool| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [added(260, "<|end|>", true), added(261, "<tool>", false)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"]]},
    });
    serde_json::to_vec(&tokenizer).unwrap()
}

fn text() -> Text {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ eos_token }}";
    let generation = br#"{"context_length":64,"eos_token":"<|end|>","eos_token_ids":[260]}"#;
    Text::new(&tokenizer(), Some(template.as_bytes()), generation).unwrap()
}

#[test]
fn text_becomes_tokens_and_text_again() {
    let text = text();
    assert_eq!(text.encode("hello", false).unwrap(), [259]);
    assert_eq!(text.encode("hell", false).unwrap(), [258]);
    for sample in ["", "hello world", "  naïve  ", "日本語 🙂\n", "a\0b", "<tool>x</tool>"] {
        let tokens = text.encode(sample, false).unwrap();
        assert_eq!(text.decode(&tokens).unwrap(), sample);
    }
    // Special tokens are no text; user-defined ones are.
    assert_eq!(text.encode("a<|end|><tool>", false).unwrap(), [97, 260, 261]);
    assert_eq!(text.decode(&[97, 260, 261]).unwrap(), "a<tool>");
    assert!(text.is_end(260) && !text.is_end(261));
    assert_eq!(text.token(259).as_deref(), Some("hello"));
    assert_eq!(text.token(9999), None);
}

#[test]
fn pieces_hold_whole_characters_and_join_to_the_text() {
    let text = text();
    let sample = "hé🙂🙂 日本\u{fffd}语e\u{301}.";
    let tokens = text.encode(sample, false).unwrap();
    let mut stream = text.stream();
    let mut joined = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let piece = stream.push(*token).unwrap();
        let last = at + 1 == tokens.len();
        assert!(
            last || !piece.ends_with('\u{fffd}') || sample.starts_with(&(joined.clone() + &piece)),
            "{piece:?}"
        );
        joined.push_str(&piece);
        assert!(sample.starts_with(&joined), "{joined:?}");
    }
    joined.push_str(&stream.finish().unwrap());
    assert_eq!(joined, sample);
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_do_not_stall() {
    let text = text();
    let mut stream = text.stream();
    let mut joined = String::new();
    // 0xF0 begins a character that never ends.
    for _ in 0..40 {
        joined.push_str(&stream.push(0xf0).unwrap());
    }
    assert!(joined.chars().count() >= 30 && joined.chars().all(|c| c == '\u{fffd}'));
    joined.push_str(&stream.push(97).unwrap());
    joined.push_str(&stream.finish().unwrap());
    assert!(joined.ends_with('a'));
}

#[test]
fn conversations_become_tokens() {
    let text = text();
    let message =
        |role: &str, content: &str| Message { role: role.to_string(), content: content.to_string() };
    let chat = text.chat(&[message("user", "hello"), message("assistant", "a")]).unwrap();
    assert_eq!(chat, "<user>hello<assistant>a<|end|>");
    assert_eq!(text.chat_tokens(&[message("x", "hello")]).unwrap(), [60, 120, 62, 259, 260]);
}

#[test]
fn broken_texts_are_refused() {
    let refused = |tokenizer: &[u8], template: Option<&[u8]>, generation: &[u8]| {
        Text::new(tokenizer, template, generation).err().expect("broken").to_string()
    };
    assert!(refused(b"{}", None, b"{}").contains("repops:tokenizer.json"));
    assert!(refused(b"\xff", None, b"{}").contains("repops:tokenizer.json"));
    assert!(refused(&tokenizer(), None, b"[1]").contains("repops:generation.json"));
    assert!(refused(&tokenizer(), Some(b"{% if %}"), b"{}").contains("repops:chat_template"));
    assert!(refused(&tokenizer(), Some(b"\xff"), b"{}").contains("repops:chat_template"));
    let plain = Text::new(&tokenizer(), None, b"{}").unwrap();
    assert!(matches!(plain.chat(&[]), Err(TextError::NoTemplate)));
    let long = "a".repeat(repops_text::TEXT_BYTES_MAX + 1);
    assert!(matches!(plain.encode(&long, false), Err(TextError::TooLong { .. })));
}
