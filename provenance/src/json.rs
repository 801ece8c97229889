//! The part of JSON that receipts use, and its canonical form (RFC 8785).
//!
//! Invariant: objects have no key twice and are sorted by the keys' UTF-16 code units; numbers are
//! integers that a double holds exactly, so that their canonical text is their decimal digits.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};

/// The largest integer that every JSON reader carries exactly: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A JSON value without fractions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    /// At most [`INTEGER_MAX`].
    Integer(u64),
    String(String),
    Array(Vec<Value>),
    Object(Object),
}

/// An object's entries in canonical order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, key: &str, value: Value) {
        match self.position(key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key.to_string(), value)),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).ok().map(|at| self.0.remove(at).1)
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        // RFC 8785, 3.2.3: names compare as arrays of UTF-16 code units.
        self.0.binary_search_by(|(name, _)| name.encode_utf16().cmp(key.encode_utf16()))
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Object {
        let mut object = Object::default();
        for (key, value) in entries {
            object.insert(&key, value);
        }
        object
    }
}

impl Value {
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// Reads JSON text: white space, key order and escapes as they come; fractions, negative numbers,
    /// integers above [`INTEGER_MAX`] and repeated keys are errors.
    pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// The canonical text.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Integer(value) => out.push_str(&value.to_string()),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(object) => {
                out.push('{');
                for (index, (key, value)) in object.0.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// RFC 8785, 3.2.2.2: the two-character escapes where JSON has them, `\u00xx` for the other control
/// characters, and everything else as it is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{9}' => out.push_str("\\t"),
            '\u{a}' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\u{d}' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, an integer that is not negative, a string, an array or an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(E::custom(format!("{value} is above {INTEGER_MAX}")));
        }
        Ok(Value::Integer(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::string(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        // Sorted once at the end: inserting each in its place would let a stranger buy quadratic time.
        let mut object: Vec<(String, Value)> = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        object.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        match object.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(de::Error::custom(format!("key {:?} occurs twice", pair[0].0))),
            None => Ok(Value::Object(Object(object))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, String> {
        Value::parse(text.as_bytes()).map(|v| v.canonical()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_form_is_rfc_8785s() {
        // The sorting example of RFC 8785, section 3.2.3, with integers as values.
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(
            canonical(text).unwrap(),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
        // Its section 3.2.2.2.
        let text = r#" [ "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/" , true , null ] "#;
        assert_eq!(canonical(text).unwrap(), "[\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\",true,null]");
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        assert!(canonical(r#"{"a":1,"b":2,"a":1}"#).unwrap_err().contains("\"a\" occurs twice"));
        assert!(canonical(r#"{"a":1,"\u0061":1}"#).unwrap_err().contains("\"a\" occurs twice"));
        for text in ["1.0", "1e3", "-1", "-0", "9007199254740992", "1e400", "\"\\ud800\"", "", "[1] 2"] {
            assert!(canonical(text).is_err(), "{text}");
        }
        assert_eq!(canonical("9007199254740991").unwrap(), "9007199254740991");
        assert!(canonical(&"[".repeat(100_000)).is_err());
    }
}
