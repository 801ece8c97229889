//! From tokens to a module.
//!
//! Invariant: bounded in everything that a text can ask for, without recursion deeper than a vector in an operand.

use crate::ast::{Function, Home, Instruction, Module, Operand, Statement, Variable};
use crate::error::{Error, Result};
use crate::lex::{self, Kind, Token};

/// The largest variable.
const VARIABLE_BYTES_MAX: u64 = 1 << 20;
const NUMBERED_REGISTERS_MAX: u32 = 1 << 20;

pub fn module(text: &str) -> Result<Module<'_>> {
    let tokens = lex::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut module = Module::default();
    while parser.peek().is_some() {
        parser.top(&mut module)?;
    }
    if module.version == 0 || module.target == 0 {
        return Err(Error::Syntax { line: 1, what: "no .version or no .target".to_owned() });
    }
    Ok(module)
}

struct Parser<'a, 't> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<Kind<'a>> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn error<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error::Syntax { line: self.line(), what: what.into() })
    }

    fn next(&mut self) -> Result<Kind<'a>> {
        let Some(kind) = self.peek() else { return self.error("the text ends too early") };
        self.at += 1;
        Ok(kind)
    }

    fn is_mark(&self, mark: u8) -> bool {
        self.peek() == Some(Kind::Mark(mark))
    }

    fn take(&mut self, mark: u8) -> bool {
        let found = self.is_mark(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: u8) -> Result<()> {
        if self.take(mark) { Ok(()) } else { self.error(format!("expected `{}`", char::from(mark))) }
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Kind::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.error("expected a name"),
        }
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(Kind::Word(wanted));
        self.at += usize::from(found);
        found
    }

    fn integer(&mut self) -> Result<u64> {
        match self.peek() {
            Some(Kind::Number(text)) => match lex::integer(text) {
                Some(value) => {
                    self.at += 1;
                    Ok(value)
                }
                None => self.error(format!("`{text}` is no integer")),
            },
            _ => self.error("expected an integer"),
        }
    }

    /// An integer that may be negative, as two's complement.
    fn signed(&mut self) -> Result<u64> {
        if self.take(b'-') { Ok(self.integer()?.wrapping_neg()) } else { self.integer() }
    }

    fn skip_statement(&mut self) -> Result<()> {
        while self.next()? != Kind::Mark(b';') {}
        Ok(())
    }

    /// Skips the rest of the line.
    fn skip_line(&mut self) {
        let line = self.line();
        while self.peek().is_some() && self.line() == line {
            self.at += 1;
        }
    }

    fn top(&mut self, module: &mut Module<'a>) -> Result<()> {
        let start = self.at;
        match self.word()? {
            ".version" => {
                let Kind::Number(text) = self.next()? else { return self.error("expected a version") };
                module.version = text
                    .split_once('.')
                    .and_then(|(major, minor)| {
                        Some(major.parse::<u8>().ok()? as u32 * 10 + minor.parse::<u8>().ok()? as u32)
                    })
                    .map_or_else(|| self.error("expected a version"), Ok)?;
            }
            ".target" => {
                let target = self.word()?;
                let number = target.strip_prefix("sm_").or_else(|| target.strip_prefix("compute_"));
                module.target = number
                    .and_then(|number| number.trim_end_matches(['a', 'f']).parse::<u16>().ok())
                    .map_or_else(|| self.error(format!("unknown target `{target}`")), |n| Ok(n.into()))?;
                module.is_specific = target.ends_with('a');
                while self.take(b',') {
                    let option = self.word()?;
                    if option != "debug" {
                        return self.error(format!("unknown target option `{option}`"));
                    }
                }
            }
            ".address_size" => {
                if self.integer()? != 64 {
                    return self.error("addresses must have 64 bits");
                }
            }
            ".file" | ".loc" => self.skip_line(),
            ".pragma" => self.skip_statement()?,
            ".section" => self.section()?,
            ".visible" | ".weak" | ".common" | ".extern" | ".entry" | ".func" | ".global" | ".const"
            | ".shared" => {
                self.at = start;
                self.declaration(module)?;
            }
            other => return self.error(format!("unknown directive `{other}`")),
        }
        Ok(())
    }

    /// Debugging information: `.section name { ... }`.
    fn section(&mut self) -> Result<()> {
        self.word()?;
        self.expect(b'{')?;
        while self.next()? != Kind::Mark(b'}') {}
        Ok(())
    }

    fn declaration(&mut self, module: &mut Module<'a>) -> Result<()> {
        let line = self.line();
        let mut is_extern = false;
        loop {
            match self.word()? {
                ".visible" | ".weak" | ".common" => {}
                ".extern" => is_extern = true,
                ".entry" => {
                    let function = self.function(true, line)?;
                    module.functions.extend(function);
                    return Ok(());
                }
                ".func" => {
                    let function = self.function(false, line)?;
                    module.functions.extend(function);
                    return Ok(());
                }
                word @ (".global" | ".const" | ".shared") => {
                    let home = match word {
                        ".global" => Home::Global,
                        ".const" => Home::Const,
                        _ => Home::Shared,
                    };
                    let variable = self.variable(home, true)?;
                    self.expect(b';')?;
                    if is_extern && home != Home::Shared {
                        return self.error("only shared memory may be extern");
                    }
                    if variable.bytes.is_none() && !is_extern {
                        return self.error("a variable without a size");
                    }
                    module.variables.push(variable);
                    return Ok(());
                }
                other => return self.error(format!("unknown directive `{other}`")),
            }
        }
    }

    /// A function; `None` for one that is only announced.
    fn function(&mut self, is_entry: bool, line: u32) -> Result<Option<Function<'a>>> {
        let results = if self.is_mark(b'(') { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let parameters = if self.is_mark(b'(') { self.parameters()? } else { Vec::new() };
        let (mut threads_max, mut threads_exactly) = (None, None);
        loop {
            match self.peek() {
                Some(Kind::Word(word)) => {
                    self.at += 1;
                    match word {
                        ".maxntid" => threads_max = Some(self.extent()?),
                        ".reqntid" => threads_exactly = Some(self.extent()?),
                        ".minnctapersm" | ".maxnreg" => {
                            self.integer()?;
                        }
                        ".noreturn" => {}
                        ".pragma" => self.skip_statement()?,
                        other => return self.error(format!("unknown directive `{other}`")),
                    }
                }
                Some(Kind::Mark(b';')) => {
                    self.at += 1;
                    return Ok(None);
                }
                Some(Kind::Mark(b'{')) => break,
                _ => return self.error("expected the body of a function"),
            }
        }
        let body = self.body()?;
        Ok(Some(Function { line, name, is_entry, results, parameters, threads_max, threads_exactly, body }))
    }

    fn extent(&mut self) -> Result<[u32; 3]> {
        let mut extent = [1; 3];
        for (index, size) in extent.iter_mut().enumerate() {
            if index > 0 && !self.take(b',') {
                break;
            }
            *size = u32::try_from(self.integer()?).or_else(|_| self.error("too many threads"))?;
        }
        Ok(extent)
    }

    fn parameters(&mut self) -> Result<Vec<Variable<'a>>> {
        self.expect(b'(')?;
        let mut out = Vec::new();
        while !self.take(b')') {
            if !out.is_empty() {
                self.expect(b',')?;
            }
            if self.word()? != ".param" {
                return self.error("expected `.param`");
            }
            out.push(self.variable(Home::Param, false)?);
        }
        Ok(out)
    }

    /// What follows `.shared`, `.global`, ...: alignment, type, name, size, initial value.
    fn variable(&mut self, home: Home, may_initialize: bool) -> Result<Variable<'a>> {
        let line = self.line();
        let (mut align, mut pointer_align, mut element) = (None, 1, None);
        let mut after_pointer = false;
        let name = loop {
            match self.word()? {
                ".align" => {
                    let value = self.integer()?;
                    if !value.is_power_of_two() || value > 1 << 12 {
                        return self.error("an alignment must be a small power of two");
                    }
                    if after_pointer {
                        pointer_align = value;
                    } else {
                        align = Some(value);
                    }
                }
                ".ptr" => after_pointer = true,
                ".global" | ".shared" | ".const" | ".local" if after_pointer => {}
                ".attribute" => return self.error("attributes of variables are not supported"),
                word if word.starts_with('.') => match type_bytes(word) {
                    Some(bytes) if element.is_none() => element = Some(bytes),
                    _ => return self.error(format!("unknown type `{word}`")),
                },
                word => break word,
            }
        };
        let Some(element) = element else { return self.error("a variable without a type") };
        let mut count = Some(1u64);
        while self.take(b'[') {
            if self.take(b']') {
                count = None;
                break;
            }
            let size = self.integer()?;
            count = count.and_then(|count| count.checked_mul(size));
            self.expect(b']')?;
            if count.is_none_or(|count| count > VARIABLE_BYTES_MAX) {
                return Err(Error::Limit { line, what: "a variable", limit: VARIABLE_BYTES_MAX });
            }
        }
        let mut bytes = count.map(|count| count * element);
        let mut initial = None;
        if may_initialize && self.take(b'=') {
            let data = self.initializer(element as usize)?;
            let size = *bytes.get_or_insert(data.len() as u64);
            if data.len() as u64 > size {
                return self.error("more initial values than elements");
            }
            initial = Some(data);
        }
        Ok(Variable { line, home, name, align: align.unwrap_or(element), bytes, initial, pointer_align })
    }

    fn initializer(&mut self, element: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if !self.is_mark(b'{') {
            self.initial_value(element, &mut out)?;
            return Ok(out);
        }
        let mut depth = 0;
        loop {
            if self.take(b'{') {
                depth += 1;
            } else if self.take(b'}') {
                depth -= 1;
                if depth == 0 {
                    return Ok(out);
                }
            } else if !self.take(b',') {
                self.initial_value(element, &mut out)?;
                if out.len() as u64 > VARIABLE_BYTES_MAX {
                    let line = self.line();
                    return Err(Error::Limit { line, what: "a variable", limit: VARIABLE_BYTES_MAX });
                }
            }
        }
    }

    fn initial_value(&mut self, element: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = match self.peek() {
            Some(Kind::Number(text)) if lex::float(text).is_some() => {
                self.at += 1;
                lex::float(text).map_or(0, |(bits, _)| bits)
            }
            _ => self.signed()?,
        };
        out.extend_from_slice(&value.to_le_bytes()[..element]);
        Ok(())
    }

    fn body(&mut self) -> Result<Vec<Statement<'a>>> {
        self.expect(b'{')?;
        let mut out = Vec::new();
        let mut depth = 1;
        while depth > 0 {
            if self.take(b'{') {
                depth += 1;
                out.push(Statement::Open);
            } else if self.take(b'}') {
                depth -= 1;
                if depth > 0 {
                    out.push(Statement::Close);
                }
            } else {
                self.statement(&mut out)?;
            }
        }
        Ok(out)
    }

    fn statement(&mut self, out: &mut Vec<Statement<'a>>) -> Result<()> {
        let line = self.line();
        if self.take(b';') {
            return Ok(());
        }
        let mut guard = None;
        if self.take(b'@') {
            let negated = self.take(b'!');
            guard = Some((self.word()?, negated));
        }
        let word = self.word()?;
        if guard.is_none() {
            match word {
                ".loc" | ".file" => {
                    self.skip_line();
                    return Ok(());
                }
                ".pragma" => return self.skip_statement(),
                ".reg" => {
                    out.push(self.registers(line)?);
                    return Ok(());
                }
                ".shared" | ".local" | ".param" => {
                    let home = match word {
                        ".shared" => Home::Shared,
                        ".local" => Home::Local,
                        _ => Home::Param,
                    };
                    let variable = self.variable(home, false)?;
                    self.expect(b';')?;
                    if variable.bytes.is_none() {
                        return self.error("a variable without a size");
                    }
                    out.push(Statement::Variable(variable));
                    return Ok(());
                }
                _ if word.starts_with('.') => return self.error(format!("unknown directive `{word}`")),
                _ if self.take(b':') => {
                    if self.take_word(".branchtargets") {
                        let mut labels = vec![self.word()?];
                        while self.take(b',') {
                            labels.push(self.word()?);
                        }
                        self.expect(b';')?;
                        out.push(Statement::Targets { name: word, labels, line });
                    } else {
                        out.push(Statement::Label { name: word, line });
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
        let mut operands = Vec::new();
        while !self.take(b';') {
            if !operands.is_empty() {
                self.expect(b',')?;
            }
            operands.push(self.operand(true)?);
        }
        out.push(Statement::Instruction(Instruction { line, guard, opcode: word, operands }));
        Ok(())
    }

    fn registers(&mut self, line: u32) -> Result<Statement<'a>> {
        let ty = self.word()?;
        let mut names = Vec::new();
        loop {
            let name = self.word()?;
            let mut count = None;
            if self.take(b'<') {
                let number = self.integer()?;
                if number > u64::from(NUMBERED_REGISTERS_MAX) {
                    return Err(Error::Limit {
                        line,
                        what: "registers",
                        limit: NUMBERED_REGISTERS_MAX.into(),
                    });
                }
                count = Some(number as u32);
                self.expect(b'>')?;
            }
            names.push((name, count));
            if !self.take(b',') {
                break;
            }
        }
        self.expect(b';')?;
        Ok(Statement::Registers { ty, names, line })
    }

    fn operand(&mut self, may_nest: bool) -> Result<Operand<'a>> {
        match self.next()? {
            Kind::Number(text) => match lex::float(text) {
                Some((bits, double)) => Ok(Operand::Float { bits, double }),
                None => match lex::integer(text) {
                    Some(value) => Ok(Operand::Integer(value)),
                    None => self.error(format!("`{text}` is no number")),
                },
            },
            Kind::Mark(b'-') => Ok(Operand::Integer(self.integer()?.wrapping_neg())),
            Kind::Mark(b'!') => Ok(Operand::Name { name: self.word()?, negated: true }),
            Kind::Mark(b'[') => self.address(),
            Kind::Mark(open @ (b'{' | b'(')) if may_nest => {
                let close = if open == b'{' { b'}' } else { b')' };
                let mut parts = Vec::new();
                while !self.take(close) {
                    if !parts.is_empty() {
                        self.expect(b',')?;
                    }
                    parts.push(self.operand(false)?);
                }
                Ok(Operand::Vector(parts))
            }
            Kind::Word(name) => {
                if self.take(b'|') {
                    Ok(Operand::Pair(name, self.word()?))
                } else if self.is_mark(b'+') || self.is_mark(b'-') {
                    Ok(Operand::Offset { name, offset: self.offset()? })
                } else {
                    Ok(Operand::Name { name, negated: false })
                }
            }
            _ => self.error("expected an operand"),
        }
    }

    /// `+4`, `-4`, `+-4`.
    fn offset(&mut self) -> Result<i64> {
        self.take(b'+');
        let negative = self.take(b'-');
        let value = i64::try_from(self.integer()?).or_else(|_| self.error("the offset is too large"))?;
        Ok(if negative { -value } else { value })
    }

    fn address(&mut self) -> Result<Operand<'a>> {
        let out = match self.peek() {
            Some(Kind::Word(name)) => {
                self.at += 1;
                let has_offset = self.is_mark(b'+') || self.is_mark(b'-');
                let offset = if has_offset { self.offset()? } else { 0 };
                Operand::Address { base: Some(name), offset }
            }
            _ => Operand::Address { base: None, offset: self.signed()? as i64 },
        };
        self.expect(b']')?;
        Ok(out)
    }
}

/// The size of an element of a variable.
fn type_bytes(word: &str) -> Option<u64> {
    Some(match word {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}
