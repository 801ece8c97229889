//! Which of the faults that [`crate::mutate`] plants cannot change a result, by what the text says.
//!
//! - The value that the instruction gives is read on no path.
//! - It is a barrier behind which no thread touches shared memory or meets another.
//! - It compares what it then chooses from: equal operands give the same, whichever is chosen.
//! - It shifts a signed number by all of its bits instead of all but one: both leave its sign.
//! - It asks whether a division of 64 bits may be one of 32, or which bits say so: both give the same, but for sizes that no
//!   memory has.
//!
//! Invariant: what is said to change nothing is proven from the text alone; whatever is unknown may change something.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutate::{Instruction, Mutation, declared};

/// Whether a fault cannot change what the entries of a text compute.
pub fn is_idle(text: &str, mutation: &Mutation) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let Some(function) = Function::around(&lines, mutation.line - 1) else { return false };
    let at = mutation.line - 1 - function.start;
    let Some(instruction) = function.instruction(at) else { return false };
    let stem = instruction.opcode.split('.').next().unwrap_or("");
    match stem {
        "bar" => function.ends_alone(at),
        "st" | "red" | "atom" => false,
        _ => {
            let Some(target) =
                instruction.operands.first().copied().filter(|operand| operand.starts_with('%'))
            else {
                return false;
            };
            !function.is_read(at, target)
                || stem == "shr" && is_sign(&instruction)
                || stem == "or" && function.is_size(at, &instruction)
                || stem == "and" && function.is_mask(at, &instruction, &mutation.after)
                || stem == "setp"
                    && (function.is_choice(at, &instruction) || function.is_width(at, &instruction))
        }
    }
}

/// Whether an instruction leaves of a signed number its sign alone.
fn is_sign(shift: &Instruction<'_>) -> bool {
    let bits = shift.opcode.strip_prefix("shr.s").and_then(|bits| bits.parse::<u32>().ok());
    let amount = shift.operands.get(2).and_then(|amount| amount.parse::<u32>().ok());
    bits.zip(amount).is_some_and(|(bits, amount)| amount + 1 == bits)
}

/// The lines of a function.
struct Function<'t> {
    start: usize,
    lines: &'t [&'t str],
    labels: BTreeMap<&'t str, usize>,
}

impl<'t> Function<'t> {
    fn around(lines: &'t [&'t str], line: usize) -> Option<Function<'t>> {
        let start = (0..=line).rev().find(|&at| declared(lines[at]).is_some())?;
        let end = (line..lines.len()).find(|&at| at > start && declared(lines[at]).is_some());
        let lines = &lines[start..end.unwrap_or(lines.len())];
        let labels = lines.iter().enumerate().filter_map(|(at, line)| {
            let label = line.trim().split(':').next().filter(|label| label.starts_with('$'))?;
            line.contains(':').then_some((label, at))
        });
        Some(Function { start, lines, labels: labels.collect() })
    }

    fn instruction(&self, at: usize) -> Option<Instruction<'t>> {
        Instruction::parse(self.lines[at])
    }

    /// The lines that may follow; all labels where that is a matter of a table.
    fn next(&self, at: usize) -> Vec<usize> {
        let Some(instruction) = self.instruction(at) else {
            return if at + 1 < self.lines.len() { vec![at + 1] } else { Vec::new() };
        };
        let is_guarded = instruction.head.contains('@');
        let stem = instruction.opcode.split('.').next().unwrap_or("");
        let mut out = Vec::new();
        if is_guarded || !matches!(stem, "bra" | "brx" | "ret" | "exit" | "trap") {
            out.extend((at + 1 < self.lines.len()).then_some(at + 1));
        }
        match stem {
            "bra" => match instruction.operands.first().and_then(|label| self.labels.get(label)) {
                Some(&target) => out.push(target),
                None => out.extend(self.labels.values()),
            },
            "brx" => out.extend(self.labels.values()),
            _ => {}
        }
        out
    }

    /// Follows every path behind a line until `visit` says that it ends there; whether `visit` has found what it sought.
    fn search(&self, from: usize, mut visit: impl FnMut(usize) -> Visit) -> bool {
        let mut open = self.next(from);
        let mut seen = BTreeSet::new();
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            match visit(at) {
                Visit::Found => return true,
                Visit::Ends => {}
                Visit::GoesOn => open.extend(self.next(at)),
            }
        }
        false
    }

    /// Whether a register's value is read on some path behind a line.
    fn is_read(&self, from: usize, register: &str) -> bool {
        self.search(from, |at| {
            let line = self.lines[at];
            let Some(instruction) = self.instruction(at) else {
                // What is not understood reads everything that it names.
                return if count(line, register) > 0 { Visit::Found } else { Visit::GoesOn };
            };
            let is_plain = !matches!(
                instruction.opcode.split('.').next().unwrap_or(""),
                "st" | "red" | "bar" | "bra" | "brx" | "call" | "ret"
            );
            let given =
                instruction.operands.first().filter(|_| is_plain).map_or(0, |first| count(first, register));
            if count(line, register) > given {
                Visit::Found
            } else if given > 0 && !instruction.head.contains('@') {
                Visit::Ends
            } else {
                Visit::GoesOn
            }
        })
    }

    /// Whether no path behind a line touches shared memory, comes to a barrier, or leaves what can be seen.
    fn ends_alone(&self, from: usize) -> bool {
        !self.search(from, |at| {
            let Some(instruction) = self.instruction(at) else {
                return if self.lines[at].contains("call") { Visit::Found } else { Visit::GoesOn };
            };
            let parts: Vec<&str> = instruction.opcode.split('.').collect();
            let meets = matches!(parts[0], "bar" | "barrier" | "call" | "ldmatrix" | "cp");
            // An access that does not say its space may be one of shared memory.
            let touches = matches!(parts[0], "ld" | "st" | "atom" | "red")
                && !parts.iter().any(|part| matches!(*part, "global" | "param" | "local" | "const"));
            if meets || touches { Visit::Found } else { Visit::GoesOn }
        })
    }

    /// Whether a comparison's one use is to choose between its own operands, of which equal ones are the same bits.
    fn is_choice(&self, at: usize, compare: &Instruction<'_>) -> bool {
        let parts: Vec<&str> = compare.opcode.split('.').collect();
        let is_order = matches!(parts.get(1).copied(), Some("lt" | "le" | "gt" | "ge"));
        let &[predicate, a, b] = compare.operands.as_slice() else { return false };
        // Zeros are equal and differ by their signs.
        let is_float = matches!(parts.last().copied(), Some("f32" | "f64"));
        let is_number = |operand: &str| {
            crate::lex::float(operand).is_some_and(|(bits, double)| {
                let sign = if double { 1 << 63 } else { 1 << 31 };
                bits & !sign != 0
            })
        };
        let uses: usize = self.lines.iter().map(|line| count(line, predicate)).sum();
        let chooses = |line: &str| {
            Instruction::parse(line).is_some_and(|choice| {
                choice.opcode.starts_with("selp.")
                    && matches!(choice.operands.as_slice(), &[_, u, v, p] if p == predicate && ((u, v) == (a, b) || (u, v) == (b, a)))
            })
        };
        let between = self.lines[at + 1..].iter().take(4);
        is_order
            && (!is_float || is_number(b))
            && uses == 2
            && between.take_while(|line| !line.contains(':')).any(|line| chooses(line))
    }

    /// Whether an instruction joins the bits of dividend and divisor, of which only is asked whether the upper halves are zero: they are
    /// for all sizes that memory has.
    fn is_size(&self, at: usize, join: &Instruction<'_>) -> bool {
        let &[target, _, _] = join.operands.as_slice() else { return false };
        let uses: usize = self.lines.iter().map(|line| count(line, target)).sum();
        let masks = self.lines.get(at + 1).and_then(|line| Instruction::parse(line));
        join.opcode == "or.b64"
            && uses == 2
            && masks.is_some_and(|mask| {
                let &[upper, a, "-4294967296"] = mask.operands.as_slice() else { return false };
                let asks = self.lines.get(at + 2).and_then(|line| Instruction::parse(line));
                mask.opcode == "and.b64"
                    && a == target
                    && asks.is_some_and(|asks| {
                        asks.opcode == "setp.ne.b64"
                            && matches!(asks.operands.as_slice(), &[_, d, "0"] if d == upper)
                    })
            })
    }

    /// Whether an instruction takes the upper half of 64 bits, of which only is asked whether they are zero, and what is planted
    /// asks for more bits: then some divisions that might be of 32 bits are of 64.
    fn is_mask(&self, at: usize, mask: &Instruction<'_>, after: &str) -> bool {
        let &[target, _, "-4294967296"] = mask.operands.as_slice() else { return false };
        let more = after.contains("or.b64") || after.contains("-4294967295");
        let asks = self.lines.get(at + 1).and_then(|line| Instruction::parse(line));
        let uses: usize = self.lines.iter().map(|line| count(line, target)).sum();
        more && uses == 2
            && asks.is_some_and(|asks| {
                asks.opcode == "setp.ne.b64"
                    && matches!(asks.operands.as_slice(), &[_, d, "0"] if d == target)
            })
    }

    /// Whether a comparison asks for the upper half of 64 bits.
    fn is_width(&self, at: usize, compare: &Instruction<'_>) -> bool {
        let &[_, a, "0"] = compare.operands.as_slice() else { return false };
        let before = at.checked_sub(1).and_then(|before| self.instruction(before));
        before.is_some_and(|before| {
            before.opcode == "and.b64"
                && matches!(before.operands.as_slice(), &[d, _, "-4294967296"] if d == a)
        })
    }
}

enum Visit {
    Found,
    Ends,
    GoesOn,
}

/// How often a register stands in a text.
fn count(text: &str, register: &str) -> usize {
    let code = text.split("//").next().unwrap_or(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '_' | '$');
    code.split(|c: char| !is_name(c)).filter(|word| *word == register).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::mutations;

    /// Lines whose faults of a kind change nothing.
    fn idle(body: &str, kind: &str) -> Vec<usize> {
        let text = format!(".visible .entry f()\n{{\n{body}\n}}\n");
        let all = mutations(&text);
        all.iter().filter(|m| m.kind == kind && is_idle(&text, m)).map(|m| m.line - 2).collect()
    }

    #[test]
    fn a_value_that_is_overwritten_on_every_path_is_idle() {
        let body = "mov.b32 %r1, 0f00000000;\nmov.b32 %r2, 0f00000000;\n@%p1 bra $L1;\nmov.b32 %r1, 0f3F800000;\nbra.uni $L2;\n\
                    $L1:\nmov.b32 %r1, %r2;\n$L2:\nst.global.b32 [%rd1], %r1;\nret;";
        assert_eq!(idle(body, "zero becomes one"), [1]);
        let guarded = "mov.b32 %r1, 0f00000000;\n@%p1 mov.b32 %r1, %r2;\nst.global.b32 [%rd1], %r1;\nret;";
        assert_eq!(idle(guarded, "zero becomes one"), []);
    }

    #[test]
    fn a_barrier_before_nothing_shared_is_idle() {
        let body = "bar.sync 0;\nld.shared.b32 %r1, [%r2];\nbar.sync 0;\nst.global.b32 [%rd1], %r1;\nret;";
        assert_eq!(idle(body, "barrier dropped"), [3]);
        let round = "$L1:\nld.shared.b32 %r1, [%r2];\nbar.sync 0;\n@%p1 bra $L1;\nret;";
        assert_eq!(idle(round, "barrier dropped"), []);
    }

    #[test]
    fn a_choice_between_equals_is_idle() {
        let of = |ty: &str, b: &str| {
            format!(
                "setp.gt.{ty} %p1, %r1, {b};\nselp.{ty} %r2, {b}, %r1, %p1;\nst.global.b32 [%rd1], %r2;\nret;"
            )
        };
        assert_eq!(idle(&of("f32", "0f41200000"), "bound off by one"), [1]);
        assert_eq!(idle(&of("f32", "0f00000000"), "bound off by one"), []);
        assert_eq!(idle(&of("f32", "%r3"), "bound off by one"), []);
        assert_eq!(idle(&of("s32", "%r3"), "bound off by one"), [1]);
        let other =
            "setp.gt.s32 %p1, %r1, %r3;\nselp.s32 %r2, %r3, %r4, %p1;\nst.global.b32 [%rd1], %r2;\nret;";
        assert_eq!(idle(other, "bound off by one"), []);
    }

    #[test]
    fn a_shift_to_the_sign_is_idle() {
        let of = |shift: &str| format!("{shift};\nst.global.b64 [%rd1], %rd2;\nret;");
        assert_eq!(idle(&of("shr.s64 %rd2, %rd3, 63"), "constant off by one"), [1]);
        assert_eq!(idle(&of("shr.u64 %rd2, %rd3, 63"), "constant off by one"), []);
        assert_eq!(idle(&of("shr.s64 %rd2, %rd3, 31"), "constant off by one"), []);
    }

    #[test]
    fn more_bits_that_ask_for_a_wide_division_are_idle() {
        let of =
            |compare: &str| format!("and.b64 %rd2, %rd1, -4294967296;\n{compare}\n@%p1 bra $L1;\n$L1:\nret;");
        for kind in ["constant off by one", "another operation on bits"] {
            assert_eq!(idle(&of("setp.ne.b64 %p1, %rd2, 0;"), kind), [1], "{kind}");
            assert_eq!(idle(&of("setp.ne.b64 %p1, %rd2, %rd3;"), kind), [], "{kind}");
        }
    }

    #[test]
    fn the_sizes_of_a_division_are_idle() {
        let of = |mask: &str| {
            format!(
                "or.b64 %rd3, %rd1, %rd2;\nand.b64 %rd4, %rd3, {mask};\nsetp.ne.b64 %p1, %rd4, 0;\n@%p1 bra $L1;\n$L1:\nret;"
            )
        };
        assert_eq!(idle(&of("-4294967296"), "another operation on bits")[..1], [1]);
        assert_eq!(idle(&of("15"), "another operation on bits"), []);
    }

    #[test]
    fn the_width_of_a_division_is_idle() {
        let body = "and.b64 %rd2, %rd1, -4294967296;\nsetp.ne.b64 %p1, %rd2, 0;\n@%p1 bra $L1;\n$L1:\nret;";
        assert_eq!(idle(body, "comparison inverted"), [2]);
        let other = "and.b64 %rd2, %rd1, 1;\nsetp.ne.b64 %p1, %rd2, 0;\n@%p1 bra $L1;\n$L1:\nret;";
        assert_eq!(idle(other, "comparison inverted"), []);
    }
}
