//! Programs: a graph of specified operators, constants and provenance. Data, never code.
//!
//! Invariant of a [`Program`]: it passed [`check`](check::check), so ids are in range, operators are in
//! the table with complete attributes, every value is defined before it is used, buffer slots never
//! hold two live values, and the digest is the one its parts have. Later code does not check again.
//! What it does not promise is that the constants' bytes have their digests: that costs a pass over
//! all weights, and [`Program::check_constants`] does it where a result is to be signed or verified.

mod check;
mod decode;
mod encode;
mod proto;

use std::sync::Arc;

pub use check::{NESTING_MAX, ProgramError, SPEC_VERSION};

use crate::attrs::Attrs;
use crate::digest::{Digest, Layout};
use crate::dtype::{DType, Element, narrow};
use crate::ops::{OpDef, OpId, SymType};
use crate::region::Region;
use crate::tensor::TensorView;

/// First bytes of a program file.
pub const MAGIC: [u8; 8] = *b"\x89REPOPS\n";
/// Bytes before the graph.
pub const HEADER_BYTES: usize = 128;
/// Constants start at multiples of this.
pub const ALIGNMENT: usize = 64;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name {
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )* };
}
ids!(
    /// A value: constants first, then for each block in order its parameters and its steps' outputs.
    ValueId,
    /// A block; 0 is the main one, whose parameters are the program's inputs.
    BlockId,
    /// A constant, by position.
    ConstantId,
    /// A memory slot that the plan assigns to values whose lives do not overlap.
    SlotId
);

/// What the program says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Version of SPEC.md: major, minor.
    pub spec: (u32, u32),
    /// Name and version of the compiler.
    pub compiler: String,
    /// The files that it was made from.
    pub sources: Vec<Source>,
    /// Names of the main block's parameters.
    pub inputs: Vec<String>,
    /// Names of the main block's results.
    pub outputs: Vec<String>,
}

/// A file that the program was made from: its name without folders, and SHA-256 of its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub name: String,
    pub digest: Digest,
}

/// The ONNX node that something came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Origin {
    /// The node's name, or where it has none its first output's.
    pub name: String,
    pub op_type: String,
    /// Empty for the default domain.
    pub domain: String,
    /// The opset version of the domain that the model imports.
    pub opset: u32,
}

/// A constant's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConstantDecl {
    /// Initializer's name, or empty when it was folded. Informational, yet part of the digest.
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub digest: Digest,
}

impl ConstantDecl {
    /// Bytes that the constant takes in its layout. Checked against the limits when decoded.
    pub fn byte_len(&self) -> Option<usize> {
        stored_byte_len(self.dtype, &self.shape, self.layout)
    }
}

/// Bytes that a tensor takes in a layout; `None` above the limits or when the layout does not apply.
pub fn stored_byte_len(dtype: DType, shape: &[usize], layout: Layout) -> Option<usize> {
    match layout {
        Layout::RowMajor => crate::tensor::byte_len(dtype, shape).ok(),
        Layout::Panel16 | Layout::Filters16 | Layout::Groups4 => {
            let mut padded = shape.to_vec();
            let axes = padded.len();
            if axes < 2 {
                return None;
            }
            let columns = if layout == Layout::Filters16 { 0 } else { axes - 1 };
            padded[columns] = padded[columns].checked_next_multiple_of(16)?;
            if layout == Layout::Groups4 {
                padded[axes - 2] = padded[axes - 2].checked_next_multiple_of(4)?;
            }
            crate::tensor::byte_len(dtype, &padded).ok()
        }
    }
}

/// One step: an operator applied to values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub op: OpId,
    pub version: u16,
    pub attrs: Attrs,
    /// Absent optional inputs are `None`.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Output>,
    /// The body, when the operator is `Region`.
    pub region: Option<Region>,
    /// The blocks of a control-flow operator.
    pub blocks: Vec<BlockId>,
    /// Every ONNX node that the step computes, in graph order.
    pub origins: Vec<Origin>,
}

/// One output of a step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// `None` when it is known only at run time.
    pub ty: Option<SymType>,
    /// Where the plan puts it; `None`: in memory of its own, or a view of its input.
    pub slot: Option<SlotId>,
}

/// A list of steps with parameters and results.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Types of the parameters; `None` when known only at run time.
    pub params: Vec<Option<SymType>>,
    pub steps: Vec<Step>,
    pub results: Vec<ValueId>,
}

/// Bytes that somebody owns: a mapped file, a vector.
pub type Backing = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The bytes of a constant, somewhere in a backing.
#[derive(Clone)]
pub struct ConstantBytes {
    pub backing: Backing,
    pub offset: usize,
    pub len: usize,
}

impl ConstantBytes {
    pub fn as_slice(&self) -> &[u8] {
        &(*self.backing).as_ref()[self.offset..self.offset + self.len]
    }
}

/// Everything of a program but its digest; unchecked.
#[derive(Clone)]
pub struct ProgramParts {
    pub header: Header,
    pub constants: Vec<ConstantDecl>,
    pub data: Vec<ConstantBytes>,
    /// The first is the main block.
    pub blocks: Vec<Block>,
}

/// A checked program.
#[derive(Clone)]
pub struct Program {
    parts: ProgramParts,
    digest: Digest,
    /// The first value of each block.
    block_values: Vec<u32>,
}

/// A leaf of a program's Merkle tree, as far as it says something alone.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    Header { inputs: Vec<String>, outputs: Vec<String> },
    Constant(ConstantDecl),
    Block { params: u32, steps: u32, results: Vec<ValueId> },
    Step { first_output: ValueId, step: Box<Step> },
}

impl Part {
    /// Decodes a leaf of [`Program::digest_leaves`]. Hostile input is an error; what cannot be checked
    /// without the rest of the program is not.
    pub fn decode(leaf: &[u8]) -> Result<Part, ProgramError> {
        decode::part(leaf)
    }
}

/// Where a value is defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Definition {
    Constant(ConstantId),
    Param { block: BlockId, index: usize },
    Output { block: BlockId, step: usize, index: usize },
}

impl Program {
    /// Checks the parts and computes the digest. The data's lengths are checked, not their digests.
    pub fn new(parts: ProgramParts) -> Result<Program, ProgramError> {
        let block_values = check::check(&parts)?;
        let digest = encode::Encoded::of(&parts).digest();
        Ok(Program { parts, digest, block_values })
    }

    /// Parses a program file. SPEC.md, "Program format". The bytes stay where they are and constants
    /// are used in place; where the backing is not aligned, they are copied.
    pub fn decode(backing: Backing) -> Result<Program, ProgramError> {
        decode::decode(backing)
    }

    /// Writes the program file.
    pub fn write(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        encode::Encoded::of(&self.parts).write(&self.digest, &self.parts, out)
    }

    /// The leaves of the digest's Merkle tree, in order: each a kind byte (0 header, 1 constants, 2 blocks,
    /// 3 steps) and the encoded part, so that a part can be proven alone.
    pub fn digest_leaves(&self) -> Vec<Vec<u8>> {
        encode::Encoded::of(&self.parts).leaves()
    }

    /// The program's identity: a Merkle root over header, constants, blocks and steps.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn header(&self) -> &Header {
        &self.parts.header
    }

    pub fn constants(&self) -> &[ConstantDecl] {
        &self.parts.constants
    }

    pub fn blocks(&self) -> &[Block] {
        &self.parts.blocks
    }

    pub fn main(&self) -> &Block {
        &self.parts.blocks[0]
    }

    pub fn block(&self, id: BlockId) -> &Block {
        &self.parts.blocks[id.index()]
    }

    /// The parts, to make another program of them.
    pub fn to_parts(&self) -> ProgramParts {
        self.parts.clone()
    }

    /// The stored bytes of a constant, in its layout.
    pub fn constant_bytes(&self, id: ConstantId) -> &[u8] {
        self.parts.data[id.index()].as_slice()
    }

    /// The same, to be part of another program.
    pub fn constant_data(&self, id: ConstantId) -> &ConstantBytes {
        &self.parts.data[id.index()]
    }

    /// A constant as a tensor; `None` when its layout is not row-major.
    pub fn constant(&self, id: ConstantId) -> Option<TensorView<'_>> {
        let decl = &self.parts.constants[id.index()];
        (decl.layout == Layout::RowMajor).then(|| TensorView {
            dtype: decl.dtype,
            shape: &decl.shape,
            bytes: self.constant_bytes(id),
        })
    }

    /// The number of values.
    pub fn value_count(&self) -> usize {
        *self.block_values.last().expect("a program has a main block") as usize
    }

    /// The first parameter of a block, as a value.
    pub fn first_param(&self, block: BlockId) -> ValueId {
        ValueId(self.block_values[block.index()])
    }

    /// The value of each step's first output, in order, for one block.
    pub fn first_outputs(&self, block: BlockId) -> Vec<ValueId> {
        let body = self.block(block);
        let mut next = self.block_values[block.index()] + body.params.len() as u32;
        body.steps
            .iter()
            .map(|step| {
                let first = ValueId(next);
                next += step.outputs.len() as u32;
                first
            })
            .collect()
    }

    /// For each step of a block, the values of that block that no later step reads; results of the block
    /// are in no list. A value that a nested block reads is used by the step that holds it.
    pub fn dead_after(&self, block: BlockId) -> Vec<Vec<ValueId>> {
        let body = self.block(block);
        let uses = check::LastUses::direct(&self.parts, &self.block_values, block);
        let mut dead = vec![Vec::new(); body.steps.len()];
        let mut next = self.block_values[block.index()];
        let mut file = |value: u32, defined: usize| {
            let last = uses.of_value(value).max(defined);
            if let Some(list) = dead.get_mut(last) {
                list.push(ValueId(value));
            }
        };
        for _ in &body.params {
            file(next, 0);
            next += 1;
        }
        for (index, step) in body.steps.iter().enumerate() {
            for _ in &step.outputs {
                file(next, index);
                next += 1;
            }
        }
        dead
    }

    /// What `id` is when it is a constant.
    pub fn as_constant(&self, id: ValueId) -> Option<ConstantId> {
        (id.index() < self.parts.constants.len()).then_some(ConstantId(id.0))
    }

    /// Compares every constant's bytes with its declared digest, and refuses bools other than 0 and 1 and
    /// NaNs other than the canonical ones, hashing with `hash` (the fast hash of
    /// kernels, or [`crate::digest::bytes_digest`]).
    pub fn check_constants(
        &self,
        hash: impl Fn(DType, Layout, &[usize], &[u8]) -> Digest,
    ) -> Result<(), ProgramError> {
        for (index, (decl, data)) in self.parts.constants.iter().zip(&self.parts.data).enumerate() {
            if let Some(offset) = first_non_canonical(decl.dtype, data.as_slice()) {
                return Err(ProgramError::ConstantValue { constant: index, name: decl.name.clone(), offset });
            }
            let found = hash(decl.dtype, decl.layout, &decl.shape, data.as_slice());
            if found != decl.digest {
                return Err(ProgramError::ConstantDigest {
                    constant: index,
                    name: decl.name.clone(),
                    declared: decl.digest,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// The offset of the first element that is a NaN other than the canonical one, or a bool other than 0
/// and 1.
fn first_non_canonical(dtype: DType, bytes: &[u8]) -> Option<usize> {
    fn find<T: Element>(bytes: &[u8]) -> Option<usize> {
        let values: &[T] = bytemuck::cast_slice(bytes);
        let changes = |v: &T| bytemuck::bytes_of(&v.canonical()) != bytemuck::bytes_of(v);
        values.iter().position(changes).map(|at| at * size_of::<T>())
    }
    match dtype {
        DType::F32 => find::<f32>(bytes),
        DType::F64 => find::<f64>(bytes),
        DType::F16 => find::<half::f16>(bytes),
        DType::BF16 => find::<half::bf16>(bytes),
        DType::Bool => bytes.iter().position(|&b| b > 1),
        dtype if dtype.is_narrow() => bytes.iter().position(|&b| narrow::canonical(dtype, b) != Some(b)),
        _ => None,
    }
}

impl Step {
    /// The operator's row. The program was checked, so it exists.
    pub fn def(&self) -> &'static OpDef {
        crate::ops::by_id(self.op, self.version).expect("a checked program names operators of the table")
    }

    /// The encoding of everything that fixes what the step computes, apart from its inputs: attributes,
    /// and the body of a region. Its SHA-256 is bound by the step's digest.
    pub fn body_digest(&self) -> Digest {
        encode::body_digest(self)
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps: usize = self.parts.blocks.iter().map(|b| b.steps.len()).sum();
        write!(f, "Program({}, {} steps, {} constants)", self.digest, steps, self.parts.constants.len())
    }
}
