//! A pattern as a machine of states, and the set of states in which a text leaves it.
//!
//! Invariant: a text costs at most its length times the number of states, which is bounded, and no recursion.

use super::pattern::{Assert, Class, Node, parse};

const STATES_MAX: usize = 20_000;

#[derive(Debug)]
enum State {
    /// One character of the class, then the next state.
    Class(Class, usize),
    Assert(Assert, usize),
    Either(usize, usize),
    Match,
}

pub struct Machine {
    states: Vec<State>,
    start: usize,
}

impl Machine {
    pub fn new(pattern: &str) -> Result<Machine, String> {
        let node = parse(pattern)?;
        let mut builder = Builder { states: vec![State::Match], left: 10 * STATES_MAX };
        let start = builder.build(&node, 0)?;
        Ok(Machine { states: builder.states, start })
    }

    /// Whether the machine accepts all of the text.
    pub fn matches(&self, text: &str) -> bool {
        let (mut current, mut next) = (Set::new(self.states.len()), Set::new(self.states.len()));
        let mut chars = text.chars();
        self.enter(self.start, &mut current, None, chars.clone().next());
        while let Some(c) = chars.next() {
            let after = chars.clone().next();
            next.clear();
            for &state in &current.reached {
                if let State::Class(class, to) = &self.states[state]
                    && contains(class, c as u32)
                {
                    self.enter(*to, &mut next, Some(c), after);
                }
            }
            std::mem::swap(&mut current, &mut next);
            if current.reached.is_empty() {
                return false;
            }
        }
        current.reached.iter().any(|&state| matches!(self.states[state], State::Match))
    }

    /// Adds a state and those reached from it without a character.
    fn enter(&self, state: usize, set: &mut Set, previous: Option<char>, next: Option<char>) {
        let mut open = vec![state];
        while let Some(state) = open.pop() {
            if std::mem::replace(&mut set.is_in[state], true) {
                continue;
            }
            set.reached.push(state);
            match &self.states[state] {
                State::Either(a, b) => open.extend([*b, *a]),
                State::Assert(assert, to) if holds(*assert, previous, next) => open.push(*to),
                _ => {}
            }
        }
    }
}

struct Set {
    reached: Vec<usize>,
    is_in: Vec<bool>,
}

impl Set {
    fn new(states: usize) -> Set {
        Set { reached: Vec::new(), is_in: vec![false; states] }
    }

    fn clear(&mut self) {
        self.reached.drain(..).for_each(|state| self.is_in[state] = false);
    }
}

fn contains(class: &Class, c: u32) -> bool {
    let after = class.partition_point(|(low, _)| *low <= c);
    after > 0 && c <= class[after - 1].1
}

fn holds(assert: Assert, previous: Option<char>, next: Option<char>) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    match assert {
        Assert::TextStart => previous.is_none(),
        Assert::TextEnd => next.is_none(),
        Assert::LineStart => previous.is_none_or(|c| c == '\n'),
        Assert::LineEnd => next.is_none_or(|c| c == '\n'),
        Assert::WordBoundary => is_word(previous) != is_word(next),
        Assert::NoWordBoundary => is_word(previous) == is_word(next),
    }
}

struct Builder {
    states: Vec<State>,
    /// How many nodes may still be built: a repetition of nothing adds no states.
    left: usize,
}

impl Builder {
    /// The first of the states that match the node and go on at `next`.
    fn build(&mut self, node: &Node, next: usize) -> Result<usize, String> {
        self.left = self.left.checked_sub(1).ok_or_else(too_large)?;
        match node {
            Node::Class(class) => self.push(State::Class(class.clone(), next)),
            Node::Assert(assert) => self.push(State::Assert(*assert, next)),
            Node::Cat(parts) => parts.iter().rev().try_fold(next, |next, part| self.build(part, next)),
            Node::Alt(parts) => {
                let mut first = None;
                for part in parts.iter().rev() {
                    let start = self.build(part, next)?;
                    first = Some(match first {
                        Some(other) => self.push(State::Either(start, other))?,
                        None => start,
                    });
                }
                Ok(first.unwrap_or(next))
            }
            Node::Repeat { node, least, most } => {
                let mut start = next;
                match most {
                    Some(most) => {
                        for _ in *least..*most {
                            let once = self.build(node, start)?;
                            start = self.push(State::Either(once, next))?;
                        }
                    }
                    None => {
                        start = self.push(State::Either(next, next))?;
                        let once = self.build(node, start)?;
                        self.states[start] = State::Either(once, next);
                    }
                }
                for _ in 0..*least {
                    start = self.build(node, start)?;
                }
                Ok(start)
            }
        }
    }

    fn push(&mut self, state: State) -> Result<usize, String> {
        if self.states.len() >= STATES_MAX {
            return Err(too_large());
        }
        self.states.push(state);
        Ok(self.states.len() - 1)
    }
}

fn too_large() -> String {
    format!("takes more than {STATES_MAX} states")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matched: &[&str], others: &[&str]) {
        let machine = Machine::new(pattern).unwrap_or_else(|problem| panic!("{pattern}: {problem}"));
        matched.iter().for_each(|text| assert!(machine.matches(text), "{pattern} does not match {text:?}"));
        others.iter().for_each(|text| assert!(!machine.matches(text), "{pattern} matches {text:?}"));
    }

    #[test]
    fn the_syntax_of_re2() {
        check("", &[""], &["a"]);
        check("a|b|", &["a", "b", ""], &["ab"]);
        check(r"www\.[\w.-]+\.\bcom\b", &["www.google.com"], &["www.bbc.co.uk"]);
        check(r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)", &["account@gmail.com"], &["not email"]);
        check("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]);
        check("a{2,}b{0}", &["aa", "aaaaa"], &["a", "aab"]);
        check("a{,2}{", &["a{,2}{"], &["aa"]);
        check("(a*)*b?", &["", "aaab", "b"], &["ba"]);
        check("(?:a|ab)(c|bcd)(d*)", &["abcd", "acd", "ac"], &["abd"]);
        check("[^a-c]", &["d", "\n", "é"], &["a", "", "dd"]);
        check("[]a-]+", &["]a-"], &["b"]);
        check("[[:alpha:][:^print:]]", &["x", "\u{1}"], &["1"]);
        check(".", &["é", "😀"], &["\n", ""]);
        check("(?s).", &["\n"], &[]);
        check("(?i)kS[a-c]", &["KsB", "\u{212a}\u{17f}A"], &["lsb"]);
        check("(?i:a)a", &["Aa"], &["AA"]);
        check("a(?i)b", &["aB"], &["Ab"]);
        check(r"a$\n", &[], &["a\n"]);
        check(r"(?m)a$\n^b", &["a\nb"], &["ab"]);
        check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]);
        check(r"\x41\x{e9}\101\0", &["AéA\0"], &[]);
        check(r"\d+\s\S", &["12 x"], &["1\u{a0}x", "٣ x"]);
        check(r"a\Bb\b", &["ab"], &["a b"]);
        check("(?P<n>x)(?<m>y)", &["xy"], &[]);
        check("(a{0,100}){0,20}", &["", "aaaa"], &["b"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [
            "(",
            ")",
            "a**",
            "*",
            "a|*",
            "[",
            "[b-a]",
            r"\1",
            r"\pL",
            r"\C",
            r"\",
            "(?x)a",
            "a{1001}",
            "a{3,2}",
            "(?i)é",
            "[[:x:]]",
            "(?P<>a)",
            r"\xg0",
            r"\x{110000}",
            "((a{100}){100}){100}",
            "(((){1000}){1000}){1000}",
        ] {
            assert!(Machine::new(pattern).is_err(), "{pattern}");
        }
        assert!(Machine::new(&"(".repeat(100_000)).is_err());
    }

    #[test]
    fn no_pattern_is_slow() {
        let pattern = format!("{}{}", "a?".repeat(200), "a".repeat(200));
        assert!(Machine::new(&pattern).unwrap().matches(&"a".repeat(200)));
    }
}
