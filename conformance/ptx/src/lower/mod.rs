//! From a parsed module to the code of one entry.
//!
//! Invariant: no recursion among the functions of an entry, so that every register, parameter and local variable has
//! one place for a thread. Whatever is not understood completely is an error with its line.

mod arithmetic;
mod control;
mod hopper;
mod memory;
mod names;
mod suffix;

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::{Function, Home, Instruction, Module, Operand, Statement, Variable};
use crate::code::{Code, Inst, NONE, Op, Parameter, Preset, Reg};
use crate::error::{Error, Result};
use names::{Class, Files, Scopes, Symbol};
use suffix::Suffixes;

/// Instructions of one entry.
const CODE_MAX: usize = 1 << 22;
/// Local memory of one thread.
const LOCAL_BYTES_MAX: u64 = 1 << 16;
/// Static shared memory: what all processors grant without being asked.
const SHARED_BYTES_MAX: u64 = 48 << 10;
/// Parameters of an entry.
const PARAMETER_BYTES_MAX: u64 = 4352;

/// Where the variables of a module lie.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The constant bank, at addresses from 0 on.
    pub constants: Vec<u8>,
    constant_offsets: BTreeMap<String, u64>,
    /// Addresses of global variables.
    pub globals: BTreeMap<String, u64>,
}

impl Layout {
    /// The constant bank of a module; global variables get addresses from whoever allocates them.
    pub fn of(module: &Module<'_>) -> Result<Layout> {
        let mut layout = Layout::default();
        // Address 0 stays free.
        let mut end = 16u64;
        for variable in module.variables.iter().filter(|variable| variable.home == Home::Const) {
            let start = end.next_multiple_of(variable.align);
            end = start + variable.bytes.unwrap_or(0);
            if end > 64 << 10 {
                return Err(Error::Limit { line: variable.line, what: "constant memory", limit: 64 << 10 });
            }
            layout.constants.resize(end as usize, 0);
            if let Some(initial) = &variable.initial {
                layout.constants[start as usize..][..initial.len()].copy_from_slice(initial);
            }
            if layout.constant_offsets.insert(variable.name.to_owned(), start).is_some() {
                let what = format!("`{}` is declared twice", variable.name);
                return Err(Error::Syntax { line: variable.line, what });
            }
        }
        Ok(layout)
    }
}

/// Lowers the entry `name`.
pub fn entry(module: &Module<'_>, layout: &Layout, name: &str) -> Result<Code> {
    let function = module
        .functions
        .iter()
        .find(|function| function.is_entry && function.name == name)
        .ok_or_else(|| Error::NoEntry { name: name.to_owned() })?;
    let mut lowering = Lowering::new(module, layout);
    lowering.run(function)?;
    lowering.finish(function)
}

/// A function that the entry calls, directly or not.
struct Callee {
    index: u16,
    start: Option<u32>,
    results: Vec<(u32, u32)>,
    parameters: Vec<(u32, u32)>,
}

struct Lowering<'m, 'a> {
    module: &'m Module<'a>,
    layout: &'m Layout,
    code: Vec<Inst>,
    files: Files,
    shared_end: u64,
    local_end: u64,
    dynamic_shared: bool,
    /// Registers to be filled with the address of dynamic shared memory.
    dynamic_registers: Vec<Reg>,
    shared: BTreeMap<&'a str, u64>,
    parameters: Vec<Parameter>,
    parameter_end: u64,
    callees: BTreeMap<&'a str, Callee>,
    pending: Vec<&'a str>,
    /// Calls whose target is not lowered yet.
    calls: Vec<(usize, &'a str)>,
    /// Who calls whom.
    edges: Vec<(&'a str, &'a str)>,
    // Of the function at hand:
    current: &'a str,
    in_entry: bool,
    scopes: Scopes<'a>,
    labels: BTreeMap<&'a str, u32>,
    targets: BTreeMap<&'a str, Vec<&'a str>>,
    branches: Vec<(usize, u32, Vec<&'a str>)>,
    indexed: Vec<(usize, u32, &'a str)>,
}

impl<'m, 'a> Lowering<'m, 'a> {
    fn new(module: &'m Module<'a>, layout: &'m Layout) -> Self {
        Lowering {
            module,
            layout,
            code: Vec::new(),
            files: Files::default(),
            shared_end: crate::machine::SHARED_START,
            local_end: 16,
            dynamic_shared: false,
            dynamic_registers: Vec::new(),
            shared: BTreeMap::new(),
            parameters: Vec::new(),
            parameter_end: 0,
            callees: BTreeMap::new(),
            pending: Vec::new(),
            calls: Vec::new(),
            edges: Vec::new(),
            current: "",
            in_entry: true,
            scopes: Scopes::default(),
            labels: BTreeMap::new(),
            targets: BTreeMap::new(),
            branches: Vec::new(),
            indexed: Vec::new(),
        }
    }

    fn run(&mut self, entry: &'m Function<'a>) -> Result<()> {
        self.begin(entry.name, true);
        for parameter in &entry.parameters {
            let bytes = parameter.bytes.unwrap_or(0);
            let offset = self.parameter_end.next_multiple_of(parameter.align);
            self.parameter_end = offset + bytes;
            if self.parameter_end > PARAMETER_BYTES_MAX {
                let limit = PARAMETER_BYTES_MAX;
                return Err(Error::Limit { line: parameter.line, what: "the parameters", limit });
            }
            self.parameters.push(Parameter {
                offset: offset as u32,
                bytes: bytes as u32,
                pointer_align: parameter.pointer_align,
            });
            self.scopes.symbol(parameter.name, Symbol::Parameter(offset), parameter.line)?;
        }
        self.body(entry)?;
        while let Some(name) = self.pending.pop() {
            let function = self.function(name, 0)?;
            self.begin(name, false);
            let start = self.code.len() as u32;
            let Some(callee) = self.callees.get_mut(name) else { continue };
            callee.start = Some(start);
            let homes: Vec<(u32, u32)> = callee.results.iter().chain(&callee.parameters).copied().collect();
            for (variable, (offset, _)) in function.results.iter().chain(&function.parameters).zip(homes) {
                self.scopes.symbol(variable.name, Symbol::Local(offset.into()), variable.line)?;
            }
            self.body(function)?;
        }
        self.resolve_calls();
        self.refuse_recursion(entry)
    }

    fn begin(&mut self, name: &'a str, in_entry: bool) {
        self.current = name;
        self.in_entry = in_entry;
        self.scopes = Scopes::default();
        self.labels.clear();
        self.targets.clear();
    }

    fn function(&self, name: &str, line: u32) -> Result<&'m Function<'a>> {
        self.module
            .functions
            .iter()
            .find(|function| !function.is_entry && function.name == name)
            .ok_or_else(|| Error::Unknown { line, name: name.to_owned() })
    }

    fn body(&mut self, function: &'m Function<'a>) -> Result<()> {
        let mut line = function.line;
        for statement in &function.body {
            match statement {
                Statement::Open => self.scopes.open(),
                Statement::Close => self.scopes.close(),
                Statement::Registers { ty, names, line } => {
                    let class = Class::of_register(ty).ok_or_else(|| Error::Syntax {
                        line: *line,
                        what: format!("registers of the type `{ty}` are not supported"),
                    })?;
                    for (name, count) in names {
                        self.scopes.registers(name, *count, class, *line)?;
                    }
                }
                Statement::Variable(variable) => self.variable(variable)?,
                Statement::Label { name, line } => {
                    if self.labels.insert(name, self.code.len() as u32).is_some() {
                        let what = format!("the label `{name}` stands twice");
                        return Err(Error::Syntax { line: *line, what });
                    }
                }
                Statement::Targets { name, labels, line } => {
                    if self.targets.insert(name, labels.clone()).is_some() {
                        let what = format!("the label `{name}` stands twice");
                        return Err(Error::Syntax { line: *line, what });
                    }
                }
                Statement::Instruction(instruction) => {
                    line = instruction.line;
                    self.instruction(instruction)?;
                }
            }
        }
        self.code.push(Inst { op: Op::End, guard: NONE, negated: false, line });
        self.resolve_branches()
    }

    fn variable(&mut self, variable: &Variable<'a>) -> Result<()> {
        let bytes = variable.bytes.unwrap_or(0);
        let symbol = match variable.home {
            Home::Shared => Symbol::Shared(self.allocate_shared(variable)?),
            // Parameters of calls live beside local variables.
            _ => Symbol::Local(self.allocate_local(bytes, variable.align, variable.line)?.into()),
        };
        self.scopes.symbol(variable.name, symbol, variable.line)
    }

    fn allocate_shared(&mut self, variable: &Variable<'a>) -> Result<u64> {
        let start = self.shared_end.next_multiple_of(variable.align);
        self.shared_end = start + variable.bytes.unwrap_or(0);
        if self.shared_end - crate::machine::SHARED_START > SHARED_BYTES_MAX {
            return Err(Error::Limit { line: variable.line, what: "shared memory", limit: SHARED_BYTES_MAX });
        }
        Ok(start)
    }

    fn allocate_local(&mut self, bytes: u64, align: u64, line: u32) -> Result<u32> {
        let start = self.local_end.next_multiple_of(align);
        self.local_end = start + bytes;
        if self.local_end > LOCAL_BYTES_MAX {
            return Err(Error::Limit { line, what: "local memory", limit: LOCAL_BYTES_MAX });
        }
        Ok(start as u32)
    }

    /// Gives a function its place among the callees and its parameters their places in local memory.
    fn callee(&mut self, name: &'a str, line: u32) -> Result<&Callee> {
        if !self.callees.contains_key(name) {
            let function = self.function(name, line)?;
            let mut place = |variables: &[Variable<'a>]| -> Result<Vec<(u32, u32)>> {
                variables
                    .iter()
                    .map(|variable| {
                        let bytes = variable.bytes.unwrap_or(0);
                        let start = self.allocate_local(bytes, variable.align, variable.line)?;
                        Ok((start, bytes as u32))
                    })
                    .collect()
            };
            let results = place(&function.results)?;
            let parameters = place(&function.parameters)?;
            let index = u16::try_from(self.callees.len()).map_err(|_| Error::Limit {
                line,
                what: "functions",
                limit: u16::MAX.into(),
            })?;
            self.callees.insert(function.name, Callee { index, start: None, results, parameters });
            self.pending.push(function.name);
        }
        self.callees.get(name).ok_or_else(|| Error::Unknown { line, name: name.to_owned() })
    }

    fn resolve_branches(&mut self) -> Result<()> {
        for (at, line, labels) in std::mem::take(&mut self.branches) {
            let name = labels[0];
            let target = *self.labels.get(name).ok_or(Error::Unknown { line, name: name.to_owned() })?;
            self.code[at].op = Op::Branch(target);
        }
        for (at, line, name) in std::mem::take(&mut self.indexed) {
            let unknown = |name: &str| Error::Unknown { line, name: name.to_owned() };
            let labels = self.targets.get(name).ok_or_else(|| unknown(name))?;
            let targets: Box<[u32]> = labels
                .iter()
                .map(|label| self.labels.get(label).copied().ok_or_else(|| unknown(label)))
                .collect::<Result<_>>()?;
            if let Op::BranchIndexed(_, slot) = &mut self.code[at].op {
                *slot = targets;
            }
        }
        Ok(())
    }

    fn resolve_calls(&mut self) {
        for (at, name) in std::mem::take(&mut self.calls) {
            let start = self.callees.get(name).and_then(|callee| callee.start);
            if let (Op::Call(call), Some(start)) = (&mut self.code[at].op, start) {
                call.target = start;
            }
        }
    }

    /// Takes away, again and again, functions that call none of those left; what cannot be taken away is in a cycle.
    fn refuse_recursion(&self, entry: &Function<'a>) -> Result<()> {
        let mut left: Vec<&str> = self.callees.keys().copied().collect();
        loop {
            let before = left.len();
            let leaves: Vec<&str> = left
                .iter()
                .copied()
                .filter(|name| !self.edges.iter().any(|(from, to)| from == name && left.contains(to)))
                .collect();
            left.retain(|name| !leaves.contains(name));
            if left.is_empty() {
                return Ok(());
            }
            if left.len() == before {
                let what = format!("`{}` calls itself", left[0]);
                return Err(Error::Syntax { line: entry.line, what });
            }
        }
    }

    fn finish(mut self, entry: &Function<'a>) -> Result<Code> {
        // What it is declared with may ask for more than the 16 bytes that it always has.
        let externs = self.module.variables.iter().filter(|variable| variable.bytes.is_none());
        let align = externs.map(|variable| variable.align).max().unwrap_or(16).max(16);
        let dynamic = self.shared_end.next_multiple_of(if self.dynamic_shared { align } else { 16 });
        let products = self.code.iter().filter_map(|inst| match &inst.op {
            Op::Wgmma(product) => Some(product.d.iter().copied()),
            _ => None,
        });
        let accumulators = products.flatten().collect::<BTreeSet<Reg>>().into_iter().collect();
        for (register, preset) in &mut self.files.presets_64 {
            if self.dynamic_registers.contains(register) {
                *preset = Preset::Bits(dynamic);
            }
        }
        Ok(Code {
            name: entry.name.to_owned(),
            code: self.code,
            registers_32: self.files.count_32,
            registers_64: self.files.count_64,
            predicates: self.files.count_p,
            presets_32: self.files.presets_32,
            presets_64: self.files.presets_64,
            presets_p: self.files.presets_p,
            parameters: self.parameters,
            parameter_bytes: self.parameter_end as u32,
            shared_bytes: (dynamic - crate::machine::SHARED_START) as u32,
            dynamic_shared: self.dynamic_shared,
            local_bytes: self.local_end as u32,
            functions: self.callees.len() as u16,
            threads_max: entry.threads_max,
            threads_exactly: entry.threads_exactly,
            target: self.module.target,
            is_specific: self.module.is_specific,
            accumulators,
        })
    }

    /// Lowers one instruction; its guard goes to everything that it becomes.
    fn instruction(&mut self, instruction: &Instruction<'a>) -> Result<()> {
        let first = self.code.len();
        if first > CODE_MAX {
            return Err(Error::Limit {
                line: instruction.line,
                what: "instructions",
                limit: CODE_MAX as u64,
            });
        }
        let (guard, negated) = match instruction.guard {
            Some((name, negated)) => (self.guard(name, instruction.line)?, negated),
            None => (NONE, false),
        };
        let mut at =
            At { line: instruction.line, opcode: instruction.opcode, operands: &instruction.operands };
        let mut suffixes = Suffixes::new(instruction.opcode, instruction.line);
        self.dispatch(&mut at, &mut suffixes)?;
        suffixes.end()?;
        for inst in &mut self.code[first..] {
            inst.guard = guard;
            inst.negated = negated;
        }
        Ok(())
    }

    fn guard(&mut self, name: &'a str, line: u32) -> Result<Reg> {
        match self.scopes.register(name, &mut self.files, line)? {
            Some((Class::Predicate, register)) => Ok(register),
            _ => Err(Error::Unknown { line, name: name.to_owned() }),
        }
    }

    fn emit(&mut self, at: &At<'_, 'a>, op: Op) {
        self.code.push(Inst { op, guard: NONE, negated: false, line: at.line });
    }

    fn dispatch(&mut self, at: &mut At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        match s.name() {
            "ld" | "ldu" | "st" | "atom" | "red" | "cvta" | "ldmatrix" | "cp" | "prefetch" | "prefetchu" => {
                self.memory(at, s)
            }
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "bar" | "barrier" | "membar" | "fence"
            | "shfl" | "vote" | "activemask" | "mma" => self.control(at, s),
            "mbarrier" | "wgmma" | "setmaxnreg" => self.hopper(at, s),
            _ => self.arithmetic(at, s),
        }
    }
}

/// The instruction at hand.
struct At<'i, 'a> {
    line: u32,
    opcode: &'a str,
    operands: &'i [Operand<'a>],
}

impl<'a> At<'_, 'a> {
    fn count(&self, wanted: usize) -> Result<()> {
        if self.operands.len() == wanted {
            Ok(())
        } else {
            self.error(format!("takes {wanted} operands, not {}", self.operands.len()))
        }
    }

    fn error<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error::Operand { line: self.line, opcode: self.opcode.to_owned(), what: what.into() })
    }

    fn unsupported<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error::Opcode { line: self.line, opcode: self.opcode.to_owned(), what: what.into() })
    }
}
