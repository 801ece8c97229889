//! The order of terms in machine code: fused multiply-adds that continue one another take theirs in ascending order.
//!
//! A *link* is a fused operation whose addend is the result of another one in the same stretch of code without labels. Operands
//! that come from loads of the same base there have known distances; kernels keep terms in ascending addresses, so an operand of
//! a later link must not lie before that of an earlier one, nor may all lie where they lay.
//!
//! Invariant: what is told apart by more than this stretch says (another base, a value that came in) is not judged.

use std::collections::BTreeMap;

/// What was found of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    pub links: u32,
    /// Links whose operands' distances are known.
    pub known: u32,
    /// Links that go backwards or stay, with the instruction.
    pub wrong: Vec<String>,
    /// Results that two fused operations continue.
    pub forked: u32,
}

/// A place that was loaded from: a base as it was then, and bytes from it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    base: String,
    offset: i64,
}

/// What a register holds, as far as that matters.
#[derive(Clone, Debug)]
enum Value {
    Loaded(Place),
    /// The result of a fused operation: the places of its factors, and its number.
    Fused([Option<Place>; 2], usize),
}

#[derive(Default)]
struct Stretch {
    values: BTreeMap<u32, Value>,
    /// How often each register of an address has been written: a base of another time is another base.
    versions: BTreeMap<String, u32>,
    continued: Vec<bool>,
}

/// The chains of each kernel in the text of `nvdisasm -c`.
pub fn of_sass(text: &str) -> BTreeMap<String, Chains> {
    let mut kernels: BTreeMap<String, Chains> = BTreeMap::new();
    let mut current = String::new();
    let mut stretch = Stretch::default();
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix(".section") {
            if let Some(name) = rest.trim_start().strip_prefix(".text.") {
                current = name.split([',', ' ', '\t']).next().unwrap_or("").to_owned();
                kernels.entry(current.clone()).or_default();
            }
            stretch = Stretch::default();
            continue;
        }
        if line.ends_with(':') {
            stretch = Stretch::default();
            continue;
        }
        let Some(instruction) = super::sass::instruction_of(line) else { continue };
        let Some(chains) = kernels.get_mut(&current) else { continue };
        let is_guarded = line.contains(" @") || line.contains("{@");
        stretch.step(instruction, is_guarded, chains);
    }
    kernels
}

impl Stretch {
    fn step(&mut self, instruction: &str, is_guarded: bool, chains: &mut Chains) {
        let (opcode, rest) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
        let operands: Vec<&str> = rest.split(',').map(str::trim).collect();
        let mut parts = opcode.split('.');
        let stem = parts.next().unwrap_or("");
        let suffixes: Vec<&str> = parts.collect();
        let Some(target) = operands.first().and_then(|operand| register(operand)) else {
            return self.write_uniform(operands.first().copied().unwrap_or(""));
        };
        match (stem, operands.as_slice()) {
            ("FFMA", [_, a, b, c]) => {
                let value = self.fused([*a, *b], c, instruction, chains);
                self.write(target, 1, is_guarded);
                self.values.insert(target, value);
            }
            // Two side by side, in pairs of registers.
            ("FFMA2", [_, a, b, c]) => {
                let values: Vec<Value> = (0..2)
                    .map(|half| {
                        let of = |operand: &&str| {
                            register(operand).map(|at| format!("R{}", at + half)).unwrap_or_default()
                        };
                        self.fused([&of(a), &of(b)], &of(c), instruction, chains)
                    })
                    .collect();
                self.write(target, 2, is_guarded);
                for (half, value) in values.into_iter().enumerate() {
                    self.values.insert(target + half as u32, value);
                }
            }
            ("LDS" | "LDG" | "LD", [_, address, ..]) => {
                let wide = suffixes.iter().find_map(|suffix| suffix.parse::<u32>().ok()).unwrap_or(32);
                let place = self.place(stem, operands.last().unwrap_or(address));
                self.write(target, wide.div_ceil(32), is_guarded);
                let (Some(place), false) = (place, is_guarded || wide < 32 || narrow(&suffixes)) else {
                    return;
                };
                for word in 0..wide / 32 {
                    let place = Place { offset: place.offset + 4 * i64::from(word), ..place.clone() };
                    self.values.insert(target + word, Value::Loaded(place));
                }
            }
            ("MOV", [_, from]) | ("IMAD", [_, "RZ", "RZ", from]) if !suffixes.contains(&"WIDE") => {
                let value = plain(from).and_then(|from| self.values.get(&from).cloned());
                self.write(target, 1, is_guarded);
                if let (Some(value), false) = (value, is_guarded) {
                    self.values.insert(target, value);
                }
            }
            _ => {
                // The widest that an instruction writes, of those that do not say it.
                let wide = matches!(stem, "DFMA" | "DADD" | "DMUL" | "F2F") || suffixes.contains(&"WIDE");
                let matrix =
                    matches!(stem, "IMMA" | "HMMA" | "LDSM" | "LDL" | "LDC" | "ATOMS" | "ATOMG" | "S2R");
                self.write(target, if matrix { 4 } else { 1 + u32::from(wide) }, is_guarded);
            }
        }
    }

    fn fused(&mut self, factors: [&str; 2], addend: &str, instruction: &str, chains: &mut Chains) -> Value {
        let now = factors.map(|factor| match plain(factor).and_then(|at| self.values.get(&at)) {
            Some(Value::Loaded(place)) => Some(place.clone()),
            _ => None,
        });
        if let Some(Value::Fused(before, number)) = plain(addend).and_then(|at| self.values.get(&at)) {
            chains.links += 1;
            chains.forked += u32::from(std::mem::replace(&mut self.continued[*number], true));
            // Either factor may stand first.
            let steps: Vec<i64> = now
                .iter()
                .flatten()
                .filter_map(|place| {
                    let same = before.iter().flatten().filter(|other| other.base == place.base);
                    // Of two operands with one base the one nearby is meant.
                    same.map(|other| place.offset - other.offset).min_by_key(|step| step.abs())
                })
                .collect();
            chains.known += u32::from(!steps.is_empty());
            let stays = steps.len() == 2 && steps.iter().all(|step| *step == 0);
            if stays || steps.iter().any(|step| *step < 0) {
                chains.wrong.push(format!("{instruction}: by {steps:?} bytes"));
            }
        }
        self.continued.push(false);
        Value::Fused(now, self.continued.len() - 1)
    }

    /// Where `[R2+UR4+0x10]` or `desc[UR6][R2.64+0x10]` is.
    fn place(&self, space: &str, address: &str) -> Option<Place> {
        let inside = address.rsplit_once('[')?.1.strip_suffix(']')?;
        let (mut base, mut offset) = (space.to_owned(), 0);
        for part in inside.split('+') {
            let (digits, sign) = part.strip_prefix('-').map_or((part, 1), |digits| (digits, -1));
            if let Some(hex) = digits.strip_prefix("0x") {
                offset += sign * i64::from_str_radix(hex, 16).ok()?;
            } else {
                let name = part.split('.').next().unwrap_or(part);
                let version = self.versions.get(name).copied().unwrap_or(0);
                base.push_str(&format!("+{part}#{version}"));
            }
        }
        Some(Place { base, offset })
    }

    fn write(&mut self, target: u32, count: u32, _is_guarded: bool) {
        for register in target..target + count {
            self.values.remove(&register);
            *self.versions.entry(format!("R{register}")).or_default() += 1;
            // An address of 64 bits is named by its lower register.
            if register > 0 {
                *self.versions.entry(format!("R{}", register - 1)).or_default() += 1;
            }
        }
    }

    fn write_uniform(&mut self, operand: &str) {
        if operand.starts_with("UR") {
            *self.versions.entry(operand.to_owned()).or_default() += 1;
        }
    }
}

/// The number of a register, whatever is said of how it is used.
fn register(operand: &str) -> Option<u32> {
    operand.split('.').next()?.strip_prefix('R')?.parse().ok()
}

/// The number of a register that is read as it is.
fn plain(operand: &str) -> Option<u32> {
    let operand = operand.strip_suffix(".reuse").unwrap_or(operand);
    operand.strip_prefix('R')?.parse().ok()
}

/// Whether a load widens what is less than a word.
fn narrow(suffixes: &[&str]) -> bool {
    suffixes.iter().any(|suffix| matches!(*suffix, "U8" | "S8" | "U16" | "S16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(lines: &[&str]) -> Chains {
        let lines: Vec<String> =
            lines.iter().enumerate().map(|(at, line)| format!("        /*{at:04x}*/    {line} ;")).collect();
        let text = format!("\t.section\t.text.f,\"ax\",@progbits\n.text.f:\n{}\n", lines.join("\n"));
        of_sass(&text).remove("f").unwrap()
    }

    const LOADS: [&str; 2] = ["LDS.128 R4, [R2+UR4]", "LDS.128 R8, [R3+0x100]"];

    #[test]
    fn ascending_terms_are_fine() {
        let found = chains(&[
            LOADS[0],
            LOADS[1],
            "FFMA R12, R4, R8, R12",
            "FFMA R12, R9.reuse, R5, R12",
            "FFMA R13, R6, R10, R12",
        ]);
        assert_eq!(found, Chains { links: 2, known: 2, ..Chains::default() });
    }

    #[test]
    fn terms_that_go_backwards_or_stay_are_found() {
        let back = chains(&[LOADS[0], LOADS[1], "FFMA R12, R5, R9, R12", "FFMA R12, R4, R8, R12"]);
        assert_eq!(back.wrong.len(), 1);
        let stays = chains(&[LOADS[0], LOADS[1], "FFMA R12, R5, R9, R12", "FFMA R12, R5, R9, R12"]);
        assert_eq!(stays.wrong.len(), 1);
    }

    #[test]
    fn two_continuations_of_one_sum_are_found() {
        let found = chains(&["FFMA R12, R5, R9, R12", "FFMA R13, R4, R8, R12", "FFMA R14, R4, R8, R12"]);
        assert_eq!((found.links, found.forked), (2, 1));
    }

    #[test]
    fn another_base_or_a_label_is_not_judged() {
        let other = chains(&[
            "LDS R5, [R2+0x4]",
            "FFMA R12, R5, R9, R12",
            "IADD3 R2, R2, 0x40, RZ",
            "LDS R5, [R2]",
            "FFMA R12, R5, R9, R12",
        ]);
        assert_eq!(other, Chains { links: 1, ..Chains::default() });
        let label = chains(&["FFMA R12, R5, R9, R12 ;\n.L_x_1:\n", "FFMA R12, R5, R9, R12"]);
        assert_eq!(label, Chains::default());
    }
}
