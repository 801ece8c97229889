//! What can be wrong with a text of PTX, with a launch, and with what a kernel does.
//!
//! Invariant: an error of the text names its line, a fault names the line, the block and the thread.

use thiserror::Error as ThisError;

/// Everything that this crate refuses.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
pub enum Error {
    #[error("line {line}: {what}")]
    Syntax { line: u32, what: String },
    #[error("line {line}: {what} exceeds the limit of {limit}")]
    Limit { line: u32, what: &'static str, limit: u64 },
    /// An opcode or a suffix that this interpreter does not know, or that the target does not have.
    #[error("line {line}: `{opcode}`: {what}")]
    Opcode { line: u32, opcode: String, what: String },
    #[error("line {line}: `{opcode}` does not say how it rounds")]
    Unrounded { line: u32, opcode: String },
    #[error("line {line}: nothing is named `{name}`")]
    Unknown { line: u32, name: String },
    #[error("line {line}: `{opcode}`: {what}")]
    Operand { line: u32, opcode: String, what: String },
    #[error("the module has no entry `{name}`")]
    NoEntry { name: String },
    #[error("launch of `{entry}`: {what}")]
    Launch { entry: String, what: String },
    #[error("line {line}, block {block:?}, thread {thread}: {fault}")]
    Fault { line: u32, block: [u32; 3], thread: u32, fault: Fault },
    #[error("device memory: {what}")]
    Memory { what: String },
}

impl Error {
    /// The line of the text at which it happens.
    pub fn line(&self) -> Option<u32> {
        match self {
            Error::Syntax { line, .. }
            | Error::Limit { line, .. }
            | Error::Opcode { line, .. }
            | Error::Unrounded { line, .. }
            | Error::Unknown { line, .. }
            | Error::Operand { line, .. }
            | Error::Fault { line, .. } => Some(*line),
            Error::NoEntry { .. } | Error::Launch { .. } | Error::Memory { .. } => None,
        }
    }
}

/// What a kernel did that it must not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ThisError)]
pub enum Fault {
    #[error("the address {address:#x} is outside of every buffer ({bytes} bytes, {space})")]
    OutOfBounds { space: Space, address: u64, bytes: u32 },
    #[error("the address {address:#x} is not a multiple of {bytes}")]
    Misaligned { address: u64, bytes: u32 },
    #[error("reads {space} memory at {address:#x} that nothing has written")]
    UninitializedMemory { space: Space, address: u64 },
    #[error("reads a register that nothing has written")]
    UninitializedRegister,
    #[error("writes to {space} memory, which is constant")]
    ReadOnly { space: Space },
    #[error("{now} {space} memory at {address:#x}, which another thread {before} with no barrier between")]
    Race { space: Space, address: u64, now: &'static str, before: &'static str },
    #[error(
        "touches {space} memory at {address:#x}, which work beside this one has touched, without waiting for it"
    )]
    Unordered { space: Space, address: u64 },
    #[error("reads memory as constant (.nc) that this launch has written, at {address:#x}")]
    NotConstant { address: u64 },
    #[error("not all threads that have to take part arrive here")]
    Divergent,
    #[error("a thread is not in the mask {mask:#x} that it names, or the mask names threads that have ended")]
    Membership { mask: u32 },
    #[error("lanes name different masks or lane counts where one is required")]
    NotUniform,
    #[error("the index {index} is beyond the {targets} targets")]
    BranchIndex { index: u32, targets: u32 },
    #[error(
        "products or copies use shared memory at {address:#x} that ordinary stores wrote, with no fence.proxy.async between"
    )]
    Unfenced { address: u64 },
    #[error("writes shared memory at {address:#x}, which products or copies under way still use")]
    UnderWay { address: u64 },
    #[error("touches a sum of products that are under way, or has changed one since the last wgmma.fence")]
    Accumulator,
    #[error("the descriptor {bits:#x} of a matrix is none that is supported")]
    Descriptor { bits: u64 },
    #[error("the barrier at {address:#x} {what}")]
    SharedBarrier { address: u64, what: &'static str },
    #[error("ends with products or copies under way")]
    Unfinished,
    #[error("warpgroups ask for more registers than there are")]
    Registers,
    #[error("waits for what no thread will do")]
    Deadlock,
    #[error("divides by zero")]
    DivisionByZero,
    #[error("runs into a trap")]
    Trap,
    #[error("runs past the end of its function")]
    NoReturn,
    #[error("took more than {limit} steps")]
    StepLimit { limit: u64 },
}

/// A space of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Constant,
    Parameter,
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Constant => "constant",
            Space::Parameter => "parameter",
        })
    }
}

pub type Result<T> = std::result::Result<T, Error>;
