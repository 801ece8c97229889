//! `TensorProto` -> [`Constant`], and external data files.
//!
//! Invariant: nothing is allocated by what a tensor declares, only by what it holds: bytes in the file
//! are used where they are, typed fields were as large when they were decoded.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use repops::dtype::{DType, Element, narrow};
use repops::packed::Strings;
use repops::program::{ConstantBytes, Source};
use repops::tensor::{TensorError, byte_len, element_count, first_non_element};

use super::proto::{StringStringEntryProto, TensorProto, tensor_proto};
use super::{ImportError, TensorProblem};
use crate::graph::{Constant, owned_bytes};

/// The files that tensors may lie in.
pub struct ExternalFiles {
    /// The model's folder; `None` when the model came as bytes.
    folder: Option<PathBuf>,
    /// Mapped files, by location as the model writes it.
    files: BTreeMap<String, Bytes>,
}

impl ExternalFiles {
    pub fn new(folder: Option<PathBuf>) -> ExternalFiles {
        ExternalFiles { folder, files: BTreeMap::new() }
    }

    /// The files that were used, in the order of their names, with the digests of all their bytes.
    pub fn sources(&self) -> Vec<Source> {
        let source = |(name, bytes): (&String, &Bytes)| crate::folder::source_of(name, bytes);
        self.files.iter().map(source).collect()
    }

    fn file(&mut self, location: &str) -> Result<&Bytes, TensorProblem> {
        if !self.files.contains_key(location) {
            let bytes = self.open(location)?;
            self.files.insert(location.to_string(), bytes);
        }
        Ok(&self.files[location])
    }

    /// Maps the file at `location`, which must stay inside of the model's folder, links resolved.
    fn open(&self, location: &str) -> Result<Bytes, TensorProblem> {
        let outside = || TensorProblem::Outside { location: location.to_string() };
        let io = |source| TensorProblem::ExternalIo { location: location.to_string(), source };
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        // Another system's separators and drive letters must not mean something else elsewhere.
        if location.is_empty() || !plain || location.contains(['\\', ':', '\0']) {
            return Err(outside());
        }
        let no_folder = || TensorProblem::NoFolder { location: location.to_string() };
        let folder = self.folder.as_ref().ok_or_else(no_folder)?;
        let folder = folder.canonicalize().map_err(io)?;
        let path = folder.join(relative).canonicalize().map_err(io)?;
        if !path.starts_with(&folder) {
            return Err(outside());
        }
        crate::mapped::map_file(&path).map_err(io)
    }
}

/// The tensor as a constant. `name` is said in errors and becomes the constant's.
pub fn constant(
    name: &str,
    tensor: &TensorProto,
    files: &mut ExternalFiles,
) -> Result<Constant, ImportError> {
    let wrap = |source| ImportError::Tensor { tensor: name.to_string(), source };
    if tensor.data_type == Some(STRING) {
        return Ok(Constant::from_tensor(name, &strings(tensor).map_err(wrap)?));
    }
    let (dtype, shape) = description(tensor).map_err(wrap)?;
    let data = data(tensor, dtype, &shape, files).map_err(wrap)?;
    Ok(Constant { name: name.to_string(), dtype, shape, data })
}

/// ONNX's number of strings.
pub const STRING: i32 = tensor_proto::DataType::String as i32;

/// A tensor of strings, packed.
fn strings(tensor: &TensorProto) -> Result<repops::Tensor, TensorProblem> {
    let shape = shape(tensor)?;
    // Each string takes four bytes at least.
    Strings::check_shape(&shape)?;
    let (elements, found) = (element_count(&shape), tensor.string_data.len());
    if elements != found {
        return Err(TensorProblem::Elements { elements, field: "string_data", found });
    }
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec());
    let values = tensor.string_data.iter().map(text).collect::<Result<Vec<_>, _>>();
    Ok(Strings { shape, values: values.map_err(|_| TensorProblem::Utf8)? }.into_tensor())
}

/// ONNX's element type with this number.
pub fn dtype(code: i32) -> Result<DType, TensorProblem> {
    let known = u32::try_from(code).ok().and_then(DType::from_code);
    known.ok_or_else(|| {
        let name = tensor_proto::DataType::try_from(code).map_or("unknown", |d| d.as_str_name());
        TensorProblem::DType { code, name }
    })
}

fn description(tensor: &TensorProto) -> Result<(DType, Vec<usize>), TensorProblem> {
    let (dtype, shape) = (dtype(tensor.data_type.unwrap_or(0))?, shape(tensor)?);
    byte_len(dtype, &shape)?;
    Ok((dtype, shape))
}

fn shape(tensor: &TensorProto) -> Result<Vec<usize>, TensorProblem> {
    let mut shape = Vec::with_capacity(tensor.dims.len());
    for (axis, &value) in tensor.dims.iter().enumerate() {
        shape.push(usize::try_from(value).map_err(|_| TensorProblem::Dimension { axis, value })?);
    }
    Ok(shape)
}

fn data(
    tensor: &TensorProto,
    dtype: DType,
    shape: &[usize],
    files: &mut ExternalFiles,
) -> Result<ConstantBytes, TensorProblem> {
    if tensor.segment.is_some() {
        return Err(TensorProblem::Segment);
    }
    let filled: Vec<&'static str> = [
        ("raw_data", tensor.raw_data.as_ref().is_some_and(|d| !d.is_empty())),
        ("float_data", !tensor.float_data.is_empty()),
        ("int32_data", !tensor.int32_data.is_empty()),
        ("int64_data", !tensor.int64_data.is_empty()),
        ("double_data", !tensor.double_data.is_empty()),
        ("uint64_data", !tensor.uint64_data.is_empty()),
        ("string_data", !tensor.string_data.is_empty()),
        ("external_data", tensor.data_location() == tensor_proto::DataLocation::External),
    ]
    .into_iter()
    .filter_map(|(name, has)| has.then_some(name))
    .collect();
    if let [first, second, ..] = filled.as_slice() {
        return Err(TensorProblem::Ambiguous { first, second });
    }
    byte_len(dtype, shape)?;
    let expected = narrow::packed_len(dtype, element_count(shape));
    let bytes = match filled.first().copied() {
        Some("external_data") => external(&tensor.external_data, expected, files)?,
        // A tensor without elements need not hold any field.
        Some("raw_data") | None => tensor.raw_data.clone().unwrap_or_default(),
        Some(field) => return Ok(owned_bytes(typed_data(tensor, field, dtype, shape)?)),
    };
    if narrow::per_byte(dtype) > 1 {
        if bytes.len() != expected {
            let (shape, found) = (shape.to_vec(), bytes.len());
            return Err(TensorError::Length { dtype, shape, expected, found }.into());
        }
        return Ok(owned_bytes(narrow::unpack(dtype, &bytes, element_count(shape))));
    }
    canonical(bytes, dtype, shape)
}

/// Bytes in the file, used in place; a copy where NaNs have to be made canonical.
fn canonical(bytes: Bytes, dtype: DType, shape: &[usize]) -> Result<ConstantBytes, TensorProblem> {
    let expected = byte_len(dtype, shape)?;
    if bytes.len() != expected {
        let (shape, found) = (shape.to_vec(), bytes.len());
        return Err(TensorError::Length { dtype, shape, expected, found }.into());
    }
    if let Some(offset) = first_non_element(dtype, &bytes) {
        return Err(TensorError::Element { dtype, offset, value: bytes[offset] }.into());
    }
    if crate::weights::has_other_nans(dtype, &bytes) {
        let tensor = repops::Tensor::from_bytes(dtype, shape, &bytes)?;
        return Ok(owned_bytes(tensor.bytes().to_vec()));
    }
    let len = bytes.len();
    Ok(ConstantBytes { backing: Arc::new(bytes), offset: 0, len })
}

/// The bytes of a tensor whose elements are in one of the typed fields.
fn typed_data(
    tensor: &TensorProto,
    field: &'static str,
    dtype: DType,
    shape: &[usize],
) -> Result<Vec<u8>, TensorProblem> {
    let count = |found: usize| {
        let elements = element_count(shape);
        if found == elements { Ok(()) } else { Err(TensorProblem::Elements { elements, field, found }) }
    };
    let range = |index: usize, value: i64| TensorProblem::Range { index, field, value, dtype: dtype.name() };
    let mut out = Vec::new();
    match (field, dtype) {
        ("float_data", DType::F32) => {
            count(tensor.float_data.len())?;
            tensor.float_data.iter().for_each(|v| out.extend_from_slice(&v.canonical().to_le_bytes()));
        }
        ("double_data", DType::F64) => {
            count(tensor.double_data.len())?;
            tensor.double_data.iter().for_each(|v| out.extend_from_slice(&v.canonical().to_le_bytes()));
        }
        ("int64_data", DType::I64) => {
            count(tensor.int64_data.len())?;
            tensor.int64_data.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        ("uint64_data", DType::U64) => {
            count(tensor.uint64_data.len())?;
            tensor.uint64_data.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        ("uint64_data", DType::U32) => {
            count(tensor.uint64_data.len())?;
            for (index, &v) in tensor.uint64_data.iter().enumerate() {
                let v = u32::try_from(v).map_err(|_| range(index, v as i64))?;
                out.extend_from_slice(&v.to_le_bytes());
            }
        }
        ("int32_data", dtype) if narrow::per_byte(dtype) > 1 => {
            // Each holds a byte of packed elements.
            let (elements, found) = (element_count(shape), tensor.int32_data.len());
            if found != narrow::packed_len(dtype, elements) {
                return Err(TensorProblem::Elements { elements, field, found });
            }
            let mut packed = Vec::with_capacity(found);
            for (index, &v) in tensor.int32_data.iter().enumerate() {
                packed.push(packed_byte(v).ok_or_else(|| range(index, i64::from(v)))?);
            }
            out = narrow::unpack(dtype, &packed, elements);
        }
        ("int32_data", _) => {
            count(tensor.int32_data.len())?;
            for (index, &v) in tensor.int32_data.iter().enumerate() {
                push_int32(v, dtype, &mut out).ok_or_else(|| range(index, i64::from(v)))?;
            }
        }
        _ => {
            let (elements, found) = (element_count(shape), 0);
            return Err(TensorProblem::Elements { elements, field: expected_field(dtype), found });
        }
    }
    Ok(out)
}

/// Appends an element that was stored as an i32; `None` when the type does not hold it.
fn push_int32(value: i32, dtype: DType, out: &mut Vec<u8>) -> Option<()> {
    match dtype {
        DType::I32 => out.extend_from_slice(&value.to_le_bytes()),
        DType::I16 => out.extend_from_slice(&i16::try_from(value).ok()?.to_le_bytes()),
        DType::U16 => out.extend_from_slice(&u16::try_from(value).ok()?.to_le_bytes()),
        DType::I8 => out.extend_from_slice(&i8::try_from(value).ok()?.to_le_bytes()),
        DType::U8 => out.push(u8::try_from(value).ok()?),
        DType::Bool => out.push(u8::try_from(value).ok().filter(|&v| v <= 1)?),
        // The bits of the number, not its value.
        DType::F16 => {
            let v = half::f16::from_bits(u16::try_from(value).ok()?);
            out.extend_from_slice(&v.canonical().to_le_bytes());
        }
        DType::BF16 => {
            let v = half::bf16::from_bits(u16::try_from(value).ok()?);
            out.extend_from_slice(&v.canonical().to_le_bytes());
        }
        dtype if dtype.is_narrow_float() => out.push(narrow::canonical(dtype, packed_byte(value)?)?),
        _ => return None,
    }
    Some(())
}

/// A byte that was stored as an i32, perhaps sign-extended.
fn packed_byte(value: i32) -> Option<u8> {
    u8::try_from(value).ok().or_else(|| i8::try_from(value).ok().map(|v| v as u8))
}

/// The typed field that ONNX demands for a type.
fn expected_field(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float_data",
        DType::F64 => "double_data",
        DType::I64 => "int64_data",
        DType::U32 | DType::U64 => "uint64_data",
        _ => "int32_data",
    }
}

/// The bytes in another file.
fn external(
    entries: &[StringStringEntryProto],
    expected: usize,
    files: &mut ExternalFiles,
) -> Result<Bytes, TensorProblem> {
    let entry = |key: &str| entries.iter().find(|e| e.key() == key).map(|e| e.value());
    let number = |field: &'static str| match entry(field) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(TensorProblem::ExternalNumber { field, value: text.to_string() }),
        },
    };
    let location = entry("location").ok_or(TensorProblem::NoLocation)?;
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(expected as u64);
    let file = files.file(location)?;
    let end = offset.saturating_add(length);
    if end > file.len() as u64 || length != expected as u64 {
        let (location, file_bytes) = (location.to_string(), file.len() as u64);
        let expected = expected as u64;
        return Err(TensorProblem::ExternalRange { location, offset, end, file_bytes, expected });
    }
    Ok(file.slice(offset as usize..end as usize))
}
