//! Faults planted in a text of PTX, to see whether a suite of cases finds them.
//!
//! A mutation changes one instruction of an entry. What cannot change a result is not planted: operands that commute, a
//! register that is its own neighbour, lines that debuggers read; [`crate::flow`] knows of more.
//!
//! Invariant: the same text gives the same mutations in the same order.

/// A fault in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutation {
    /// What was done, in words.
    pub kind: &'static str,
    /// The entry or function whose line it is.
    pub function: String,
    /// From 1.
    pub line: usize,
    pub before: String,
    /// What stands there instead: no, one or two instructions.
    pub after: String,
}

impl Mutation {
    /// The text with the fault.
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 64);
        for (index, line) in text.lines().enumerate() {
            out.push_str(if index + 1 == self.line { &self.after } else { line });
            out.push('\n');
        }
        out
    }
}

/// All faults that can be planted in a text.
pub fn mutations(text: &str) -> Vec<Mutation> {
    let mut out = Vec::new();
    let mut function = String::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = declared(line) {
            function = name.to_owned();
        }
        let Some(instruction) = Instruction::parse(line) else { continue };
        let mut add = |kind: &'static str, after: String| {
            if after != line {
                let (function, before) = (function.clone(), line.trim().to_owned());
                out.push(Mutation { kind, function, line: index + 1, before, after });
            }
        };
        instruction.faults(&mut add);
    }
    out
}

/// The function that a line begins.
pub(crate) fn declared(line: &str) -> Option<&str> {
    let at = line.find(".entry ").map(|at| at + 7).or_else(|| {
        // Behind the results: `.func (.param ...) name(`.
        let at = line.find(".func ")? + 6;
        Some(at + line[at..].rfind(") ").map_or(0, |end| end + 2))
    })?;
    let rest = line[at..].trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// An instruction that fills a line.
pub(crate) struct Instruction<'a> {
    /// White space and the guard.
    pub head: &'a str,
    pub opcode: &'a str,
    pub operands: Vec<&'a str>,
}

impl<'a> Instruction<'a> {
    pub fn parse(line: &'a str) -> Option<Instruction<'a>> {
        let body = line.split("//").next().unwrap_or(line).trim_end();
        let body = body.strip_suffix(';')?;
        let start = body.find(|c: char| !c.is_whitespace())?;
        let mut at = start;
        if body[at..].starts_with('@') {
            at += body[at..].find(char::is_whitespace)?;
            at += body[at..].find(|c: char| !c.is_whitespace())?;
        }
        let rest = &body[at..];
        if !rest.starts_with(|c: char| c.is_ascii_lowercase()) || rest.replace("::", "").contains(':') {
            return None;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        Some(Instruction { head: &body[..at], opcode: &rest[..end], operands: operands(&rest[end..]) })
    }

    fn with(&self, opcode: &str, operands: &[&str]) -> String {
        format!("{}{opcode} \t{};", self.head, operands.join(", "))
    }

    fn replaced(&self, index: usize, operand: &str) -> String {
        let mut operands = self.operands.clone();
        operands[index] = operand;
        self.with(self.opcode, &operands)
    }

    fn faults(&self, add: &mut impl FnMut(&'static str, String)) {
        let parts: Vec<&str> = self.opcode.split('.').collect();
        let last = *parts.last().unwrap_or(&"");
        let is_float = matches!(last, "f32" | "f64");
        let o = &self.operands;
        match (parts[0], o.as_slice()) {
            ("fma", [d, a, b, c]) => {
                // Rounded twice; through the target, which is none of the operands afterwards.
                if d != c && is_register(c) {
                    let (mul, sum) = (format!("mul.rn.{last}"), format!("add.rn.{last}"));
                    add(
                        "fma rounded twice",
                        format!("{} {}", self.with(&mul, &[d, a, b]), self.with(&sum, &[d, d, c])),
                    );
                }
                if a != c && is_register(c) {
                    add("operands of fma in another order", self.with(self.opcode, &[d, c, b, a]));
                }
                add(
                    "addend of fma negated",
                    format!(
                        "{} {}",
                        self.with(self.opcode, &[d, a, b, c]),
                        self.with(&format!("neg.{last}"), &[d, d])
                    ),
                );
                self.constant(add);
            }
            ("add", [d, a, b]) if is_float => {
                add("sum becomes difference", self.with(&self.opcode.replacen("add", "sub", 1), &[d, a, b]));
                add("addend dropped", self.with(&format!("mov.{}", bits(last)), &[d, a]));
                self.constant(add);
            }
            ("sub", [d, a, b]) => {
                if a != b {
                    add("difference the other way", self.with(self.opcode, &[d, b, a]));
                }
                self.constant(add);
            }
            ("mul", [d, a, b]) if is_float => {
                add("product becomes sum", self.with(&self.opcode.replacen("mul", "add", 1), &[d, a, b]));
                self.constant(add);
            }
            ("div", [d, a, b]) if is_float && a != b => {
                add("quotient the other way", self.with(self.opcode, &[d, b, a]));
                self.constant(add);
            }
            ("sqrt", [d, a]) => add("root dropped", self.with(&format!("mov.{}", bits(last)), &[d, a])),
            ("add", [d, a, b]) => {
                if !b.starts_with('%') || !a.starts_with('%') {
                    self.constant(add);
                } else if a != b {
                    add("addend dropped", self.with(&format!("mov.{}", bits(last)), &[d, a]));
                }
            }
            ("mad", [d, a, b, c]) if !is_float => {
                if is_register(c) {
                    add("addend dropped", self.with(&self.opcode.replacen("mad", "mul", 1), &[d, a, b]));
                }
                self.constant(add);
            }
            ("setp", _) => {
                let flipped = match parts[1] {
                    "lt" => "le",
                    "le" => "lt",
                    "gt" => "ge",
                    "ge" => "gt",
                    "eq" => "ne",
                    "ne" => "eq",
                    "ltu" => "leu",
                    "leu" => "ltu",
                    "gtu" => "geu",
                    "geu" => "gtu",
                    "equ" => "neu",
                    "neu" => "equ",
                    "nan" => "num",
                    "num" => "nan",
                    other => other,
                };
                let opcode = self.opcode.replacen(parts[1], flipped, 1);
                let kind = if matches!(parts[1], "eq" | "ne" | "equ" | "neu" | "nan" | "num") {
                    "comparison inverted"
                } else {
                    "bound off by one"
                };
                add(kind, self.with(&opcode, o));
            }
            ("selp", [d, a, b, p]) if a != b => {
                add("choice the other way", self.with(self.opcode, &[d, b, a, p]))
            }
            ("bar", _) => add("barrier dropped", String::new()),
            ("wgmma", [d, a, b, p]) => {
                add("operands of a product the other way", self.with(self.opcode, &[d, b, a, p]));
            }
            ("wgmma" | "mbarrier", _) | ("fence", []) => {
                add("order dropped", String::new());
                if let [left] = o.as_slice()
                    && let Some(left) = number(left)
                {
                    add("constant off by one", self.replaced(0, &(left + 1).to_string()));
                }
            }
            ("cp", _) if parts.contains(&"bulk") => add("copy dropped", String::new()),
            ("shfl", _) if o.len() == 5 => {
                if let Some(lane) = number(o[2]) {
                    add("wrong lane", self.replaced(2, &(lane ^ 1).to_string()));
                }
            }
            ("and" | "or" | "xor", [d, a, b]) if last != "pred" => {
                let other = if parts[0] == "and" { "or" } else { "and" };
                if a != b {
                    add("another operation on bits", self.with(&format!("{other}.{last}"), &[d, a, b]));
                }
                self.constant(add);
            }
            ("shl" | "shr", _) => self.constant(add),
            ("mov", [_, a]) if a.starts_with("0f") || a.starts_with("0d") => self.constant(add),
            ("ld", [_, a]) if parts.contains(&"shared") => {
                if let Some(moved) = moved(a, last) {
                    add("address off by one element", self.replaced(1, &moved));
                }
            }
            ("st", [a, _]) if parts.contains(&"shared") || parts.contains(&"global") => {
                if let Some(moved) = moved(a, last) {
                    add("address off by one element", self.replaced(0, &moved));
                }
                add("store dropped", String::new());
            }
            ("cvt", [_, _]) => {
                for (from, to) in [("rni", "rzi"), ("rmi", "rzi"), ("rpi", "rzi"), ("rzi", "rni")] {
                    if parts.contains(&from) {
                        add("another rounding", self.with(&self.opcode.replacen(from, to, 1), o));
                        break;
                    }
                }
            }
            _ => {}
        }
    }

    /// Every constant operand by one: an integer, or the last bit of a float.
    fn constant(&self, add: &mut impl FnMut(&'static str, String)) {
        for (index, operand) in self.operands.iter().enumerate().skip(1) {
            if let Some(value) = number(operand) {
                add("constant off by one", self.replaced(index, &value.wrapping_add(1).to_string()));
            } else if let Some((bits, double)) = crate::lex::float(operand) {
                // Of a zero the next number is too small to show in a sum. In f64 an ulp of an f32 is changed: results
                // that are rounded to f32 in the end hide what is smaller.
                let (zero, one) =
                    if double { (bits << 1 == 0, 1.0f64.to_bits()) } else { (bits << 33 == 0, 0x3f80_0000) };
                let (kind, changed) = match (zero, double) {
                    (true, _) => ("zero becomes one", one),
                    (false, true) => ("constant off by an ulp", bits ^ 1 << 29),
                    (false, false) => ("constant off by an ulp", bits ^ 1),
                };
                let text =
                    if double { format!("0d{changed:016X}") } else { format!("0f{:08X}", changed as u32) };
                add(kind, self.replaced(index, &text));
            }
        }
    }
}

fn is_register(operand: &str) -> bool {
    operand.starts_with('%')
}

/// Operands, which commas part outside of braces and brackets.
fn operands(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        out.push(text[start..].trim());
    }
    out
}

fn number(operand: &str) -> Option<i64> {
    operand.parse().ok()
}

/// The type of plain bits as wide as `ty`.
fn bits(ty: &str) -> String {
    format!("b{}", ty.trim_start_matches(|c: char| c.is_ascii_lowercase()))
}

/// The address behind: by the size of an element.
fn moved(address: &str, ty: &str) -> Option<String> {
    let size: i64 = match ty.trim_start_matches(|c: char| c.is_ascii_lowercase()) {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        _ => return None,
    };
    let inside = address.strip_prefix('[')?.strip_suffix(']')?;
    let (base, offset) = match inside.split_once('+') {
        Some((base, offset)) => (base, offset.parse::<i64>().ok()?),
        None => (inside, 0),
    };
    Some(format!("[{base}+{}]", offset.wrapping_add(size)))
}
