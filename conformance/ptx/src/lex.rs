//! From text to tokens.
//!
//! Invariant: every token borrows from the text and knows its line; any bytes give tokens or an error.

use crate::error::{Error, Result};

/// Texts longer than this are refused.
pub const TEXT_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// An identifier, a register, a directive, or an opcode with its suffixes: `%r1`, `.visible`, `ld.global.b32`.
    Word(&'a str),
    /// What begins with a digit, as it stands.
    Number(&'a str),
    /// The characters between quotes.
    Text(&'a str),
    Mark(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: u32,
}

pub fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::Limit { line: 0, what: "the text", limit: TEXT_BYTES_MAX as u64 });
    }
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1u32);
    while at < bytes.len() {
        let byte = bytes[at];
        let start = at;
        let kind = match byte {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|&b| b == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let length = bytes[at + 2..]
                    .windows(2)
                    .position(|pair| pair == b"*/")
                    .ok_or_else(|| Error::Syntax { line, what: "a comment does not end".to_owned() })?;
                let end = at + 2 + length + 2;
                line += bytes[at..end].iter().filter(|&&b| b == b'\n').count() as u32;
                at = end;
                continue;
            }
            b'"' => {
                let length = bytes[at + 1..]
                    .iter()
                    .position(|&b| b == b'"' || b == b'\n')
                    .filter(|&length| bytes[at + 1 + length] == b'"')
                    .ok_or_else(|| Error::Syntax { line, what: "a string does not end".to_owned() })?;
                at += length + 2;
                Kind::Text(&text[start + 1..at - 1])
            }
            b'0'..=b'9' => {
                at += run(&bytes[at..]);
                Kind::Number(&text[start..at])
            }
            _ if is_word(byte) => {
                at += run(&bytes[at..]);
                Kind::Word(&text[start..at])
            }
            b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'<' | b'>' | b',' | b';' | b':' | b'=' | b'@'
            | b'!' | b'+' | b'-' | b'|' => {
                at += 1;
                Kind::Mark(byte)
            }
            _ => {
                let what = format!("the character {:?} has no meaning here", char::from(byte));
                return Err(Error::Syntax { line, what });
            }
        };
        out.push(Token { kind, line });
    }
    Ok(out)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

/// How many bytes at the beginning belong to one word or number.
fn run(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // `::` is inside of suffixes as `.L2::128B`; one colon ends a label.
        if byte == b':' && bytes.get(at + 1) == Some(&b':') {
            at += 2;
        } else if is_word(byte) {
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// The value of an integer literal: decimal, octal, hexadecimal or binary, with or without `U`.
pub fn integer(text: &str) -> Option<u64> {
    let text = text.strip_suffix('U').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
        u64::from_str_radix(digits, 2).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(&text[1..], 8).ok()
    } else {
        text.parse().ok()
    }
}

/// The bits of a float literal, `0f` and eight digits or `0d` and sixteen, and whether it is double.
pub fn float(text: &str) -> Option<(u64, bool)> {
    let digits = |rest: &str, count: usize| {
        let hexadecimal = rest.len() == count && rest.bytes().all(|b| b.is_ascii_hexdigit());
        if hexadecimal { u64::from_str_radix(rest, 16).ok() } else { None }
    };
    match text.get(..2)? {
        "0f" | "0F" => Some((digits(&text[2..], 8)?, false)),
        "0d" | "0D" => Some((digits(&text[2..], 16)?, true)),
        _ => None,
    }
}
