//! Bytes of a program file to a checked [`Program`].
//!
//! Hostile input: every length is compared with what the file holds before anything is allocated, and
//! only the canonical encoding is accepted.

use prost::Message;

use super::encode::{Encoded, FORMAT_VERSION};
use super::{
    ALIGNMENT, Backing, Block, BlockId, ConstantBytes, ConstantDecl, HEADER_BYTES, Header, MAGIC, Origin,
    Output, Part, Program, ProgramError, ProgramParts, SlotId, Source, Step, ValueId, proto,
};
use crate::attrs::{AttrValue, Attrs};
use crate::digest::{Digest, Layout};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::ops::SymType;
use crate::region::{Instruction, Product, Region};
use crate::tensor::{AlignedBytes, RANK_MAX};

pub(super) fn decode(backing: Backing) -> Result<Program, ProgramError> {
    let bytes: &[u8] = (*backing).as_ref();
    let file = FileHeader::parse(bytes)?;
    let graph_bytes = &bytes[HEADER_BYTES..HEADER_BYTES + file.graph_len];
    let graph = proto::Graph::decode(graph_bytes)
        .map_err(|e| ProgramError::Encoding { what: "graph".into(), problem: e.to_string() })?;
    let mut parts = parts_of(&graph)?;
    let encoded = Encoded::of(&parts);
    // One encoding for one program: otherwise the same program could have two identities.
    if encoded.graph() != &graph || encoded.graph().encode_to_vec() != graph_bytes {
        return Err(ProgramError::NotCanonical);
    }
    let found = encoded.digest();
    if found != file.digest {
        return Err(ProgramError::Digest { declared: file.digest, found });
    }
    parts.data = locate_constants(&backing, &parts.constants, HEADER_BYTES + file.graph_len)?;
    Program::new(parts)
}

struct FileHeader {
    graph_len: usize,
    digest: Digest,
}

impl FileHeader {
    fn parse(bytes: &[u8]) -> Result<FileHeader, ProgramError> {
        if bytes.len() < HEADER_BYTES {
            return Err(ProgramError::Truncated { needed: HEADER_BYTES as u64, found: bytes.len() as u64 });
        }
        if bytes[..8] != MAGIC {
            return Err(ProgramError::Magic);
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if word(8) != FORMAT_VERSION {
            return Err(ProgramError::Version { found: word(8), supported: FORMAT_VERSION });
        }
        let (graph_len, file_len) = (long(16), long(24));
        if file_len != bytes.len() as u64 {
            return Err(ProgramError::Truncated { needed: file_len, found: bytes.len() as u64 });
        }
        if graph_len > file_len - HEADER_BYTES as u64 {
            return Err(ProgramError::Truncated { needed: graph_len, found: file_len });
        }
        if word(12) != 0 || bytes[64..HEADER_BYTES].iter().any(|&b| b != 0) {
            return Err(ProgramError::NotCanonical);
        }
        let digest = Digest(bytes[32..64].try_into().expect("32 bytes"));
        Ok(FileHeader { graph_len: graph_len as usize, digest })
    }
}

/// Finds each constant's bytes; gaps must be zero and the last constant must end the file.
fn locate_constants(
    backing: &Backing,
    constants: &[ConstantDecl],
    graph_end: usize,
) -> Result<Vec<ConstantBytes>, ProgramError> {
    let bytes: &[u8] = (**backing).as_ref();
    let too_short =
        |needed: usize| ProgramError::Truncated { needed: needed as u64, found: bytes.len() as u64 };
    let mut ranges = Vec::new();
    let mut at = graph_end;
    let first = graph_end.next_multiple_of(ALIGNMENT);
    let gap_to = |at: usize, to: usize| match bytes.get(at..to) {
        None => Err(too_short(to)),
        Some(gap) if gap.iter().any(|&b| b != 0) => Err(ProgramError::NotCanonical),
        Some(_) => Ok(to),
    };
    at = gap_to(at, first)?;
    for decl in constants {
        let start = gap_to(at, at.next_multiple_of(ALIGNMENT))?;
        let len = decl.byte_len().ok_or(ProgramError::ConstantSize { name: decl.name.clone() })?;
        let end = start.checked_add(len).filter(|&end| end <= bytes.len());
        at = end.ok_or_else(|| too_short(start.saturating_add(len)))?;
        ranges.push(start..at);
    }
    if at != bytes.len() {
        return Err(ProgramError::TrailingBytes { at: at as u64 });
    }
    if bytes.as_ptr().align_offset(8) == 0 {
        let here = |r: std::ops::Range<usize>| ConstantBytes {
            backing: backing.clone(),
            offset: r.start,
            len: r.len(),
        };
        return Ok(ranges.into_iter().map(here).collect());
    }
    // A vector may start anywhere; typed access needs alignment.
    let copy = |r: std::ops::Range<usize>| {
        let len = r.len();
        let copied = AlignedBytes::copy_of(&bytes[r]).map_err(|_| too_short(len))?;
        Ok(ConstantBytes { backing: std::sync::Arc::new(copied), offset: 0, len })
    };
    ranges.into_iter().map(copy).collect()
}

fn parts_of(graph: &proto::Graph) -> Result<ProgramParts, ProgramError> {
    let header = message::<proto::Header>(&graph.header, || "header".to_string())?;
    let sources = header
        .sources
        .into_iter()
        .map(|s| Ok(Source { name: s.name, digest: digest(&s.digest, "header's source")? }));
    let header = Header {
        spec: (header.spec_major, header.spec_minor),
        compiler: header.compiler,
        sources: sources.collect::<Result<_, ProgramError>>()?,
        inputs: header.inputs,
        outputs: header.outputs,
    };
    let constants = graph.constants.iter().enumerate().map(|(i, bytes)| constant(i, bytes));
    let constants = constants.collect::<Result<Vec<_>, _>>()?;
    let mut steps = graph.steps.iter().enumerate();
    let mut blocks = Vec::new();
    for (index, bytes) in graph.blocks.iter().enumerate() {
        let what = || format!("block {index}");
        let block = message::<proto::Block>(bytes, what)?;
        let mut body = Vec::new();
        for _ in 0..block.steps {
            let (number, bytes) =
                steps.next().ok_or_else(|| bad(what(), "declares more steps than there are"))?;
            body.push(step(number, bytes)?);
        }
        blocks.push(Block {
            params: block.params.iter().map(|ty| optional_type(ty, &what)).collect::<Result<_, _>>()?,
            steps: body,
            results: block.results.into_iter().map(ValueId).collect(),
        });
    }
    if let Some((number, _)) = steps.next() {
        return Err(bad(format!("step {number}"), "belongs to no block"));
    }
    Ok(ProgramParts { header, constants, data: Vec::new(), blocks })
}

/// A leaf of the program's Merkle tree, decoded alone. It is checked as far as that can be: an operator is
/// in the table, its attributes are complete, its region is well formed.
pub(super) fn part(leaf: &[u8]) -> Result<Part, ProgramError> {
    let what = || "a part".to_string();
    let (&kind, bytes) = leaf.split_first().ok_or_else(|| bad(what(), "is empty"))?;
    Ok(match kind {
        0 => {
            let header = message::<proto::Header>(bytes, what)?;
            Part::Header { inputs: header.inputs, outputs: header.outputs }
        }
        1 => Part::Constant(constant(0, bytes)?),
        2 => {
            let block = message::<proto::Block>(bytes, what)?;
            let results = block.results.into_iter().map(ValueId).collect();
            Part::Block { params: block.params.len() as u32, steps: block.steps, results }
        }
        3 => {
            let raw = message::<proto::Step>(bytes, what)?;
            let step = step(0, bytes)?;
            super::check::check_alone(&step)?;
            Part::Step { first_output: ValueId(raw.first_output), step: Box::new(step) }
        }
        kind => return Err(bad(what(), format!("is of unknown kind {kind}"))),
    })
}

fn bad(what: String, problem: impl Into<String>) -> ProgramError {
    ProgramError::Encoding { what, problem: problem.into() }
}

fn message<M: Message + Default>(bytes: &[u8], what: impl Fn() -> String) -> Result<M, ProgramError> {
    M::decode(bytes).map_err(|e| bad(what(), e.to_string()))
}

fn digest(bytes: &[u8], what: &str) -> Result<Digest, ProgramError> {
    bytes.try_into().map(Digest).map_err(|_| bad(what.to_string(), "a digest has 32 bytes"))
}

fn dtype(code: u32, what: &dyn Fn() -> String) -> Result<DType, ProgramError> {
    DType::from_any_code(code).ok_or_else(|| bad(what(), format!("element type {code} is unknown")))
}

fn small<T: TryFrom<u32>>(value: u32, what: &dyn Fn() -> String) -> Result<T, ProgramError> {
    T::try_from(value).map_err(|_| bad(what(), format!("{value} is out of range")))
}

fn constant(index: usize, bytes: &[u8]) -> Result<ConstantDecl, ProgramError> {
    let what = || format!("constant {index}");
    let raw = message::<proto::Constant>(bytes, what)?;
    if raw.shape.len() > RANK_MAX {
        return Err(bad(what(), format!("{} axes; at most {RANK_MAX} are allowed", raw.shape.len())));
    }
    let shape =
        raw.shape.iter().map(|&d| usize::try_from(d).map_err(|_| bad(what(), "an extent is too large")));
    let layout = Layout::from_code(raw.layout);
    Ok(ConstantDecl {
        name: raw.name.clone(),
        dtype: dtype(raw.dtype, &what)?,
        shape: shape.collect::<Result<_, _>>()?,
        layout: layout.ok_or_else(|| bad(what(), format!("layout {} is unknown", raw.layout)))?,
        digest: digest(&raw.digest, &what())?,
    })
}

fn symbolic_type(raw: &proto::Type, what: &dyn Fn() -> String) -> Result<SymType, ProgramError> {
    if raw.dims.len() > RANK_MAX {
        return Err(bad(what(), format!("{} axes; at most {RANK_MAX} are allowed", raw.dims.len())));
    }
    let dims = raw.dims.iter().map(|text| {
        DimExpr::parse(text).ok_or_else(|| bad(what(), format!("dimension {text:?} cannot be read")))
    });
    Ok(SymType { dtype: dtype(raw.dtype, what)?, shape: dims.collect::<Result<_, _>>()? })
}

fn optional_type(raw: &proto::Type, what: &dyn Fn() -> String) -> Result<Option<SymType>, ProgramError> {
    if raw.dtype == 0 && raw.dims.is_empty() { Ok(None) } else { symbolic_type(raw, what).map(Some) }
}

fn step(number: usize, bytes: &[u8]) -> Result<Step, ProgramError> {
    let what = || format!("step {number}");
    let raw = message::<proto::Step>(bytes, what)?;
    let output = |o: &proto::Output| {
        let ty = o.ty.as_ref().map(|ty| symbolic_type(ty, &what)).transpose()?;
        Ok(Output { ty, slot: o.slot.checked_sub(1).map(SlotId) })
    };
    Ok(Step {
        op: small(raw.op, &what)?,
        version: small(raw.version, &what)?,
        attrs: attrs(&raw.attrs, &what)?,
        inputs: raw.inputs.iter().map(|v| v.checked_sub(1).map(ValueId)).collect(),
        outputs: raw.outputs.iter().map(output).collect::<Result<_, ProgramError>>()?,
        region: raw.region.as_ref().map(|r| region(r, &what)).transpose()?,
        blocks: raw.blocks.iter().map(|&b| BlockId(b)).collect(),
        origins: raw
            .origins
            .into_iter()
            .map(|o| Origin { name: o.name, op_type: o.op_type, domain: o.domain, opset: o.opset })
            .collect(),
    })
}

fn region(raw: &proto::Region, what: &dyn Fn() -> String) -> Result<Region, ProgramError> {
    let instruction = |i: &proto::Instruction| {
        Ok(Instruction {
            op: small(i.op, what)?,
            version: small(i.version, what)?,
            attrs: attrs(&i.attrs, what)?,
            args: i.args.iter().map(|&a| small(a, what)).collect::<Result<_, _>>()?,
            dtype: dtype(i.dtype, what)?,
        })
    };
    let product = |p: &proto::Product| {
        let (op, version) = (small(p.op, what)?, small(p.version, what)?);
        Ok(Product { op, version, attrs: attrs(&p.attrs, what)?, inputs: small(p.inputs, what)? })
    };
    Ok(Region {
        products: raw.products.iter().map(product).collect::<Result<_, ProgramError>>()?,
        params: raw.params.iter().map(|&p| dtype(p, what)).collect::<Result<_, _>>()?,
        instructions: raw.instructions.iter().map(instruction).collect::<Result<_, ProgramError>>()?,
        results: raw.results.iter().map(|&r| small(r, what)).collect::<Result<_, _>>()?,
    })
}

fn attrs(raw: &[proto::Attr], what: &dyn Fn() -> String) -> Result<Attrs, ProgramError> {
    let mut out = Attrs::new();
    for attr in raw {
        let one =
            |n: usize| if n == 1 { Ok(()) } else { Err(bad(what(), format!("attribute {}", attr.name))) };
        let floats = || attr.floats.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
        let value = match attr.kind {
            1 => one(attr.ints.len()).map(|()| AttrValue::Int(attr.ints[0]))?,
            2 => one(attr.floats.len()).map(|()| AttrValue::Float(f32::from_bits(attr.floats[0])))?,
            3 => one(attr.strs.len()).map(|()| AttrValue::Str(attr.strs[0].clone()))?,
            4 => AttrValue::Ints(attr.ints.clone()),
            5 => AttrValue::Floats(floats()),
            6 => AttrValue::Strs(attr.strs.clone()),
            kind => return Err(bad(what(), format!("attribute {} has unknown kind {kind}", attr.name))),
        };
        // Order and repetition are caught by the comparison with the canonical encoding.
        out.insert(&attr.name, value);
    }
    Ok(out)
}
