//! Names of a function: registers and variables in nested scopes, and the numbering of registers.
//!
//! Invariant: a register gets a number when it is first used, so that declarations cost nothing.

use std::collections::BTreeMap;

use super::{At, Lowering};
use crate::ast::{Home, Operand};
use crate::code::{NONE, Preset, Reg};
use crate::error::{Error, Result};

/// What a register can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Predicate,
    W16,
    W32,
    W64,
}

impl Class {
    pub fn of_register(ty: &str) -> Option<Class> {
        Some(match ty {
            ".pred" => Class::Predicate,
            ".b16" | ".u16" | ".s16" | ".f16" => Class::W16,
            ".b32" | ".u32" | ".s32" | ".f32" => Class::W32,
            ".b64" | ".u64" | ".s64" | ".f64" => Class::W64,
            _ => return None,
        })
    }

    pub fn of_bits(bits: u32) -> Class {
        match bits {
            16 => Class::W16,
            64 => Class::W64,
            _ => Class::W32,
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            Class::Predicate => 1,
            Class::W16 => 16,
            Class::W32 => 32,
            Class::W64 => 64,
        }
    }
}

/// The address of a variable in its space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symbol {
    Parameter(u64),
    Local(u64),
    Shared(u64),
    Dynamic,
    Constant(u64),
    Global(u64),
}

/// The three files of registers.
#[derive(Default)]
pub struct Files {
    pub count_32: usize,
    pub count_64: usize,
    pub count_p: usize,
    pub presets_32: Vec<(Reg, Preset)>,
    pub presets_64: Vec<(Reg, Preset)>,
    pub presets_p: Vec<(Reg, bool)>,
    known_32: BTreeMap<Preset, Reg>,
    known_64: BTreeMap<Preset, Reg>,
    known_p: BTreeMap<bool, Reg>,
}

impl Files {
    pub fn fresh(&mut self, class: Class, line: u32) -> Result<Reg> {
        let count = match class {
            Class::Predicate => &mut self.count_p,
            Class::W16 | Class::W32 => &mut self.count_32,
            Class::W64 => &mut self.count_64,
        };
        let limit = u64::from(NONE);
        let register = Reg::try_from(*count).ok().filter(|&register| register != NONE);
        let register = register.ok_or(Error::Limit { line, what: "registers", limit })?;
        *count += 1;
        Ok(register)
    }

    pub fn preset(&mut self, class: Class, preset: Preset, line: u32) -> Result<Reg> {
        let known = if class == Class::W64 { &self.known_64 } else { &self.known_32 };
        if let Some(&register) = known.get(&preset) {
            return Ok(register);
        }
        let register = self.fresh(class, line)?;
        let (known, presets) = if class == Class::W64 {
            (&mut self.known_64, &mut self.presets_64)
        } else {
            (&mut self.known_32, &mut self.presets_32)
        };
        known.insert(preset, register);
        presets.push((register, preset));
        Ok(register)
    }

    pub fn preset_predicate(&mut self, value: bool, line: u32) -> Result<Reg> {
        if let Some(&register) = self.known_p.get(&value) {
            return Ok(register);
        }
        let register = self.fresh(Class::Predicate, line)?;
        self.known_p.insert(value, register);
        self.presets_p.push((register, value));
        Ok(register)
    }
}

#[derive(Default)]
struct Scope<'a> {
    registers: BTreeMap<&'a str, (Class, Option<Reg>)>,
    numbered: Vec<(&'a str, u32, Class)>,
    symbols: BTreeMap<&'a str, Symbol>,
}

/// Scopes from the outermost to the innermost.
pub struct Scopes<'a>(Vec<Scope<'a>>);

impl Default for Scopes<'_> {
    fn default() -> Self {
        Scopes(vec![Scope::default()])
    }
}

impl<'a> Scopes<'a> {
    pub fn open(&mut self) {
        self.0.push(Scope::default());
    }

    pub fn close(&mut self) {
        if self.0.len() > 1 {
            self.0.pop();
        }
    }

    fn inner(&mut self) -> &mut Scope<'a> {
        if self.0.is_empty() {
            self.0.push(Scope::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    pub fn registers(&mut self, name: &'a str, count: Option<u32>, class: Class, line: u32) -> Result<()> {
        let scope = self.inner();
        let is_new = match count {
            None => scope.registers.insert(name, (class, None)).is_none(),
            Some(count) => {
                let is_new = !scope.numbered.iter().any(|(known, ..)| *known == name);
                scope.numbered.push((name, count, class));
                is_new
            }
        };
        if is_new { Ok(()) } else { Err(declared_twice(name, line)) }
    }

    pub fn symbol(&mut self, name: &'a str, symbol: Symbol, line: u32) -> Result<()> {
        match self.inner().symbols.insert(name, symbol) {
            None => Ok(()),
            Some(_) => Err(declared_twice(name, line)),
        }
    }

    pub fn find_symbol(&self, name: &str) -> Option<Symbol> {
        self.0.iter().rev().find_map(|scope| scope.symbols.get(name).copied())
    }

    /// The register of that name, numbered now if it has not been used before.
    pub fn register(&mut self, name: &'a str, files: &mut Files, line: u32) -> Result<Option<(Class, Reg)>> {
        for scope in self.0.iter_mut().rev() {
            let class = match scope.registers.get(name) {
                Some(&(class, Some(register))) => return Ok(Some((class, register))),
                Some(&(class, None)) => class,
                None => {
                    match scope.numbered.iter().find(|(prefix, count, _)| is_numbered(name, prefix, *count)) {
                        Some(&(.., class)) => class,
                        None => continue,
                    }
                }
            };
            let register = files.fresh(class, line)?;
            scope.registers.insert(name, (class, Some(register)));
            return Ok(Some((class, register)));
        }
        Ok(None)
    }
}

fn declared_twice(name: &str, line: u32) -> Error {
    Error::Syntax { line, what: format!("`{name}` is declared twice") }
}

/// Whether `name` is `prefix` and a number below `count`.
fn is_numbered(name: &str, prefix: &str, count: u32) -> bool {
    name.strip_prefix(prefix)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .filter(|digits| *digits == "0" || !digits.starts_with('0'))
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|number| number < count)
}

/// Special registers that are known before a warp starts.
fn special(name: &str) -> Option<Preset> {
    let axis = |name: &str, prefix: &str| match name.strip_prefix(prefix)? {
        ".x" => Some(0u8),
        ".y" => Some(1),
        ".z" => Some(2),
        _ => None,
    };
    Some(match name {
        "%laneid" => Preset::Lane,
        "%warpid" => Preset::Warp,
        "%lanemask_eq" => Preset::LaneMaskEq,
        "%lanemask_lt" => Preset::LaneMaskLt,
        "%lanemask_le" => Preset::LaneMaskLe,
        "%lanemask_gt" => Preset::LaneMaskGt,
        "%lanemask_ge" => Preset::LaneMaskGe,
        "WARP_SZ" => Preset::Bits(32),
        _ => {
            return None
                .or_else(|| axis(name, "%tid").map(Preset::Thread))
                .or_else(|| axis(name, "%ntid").map(Preset::Threads))
                .or_else(|| axis(name, "%ctaid").map(Preset::Block))
                .or_else(|| axis(name, "%nctaid").map(Preset::Blocks));
        }
    })
}

impl<'a> Lowering<'_, 'a> {
    /// The symbol of that name, in the function or in the module.
    pub fn symbol(&mut self, name: &'a str, line: u32) -> Result<Symbol> {
        if let Some(symbol) = self.scopes.find_symbol(name) {
            return Ok(symbol);
        }
        let unknown = || Error::Unknown { line, name: name.to_owned() };
        let variable =
            self.module.variables.iter().find(|variable| variable.name == name).ok_or_else(unknown)?;
        Ok(match variable.home {
            Home::Const => Symbol::Constant(*self.layout.constant_offsets.get(name).ok_or_else(unknown)?),
            Home::Global => Symbol::Global(*self.layout.globals.get(name).ok_or_else(unknown)?),
            _ if variable.bytes.is_none() => {
                self.dynamic_shared = true;
                Symbol::Dynamic
            }
            _ => match self.shared.get(name) {
                Some(&offset) => Symbol::Shared(offset),
                None => {
                    let offset = self.allocate_shared(variable)?;
                    self.shared.insert(name, offset);
                    Symbol::Shared(offset)
                }
            },
        })
    }

    /// A 64-bit register that holds the address of a symbol.
    pub fn symbol_register(&mut self, symbol: Symbol, offset: i64, line: u32) -> Result<Reg> {
        let address = match symbol {
            Symbol::Dynamic => {
                if offset != 0 {
                    let what = "an offset into dynamic shared memory belongs into the address".to_owned();
                    return Err(Error::Syntax { line, what });
                }
                let register = self.files.fresh(Class::W64, line)?;
                self.files.presets_64.push((register, Preset::Bits(0)));
                self.dynamic_registers.push(register);
                return Ok(register);
            }
            Symbol::Parameter(address)
            | Symbol::Local(address)
            | Symbol::Shared(address)
            | Symbol::Constant(address)
            | Symbol::Global(address) => address,
        };
        self.files.preset(Class::W64, Preset::Bits(address.wrapping_add_signed(offset)), line)
    }

    /// An operand that is read: a register of that class, a special register or a number.
    pub fn source(&mut self, at: &At<'_, 'a>, index: usize, class: Class) -> Result<Reg> {
        self.source_of(at, &at.operands[index], class)
    }

    pub fn source_of(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>, class: Class) -> Result<Reg> {
        match operand {
            Operand::Name { name, negated: false } => {
                if let Some((found, register)) = self.scopes.register(name, &mut self.files, at.line)? {
                    return if found == class {
                        Ok(register)
                    } else {
                        at.error(format!("`{name}` has {} bits, not {}", found.bits(), class.bits()))
                    };
                }
                match special(name) {
                    Some(preset) if class == Class::W32 => self.files.preset(class, preset, at.line),
                    Some(_) => at.error(format!("`{name}` has 32 bits")),
                    None => Err(Error::Unknown { line: at.line, name: (*name).to_owned() }),
                }
            }
            Operand::Integer(value) => {
                let bits = class.bits();
                let fits = bits == 64 || *value >> bits == 0 || (*value as i64) >> (bits - 1) == -1;
                if !fits {
                    return at.error(format!("the number {value:#x} has more than {bits} bits"));
                }
                if class == Class::Predicate {
                    return self.files.preset_predicate(*value != 0, at.line);
                }
                let value = if bits == 64 { *value } else { *value & ((1 << bits) - 1) };
                self.files.preset(class, Preset::Bits(value), at.line)
            }
            Operand::Float { bits, double } if *double == (class == Class::W64) && class.bits() >= 32 => {
                self.files.preset(class, Preset::Bits(*bits), at.line)
            }
            _ => at.error("is no operand of that kind"),
        }
    }

    /// A register that is written.
    pub fn target(&mut self, at: &At<'_, 'a>, index: usize, class: Class) -> Result<Reg> {
        self.target_of(at, &at.operands[index], class)
    }

    pub fn target_of(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>, class: Class) -> Result<Reg> {
        let Operand::Name { name, negated: false } = operand else { return at.error("must be a register") };
        match self.scopes.register(name, &mut self.files, at.line)? {
            Some((found, register)) if found == class => Ok(register),
            Some((found, _)) => at.error(format!("`{name}` has {} bits, not {}", found.bits(), class.bits())),
            None => Err(Error::Unknown { line: at.line, name: (*name).to_owned() }),
        }
    }

    /// A register of 16, 32 or 64 bits that holds at least `bits`: for conversions, loads and stores.
    pub fn wide_enough(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>, bits: u32) -> Result<(Class, Reg)> {
        let Operand::Name { name, negated: false } = operand else { return at.error("must be a register") };
        match self.scopes.register(name, &mut self.files, at.line)? {
            Some((Class::Predicate, _)) => at.error("a predicate has no bits"),
            Some((class, register)) if class.bits() >= bits => Ok((class, register)),
            Some((class, _)) => at.error(format!("`{name}` has {} bits, not {bits}", class.bits())),
            None => Err(Error::Unknown { line: at.line, name: (*name).to_owned() }),
        }
    }

    /// The class of the register that an operand names.
    pub fn class_of(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>) -> Result<Option<Class>> {
        let Operand::Name { name, .. } = operand else { return Ok(None) };
        Ok(self.scopes.register(name, &mut self.files, at.line)?.map(|(class, _)| class))
    }

    /// A predicate that is read, and whether it is negated.
    pub fn predicate(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>) -> Result<(Reg, bool)> {
        match operand {
            Operand::Name { name, negated } => {
                let plain = Operand::Name { name, negated: false };
                Ok((self.source_of(at, &plain, Class::Predicate)?, *negated))
            }
            _ => Ok((self.source_of(at, operand, Class::Predicate)?, false)),
        }
    }

    pub fn temporary(&mut self, at: &At<'_, 'a>, class: Class) -> Result<Reg> {
        self.files.fresh(class, at.line)
    }
}
