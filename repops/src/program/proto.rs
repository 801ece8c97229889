//! The program's messages as protobuf. Field numbers are part of the format (SPEC.md, "Program format").
//!
//! Only the canonical encoding is accepted: whoever decodes encodes again and compares.

#[derive(Clone, PartialEq, prost::Message)]
pub struct Graph {
    #[prost(bytes = "vec", tag = "1")]
    pub header: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub constants: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub blocks: Vec<Vec<u8>>,
    /// All blocks' steps, block by block.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub steps: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    #[prost(uint32, tag = "1")]
    pub spec_major: u32,
    #[prost(uint32, tag = "2")]
    pub spec_minor: u32,
    #[prost(string, tag = "3")]
    pub compiler: String,
    #[prost(message, repeated, tag = "4")]
    pub sources: Vec<Source>,
    #[prost(string, repeated, tag = "5")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub outputs: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Source {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Constant {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub dtype: u32,
    #[prost(uint64, repeated, tag = "3")]
    pub shape: Vec<u64>,
    #[prost(uint32, tag = "4")]
    pub layout: u32,
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Type {
    /// 0: known only at run time; then there are no dimensions.
    #[prost(uint32, tag = "1")]
    pub dtype: u32,
    /// Canonical text of each dimension.
    #[prost(string, repeated, tag = "2")]
    pub dims: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Block {
    #[prost(message, repeated, tag = "1")]
    pub params: Vec<Type>,
    #[prost(uint32, tag = "2")]
    pub steps: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub results: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Step {
    #[prost(uint32, tag = "1")]
    pub op: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(message, repeated, tag = "3")]
    pub attrs: Vec<Attr>,
    /// 0: absent; else the value's id plus 1.
    #[prost(uint32, repeated, tag = "4")]
    pub inputs: Vec<u32>,
    /// The id of the first output: implied by the order, stated so that a step can be read alone.
    #[prost(uint32, tag = "5")]
    pub first_output: u32,
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<Output>,
    #[prost(message, optional, tag = "7")]
    pub region: Option<Region>,
    #[prost(uint32, repeated, tag = "8")]
    pub blocks: Vec<u32>,
    #[prost(message, repeated, tag = "9")]
    pub origins: Vec<Origin>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Output {
    #[prost(message, optional, tag = "1")]
    pub ty: Option<Type>,
    /// 0: none; else the slot plus 1.
    #[prost(uint32, tag = "2")]
    pub slot: u32,
}

/// Exactly one of the value fields is meant, as `kind` says (the numbers of `AttrKind` plus 1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attr {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(sint64, repeated, tag = "3")]
    pub ints: Vec<i64>,
    /// Bits of floats.
    #[prost(fixed32, repeated, tag = "4")]
    pub floats: Vec<u32>,
    #[prost(string, repeated, tag = "5")]
    pub strs: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Region {
    #[prost(uint32, repeated, tag = "1")]
    pub params: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub instructions: Vec<Instruction>,
    #[prost(uint32, repeated, tag = "3")]
    pub results: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub products: Vec<Product>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Product {
    #[prost(uint32, tag = "1")]
    pub op: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(message, repeated, tag = "3")]
    pub attrs: Vec<Attr>,
    #[prost(uint32, tag = "4")]
    pub inputs: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Instruction {
    #[prost(uint32, tag = "1")]
    pub op: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(message, repeated, tag = "3")]
    pub attrs: Vec<Attr>,
    #[prost(uint32, repeated, tag = "4")]
    pub args: Vec<u32>,
    #[prost(uint32, tag = "5")]
    pub dtype: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Origin {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub op_type: String,
    #[prost(string, tag = "3")]
    pub domain: String,
    #[prost(uint32, tag = "4")]
    pub opset: u32,
}
