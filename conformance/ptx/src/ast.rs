//! A module as its text says it, before names mean anything.

/// A register, an address or a number in an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand<'a> {
    /// A register, a symbol or a label; `negated` by a leading `!`.
    Name {
        name: &'a str,
        negated: bool,
    },
    /// A symbol and an offset: `table+4`.
    Offset {
        name: &'a str,
        offset: i64,
    },
    Integer(u64),
    /// The bits of a float, and whether it is an f64.
    Float {
        bits: u64,
        double: bool,
    },
    /// `[base + offset]`; without a base an absolute address.
    Address {
        base: Option<&'a str>,
        offset: i64,
    },
    /// `{a, b}` or `(a, b)`.
    Vector(Vec<Operand<'a>>),
    /// `p|q`.
    Pair(&'a str, &'a str),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction<'a> {
    pub line: u32,
    /// The predicate and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    pub opcode: &'a str,
    pub operands: Vec<Operand<'a>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Statement<'a> {
    Instruction(Instruction<'a>),
    Label {
        name: &'a str,
        line: u32,
    },
    /// `name: .branchtargets a, b;`
    Targets {
        name: &'a str,
        labels: Vec<&'a str>,
        line: u32,
    },
    Registers {
        ty: &'a str,
        /// A name, or a prefix and how many numbered registers it stands for.
        names: Vec<(&'a str, Option<u32>)>,
        line: u32,
    },
    Variable(Variable<'a>),
    Open,
    Close,
}

/// Where a variable lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    Param,
    Shared,
    Local,
    Global,
    Const,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable<'a> {
    pub line: u32,
    pub home: Home,
    pub name: &'a str,
    pub align: u64,
    /// `None`: of a size that the launch decides (`extern .shared x[]`).
    pub bytes: Option<u64>,
    /// Initial bytes; the rest is zero. `None`: nothing is said.
    pub initial: Option<Vec<u8>>,
    /// Alignment that the pointer in this parameter promises.
    pub pointer_align: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function<'a> {
    pub line: u32,
    pub name: &'a str,
    pub is_entry: bool,
    pub results: Vec<Variable<'a>>,
    pub parameters: Vec<Variable<'a>>,
    /// `.maxntid` and `.reqntid`.
    pub threads_max: Option<[u32; 3]>,
    pub threads_exactly: Option<[u32; 3]>,
    pub body: Vec<Statement<'a>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module<'a> {
    /// 70 for 7.0.
    pub version: u32,
    /// 75 for sm_75.
    pub target: u32,
    /// `sm_90a`: with what this one architecture alone has.
    pub is_specific: bool,
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
}
