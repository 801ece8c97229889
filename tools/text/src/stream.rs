//! Text from tokens as they come.
//!
//! Invariant: pieces hold whole characters, and joined they are the text of all tokens. A piece is held back while its
//! last character may be incomplete.

use super::{Result, Text};

/// Tokens that are held back at most: no character is spread over more.
const HELD_MAX: usize = 8;
const REPLACEMENT: char = '\u{fffd}';

/// A decoder in the middle of an answer.
pub struct Stream<'t> {
    text: &'t Text,
    /// Tokens from a little before the first that is held back: what precedes decides on spaces.
    window: Vec<u32>,
    /// Of those, how many have been given out.
    given: usize,
}

impl<'t> Stream<'t> {
    pub(super) fn new(text: &'t Text) -> Stream<'t> {
        Stream { text, window: Vec::new(), given: 0 }
    }

    /// The text that `token` completes; often a word, sometimes nothing.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.window.push(token);
        self.take(false)
    }

    /// What is held back.
    pub fn finish(&mut self) -> Result<String> {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> Result<String> {
        let before = self.text.decode(&self.window[..self.given])?;
        let all = self.text.decode(&self.window)?;
        let held = self.window.len() - self.given;
        if all.ends_with(REPLACEMENT) && held < HELD_MAX && !last {
            return Ok(String::new());
        }
        let piece = all.strip_prefix(before.as_str()).unwrap_or("").to_string();
        if !piece.is_empty() || last {
            self.window.drain(..self.given);
            self.given = self.window.len();
        }
        Ok(piece)
    }
}
