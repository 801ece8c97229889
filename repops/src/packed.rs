//! Values that are no tensors of numbers: tensors of strings, sequences, optional values.
//!
//! Such a value is packed into bytes, and these are the elements of a tensor of type [`DType::Packed`] with one axis. So
//! programs, digests, traces and openings need nothing new, and values of fixed size pay nothing for those that are not.
//!
//! Invariant: a value has one encoding, and bytes that are not the encoding of a value are refused where they enter.

use crate::dtype::DType;
use crate::tensor::{RANK_MAX, Tensor, TensorError, TensorView, byte_len, element_count};

/// Sequences and optional values inside of each other.
const NESTING_MAX: usize = 4;

/// A value. Strings and tensors are the leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of any type but packed.
    Tensor(Tensor),
    Strings(Strings),
    Sequence(Vec<Value>),
    Optional(Option<Box<Value>>),
}

/// A tensor of strings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Strings {
    pub shape: Vec<usize>,
    /// In row-major order, as many as the shape says.
    pub values: Vec<String>,
}

/// Why bytes are no packed value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    #[error("the value ends inside of {what}")]
    Short { what: &'static str },
    #[error("{bytes} bytes follow the value")]
    Long { bytes: usize },
    #[error("{tag} is no kind of value")]
    Tag { tag: u8 },
    #[error("{code} is no element type")]
    Type { code: u8 },
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("values are nested deeper than {NESTING_MAX}")]
    Nesting,
    #[error("a float is a NaN that is not canonical")]
    Nan,
    #[error("the value is {found}; {expected} is needed")]
    Kind { expected: &'static str, found: &'static str },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Value {
    /// A tensor as a value: what it packs, or itself.
    pub fn of(tensor: &Tensor) -> Result<Value, PackedError> {
        Value::of_view(tensor.view())
    }

    /// [`Value::of`] a tensor whose bytes live elsewhere.
    pub fn of_view(view: TensorView<'_>) -> Result<Value, PackedError> {
        match view.dtype {
            DType::Packed => Value::decode(view.bytes),
            _ => Ok(Value::Tensor(view.to_tensor()?)),
        }
    }

    /// The value as a tensor: packed, unless it is one.
    pub fn into_tensor(self) -> Tensor {
        match self {
            Value::Tensor(tensor) => tensor,
            other => {
                let mut bytes = Vec::new();
                other.encode(&mut bytes);
                let mut tensor =
                    Tensor::zeros(DType::Packed, &[bytes.len()]).expect("as large as bytes that exist");
                tensor.bytes_mut().copy_from_slice(&bytes);
                tensor
            }
        }
    }

    /// In a word, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "a tensor",
            Value::Strings(_) => "a tensor of strings",
            Value::Sequence(_) => "a sequence",
            Value::Optional(_) => "an optional value",
        }
    }

    pub fn strings(self) -> Result<Strings, PackedError> {
        match self {
            Value::Strings(strings) => Ok(strings),
            other => Err(PackedError::Kind { expected: "a tensor of strings", found: other.kind() }),
        }
    }

    pub fn sequence(self) -> Result<Vec<Value>, PackedError> {
        match self {
            Value::Sequence(values) => Ok(values),
            other => Err(PackedError::Kind { expected: "a sequence", found: other.kind() }),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Tensor(tensor) => {
                out.extend_from_slice(&[0, tensor.dtype().code()]);
                encode_shape(tensor.shape(), out);
                out.extend_from_slice(tensor.bytes());
            }
            Value::Strings(strings) => {
                out.push(1);
                encode_shape(&strings.shape, out);
                for value in &strings.values {
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value.as_bytes());
                }
            }
            Value::Sequence(values) => {
                out.push(2);
                out.extend_from_slice(&(values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| value.encode(out));
            }
            Value::Optional(value) => {
                out.extend_from_slice(&[3, u8::from(value.is_some())]);
                value.iter().for_each(|value| value.encode(out));
            }
        }
    }

    /// The inverse of packing; everything is checked.
    pub fn decode(bytes: &[u8]) -> Result<Value, PackedError> {
        let mut rest = bytes;
        let value = decode(&mut rest, 0)?;
        if rest.is_empty() { Ok(value) } else { Err(PackedError::Long { bytes: rest.len() }) }
    }
}

fn encode_shape(shape: &[usize], out: &mut Vec<u8>) {
    out.extend_from_slice(&(shape.len() as u16).to_le_bytes());
    shape.iter().for_each(|&extent| out.extend_from_slice(&(extent as u64).to_le_bytes()));
}

fn take<'a>(rest: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8], PackedError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(PackedError::Short { what })?;
    *rest = left;
    Ok(taken)
}

fn number<const N: usize>(rest: &mut &[u8], what: &'static str) -> Result<u64, PackedError> {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(take(rest, N, what)?);
    Ok(u64::from_le_bytes(wide))
}

fn decode_shape(rest: &mut &[u8]) -> Result<Vec<usize>, PackedError> {
    let rank = number::<2>(rest, "a shape")? as usize;
    if rank > RANK_MAX {
        return Err(TensorError::Rank { rank }.into());
    }
    (0..rank).map(|_| Ok(usize::try_from(number::<8>(rest, "a shape")?).unwrap_or(usize::MAX))).collect()
}

/// Reads one value. Nothing is allocated beyond what the bytes hold.
fn decode(rest: &mut &[u8], depth: usize) -> Result<Value, PackedError> {
    if depth > NESTING_MAX {
        return Err(PackedError::Nesting);
    }
    match number::<1>(rest, "a kind")? as u8 {
        0 => {
            let code = number::<1>(rest, "a type")? as u8;
            let dtype = DType::from_code(u32::from(code)).ok_or(PackedError::Type { code })?;
            let shape = decode_shape(rest)?;
            let bytes = take(rest, byte_len(dtype, &shape)?, "a tensor")?;
            let tensor = Tensor::from_bytes(dtype, &shape, bytes)?;
            if tensor.bytes() != bytes {
                return Err(PackedError::Nan);
            }
            Ok(Value::Tensor(tensor))
        }
        1 => {
            let shape = decode_shape(rest)?;
            Strings::check_shape(&shape)?;
            let count = element_count(&shape);
            if count > rest.len() / 4 {
                return Err(PackedError::Short { what: "strings" });
            }
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                let len = number::<4>(rest, "a string")? as usize;
                let text = std::str::from_utf8(take(rest, len, "a string")?);
                values.push(text.map_err(|_| PackedError::Utf8)?.to_string());
            }
            Ok(Value::Strings(Strings { shape, values }))
        }
        2 => {
            let count = number::<8>(rest, "a sequence")?;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(decode(rest, depth + 1)?);
            }
            Ok(Value::Sequence(values))
        }
        3 => match number::<1>(rest, "an optional value")? as u8 {
            0 => Ok(Value::Optional(None)),
            1 => Ok(Value::Optional(Some(Box::new(decode(rest, depth + 1)?)))),
            tag => Err(PackedError::Tag { tag }),
        },
        tag => Err(PackedError::Tag { tag }),
    }
}

impl Strings {
    /// Whether strings may have this shape: those that numbers of eight bytes may have, which stand for them in operators.
    pub fn check_shape(shape: &[usize]) -> Result<(), TensorError> {
        byte_len(DType::U64, shape).map(drop)
    }

    /// Of any shape. Panics when the number of values is not the shape's: the caller made both.
    pub fn new<S: Into<String>>(shape: &[usize], values: impl IntoIterator<Item = S>) -> Strings {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        assert_eq!(element_count(shape), values.len(), "strings of shape {shape:?}");
        Strings { shape: shape.to_vec(), values }
    }

    pub fn into_tensor(self) -> Tensor {
        Value::Strings(self).into_tensor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<Value> {
        let tensor = Value::Tensor(Tensor::from_slice(&[2, 1], &[1.5f32, -0.0]));
        let strings = Value::Strings(Strings::new(&[2], ["", "é"]));
        let sequence = Value::Sequence(vec![tensor.clone(), strings.clone()]);
        let nested = Value::Optional(Some(Box::new(sequence.clone())));
        let empty = Value::Strings(Strings::new(&[0, 3], Vec::<String>::new()));
        vec![tensor, strings, sequence, Value::Sequence(vec![]), Value::Optional(None), nested, empty]
    }

    #[test]
    fn values_are_read_as_packed() {
        for value in values() {
            let tensor = value.clone().into_tensor();
            assert_eq!(Value::of(&tensor), Ok(value.clone()));
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Value::decode(&bytes[..len]).is_err(), "{value:?} cut at {len}");
            }
            bytes.push(0);
            assert_eq!(Value::decode(&bytes), Err(PackedError::Long { bytes: 1 }));
        }
        let text = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0xc3, 0xa9];
        assert_eq!(Value::decode(&text), Ok(Value::Strings(Strings::new(&[1], ["é"]))));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert_eq!(Value::decode(&[4]), Err(PackedError::Tag { tag: 4 }));
        assert_eq!(Value::decode(&[3, 2]), Err(PackedError::Tag { tag: 2 }));
        assert_eq!(Value::decode(&[0, 200, 0, 0]), Err(PackedError::Type { code: 200 }));
        assert_eq!(Value::decode(&[0, 1, 0, 0, 1, 0, 0xc0, 0x7f]), Err(PackedError::Nan));
        assert!(Value::decode(&[0, 9, 0, 0, 2]).is_err(), "a bool that is 2");
        assert_eq!(Value::decode(&[1, 0, 0, 1, 0, 0, 0, 0xff]), Err(PackedError::Utf8));
        assert_eq!(Value::decode(&[[3, 1].repeat(6), vec![3, 0]].concat()), Err(PackedError::Nesting));
        // More than there is: no memory is asked for.
        let claimed = [&[1u8, 1, 0][..], &(1u64 << 37).to_le_bytes()].concat();
        assert_eq!(Value::decode(&claimed), Err(PackedError::Short { what: "strings" }));
        // None, of a shape that numbers in their place could not have.
        let shape = [0, 1u64 << 38].map(u64::to_le_bytes).concat();
        let empty = [&[1u8, 2, 0][..], &shape].concat();
        assert!(matches!(Value::decode(&empty), Err(PackedError::Tensor(TensorError::TooLarge { .. }))));
        let claimed = [&[2u8][..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(Value::decode(&claimed), Err(PackedError::Short { what: "a kind" }));
    }
}
