//! ONNX's `TensorProto` in a file of its own (`.pb`).
//!
//! Source: onnx.proto, message TensorProto. External data are refused: an input is one file.

use prost::Message;
use repops::dtype::narrow;
use repops::packed::{PackedError, Strings, Value};
use repops::tensor::{RANK_MAX, TensorError, byte_len, element_count};
use repops::{DType, Tensor};

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(message, optional, tag = "3")]
    segment: Option<Segment>,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    string_data: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", optional, tag = "9")]
    raw_data: Option<Vec<u8>>,
    #[prost(double, repeated, tag = "10")]
    double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    uint64_data: Vec<u64>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(int64, tag = "1")]
    begin: i64,
    #[prost(int64, tag = "2")]
    end: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SequenceProto {
    #[prost(message, repeated, tag = "3")]
    tensor_values: Vec<TensorProto>,
    #[prost(message, repeated, tag = "5")]
    sequence_values: Vec<SequenceProto>,
    #[prost(message, repeated, tag = "7")]
    optional_values: Vec<OptionalProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionalProto {
    #[prost(message, optional, tag = "3")]
    tensor_value: Option<TensorProto>,
    #[prost(message, optional, boxed, tag = "5")]
    sequence_value: Option<Box<SequenceProto>>,
    #[prost(message, optional, boxed, tag = "7")]
    optional_value: Option<Box<OptionalProto>>,
}

/// What a file holds, which it does not say itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Tensor,
    Sequence,
    Optional,
}

/// Why bytes are no `TensorProto` that can be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProtoError {
    #[error("this is no TensorProto: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("dims: {0}")]
    Dims(String),
    #[error("data_type: {0} is not supported")]
    DataType(i32),
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Packed(#[from] PackedError),
}

/// ONNX's number of strings.
const STRING: i32 = 8;

/// Reads a tensor.
pub fn parse(bytes: &[u8]) -> Result<Tensor, ProtoError> {
    tensor(TensorProto::decode(bytes)?)
}

/// Reads a tensor, a sequence or an optional value; the latter two are packed.
pub fn parse_as(kind: Kind, bytes: &[u8]) -> Result<Tensor, ProtoError> {
    match kind {
        Kind::Tensor => parse(bytes),
        Kind::Sequence => Ok(sequence(SequenceProto::decode(bytes)?)?.into_tensor()),
        Kind::Optional => Ok(optional(OptionalProto::decode(bytes)?)?.into_tensor()),
    }
}

fn sequence(proto: SequenceProto) -> Result<Value, ProtoError> {
    let mut values = Vec::new();
    for value in proto.tensor_values {
        values.push(Value::of(&tensor(value)?)?);
    }
    for value in proto.sequence_values {
        values.push(sequence(value)?);
    }
    for value in proto.optional_values {
        values.push(optional(value)?);
    }
    Ok(Value::Sequence(values))
}

fn optional(proto: OptionalProto) -> Result<Value, ProtoError> {
    let value = match proto {
        OptionalProto { tensor_value: Some(value), .. } => Some(Value::of(&tensor(value)?)?),
        OptionalProto { sequence_value: Some(value), .. } => Some(sequence(*value)?),
        OptionalProto { optional_value: Some(value), .. } => Some(optional(*value)?),
        _ => None,
    };
    Ok(Value::Optional(value.map(Box::new)))
}

fn strings(proto: &TensorProto) -> Result<Tensor, ProtoError> {
    let shape = shape_of(proto)?;
    Strings::check_shape(&shape)?;
    let (elements, found) = (element_count(&shape), proto.string_data.len());
    if elements != found {
        return Err(field("string_data", format!("{found} strings; dims {shape:?} need {elements}")));
    }
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
    let values = proto.string_data.iter().map(text).collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|_| field("string_data", "a string is not UTF-8"))?;
    Ok(Strings { shape, values }.into_tensor())
}

fn shape_of(proto: &TensorProto) -> Result<Vec<usize>, ProtoError> {
    if proto.dims.len() > RANK_MAX {
        return Err(TensorError::Rank { rank: proto.dims.len() }.into());
    }
    let extent = |&d: &i64| usize::try_from(d).map_err(|_| ProtoError::Dims(format!("{d} is no extent")));
    proto.dims.iter().map(extent).collect()
}

fn tensor(proto: TensorProto) -> Result<Tensor, ProtoError> {
    if proto.segment.is_some() {
        return Err(field("segment", "tensors in segments are not supported"));
    }
    if proto.data_location != 0 {
        return Err(field("data_location", "external data are not read for an input"));
    }
    if proto.data_type == STRING {
        return strings(&proto);
    }
    let code = u32::try_from(proto.data_type).ok();
    let dtype = code.and_then(DType::from_code).ok_or(ProtoError::DataType(proto.data_type))?;
    let shape = shape_of(&proto)?;
    // Bounds the count before anything is made of it.
    byte_len(dtype, &shape)?;
    let elements = element_count(&shape);
    let needed = narrow::packed_len(dtype, elements);
    let data = match &proto.raw_data {
        Some(raw) => raw.clone(),
        None => typed_data(&proto, dtype)?,
    };
    if data.len() != needed {
        let what = if proto.raw_data.is_some() { "raw_data" } else { typed_field(dtype) };
        return Err(field(what, format!("{} bytes; dims {shape:?} need {needed}", data.len())));
    }
    let data = if narrow::per_byte(dtype) > 1 { narrow::unpack(dtype, &data, elements) } else { data };
    Ok(Tensor::from_bytes(dtype, &shape, &data)?)
}

/// The field that holds elements of a type when `raw_data` does not.
fn typed_field(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float_data",
        DType::F64 => "double_data",
        DType::I64 => "int64_data",
        DType::U32 | DType::U64 => "uint64_data",
        _ => "int32_data",
    }
}

/// The elements of the typed field as little-endian bytes.
fn typed_data(proto: &TensorProto, dtype: DType) -> Result<Vec<u8>, ProtoError> {
    let narrow = |size: usize, low: i64, high: i64| {
        let mut out = Vec::with_capacity(proto.int32_data.len() * size);
        for &v in &proto.int32_data {
            if !(low..=high).contains(&(v as i64)) {
                return Err(field("int32_data", format!("{v} is no {dtype}")));
            }
            out.extend_from_slice(&v.to_le_bytes()[..size]);
        }
        Ok(out)
    };
    match dtype {
        DType::F32 => Ok(proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::F64 => Ok(proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::I64 => Ok(proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::U64 => Ok(proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::U32 => {
            let narrow =
                |&v: &u64| u32::try_from(v).map_err(|_| field("uint64_data", format!("{v} is no u32")));
            let values = proto.uint64_data.iter().map(narrow).collect::<Result<Vec<u32>, _>>()?;
            Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::I32 => narrow(4, i32::MIN as i64, i32::MAX as i64),
        DType::I16 => narrow(2, i16::MIN as i64, i16::MAX as i64),
        DType::I8 => narrow(1, i8::MIN as i64, i8::MAX as i64),
        DType::U8 => narrow(1, 0, u8::MAX as i64),
        DType::Bool => narrow(1, 0, 1),
        // The bits of a 16-bit float.
        DType::U16 | DType::F16 | DType::BF16 => narrow(2, 0, u16::MAX as i64),
        // Bits as well; of the smallest types each number holds a byte of several elements.
        _ => narrow(1, i8::MIN as i64, u8::MAX as i64),
    }
}

fn field(field: &'static str, problem: impl Into<String>) -> ProtoError {
    ProtoError::Field { field, problem: problem.into() }
}
