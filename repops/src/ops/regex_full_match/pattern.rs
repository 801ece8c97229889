//! Reads a pattern in RE2's syntax. Source: the table of syntax that comes with RE2.
//!
//! Invariant: what is not understood is an error, never a literal by accident; nesting is bounded.

/// Groups inside of each other.
const NESTING_MAX: usize = 200;
/// The greatest count of a repetition.
const REPEAT_MAX: u32 = 1000;
const LAST: u32 = char::MAX as u32;

/// Sorted, disjoint ranges of code points, both ends included.
pub type Class = Vec<(u32, u32)>;

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Class(Class),
    Cat(Vec<Node>),
    Alt(Vec<Node>),
    Repeat { node: Box<Node>, least: u32, most: Option<u32> },
    Assert(Assert),
}

/// What a position must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Assert {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordBoundary,
    NoWordBoundary,
}

#[derive(Clone, Copy)]
struct Flags {
    fold: bool,
    multiline: bool,
    dot_all: bool,
}

pub fn parse(pattern: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: pattern, depth: 0 };
    let node = parser.alternatives(Flags { fold: false, multiline: false, dot_all: false })?;
    if parser.rest.is_empty() { Ok(node) } else { Err("a ) has no (".to_string()) }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Up to a `)` or the end.
    fn alternatives(&mut self, mut flags: Flags) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("groups are nested deeper than {NESTING_MAX}"));
        }
        let mut all = Vec::new();
        let mut parts: Vec<Node> = Vec::new();
        // Whether the last part may be repeated.
        let mut repeatable = false;
        while let Some(c) = self.peek().filter(|c| *c != ')') {
            if c == '|' {
                self.next();
                all.push(Node::Cat(std::mem::take(&mut parts)));
                repeatable = false;
                continue;
            }
            if let Some((least, most)) = self.repetition()? {
                let last = parts.pop().filter(|_| repeatable).ok_or("a repetition has nothing to repeat")?;
                parts.push(Node::Repeat { node: Box::new(last), least, most });
                repeatable = false;
                continue;
            }
            if self.eat("\\Q") {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                for c in quoted.chars() {
                    parts.push(Node::Class(literal(c, flags)?));
                }
                repeatable = !quoted.is_empty();
                continue;
            }
            repeatable = true;
            match self.atom(&mut flags)? {
                Some(node) => parts.push(node),
                None => repeatable = false,
            }
        }
        self.depth -= 1;
        all.push(Node::Cat(parts));
        Ok(Node::Alt(all))
    }

    /// `* + ? {n} {n,} {n,m}`, each perhaps with a `?`; anything else is left where it is.
    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let found = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let Some((inside, rest)) = self.rest[1..].split_once('}') else { return Ok(None) };
                let (least, most) = match inside.split_once(',') {
                    Some((least, most)) => (least, most),
                    None => (inside, inside),
                };
                let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                if !is_number(least) || !(most.is_empty() || is_number(most)) {
                    return Ok(None);
                }
                let number = |text: &str| match text.parse::<u32>() {
                    Ok(n) if n <= REPEAT_MAX => Ok(n),
                    _ => Err(format!("a repetition of {text} is above {REPEAT_MAX}")),
                };
                let most = if most.is_empty() { None } else { Some(number(most)?) };
                let least = number(least)?;
                if most.is_some_and(|most| most < least) {
                    return Err(format!("the repetition {{{inside}}} ends before it begins"));
                }
                self.rest = rest;
                self.eat("?");
                return Ok(Some((least, most)));
            }
            _ => return Ok(None),
        };
        self.next();
        self.eat("?");
        Ok(Some(found))
    }

    /// One item; none if it only changed the flags.
    fn atom(&mut self, flags: &mut Flags) -> Result<Option<Node>, String> {
        let c = self.next().ok_or("the pattern ends")?;
        Ok(Some(match c {
            '.' if flags.dot_all => Node::Class(vec![(0, LAST)]),
            '.' => Node::Class(negated(vec![(10, 10)])),
            '^' if flags.multiline => Node::Assert(Assert::LineStart),
            '^' => Node::Assert(Assert::TextStart),
            '$' if flags.multiline => Node::Assert(Assert::LineEnd),
            '$' => Node::Assert(Assert::TextEnd),
            '[' => Node::Class(self.class(*flags)?),
            '\\' => self.escape(*flags)?,
            '(' => return self.group(flags),
            c => Node::Class(literal(c, *flags)?),
        }))
    }

    fn group(&mut self, flags: &mut Flags) -> Result<Option<Node>, String> {
        let mut inner = *flags;
        if self.eat("?") {
            if self.eat("P<") || self.eat("<") {
                let (name, rest) = self.rest.split_once('>').ok_or("the name of a group does not end")?;
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(is_name) {
                    return Err(format!("{name:?} is no name of a group"));
                }
                self.rest = rest;
            } else {
                let mut on = true;
                loop {
                    match self.next() {
                        Some('i') => inner.fold = on,
                        Some('m') => inner.multiline = on,
                        Some('s') => inner.dot_all = on,
                        // Which match is preferred does not matter.
                        Some('U') => {}
                        Some('-') if on => on = false,
                        Some(':') => break,
                        Some(')') => {
                            *flags = inner;
                            return Ok(None);
                        }
                        _ => return Err("(? is followed by no kind of group that RE2 has".to_string()),
                    }
                }
            }
        }
        let node = self.alternatives(inner)?;
        if self.eat(")") { Ok(Some(node)) } else { Err("a ( has no )".to_string()) }
    }

    fn escape(&mut self, flags: Flags) -> Result<Node, String> {
        for (text, assert) in [
            ("A", Assert::TextStart),
            ("z", Assert::TextEnd),
            ("b", Assert::WordBoundary),
            ("B", Assert::NoWordBoundary),
        ] {
            if self.eat(text) {
                return Ok(Node::Assert(assert));
            }
        }
        if let Some(class) = self.perl(flags) {
            return Ok(Node::Class(class));
        }
        let c = self.escaped()?;
        Ok(Node::Class(literal(c, flags)?))
    }

    /// `d s w` and their complements, after a backslash.
    fn perl(&mut self, flags: Flags) -> Option<Class> {
        let c = self.peek()?;
        let class = match c.to_ascii_lowercase() {
            'd' => vec![(48, 57)],
            's' => vec![(9, 10), (12, 13), (32, 32)],
            'w' => vec![(48, 57), (65, 90), (95, 95), (97, 122)],
            _ => return None,
        };
        self.next();
        let class = if flags.fold { folded_ascii(class) } else { class };
        Some(if c.is_ascii_uppercase() { negated(class) } else { class })
    }

    /// The character after a backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let c = self.next().ok_or("the pattern ends in a backslash")?;
        let code = match c {
            'a' => 7,
            'f' => 12,
            't' => 9,
            'n' => 10,
            'r' => 13,
            'v' => 11,
            '0'..='7' => {
                let mut code = c as u32 - 48;
                let more = if self.peek().is_some_and(|d| d.is_digit(8)) { 2 } else { 0 };
                if c != '0' && more == 0 {
                    return Err("references to groups are not in RE2".to_string());
                }
                for _ in 0..more {
                    if let Some(digit) = self.peek().and_then(|d| d.to_digit(8)) {
                        code = code * 8 + digit;
                        self.next();
                    }
                }
                code
            }
            'x' => {
                let digits = if self.eat("{") {
                    let (digits, rest) = self.rest.split_once('}').ok_or("a \\x{ does not end")?;
                    self.rest = rest;
                    digits
                } else {
                    let (digits, rest) = self.rest.split_at_checked(2).ok_or("a \\x is too short")?;
                    self.rest = rest;
                    digits
                };
                let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
                code.ok_or_else(|| format!("\\x{digits} is no number"))?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c as u32,
            c => return Err(format!("\\{c} is not supported")),
        };
        char::from_u32(code).ok_or_else(|| format!("{code:x} is no code point"))
    }

    /// After a `[`.
    fn class(&mut self, flags: Flags) -> Result<Class, String> {
        let is_negated = self.eat("^");
        let mut class = Class::new();
        let mut is_first = true;
        while is_first || self.peek() != Some(']') {
            is_first = false;
            if self.rest.starts_with("[:") {
                let (name, rest) = self.rest[2..].split_once(":]").ok_or("a [: does not end")?;
                self.rest = rest;
                class.extend(posix(name, flags)?);
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, rest);
                if let Some(perl) = self.perl(flags) {
                    class.extend(perl);
                    continue;
                }
                self.rest = before;
            }
            let low = self.one()?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                high = self.one()?;
            }
            if high < low {
                return Err(format!("the range {low:?} to {high:?} ends before it begins"));
            }
            class.extend(folded(vec![(low as u32, high as u32)], flags)?);
        }
        self.next();
        let class = sorted(class);
        Ok(if is_negated { negated(class) } else { class })
    }

    /// One character of a class.
    fn one(&mut self) -> Result<char, String> {
        match self.next() {
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
            None => Err("a [ has no ]".to_string()),
        }
    }
}

fn posix(name: &str, flags: Flags) -> Result<Class, String> {
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let class = match name {
        "alnum" => vec![(48, 57), (65, 90), (97, 122)],
        "alpha" => vec![(65, 90), (97, 122)],
        "ascii" => vec![(0, 127)],
        "blank" => vec![(9, 9), (32, 32)],
        "cntrl" => vec![(0, 31), (127, 127)],
        "digit" => vec![(48, 57)],
        "graph" => vec![(33, 126)],
        "lower" => vec![(97, 122)],
        "print" => vec![(32, 126)],
        "punct" => vec![(33, 47), (58, 64), (91, 96), (123, 126)],
        "space" => vec![(9, 13), (32, 32)],
        "upper" => vec![(65, 90)],
        "word" => vec![(48, 57), (65, 90), (95, 95), (97, 122)],
        "xdigit" => vec![(48, 57), (65, 70), (97, 102)],
        _ => return Err(format!("[:{name}:] is no class")),
    };
    let class = if flags.fold { folded_ascii(class) } else { class };
    Ok(if is_negated { negated(class) } else { class })
}

fn literal(c: char, flags: Flags) -> Result<Class, String> {
    folded(vec![(c as u32, c as u32)], flags)
}

fn folded(class: Class, flags: Flags) -> Result<Class, String> {
    match (flags.fold, class.iter().all(|(_, high)| *high < 128)) {
        (false, _) => Ok(class),
        (true, true) => Ok(folded_ascii(class)),
        (true, false) => Err("characters outside of ASCII do not go with the flag i".to_string()),
    }
}

/// With the other case of each letter, and what else folds to one.
fn folded_ascii(class: Class) -> Class {
    let mut out = class.clone();
    for (low, high) in class {
        for (from, to) in [(65, 97), (97, 65)] {
            let (first, last) = (low.max(from), high.min(from + 25));
            if first <= last {
                out.push((first - from + to, last - from + to));
            }
        }
    }
    for (letter, other) in [('k', 0x212a), ('s', 0x17f)] {
        if out.iter().any(|(low, high)| (*low..=*high).contains(&(letter as u32))) {
            out.push((other, other));
        }
    }
    sorted(out)
}

fn sorted(mut class: Class) -> Class {
    class.sort_unstable();
    let mut out = Class::new();
    for (low, high) in class {
        match out.last_mut() {
            Some((_, end)) if low <= *end + 1 => *end = high.max(*end),
            _ => out.push((low, high)),
        }
    }
    out
}

/// All other code points, of a class in order.
fn negated(class: Class) -> Class {
    let mut out = Class::new();
    let mut next = 0;
    for (low, high) in class {
        if next < low {
            out.push((next, low - 1));
        }
        next = high + 1;
    }
    if next <= LAST {
        out.push((next, LAST));
    }
    out
}
