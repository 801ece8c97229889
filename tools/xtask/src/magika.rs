//! What stands around the magika model: from a file's bytes to its input, from its output to a label.
//!
//! The rules are those of the model's own Python package, version 1.0.3 (`assets/magika/README.md`).
//! Invariant: an input is always exactly [`INPUT_LEN`] numbers, each 0 to 256.

use crate::command::{Error, Result};
use serde_json::Value;

/// The model and its configuration, from the repository's root.
pub const MODEL: &str = "assets/magika/standard_v3_3.onnx";
pub const CONFIG: &str = "assets/magika/config.json";

const BEGIN_LEN: usize = 1024;
const END_LEN: usize = 1024;
pub const INPUT_LEN: usize = BEGIN_LEN + END_LEN;
/// How many bytes at either end are looked at; white space is stripped inside of these.
const BLOCK_LEN: usize = 4096;
/// Stands where a short file has no byte.
const PADDING: i32 = 256;
/// With fewer bytes after stripping, the model is not asked.
const LEN_MIN: usize = 8;

/// The model's input for one file, or nothing when the file is too short to be asked about.
///
/// First the first 1024 bytes of the leading block without its leading white space, padded behind; then the
/// last 1024 bytes of the trailing block without its trailing white space, padded in front.
pub fn input(content: &[u8]) -> Option<Vec<i32>> {
    let block_len = content.len().min(BLOCK_LEN);
    let leading = &content[..block_len];
    let begin = &leading[leading.iter().take_while(|&&byte| is_space(byte)).count()..];
    let begin = &begin[..begin.len().min(BEGIN_LEN)];
    if begin.len() < LEN_MIN {
        return None;
    }
    let trailing = &content[content.len() - block_len..];
    let end = &trailing[..block_len - trailing.iter().rev().take_while(|&&byte| is_space(byte)).count()];
    let end = &end[end.len().saturating_sub(END_LEN)..];

    let mut tokens: Vec<i32> = begin.iter().map(|&byte| i32::from(byte)).collect();
    tokens.resize(BEGIN_LEN + END_LEN - end.len(), PADDING);
    tokens.extend(end.iter().map(|&byte| i32::from(byte)));
    Some(tokens)
}

/// Python's `bytes.strip` counts the vertical tab as white space; Rust's `is_ascii_whitespace` does not.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The names that the output's columns stand for.
pub fn labels(config: &[u8]) -> Result<Vec<String>> {
    let bad = || Error::Environment("config.json of magika has no list `target_labels_space`".to_owned());
    let config: Value = serde_json::from_slice(config).map_err(|_| bad())?;
    let list = config.get("target_labels_space").and_then(Value::as_array).ok_or_else(bad)?;
    list.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(bad)).collect()
}

/// The column with the greatest score; of equal ones the first.
pub fn best(scores: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, score) in scores.iter().enumerate() {
        if best.is_none_or(|best| *score > scores[best]) {
            best = Some(index);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_gives_its_first_and_last_bytes() {
        let content: Vec<u8> = (0..10_000_u32).map(|i| b'!' + u8::try_from(i % 90).unwrap()).collect();
        let tokens = input(&content).unwrap();
        assert_eq!(tokens.len(), INPUT_LEN);
        let expect = |slice: &[u8]| slice.iter().map(|&b| i32::from(b)).collect::<Vec<_>>();
        assert_eq!(tokens[..BEGIN_LEN], expect(&content[..BEGIN_LEN]));
        assert_eq!(tokens[BEGIN_LEN..], expect(&content[10_000 - END_LEN..]));
    }

    #[test]
    fn a_short_file_is_padded_behind_and_in_front() {
        let tokens = input(b"\x0b\n  0123456789 \t\x0c").unwrap();
        assert_eq!(tokens.len(), INPUT_LEN);
        assert_eq!(tokens[..3], [i32::from(b'0'), i32::from(b'1'), i32::from(b'2')]);
        // The beginning is stripped in front only: three bytes of white space follow the ten digits.
        assert_eq!(tokens[12], i32::from(b'\x0c'));
        assert_eq!(tokens[13], PADDING);
        assert_eq!(tokens[BEGIN_LEN], PADDING);
        assert_eq!(tokens[INPUT_LEN - 1], i32::from(b'9'));
        // And the end is stripped behind only: four bytes of white space precede them.
        assert_eq!(tokens[INPUT_LEN - 14], 0x0b);
        assert_eq!(tokens[INPUT_LEN - 15], PADDING);
    }

    #[test]
    fn white_space_beyond_the_block_is_not_looked_for() {
        let mut content = vec![b' '; BLOCK_LEN];
        content.extend_from_slice(b"text after a block of blanks");
        assert_eq!(input(&content), None);
        assert_eq!(input(b""), None);
        assert_eq!(input(b"seven.."), None);
    }

    #[test]
    fn the_shipped_model_and_labels_are_the_stated_ones() {
        let assets = crate::command::root().join("assets/magika");
        let digest = |name: &str| crate::command::sha256(&std::fs::read(assets.join(name)).unwrap());
        let readme = std::fs::read_to_string(assets.join("README.md")).unwrap();
        for name in ["standard_v3_3.onnx", "config.json"] {
            assert!(readme.contains(&digest(name)), "README.md does not state the digest of {name}");
        }
        let names = labels(&std::fs::read(assets.join("config.json")).unwrap()).unwrap();
        assert_eq!(names.len(), 214);
        assert!(names.iter().any(|name| name == "elf"));
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        assert_eq!(best(&[0.25, 0.5, 0.5]), Some(1));
        assert_eq!(best(&[]), None);
    }
}
