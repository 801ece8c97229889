//! GGUF files, versions 2 and 3: typed metadata and a table of tensors over the mapped file.
//!
//! Everything in a file is hostile until it has been checked: a count is compared with the bytes that are left before
//! anything is allocated for it, names are bounded and unique, tensors lie inside of the file, aligned, and do not overlap.
//! An error names the byte or the tensor. Arrays stay in the file and are read where they are used.

pub mod text;
mod value;

use std::collections::BTreeMap;

use bytes::Bytes;
use repops::tensor::TENSOR_BYTES_MAX;

use crate::decoder::{Format, ModelError, Stored};
pub use value::{Array, Kind, Value};

/// First bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Bytes of a key or of a tensor's name.
const NAME_BYTES_MAX: u64 = 1 << 16;
/// Keys, and tensors: far above what models have.
const KEYS_MAX: u64 = 1 << 16;
const TENSORS_MAX: u64 = 1 << 18;
/// Axes of a tensor.
const RANK_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 20;

/// A file that has been read.
pub struct Gguf {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor as the table declares it.
struct Declared {
    name: String,
    format: Format,
    /// Outermost axis first: GGUF writes them the other way round.
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
    bytes: u64,
}

impl Gguf {
    /// Reads metadata and table. Tensors' bytes stay where they are.
    pub fn parse(file: Bytes) -> Result<Gguf, ModelError> {
        let mut reader = Reader { file: file.clone(), at: 0 };
        if reader.take(4, "magic")?[..] != MAGIC {
            return Err(reader.malformed(0, "this is no GGUF file"));
        }
        let version = reader.u32("version")?;
        if !(2..=3).contains(&version) {
            let problem = if (2..=3).contains(&version.swap_bytes()) {
                "the file is big-endian, which is not supported".to_string()
            } else {
                format!("version {version} is not supported; 2 and 3 are")
            };
            return Err(reader.malformed(4, problem));
        }
        // A tensor's entry takes at least 8 + 4 + 4 + 8 bytes, a key's 8 + 4 + 1.
        let tensors = reader.count("tensors", TENSORS_MAX, 24)?;
        let keys = reader.count("keys", KEYS_MAX, 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..keys {
            let at = reader.at;
            let key = reader.name("a key")?;
            let value = reader.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(reader.malformed(at, format!("key {key:?} is there twice")));
            }
        }
        let mut declared = Vec::new();
        for _ in 0..tensors {
            declared.push(reader.tensor()?);
        }
        let mut gguf = Gguf { metadata, tensors: BTreeMap::new() };
        let alignment = gguf.alignment()?;
        let data = (reader.at as u64).next_multiple_of(alignment);
        gguf.tensors = place(&file, data, alignment, declared)?;
        Ok(gguf)
    }

    fn alignment(&self) -> Result<u64, ModelError> {
        let key = "general.alignment";
        let alignment = self.u64(key)?.unwrap_or(ALIGNMENT_DEFAULT);
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return Err(ModelError::Key {
                key: key.to_string(),
                problem: format!("{alignment} is no alignment"),
            });
        }
        Ok(alignment)
    }

    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    pub fn into_tensors(self) -> BTreeMap<String, Stored> {
        self.tensors
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Every key with its value, in the keys' order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value under `key` as `read` takes it; `None` when the key is absent.
    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let wrong = || ModelError::Key {
            key: key.to_string(),
            problem: format!("is {}; {expected} is needed", value.kind_name()),
        };
        read(value).map(Some).ok_or_else(wrong)
    }

    pub fn u64(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.typed(key, "an integer that is not negative", Value::to_u64)
    }

    pub fn f64(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::to_f64)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "a bool", Value::to_bool)
    }

    pub fn str(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn array(&self, key: &str) -> Result<Option<&Array>, ModelError> {
        self.typed(key, "an array", Value::as_array)
    }
}

/// Checks where tensors lie, and gives them their bytes.
fn place(
    file: &Bytes,
    data: u64,
    alignment: u64,
    declared: Vec<Declared>,
) -> Result<BTreeMap<String, Stored>, ModelError> {
    let wrong = |tensor: &str, problem: String| ModelError::Tensor { tensor: tensor.to_string(), problem };
    let mut order: Vec<usize> = (0..declared.len()).collect();
    order.sort_by_key(|&index| declared[index].offset);
    let mut free = 0;
    let mut before = "";
    for &index in &order {
        let tensor = &declared[index];
        if !tensor.offset.is_multiple_of(alignment) {
            let problem = format!("offset {} is no multiple of {alignment}", tensor.offset);
            return Err(wrong(&tensor.name, problem));
        }
        if tensor.offset < free {
            return Err(wrong(&tensor.name, format!("its bytes overlap those of {before:?}")));
        }
        let end = data.checked_add(tensor.offset).and_then(|start| start.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > file.len() as u64) {
            let problem = format!(
                "bytes {} + {} from {data} on are asked of a file of {}",
                tensor.offset,
                tensor.bytes,
                file.len()
            );
            return Err(wrong(&tensor.name, problem));
        }
        free = tensor.offset + tensor.bytes;
        before = &tensor.name;
    }
    let mut tensors = BTreeMap::new();
    for Declared { name, format, shape, offset, bytes } in declared {
        let start = (data + offset) as usize;
        let stored = Stored { format, shape, bytes: file.slice(start..start + bytes as usize) };
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(wrong(&name, "is there twice".to_string()));
        }
    }
    Ok(tensors)
}

/// What is left of the file.
struct Reader {
    file: Bytes,
    at: usize,
}

impl Reader {
    fn malformed(&self, offset: usize, problem: impl Into<String>) -> ModelError {
        ModelError::Malformed { offset, problem: problem.into() }
    }

    fn left(&self) -> u64 {
        (self.file.len() - self.at) as u64
    }

    fn take(&mut self, bytes: u64, what: &str) -> Result<Bytes, ModelError> {
        if bytes > self.left() {
            let problem = format!("{what} takes {bytes} bytes, {} are left", self.left());
            return Err(self.malformed(self.at, problem));
        }
        let taken = self.file.slice(self.at..self.at + bytes as usize);
        self.at += bytes as usize;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ModelError> {
        let taken = self.take(N as u64, what)?;
        Ok(taken[..].try_into().expect("as many as were asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A number of things that take at least `each` bytes in the file.
    fn count(&mut self, what: &str, limit: u64, each: u64) -> Result<u64, ModelError> {
        let at = self.at;
        let count = self.u64(what)?;
        let limit = limit.min(self.left() / each);
        if count > limit {
            return Err(self.malformed(at, format!("{count} {what}: more than {limit} cannot be there")));
        }
        Ok(count)
    }

    fn name(&mut self, what: &str) -> Result<String, ModelError> {
        let at = self.at;
        let length = self.u64(what)?;
        if length > NAME_BYTES_MAX {
            return Err(
                self.malformed(at, format!("{what} has {length} bytes; {NAME_BYTES_MAX} are allowed"))
            );
        }
        let bytes = self.take(length, what)?;
        match std::str::from_utf8(&bytes) {
            Ok(name) => Ok(name.to_string()),
            Err(_) => Err(self.malformed(at, format!("{what} is no UTF-8"))),
        }
    }

    fn value(&mut self, key: &str) -> Result<Value, ModelError> {
        let at = self.at;
        let code = self.u32(key)?;
        if code == value::ARRAY {
            return self.elements(key).map(Value::Array);
        }
        let unknown = || format!("key {key:?} has values of type {code}, which is not known");
        let kind = Kind::from_code(code).ok_or_else(|| self.malformed(at, unknown()))?;
        let start = self.at;
        self.skip(kind, 1, key)?;
        let bytes = self.file.slice(start..self.at);
        Value::scalar(kind, &bytes)
            .map_err(|problem| self.malformed(start, format!("key {key:?}: {problem}")))
    }

    fn elements(&mut self, key: &str) -> Result<Array, ModelError> {
        let at = self.at;
        let code = self.u32(key)?;
        let kind = Kind::from_code(code).ok_or_else(|| {
            self.malformed(at, format!("key {key:?} is an array of type {code}, which is not supported"))
        })?;
        let count = self.count(key, u64::from(u32::MAX), kind.bytes_min())?;
        let start = self.at;
        self.skip(kind, count, key)?;
        Ok(Array::new(kind, count as usize, self.file.slice(start..self.at)))
    }

    /// Walks over `count` values, which must be there.
    fn skip(&mut self, kind: Kind, count: u64, key: &str) -> Result<(), ModelError> {
        if kind != Kind::String {
            // `count` is at most what is left by the caller's check, or 1.
            self.take(count * kind.bytes_min(), key)?;
            return Ok(());
        }
        for _ in 0..count {
            let length = self.u64(key)?;
            self.take(length, key)?;
        }
        Ok(())
    }

    fn tensor(&mut self) -> Result<Declared, ModelError> {
        let name = self.name("a tensor's name")?;
        let wrong = |problem: String| ModelError::Tensor { tensor: name.clone(), problem };
        let rank = self.u32(&name)?;
        if rank == 0 || rank > RANK_MAX {
            return Err(wrong(format!("has {rank} axes; 1 to {RANK_MAX} are allowed")));
        }
        let mut shape = Vec::new();
        let mut elements = 1u64;
        for axis in 0..rank {
            let extent = self.u64(&name)?;
            let fits = extent > 0 && extent <= TENSOR_BYTES_MAX;
            elements = elements
                .checked_mul(extent)
                .filter(|&n| fits && n <= TENSOR_BYTES_MAX)
                .ok_or_else(|| wrong(format!("axis {axis} of {extent} makes it empty or too large")))?;
            shape.insert(0, extent as usize);
        }
        let code = self.u32(&name)?;
        let format =
            format_of(code).map_err(|ty| wrong(format!("its type is {ty}, which is not supported")))?;
        let innermost = shape[shape.len() - 1] as u64;
        let (per_block, block_bytes) = format.block();
        if !innermost.is_multiple_of(per_block as u64) {
            return Err(wrong(format!("rows of {innermost} are no multiple of {format}'s {per_block}")));
        }
        let bytes = elements / per_block as u64 * block_bytes as u64;
        let offset = self.u64(&name)?;
        Ok(Declared { name, format, shape, offset, bytes })
    }
}

/// The format with this number; an unsupported one's name.
fn format_of(code: u32) -> Result<Format, String> {
    use repops::blocks::Format::{Q4_0, Q4_1, Q4K, Q6K, Q8_0};
    Ok(match code {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Blocks(Q4_0),
        3 => Format::Blocks(Q4_1),
        8 => Format::Blocks(Q8_0),
        12 => Format::Blocks(Q4K),
        14 => Format::Blocks(Q6K),
        30 => Format::BF16,
        code => {
            const OTHERS: &[(u32, &str)] = &[
                (6, "Q5_0"),
                (7, "Q5_1"),
                (9, "Q8_1"),
                (10, "Q2_K"),
                (11, "Q3_K"),
                (13, "Q5_K"),
                (15, "Q8_K"),
                (16, "IQ2_XXS"),
                (17, "IQ2_XS"),
                (18, "IQ3_XXS"),
                (19, "IQ1_S"),
                (20, "IQ4_NL"),
                (21, "IQ3_S"),
                (22, "IQ2_S"),
                (23, "IQ4_XS"),
                (24, "I8"),
                (25, "I16"),
                (26, "I32"),
                (27, "I64"),
                (28, "F64"),
                (29, "IQ1_M"),
                (34, "TQ1_0"),
                (35, "TQ2_0"),
                (39, "MXFP4"),
            ];
            let other = OTHERS.iter().find(|(number, _)| *number == code);
            return Err(other.map_or_else(|| format!("number {code}"), |(_, name)| (*name).to_string()));
        }
    })
}
