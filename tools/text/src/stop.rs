//! Stop strings: an answer ends where one of them begins.
//!
//! Invariant: no part of a stop string is given out; text that may be the beginning of one is held back until it is not.

/// What came of a piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Text that can be given out.
    No(String),
    /// The rest of the answer, and which stop string followed it.
    Yes(String, usize),
}

/// A search for stop strings in text that comes in pieces.
#[derive(Clone, Default, Debug)]
pub struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// Empty strings stop nothing.
    pub fn new(stops: Vec<String>) -> Stops {
        Stops { stops, held: String::new() }
    }

    pub fn push(&mut self, piece: &str) -> Stopped {
        self.held.push_str(piece);
        // The earliest one; of several at the same place the first in the list.
        let found = self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = found.filter_map(|(index, stop)| Some((self.held.find(stop.as_str())?, index))).min();
        if let Some((at, index)) = found {
            self.held.truncate(at);
            return Stopped::Yes(std::mem::take(&mut self.held), index);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Stopped::No(std::mem::replace(&mut self.held, rest))
    }

    /// What is held back: the text ends without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `stop` begins with, without being all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut search = Stops::new(stops.iter().map(|s| (*s).to_string()).collect());
        let mut out = String::new();
        for piece in pieces {
            match search.push(piece) {
                Stopped::No(text) => out.push_str(&text),
                Stopped::Yes(text, index) => return (out + &text, Some(index)),
            }
        }
        (out + &search.finish(), None)
    }

    #[test]
    fn stop_strings_are_found_across_pieces_and_never_shown() {
        assert_eq!(pushed(&["END"], &["a", "bE", "N", "Dc"]), ("ab".to_string(), Some(0)));
        assert_eq!(pushed(&["END"], &["a", "bE", "N", "x"]), ("abENx".to_string(), None));
        assert_eq!(pushed(&["aab"], &["a", "a", "a", "b"]), ("a".to_string(), Some(0)));
        assert_eq!(pushed(&["bc", "ab"], &["xa", "bc"]), ("x".to_string(), Some(1)));
        assert_eq!(pushed(&["\u{e9}t"], &["\u{e9}", "t\u{e9}"]), (String::new(), Some(0)));
        assert_eq!(pushed(&["", "zz"], &["az"]), ("az".to_string(), None));
        assert_eq!(pushed(&[], &["a", "b"]), ("ab".to_string(), None));
    }

    #[test]
    fn what_cannot_begin_a_stop_string_comes_at_once() {
        let mut search = Stops::new(vec!["<|end|>".to_string()]);
        assert_eq!(search.push("hello <"), Stopped::No("hello ".to_string()));
        assert_eq!(search.push("b>"), Stopped::No("<b>".to_string()));
    }
}
