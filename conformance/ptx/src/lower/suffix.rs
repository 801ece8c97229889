//! The suffixes of an opcode, taken one by one in their order.
//!
//! Invariant: an instruction is lowered only when every suffix has been taken.

use crate::code::Type;
use crate::error::{Error, Result};

/// How an operand's bits are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bits,
    Unsigned,
    Signed,
    Float,
    Brain,
    Predicate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ty {
    pub kind: Kind,
    pub bits: u32,
}

impl Ty {
    pub fn parse(word: &str) -> Option<Ty> {
        if word == "pred" {
            return Some(Ty { kind: Kind::Predicate, bits: 1 });
        }
        let (kind, digits) = match word.as_bytes().first()? {
            b'b' if word.starts_with("bf") => (Kind::Brain, &word[2..]),
            b'b' => (Kind::Bits, &word[1..]),
            b'u' => (Kind::Unsigned, &word[1..]),
            b's' => (Kind::Signed, &word[1..]),
            b'f' => (Kind::Float, &word[1..]),
            _ => return None,
        };
        let bits = match digits {
            "8" => 8,
            "16" => 16,
            "32" => 32,
            "64" => 64,
            _ => return None,
        };
        let known = match kind {
            Kind::Float => bits >= 16,
            Kind::Brain => bits == 16,
            _ => true,
        };
        known.then_some(Ty { kind, bits })
    }

    pub fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::Brain)
    }

    pub fn is_signed(self) -> bool {
        self.kind == Kind::Signed
    }

    /// As the type of values; bits count as unsigned.
    pub fn value(self) -> Option<Type> {
        Some(match (self.kind, self.bits) {
            (Kind::Bits | Kind::Unsigned, 8) => Type::U8,
            (Kind::Bits | Kind::Unsigned, 16) => Type::U16,
            (Kind::Bits | Kind::Unsigned, 32) => Type::U32,
            (Kind::Bits | Kind::Unsigned, 64) => Type::U64,
            (Kind::Signed, 8) => Type::S8,
            (Kind::Signed, 16) => Type::S16,
            (Kind::Signed, 32) => Type::S32,
            (Kind::Signed, 64) => Type::S64,
            (Kind::Float, 16) => Type::F16,
            (Kind::Float, 32) => Type::F32,
            (Kind::Float, 64) => Type::F64,
            (Kind::Brain, 16) => Type::BF16,
            _ => return None,
        })
    }
}

pub struct Suffixes<'a> {
    opcode: &'a str,
    line: u32,
    parts: Vec<&'a str>,
    at: usize,
}

impl<'a> Suffixes<'a> {
    pub fn new(opcode: &'a str, line: u32) -> Suffixes<'a> {
        Suffixes { opcode, line, parts: opcode.split('.').collect(), at: 1 }
    }

    pub fn name(&self) -> &'a str {
        self.parts[0]
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.parts.get(self.at).copied()
    }

    /// Takes `suffix` if it is next.
    pub fn take(&mut self, suffix: &str) -> bool {
        let found = self.peek() == Some(suffix);
        self.at += usize::from(found);
        found
    }

    pub fn take_any(&mut self, suffixes: &[&str]) -> Option<&'a str> {
        let next = self.peek().filter(|next| suffixes.contains(next))?;
        self.at += 1;
        Some(next)
    }

    pub fn expect(&mut self, suffix: &str) -> Result<()> {
        if self.take(suffix) { Ok(()) } else { self.error(format!("expected `.{suffix}`")) }
    }

    pub fn any(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(next) => {
                self.at += 1;
                Ok(next)
            }
            None => self.error("a suffix is missing"),
        }
    }

    pub fn ty(&mut self) -> Result<Ty> {
        match self.peek().and_then(Ty::parse) {
            Some(ty) => {
                self.at += 1;
                Ok(ty)
            }
            None => self.error("unknown suffix or type"),
        }
    }

    /// The last suffix as a type, without taking it.
    pub fn last_type(&self) -> Option<Ty> {
        self.parts.last().copied().and_then(Ty::parse)
    }

    /// Rounding to nearest even, which float arithmetic must spell out; nothing else is allowed.
    pub fn round_to_nearest(&mut self) -> Result<()> {
        if self.take("rn") {
            return Ok(());
        }
        match self.peek() {
            Some("rz" | "rm" | "rp" | "approx" | "full" | "ftz" | "sat") => {
                self.error("only `.rn` without `.ftz`, `.sat` and `.approx` is allowed")
            }
            _ => self.unrounded(),
        }
    }

    /// The error of a conversion that must round and does not say how.
    pub fn unrounded<T>(&self) -> Result<T> {
        Err(Error::Unrounded { line: self.line, opcode: self.opcode.to_owned() })
    }

    pub fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(rest) => self.error(format!("unknown suffix `.{rest}`")),
        }
    }

    pub fn error<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error::Opcode { line: self.line, opcode: self.opcode.to_owned(), what: what.into() })
    }
}
