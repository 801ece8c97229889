//! Values of GGUF's metadata.
//!
//! Invariant: an array's bytes hold exactly its elements, which was checked when the file was read.

use bytes::Bytes;

/// The number of the array type.
pub(super) const ARRAY: u32 = 9;

/// The type of a value, or of an array's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    U64,
    I64,
    F64,
}

impl Kind {
    /// Arrays of arrays are nowhere used and not read.
    pub(super) fn from_code(code: u32) -> Option<Kind> {
        Some(match code {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            5 => Kind::I32,
            6 => Kind::F32,
            7 => Kind::Bool,
            8 => Kind::String,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            _ => return None,
        })
    }

    /// Bytes that a value takes at least: strings take more.
    pub(super) fn bytes_min(self) -> u64 {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::String | Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

impl Value {
    /// A value from its bytes, a string's with its length.
    pub(super) fn scalar(kind: Kind, bytes: &[u8]) -> Result<Value, &'static str> {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("as many bytes as the kind has")
        }
        Ok(match kind {
            Kind::U8 => Value::Unsigned(bytes[0].into()),
            Kind::I8 => Value::Signed(i8::from_le_bytes(of(bytes)).into()),
            Kind::U16 => Value::Unsigned(u16::from_le_bytes(of(bytes)).into()),
            Kind::I16 => Value::Signed(i16::from_le_bytes(of(bytes)).into()),
            Kind::U32 => Value::Unsigned(u32::from_le_bytes(of(bytes)).into()),
            Kind::I32 => Value::Signed(i32::from_le_bytes(of(bytes)).into()),
            Kind::F32 => Value::Float(f32::from_le_bytes(of(bytes)).into()),
            Kind::U64 => Value::Unsigned(u64::from_le_bytes(of(bytes))),
            Kind::I64 => Value::Signed(i64::from_le_bytes(of(bytes))),
            Kind::F64 => Value::Float(f64::from_le_bytes(of(bytes))),
            Kind::Bool if bytes[0] > 1 => return Err("a bool is neither 0 nor 1"),
            Kind::Bool => Value::Bool(bytes[0] == 1),
            Kind::String => Value::String(
                std::str::from_utf8(&bytes[8..]).map_err(|_| "a string is no UTF-8")?.to_string(),
            ),
        })
    }

    pub fn to_u64(&self) -> Option<u64> {
        match self {
            Value::Unsigned(value) => Some(*value),
            Value::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// Numbers as f64; integers that it holds exactly.
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Unsigned(value) => u32::try_from(*value).ok().map(f64::from),
            Value::Signed(value) => i32::try_from(*value).ok().map(f64::from),
            _ => None,
        }
    }

    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Value::Unsigned(_) | Value::Signed(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a bool",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
        }
    }
}

/// An array, where the file has it.
#[derive(Clone, Debug)]
pub struct Array {
    kind: Kind,
    len: usize,
    bytes: Bytes,
}

impl Array {
    pub(super) fn new(kind: Kind, len: usize, bytes: Bytes) -> Array {
        Array { kind, len, bytes }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The elements, each as a value or what is wrong with it.
    pub fn values(&self) -> impl Iterator<Item = Result<Value, &'static str>> + '_ {
        let mut rest = &self.bytes[..];
        (0..self.len).map(move |_| {
            let mut bytes = self.kind.bytes_min() as usize;
            if self.kind == Kind::String {
                let length =
                    u64::from_le_bytes(rest[..8].try_into().expect("checked when the file was read"));
                bytes += length as usize;
            }
            let (element, after) = rest.split_at(bytes);
            rest = after;
            Value::scalar(self.kind, element)
        })
    }

    /// The elements as strings of the file.
    pub fn strs(&self) -> Option<impl Iterator<Item = Result<&str, &'static str>> + '_> {
        let mut rest = &self.bytes[..];
        (self.kind == Kind::String).then(|| {
            (0..self.len).map(move |_| {
                let (length, after) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
                let (text, after) = after.split_at(length);
                rest = after;
                std::str::from_utf8(text).map_err(|_| "a string is no UTF-8")
            })
        })
    }
}
