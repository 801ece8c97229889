//! NumPy's `.npy`, versions 1 to 3.
//!
//! `parse` takes either byte order and either element order and gives row-major little-endian tensors;
//! `write` writes version 1 in row-major little-endian order. bfloat16 has no name in the format: it is
//! read from two-byte unsigned integers or two-byte void elements when the caller expects it, and written
//! as unsigned integers. Tensors of strings are written as NumPy's strings; other packed values, and strings that those
//! cannot hold, as their bytes, which are read back where a packed value is expected.

use std::io::{self, Write};

use repops::packed::{PackedError, Strings, Value};
use repops::tensor::{RANK_MAX, TensorError, byte_len, element_count};
use repops::{DType, Tensor, TensorView};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself aligns the data to this.
const ALIGNMENT: usize = 64;

/// Why bytes are no `.npy` that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    #[error("this is no .npy file: the first bytes are not the format's")]
    Magic,
    #[error("version {0}.{1} of .npy is not supported")]
    Version(u8, u8),
    #[error("the file ends at offset {found}; {what} needs {needed} bytes")]
    Truncated { what: &'static str, needed: u64, found: u64 },
    #[error("the header at offset {at}: {problem}")]
    Header { at: usize, problem: String },
    #[error("descr: elements of type {descr:?} are not supported")]
    Descr { descr: String },
    #[error("descr: the file holds {found}; {expected} is expected")]
    DType { expected: DType, found: String },
    #[error("bytes that belong to nothing start at offset {at}")]
    TrailingBytes { at: u64 },
    #[error("a string of the data: {code:x} is no code point")]
    CodePoint { code: u32 },
    #[error(transparent)]
    Packed(#[from] PackedError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Reads a tensor of the type that the file names.
pub fn parse(bytes: &[u8]) -> Result<Tensor, NpyError> {
    parse_as(bytes, None)
}

/// Reads a tensor; where `expected` is bfloat16, two-byte unsigned or void elements are taken as that.
/// Any other mismatch is left to the caller.
pub fn parse_as(bytes: &[u8], expected: Option<DType>) -> Result<Tensor, NpyError> {
    let (header_start, header_end) = header_range(bytes)?;
    let header = Header::parse(bytes, header_start, header_end)?;
    if let Some((units, is_big_endian)) = string_type(&header.descr) {
        return strings(&header, units, is_big_endian, &bytes[header_end..]);
    }
    let element = ElementType::parse(&header.descr)?;
    let dtype = match (element.dtype, expected) {
        (Some(DType::U16) | None, Some(DType::BF16)) => DType::BF16,
        (Some(DType::U8), Some(narrow)) if narrow.is_narrow() => narrow,
        (Some(DType::U8), Some(DType::Packed)) if header.shape.len() == 1 => DType::Packed,
        (Some(dtype), _) => dtype,
        (None, _) => return Err(NpyError::Descr { descr: header.descr }),
    };
    let len = byte_len(dtype, &header.shape)?;
    let end = header_end as u64 + len as u64;
    if end > bytes.len() as u64 {
        let found = bytes.len() as u64;
        return Err(NpyError::Truncated { what: "the data", needed: end, found });
    }
    if end < bytes.len() as u64 {
        return Err(NpyError::TrailingBytes { at: end });
    }
    let data = &bytes[header_end..];
    if dtype == DType::Packed {
        Value::decode(data)?;
    }
    let is_plain = !header.is_fortran || header.shape.len() < 2;
    if is_plain && !element.is_big_endian {
        return Ok(Tensor::from_bytes(dtype, &header.shape, data)?);
    }
    let mut row_major = if is_plain { data.to_vec() } else { transpose(data, dtype.size(), &header.shape) };
    if element.is_big_endian {
        row_major.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    Ok(Tensor::from_bytes(dtype, &header.shape, &row_major)?)
}

/// Writes a tensor.
pub fn write(out: &mut dyn Write, tensor: TensorView<'_>) -> io::Result<()> {
    if tensor.dtype == DType::Packed
        && let Ok(Value::Strings(strings)) = Value::of_view(tensor)
        && let Some(units) = units_of(&strings, tensor.bytes.len())
    {
        write_header(out, &format!("<U{units}"), &strings.shape)?;
        for value in &strings.values {
            let mut rest = units;
            for c in value.chars() {
                out.write_all(&u32::from(c).to_le_bytes())?;
                rest -= 1;
            }
            (0..rest).try_for_each(|_| out.write_all(&[0; 4]))?;
        }
        return Ok(());
    }
    write_header(out, descr(tensor.dtype), tensor.shape)?;
    out.write_all(tensor.bytes)
}

/// How many characters NumPy's strings have if they hold these. It pads with NULs, which therefore end no string, and all to
/// one length, which must not make a file that is far larger than the value.
fn units_of(strings: &Strings, bytes: usize) -> Option<usize> {
    let units = strings.values.iter().map(|value| value.chars().count()).max().unwrap_or(0).max(1);
    let size = units.checked_mul(strings.values.len())?;
    let fits = size <= bytes.saturating_mul(16).max(1 << 20);
    (fits && !strings.values.iter().any(|value| value.ends_with('\0'))).then_some(units)
}

/// NumPy's name of strings of so many characters, and whether the highest byte of each comes first.
fn string_type(descr: &str) -> Option<(usize, bool)> {
    let (order, units) = descr.split_once('U')?;
    let units = units.parse().ok().filter(|units| *units > 0 && *units <= 1 << 32)?;
    matches!(order, "<" | ">").then_some((units, order == ">"))
}

fn strings(header: &Header, units: usize, is_big_endian: bool, data: &[u8]) -> Result<Tensor, NpyError> {
    Strings::check_shape(&header.shape)?;
    let size = 4 * units;
    let needed = element_count(&header.shape) as u64 * size as u64;
    let found = data.len() as u64;
    if needed > found {
        return Err(NpyError::Truncated { what: "the data", needed, found });
    }
    if needed < found {
        return Err(NpyError::TrailingBytes { at: needed });
    }
    let transposed;
    let mut rows = data;
    if header.is_fortran && header.shape.len() > 1 {
        transposed = transpose(data, size, &header.shape);
        rows = &transposed;
    }
    let mut values = Vec::new();
    for element in rows.chunks_exact(size) {
        let mut value = String::new();
        for unit in element.chunks_exact(4) {
            let mut code = [unit[0], unit[1], unit[2], unit[3]];
            if is_big_endian {
                code.reverse();
            }
            let code = u32::from_le_bytes(code);
            value.push(char::from_u32(code).ok_or(NpyError::CodePoint { code })?);
        }
        value.truncate(value.trim_end_matches('\0').len());
        values.push(value);
    }
    Ok(Strings::new(&header.shape, values).into_tensor())
}

fn write_header(out: &mut dyn Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let extents: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    // A tuple of one needs its comma.
    let comma = if extents.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT);
    while before + header.len() + 1 < padded {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    // At most 16 axes of at most 20 digits: far below 65536.
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// NumPy's name of a type. bfloat16 and types of 8 bits and less that NumPy has no name for are written as the unsigned
/// integers that hold their bits.
fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::F16 => "<f2",
        DType::BF16 | DType::U16 => "<u2",
        DType::U8 | DType::Packed => "|u1",
        narrow if narrow.is_narrow() => "|u1",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        _ => "|b1",
    }
}

/// Where the header's text starts and ends.
fn header_range(bytes: &[u8]) -> Result<(usize, usize), NpyError> {
    let found = bytes.len() as u64;
    let truncated = |what, needed: usize| NpyError::Truncated { what, needed: needed as u64, found };
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(NpyError::Magic);
    }
    let (major, minor) = match bytes.get(6..8) {
        Some(version) => (version[0], version[1]),
        None => return Err(truncated("the version", 8)),
    };
    let (start, len) = match (major, minor) {
        (1, 0) => {
            let len = bytes.get(8..10).ok_or_else(|| truncated("the header's length", 10))?;
            (10, u16::from_le_bytes([len[0], len[1]]) as usize)
        }
        (2 | 3, 0) => {
            let len = bytes.get(8..12).ok_or_else(|| truncated("the header's length", 12))?;
            (12, u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize)
        }
        _ => return Err(NpyError::Version(major, minor)),
    };
    let end = start + len;
    if end > bytes.len() {
        return Err(truncated("the header", end));
    }
    Ok((start, end))
}

/// What `descr` says; `dtype` is `None` for two-byte void elements, which only bfloat16 uses.
struct ElementType {
    dtype: Option<DType>,
    is_big_endian: bool,
}

impl ElementType {
    fn parse(descr: &str) -> Result<ElementType, NpyError> {
        let unsupported = || NpyError::Descr { descr: descr.to_string() };
        let order = descr.chars().next().ok_or_else(unsupported)?;
        let (order, name) = match order {
            '<' | '>' | '|' | '=' => descr.split_at(1),
            _ => ("|", descr),
        };
        let dtype = match name {
            "f4" => Some(DType::F32),
            "f8" => Some(DType::F64),
            "f2" => Some(DType::F16),
            "u1" => Some(DType::U8),
            "u2" => Some(DType::U16),
            "u4" => Some(DType::U32),
            "u8" => Some(DType::U64),
            "i1" => Some(DType::I8),
            "i2" => Some(DType::I16),
            "i4" => Some(DType::I32),
            "i8" => Some(DType::I64),
            "b1" => Some(DType::Bool),
            "bfloat16" => Some(DType::BF16),
            "V2" => None,
            _ => return Err(unsupported()),
        };
        // Without an order only single bytes and void have a meaning that is the same on every machine.
        if matches!(order, "|" | "=") && dtype.is_some_and(|d| d.size() > 1 && d != DType::BF16) {
            return Err(unsupported());
        }
        Ok(ElementType { dtype, is_big_endian: order == ">" })
    }
}

/// Column-major data as row-major.
fn transpose(data: &[u8], size: usize, shape: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    // Strides, in elements, of the column-major data.
    let mut strides = Vec::with_capacity(shape.len());
    let mut next = 1usize;
    for extent in shape {
        strides.push(next);
        // An extent of 0 leaves no data, whatever the others are.
        next = next.saturating_mul(*extent);
    }
    let mut index = vec![0usize; shape.len()];
    let mut from = 0usize;
    for _ in 0..data.len() / size {
        out.extend_from_slice(&data[from * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    out
}

/// The header's dictionary.
struct Header {
    descr: String,
    is_fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(bytes: &[u8], start: usize, end: usize) -> Result<Header, NpyError> {
        let mut text = Literal { bytes: &bytes[..end], at: start };
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        text.expect(b'{')?;
        while !text.accept(b'}') {
            let at = text.at;
            let key = text.string()?;
            text.expect(b':')?;
            let is_new = match key.as_str() {
                "descr" => descr.replace(text.string()?).is_none(),
                "fortran_order" => is_fortran.replace(text.boolean()?).is_none(),
                "shape" => shape.replace(text.shape()?).is_none(),
                _ => return Err(header_error(at, format!("key {key:?} is unknown"))),
            };
            if !is_new {
                return Err(header_error(at, format!("key {key:?} occurs twice")));
            }
            if !text.accept(b',') {
                text.expect(b'}')?;
                break;
            }
        }
        text.skip_space();
        if text.at != end {
            return Err(header_error(text.at, "text follows the dictionary"));
        }
        let missing = |key: &str| header_error(start, format!("key {key:?} is missing"));
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            is_fortran: is_fortran.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

fn header_error(at: usize, problem: impl Into<String>) -> NpyError {
    NpyError::Header { at, problem: problem.into() }
}

/// Reads the few Python literals that headers consist of.
struct Literal<'a> {
    /// Up to the header's end.
    bytes: &'a [u8],
    at: usize,
}

impl Literal<'_> {
    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += found as usize;
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), NpyError> {
        if self.accept(byte) {
            return Ok(());
        }
        Err(header_error(self.at, format!("{:?} is expected", byte as char)))
    }

    fn string(&mut self) -> Result<String, NpyError> {
        self.skip_space();
        let quote = match self.bytes.get(self.at) {
            Some(quote @ (b'\'' | b'"')) => *quote,
            // A structured type is a list.
            _ => return Err(header_error(self.at, "a string is expected")),
        };
        let start = self.at + 1;
        let len = self.bytes[start..].iter().position(|&b| b == quote || b == b'\\');
        match len {
            Some(len) if self.bytes[start + len] == quote => {
                self.at = start + len + 1;
                let text = std::str::from_utf8(&self.bytes[start..start + len]);
                text.map(str::to_string).map_err(|_| header_error(start, "the string is not UTF-8"))
            }
            _ => Err(header_error(start, "the string does not end, or has escapes")),
        }
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        self.skip_space();
        for (text, value) in [(b"True".as_slice(), true), (b"False", false)] {
            if self.bytes[self.at..].starts_with(text) {
                self.at += text.len();
                return Ok(value);
            }
        }
        Err(header_error(self.at, "True or False is expected"))
    }

    fn shape(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.accept(b')') {
            if shape.len() == RANK_MAX {
                return Err(TensorError::Rank { rank: shape.len() + 1 }.into());
            }
            shape.push(self.integer()?);
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn integer(&mut self) -> Result<usize, NpyError> {
        self.skip_space();
        let start = self.at;
        let mut value = 0usize;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add((digit - b'0') as usize))
                .ok_or_else(|| header_error(start, "an extent is too large"))?;
            self.at += 1;
        }
        if self.at == start {
            return Err(header_error(start, "an extent is expected"));
        }
        // Python 2 wrote long integers so.
        if self.bytes.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(value)
    }
}
