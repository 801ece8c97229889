//! Program parts to bytes and to the program digest. The only encoder.

use std::io::{self, Write};

use prost::Message;

use super::{ALIGNMENT, HEADER_BYTES, MAGIC, ProgramParts, Step, proto};
use crate::attrs::{AttrValue, Attrs};
use crate::digest::{Digest, leaf_hash, merkle_root, sha256};
use crate::ops::SymType;
use crate::region::Region;

/// Version of the file format, in the file's header.
pub(super) const FORMAT_VERSION: u32 = 1;

/// The individually encoded parts: the leaves of the program's Merkle tree.
pub(super) struct Encoded {
    graph: proto::Graph,
}

impl Encoded {
    pub(super) fn of(parts: &ProgramParts) -> Encoded {
        let header = proto::Header {
            spec_major: parts.header.spec.0,
            spec_minor: parts.header.spec.1,
            compiler: parts.header.compiler.clone(),
            sources: parts
                .header
                .sources
                .iter()
                .map(|s| proto::Source { name: s.name.clone(), digest: s.digest.0.to_vec() })
                .collect(),
            inputs: parts.header.inputs.clone(),
            outputs: parts.header.outputs.clone(),
        };
        let constants = parts.constants.iter().map(|c| {
            let constant = proto::Constant {
                name: c.name.clone(),
                dtype: c.dtype.code() as u32,
                shape: c.shape.iter().map(|&d| d as u64).collect(),
                layout: c.layout as u32,
                digest: c.digest.0.to_vec(),
            };
            constant.encode_to_vec()
        });
        let blocks = parts.blocks.iter().map(|b| {
            let block = proto::Block {
                params: b.params.iter().map(|ty| ty.as_ref().map(type_proto).unwrap_or_default()).collect(),
                steps: b.steps.len() as u32,
                results: b.results.iter().map(|r| r.0).collect(),
            };
            block.encode_to_vec()
        });
        let mut next = parts.constants.len() as u32;
        let mut steps = Vec::new();
        for block in &parts.blocks {
            next += block.params.len() as u32;
            for step in &block.steps {
                steps.push(step_proto(step, next).encode_to_vec());
                next += step.outputs.len() as u32;
            }
        }
        Encoded {
            graph: proto::Graph {
                header: header.encode_to_vec(),
                constants: constants.collect(),
                blocks: blocks.collect(),
                steps,
            },
        }
    }

    pub(super) fn graph(&self) -> &proto::Graph {
        &self.graph
    }

    /// `SHA-256("repops.program.0" || leaf count as u64 || Merkle root)` over [`Encoded::leaves`].
    pub(super) fn digest(&self) -> Digest {
        let leaves: Vec<Digest> = self.leaves().iter().map(|leaf| leaf_hash(leaf)).collect();
        sha256(&[b"repops.program.0", &(leaves.len() as u64).to_le_bytes(), &merkle_root(&leaves).0])
    }

    /// The leaves: `kind byte || encoded part`: 0 header, 1 constants, 2 blocks, 3 steps, each in order.
    pub(super) fn leaves(&self) -> Vec<Vec<u8>> {
        let leaf = |kind: u8, part: &Vec<u8>| [&[kind], part.as_slice()].concat();
        let mut leaves = vec![leaf(0, &self.graph.header)];
        leaves.extend(self.graph.constants.iter().map(|p| leaf(1, p)));
        leaves.extend(self.graph.blocks.iter().map(|p| leaf(2, p)));
        leaves.extend(self.graph.steps.iter().map(|p| leaf(3, p)));
        leaves
    }

    /// The file: 128-byte header, graph, then constants at aligned offsets, zeros between.
    pub(super) fn write(&self, digest: &Digest, parts: &ProgramParts, out: &mut dyn Write) -> io::Result<()> {
        let graph = self.graph.encode_to_vec();
        let data_start = (HEADER_BYTES + graph.len()).next_multiple_of(ALIGNMENT);
        let mut end = data_start;
        for data in &parts.data {
            end = end.next_multiple_of(ALIGNMENT) + data.len;
        }
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        header.extend_from_slice(&0u32.to_le_bytes());
        header.extend_from_slice(&(graph.len() as u64).to_le_bytes());
        header.extend_from_slice(&(end as u64).to_le_bytes());
        header.extend_from_slice(&digest.0);
        header.resize(HEADER_BYTES, 0);
        out.write_all(&header)?;
        out.write_all(&graph)?;
        let mut at = HEADER_BYTES + graph.len();
        pad(out, &mut at, data_start)?;
        for data in &parts.data {
            let start = at.next_multiple_of(ALIGNMENT);
            pad(out, &mut at, start)?;
            out.write_all(data.as_slice())?;
            at += data.len;
        }
        Ok(())
    }
}

fn pad(out: &mut dyn Write, at: &mut usize, to: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGNMENT][..to - *at])?;
    *at = to;
    Ok(())
}

/// SHA-256 over `"repops.body.0\0\0\0" || attributes || region`, the region as its protobuf encoding
/// with a 4-byte length (0 when there is none).
pub(super) fn body_digest(step: &Step) -> Digest {
    let mut bytes = b"repops.body.0\0\0\0".to_vec();
    step.attrs.encode(&mut bytes);
    let region = step.region.as_ref().map(|r| region_proto(r).encode_to_vec()).unwrap_or_default();
    bytes.extend_from_slice(&(region.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&region);
    sha256(&[&bytes])
}

impl Region {
    /// By which code that was made of a region is found again: SHA-256 over `"repops.region.0\0" || region`, the region as its
    /// protobuf encoding. No trace and no receipt has it.
    pub fn digest(&self) -> Digest {
        sha256(&[b"repops.region.0\0", &region_proto(self).encode_to_vec()])
    }
}

fn type_proto(ty: &SymType) -> proto::Type {
    proto::Type { dtype: ty.dtype.code() as u32, dims: ty.shape.iter().map(|d| d.to_string()).collect() }
}

fn step_proto(step: &Step, first_output: u32) -> proto::Step {
    proto::Step {
        op: step.op as u32,
        version: step.version as u32,
        attrs: attrs_proto(&step.attrs),
        inputs: step.inputs.iter().map(|v| v.map_or(0, |id| id.0 + 1)).collect(),
        first_output,
        outputs: step
            .outputs
            .iter()
            .map(|o| proto::Output { ty: o.ty.as_ref().map(type_proto), slot: o.slot.map_or(0, |s| s.0 + 1) })
            .collect(),
        region: step.region.as_ref().map(region_proto),
        blocks: step.blocks.iter().map(|b| b.0).collect(),
        origins: step
            .origins
            .iter()
            .map(|o| proto::Origin {
                name: o.name.clone(),
                op_type: o.op_type.clone(),
                domain: o.domain.clone(),
                opset: o.opset,
            })
            .collect(),
    }
}

fn region_proto(region: &Region) -> proto::Region {
    proto::Region {
        params: region.params.iter().map(|d| d.code() as u32).collect(),
        instructions: region
            .instructions
            .iter()
            .map(|i| proto::Instruction {
                op: i.op as u32,
                version: i.version as u32,
                attrs: attrs_proto(&i.attrs),
                args: i.args.iter().map(|&a| a as u32).collect(),
                dtype: i.dtype.code() as u32,
            })
            .collect(),
        results: region.results.iter().map(|&r| r as u32).collect(),
        products: region
            .products
            .iter()
            .map(|p| proto::Product {
                op: p.op as u32,
                version: p.version as u32,
                attrs: attrs_proto(&p.attrs),
                inputs: p.inputs as u32,
            })
            .collect(),
    }
}

fn attrs_proto(attrs: &Attrs) -> Vec<proto::Attr> {
    attrs
        .iter()
        .map(|(name, value)| {
            let mut attr =
                proto::Attr { name: name.to_string(), kind: value.kind() as u32 + 1, ..Default::default() };
            match value {
                AttrValue::Int(v) => attr.ints = vec![*v],
                AttrValue::Float(v) => attr.floats = vec![v.to_bits()],
                AttrValue::Str(v) => attr.strs = vec![v.clone()],
                AttrValue::Ints(v) => attr.ints = v.clone(),
                AttrValue::Floats(v) => attr.floats = v.iter().map(|f| f.to_bits()).collect(),
                AttrValue::Strs(v) => attr.strs = v.clone(),
            }
            attr
        })
        .collect()
}
