//! The code that is interpreted: one entry with every function it calls, registers numbered.
//!
//! Invariant: indices are in range by construction. Numbers, special registers and addresses of variables are registers
//! that are filled before a warp starts, so that an operand is always a register.

use crate::error::Space;

/// A register of one of the three files: 32 bits (16-bit values lie there with zeros above), 64 bits, predicates.
pub type Reg = u16;

/// No register.
pub const NONE: Reg = u16::MAX;

#[derive(Clone, Debug)]
pub struct Inst {
    pub op: Op,
    /// A predicate, or [`NONE`].
    pub guard: Reg,
    pub negated: bool,
    pub line: u32,
}

macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($variant),* }
    };
}

enumeration!(
    /// Of one operand; widths other than the file's are in the name.
    Unary { Not, Not16, Neg, Neg16, AbsS, AbsS16, Popc, Clz, Brev, BfindU, BfindS, NegF, AbsF, SqrtF, NegF16, AbsF16 }
);

enumeration!(Binary {
    Add,
    Sub,
    MulLo,
    MulHiU,
    MulHiS,
    DivU,
    DivS,
    RemU,
    RemS,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    MinU,
    MinS,
    MaxU,
    MaxS,
    Add16,
    Sub16,
    MulLo16,
    MulHiU16,
    MulHiS16,
    DivS16,
    RemS16,
    Shl16,
    ShrU16,
    ShrS16,
    MinS16,
    MaxS16,
    WideU16,
    WideS16,
    AddF,
    SubF,
    MulF,
    DivF,
    MinF,
    MaxF,
    MinNanF,
    MaxNanF,
    CopySign,
    AddF16,
    SubF16,
    MulF16,
    SatAddS,
    SatSubS,
});

enumeration!(Ternary {
    MadLo,
    MadHiU,
    MadHiS,
    MadLo16,
    MadWideU16,
    MadWideS16,
    FmaF,
    Prmt,
    ShfLClamp,
    ShfRClamp,
    ShfLWrap,
    ShfRWrap,
    BfeU,
    BfeS,
    Dp4aUU,
    Dp4aUS,
    Dp4aSU,
    Dp4aSS,
    SadU,
    SadS,
});

enumeration!(Comparison { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan });

enumeration!(
    /// The type of values in arithmetic and conversions.
    Type { U8, U16, U32, U64, S8, S16, S32, S64, F16, BF16, F32, F64 }
);

enumeration!(Logic { And, Or, Xor });

enumeration!(
    /// To an integral value, or `Nearest` for everything that rounds to a float.
    Rounding { Exact, Nearest, Even, Zero, Down, Up }
);

enumeration!(ShuffleMode { Idx, Up, Down, Bfly });

enumeration!(VoteMode { All, Any, Uni, Ballot });

enumeration!(AtomicOp { Add, And, Or, Xor, MinU, MinS, MaxU, MaxS, Inc, Dec, Exch, Cas });

impl Type {
    pub fn bits(self) -> u32 {
        match self {
            Type::U8 | Type::S8 => 8,
            Type::U16 | Type::S16 | Type::F16 | Type::BF16 => 16,
            Type::U32 | Type::S32 | Type::F32 => 32,
            Type::U64 | Type::S64 | Type::F64 => 64,
        }
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::BF16 | Type::F32 | Type::F64)
    }
}

/// `base + offset` in a space; `wide`: the base is a 64-bit register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub space: Space,
    pub base: Reg,
    pub wide: bool,
    pub offset: i64,
}

/// A load or a store of up to four elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    pub address: Address,
    pub bytes: u8,
    /// Sign-extended into the register.
    pub signed: bool,
    /// Of the registers: 16, 32 or 64.
    pub width: u8,
    /// `.nc`: the memory is constant during the launch.
    pub constant: bool,
    pub registers: [Reg; 4],
    pub count: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Atomic {
    pub op: AtomicOp,
    pub address: Address,
    /// Of 64 bits, else of 32.
    pub wide: bool,
    /// [`NONE`] for `red`.
    pub d: Reg,
    pub b: Reg,
    pub c: Reg,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setp {
    pub comparison: Comparison,
    pub ty: Type,
    pub p: Reg,
    /// The complement, or [`NONE`].
    pub q: Reg,
    pub a: Reg,
    pub b: Reg,
    pub combine: Option<(Logic, Reg, bool)>,
}

/// A product of integer matrices over a warp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mma {
    /// 8x8x16, 16x8x16 or 16x8x32.
    pub m: u8,
    pub k: u8,
    pub a_signed: bool,
    pub b_signed: bool,
    pub d: [Reg; 4],
    pub a: [Reg; 4],
    pub b: [Reg; 2],
    pub c: [Reg; 4],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LdMatrix {
    pub address: Address,
    pub transposed: bool,
    pub count: u8,
    pub d: [Reg; 4],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpAsync {
    pub to: Address,
    pub from: Address,
    pub bytes: u8,
    /// How many bytes are read, the rest is zero; or [`NONE`].
    pub source_bytes: Reg,
}

/// A copy of a range from global to shared memory, whose bytes a barrier there counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkCopy {
    pub to: Address,
    pub from: Address,
    pub bytes: Reg,
    pub barrier: Address,
}

/// What is done with a barrier in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierOp {
    /// For so many arrivals.
    Init(Reg),
    /// One arrival, after so many bytes more are expected; or [`NONE`].
    Arrive(Reg),
    /// Whether the phase of that parity is complete.
    Test { p: Reg, parity: Reg },
}

/// A product of a warpgroup: 64 rows, `n` columns, 32 terms of bytes, both operands in shared memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wgmma {
    pub n: u16,
    pub a_signed: bool,
    pub b_signed: bool,
    /// Sums, `n / 2` of them.
    pub d: Box<[Reg]>,
    pub a: Reg,
    pub b: Reg,
    /// Whether sums go on from what they are.
    pub adds: Reg,
    pub adds_negated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shuffle {
    pub mode: ShuffleMode,
    pub d: Reg,
    pub p: Reg,
    pub a: Reg,
    pub b: Reg,
    pub c: Reg,
    pub mask: Reg,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Convert {
    pub to: Type,
    pub from: Type,
    pub rounding: Rounding,
    pub saturate: bool,
    pub d: Reg,
    pub a: Reg,
    /// Of the registers, which may be wider than the types: 16, 32 or 64.
    pub d_width: u8,
    pub a_width: u8,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub function: u16,
    pub target: u32,
    /// Copies in local memory: from, to, bytes.
    pub arguments: Vec<(u32, u32, u32)>,
    pub results: Vec<(u32, u32, u32)>,
}

#[derive(Clone, Debug)]
pub enum Op {
    Unary32(Unary, Reg, Reg),
    Unary64(Unary, Reg, Reg),
    /// `popc`, `clz`, `bfind` of 64 bits into 32.
    Count64(Unary, Reg, Reg),
    Binary32(Binary, Reg, Reg, Reg),
    Binary64(Binary, Reg, Reg, Reg),
    /// Shifts of 64 bits by a 32-bit register.
    Shift64(Binary, Reg, Reg, Reg),
    Ternary32(Ternary, Reg, Reg, Reg, Reg),
    Ternary64(Ternary, Reg, Reg, Reg, Reg),
    /// `mul.wide` of 32 bits.
    Wide {
        signed: bool,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    /// `mad.wide` of 32 bits.
    MadWide {
        signed: bool,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Lop3 {
        table: u8,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Bfi32 {
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        e: Reg,
    },
    Bfi64 {
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        e: Reg,
    },
    Bfe64 {
        signed: bool,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    /// `add.cc`, `addc`, `sub.cc`, `subc`.
    Carry {
        subtract: bool,
        wide: bool,
        takes: bool,
        gives: bool,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Convert(Convert),
    Setp(Setp),
    Select32 {
        d: Reg,
        a: Reg,
        b: Reg,
        p: Reg,
    },
    Select64 {
        d: Reg,
        a: Reg,
        b: Reg,
        p: Reg,
    },
    Predicate(Logic, Reg, Reg, Reg),
    PredicateNot(Reg, Reg),
    PredicateMove(Reg, Reg),
    Move32(Reg, Reg),
    Move64(Reg, Reg),
    /// Two or four parts of 16 bits, or two of 32, the low one first; unused parts of a split are [`NONE`].
    Pack {
        wide: bool,
        d: Reg,
        parts: [Reg; 4],
        count: u8,
    },
    Split {
        wide: bool,
        a: Reg,
        parts: [Reg; 4],
        count: u8,
    },
    /// `cvta`: adds or takes away the base of a space.
    ToGeneric {
        space: Space,
        d: Reg,
        a: Reg,
    },
    FromGeneric {
        space: Space,
        d: Reg,
        a: Reg,
    },
    Load(Access),
    Store(Access),
    Atomic(Atomic),
    Shuffle(Shuffle),
    /// `d` is a predicate, or of 32 bits for a ballot.
    Vote {
        mode: VoteMode,
        d: Reg,
        p: Reg,
        negated: bool,
        mask: Reg,
    },
    ActiveMask(Reg),
    Mma(Box<Mma>),
    LdMatrix(LdMatrix),
    CpAsync(CpAsync),
    CpCommit,
    /// Waits until at most this many groups are under way.
    CpWait(u32),
    BulkCopy(Box<BulkCopy>),
    SharedBarrier(Address, BarrierOp),
    /// Orders ordinary accesses before those of copies and products (`fence.proxy.async`).
    ProxyFence,
    Wgmma(Box<Wgmma>),
    WgmmaFence,
    WgmmaCommit,
    /// Waits until at most this many groups are under way.
    WgmmaWait(u32),
    /// `setmaxnreg`.
    MaxRegisters(u32),
    /// The barrier of the block.
    Barrier {
        id: Reg,
    },
    /// `bar.warp.sync`.
    WarpBarrier {
        mask: Reg,
    },
    Fence,
    Branch(u32),
    BranchIndexed(Reg, Box<[u32]>),
    Call(Box<Call>),
    /// From the function of that number.
    Return(u16),
    Exit,
    Trap,
    /// After the last instruction of a function.
    End,
}

/// A parameter of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter {
    pub offset: u32,
    pub bytes: u32,
    pub pointer_align: u64,
}

/// What a register is filled with before a warp starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Preset {
    Bits(u64),
    /// Of an axis: 0 to 2.
    Thread(u8),
    Threads(u8),
    Block(u8),
    Blocks(u8),
    Lane,
    Warp,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
}

/// An entry, ready to run.
#[derive(Clone, Debug)]
pub struct Code {
    pub name: String,
    pub code: Vec<Inst>,
    pub registers_32: usize,
    pub registers_64: usize,
    pub predicates: usize,
    pub presets_32: Vec<(Reg, Preset)>,
    pub presets_64: Vec<(Reg, Preset)>,
    pub presets_p: Vec<(Reg, bool)>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    /// Static shared memory, from [`crate::machine::SHARED_START`] on; dynamic memory follows, aligned to 16.
    pub shared_bytes: u32,
    pub dynamic_shared: bool,
    /// Local memory of a thread, variables that pass arguments included.
    pub local_bytes: u32,
    pub functions: u16,
    pub threads_max: Option<[u32; 3]>,
    pub threads_exactly: Option<[u32; 3]>,
    pub target: u32,
    pub is_specific: bool,
    /// Registers that products of warpgroups add to, ascending.
    pub accumulators: Vec<Reg>,
}
