//! Attributes of operators: named values in sorted order, with one encoding.
//!
//! Invariant: an [`Attrs`] that passed [`crate::ops::OpDef::check_attrs`] holds exactly the attributes
//! that the operator declares: defaults filled in, optional ones absent or present, none unknown.

use std::collections::BTreeMap;
use std::fmt;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum AttrValue {
    Int(i64),
    /// Compared and encoded by bits.
    Float(f32),
    Str(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
}

/// The kind of an attribute's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttrKind {
    Int,
    Float,
    Str,
    Ints,
    Floats,
    Strs,
}

impl AttrValue {
    pub fn kind(&self) -> AttrKind {
        match self {
            AttrValue::Int(_) => AttrKind::Int,
            AttrValue::Float(_) => AttrKind::Float,
            AttrValue::Str(_) => AttrKind::Str,
            AttrValue::Ints(_) => AttrKind::Ints,
            AttrValue::Floats(_) => AttrKind::Floats,
            AttrValue::Strs(_) => AttrKind::Strs,
        }
    }

    /// Kind byte, then the value: integers as 8 bytes little-endian, floats as their 4 bytes, strings as
    /// a 4-byte length and UTF-8, lists as a 4-byte count and their elements.
    fn encode(&self, out: &mut Vec<u8>) {
        fn count(n: usize, out: &mut Vec<u8>) {
            out.extend_from_slice(&(n as u32).to_le_bytes());
        }
        fn string(text: &str, out: &mut Vec<u8>) {
            count(text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        out.push(self.kind() as u8);
        match self {
            AttrValue::Int(v) => out.extend_from_slice(&v.to_le_bytes()),
            AttrValue::Float(v) => out.extend_from_slice(&v.to_bits().to_le_bytes()),
            AttrValue::Str(v) => string(v, out),
            AttrValue::Ints(list) => {
                count(list.len(), out);
                list.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
            }
            AttrValue::Floats(list) => {
                count(list.len(), out);
                list.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
            }
            AttrValue::Strs(list) => {
                count(list.len(), out);
                list.iter().for_each(|v| string(v, out));
            }
        }
    }
}

impl PartialEq for AttrValue {
    fn eq(&self, other: &AttrValue) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.encode(&mut a);
        other.encode(&mut b);
        a == b
    }
}

impl Eq for AttrValue {}

/// Floats print as the shortest decimal that reads back as the same bits.
impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::Int(v) => write!(f, "{v}"),
            AttrValue::Float(v) => write!(f, "{v:?}f"),
            AttrValue::Str(v) => write!(f, "{v:?}"),
            AttrValue::Ints(v) => write!(f, "{v:?}"),
            AttrValue::Floats(v) => write!(f, "{v:?}"),
            AttrValue::Strs(v) => write!(f, "{v:?}"),
        }
    }
}

/// The attributes of one operator, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs(BTreeMap<String, AttrValue>);

impl Attrs {
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// Adds or replaces; returns self so that lists of attributes read well.
    #[must_use]
    pub fn with(mut self, name: &str, value: AttrValue) -> Attrs {
        self.insert(name, value);
        self
    }

    #[must_use]
    pub fn with_int(self, name: &str, value: i64) -> Attrs {
        self.with(name, AttrValue::Int(value))
    }

    #[must_use]
    pub fn with_ints(self, name: &str, value: &[i64]) -> Attrs {
        self.with(name, AttrValue::Ints(value.to_vec()))
    }

    #[must_use]
    pub fn with_float(self, name: &str, value: f32) -> Attrs {
        self.with(name, AttrValue::Float(value))
    }

    #[must_use]
    pub fn with_str(self, name: &str, value: &str) -> Attrs {
        self.with(name, AttrValue::Str(value.to_string()))
    }

    pub fn insert(&mut self, name: &str, value: AttrValue) {
        self.0.insert(name.to_string(), value);
    }

    pub fn remove(&mut self, name: &str) -> Option<AttrValue> {
        self.0.remove(name)
    }

    pub fn get(&self, name: &str) -> Option<&AttrValue> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An integer attribute that the operator's table row guarantees. Panics when the row does not.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(AttrValue::Int(v)) => *v,
            other => panic!("attribute {name} is {other:?}; the operator table promises an integer"),
        }
    }

    pub fn opt_int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|_| self.int(name))
    }

    /// A float attribute. Panics like [`Attrs::int`].
    pub fn float(&self, name: &str) -> f32 {
        match self.get(name) {
            Some(AttrValue::Float(v)) => *v,
            other => panic!("attribute {name} is {other:?}; the operator table promises a float"),
        }
    }

    pub fn opt_float(&self, name: &str) -> Option<f32> {
        self.get(name).map(|_| self.float(name))
    }

    /// A string attribute. Panics like [`Attrs::int`].
    pub fn str(&self, name: &str) -> &str {
        match self.get(name) {
            Some(AttrValue::Str(v)) => v,
            other => panic!("attribute {name} is {other:?}; the operator table promises a string"),
        }
    }

    /// A list of integers. Panics like [`Attrs::int`].
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(AttrValue::Ints(v)) => v,
            other => panic!("attribute {name} is {other:?}; the operator table promises integers"),
        }
    }

    pub fn opt_ints(&self, name: &str) -> Option<&[i64]> {
        self.get(name).map(|_| self.ints(name))
    }

    /// The encoding that digests cover: a 4-byte count, then name (4-byte length, UTF-8) and value of
    /// each attribute, in ascending order of the names' bytes. All integers little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for (name, value) in &self.0 {
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            value.encode(out);
        }
    }
}

/// `{axis = -1, epsilon = 1e-5f}`
impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name} = {value}")?;
        }
        f.write_str("}")
    }
}
