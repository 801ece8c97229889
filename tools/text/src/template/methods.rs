//! What templates call on texts and lists beyond Jinja's own: Python's methods, and `tojson`, held to what fuel pays for.
//!
//! The engine charges fuel for what its operators and filters make, a unit for 64 bytes, before they make it. Methods and
//! filters of others it charges afterwards, when the memory is taken; so what they will make is worked out, and paid for, here first.
//! Invariant: no method makes more than the fuel that is left pays for.

use std::fmt::Write as _;
use std::io::{self, Write};

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;
use serde::Serialize;

/// Bytes that a unit of fuel pays for.
const BYTES_PER_FUEL: usize = 64;
/// Bytes of a list's item at the most.
const ITEM_BYTES: usize = 64;
/// Digits of a width or precision that a format may ask for.
const FORMAT_DIGITS_MAX: usize = 4;

/// Bytes that the fuel left pays for.
fn left(state: &State) -> usize {
    let (_, fuel) = state.fuel_levels().unwrap_or((0, u64::MAX));
    usize::try_from(fuel).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_FUEL)
}

/// Takes the fuel for so many bytes.
fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)
}

/// Python's methods.
pub fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str()) {
        match method {
            "replace" => pay(state, replaced(text, args)?)?,
            "split" => {
                let pieces = match args.first().and_then(Value::as_str) {
                    Some(separator) => text.matches(separator).count(),
                    None => text.split_whitespace().count(),
                };
                pay(state, list(pieces.saturating_add(1), text.len()))?;
            }
            "splitlines" => pay(state, list(text.matches('\n').count() + 1, text.len()))?,
            "join" => return joined(state, text, args),
            "rsplit" => return rsplit(state, text, args),
            "partition" | "rpartition" => {
                pay(state, list(3, text.len()))?;
                let (separator,): (&str,) = from_args(args)?;
                let found = match method {
                    "partition" => text.split_once(separator),
                    _ => text.rsplit_once(separator),
                };
                return Ok(match (found, method) {
                    (Some((before, after)), _) => Value::from((before, separator, after)),
                    (None, "partition") => Value::from((text, "", "")),
                    (None, _) => Value::from(("", "", text)),
                });
            }
            "removeprefix" | "removesuffix" => {
                pay(state, text.len())?;
                let (part,): (&str,) = from_args(args)?;
                let rest = match method {
                    "removeprefix" => text.strip_prefix(part),
                    _ => text.strip_suffix(part),
                };
                return Ok(Value::from(rest.unwrap_or(text)));
            }
            "format" => pay(state, formatted(text, args, left(state))?)?,
            // Letters of another case take three times the bytes at most.
            _ => pay(state, text.len().saturating_mul(3))?,
        }
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

/// Bytes of a list of so many pieces of a text.
fn list(pieces: usize, text: usize) -> usize {
    pieces.saturating_mul(ITEM_BYTES).saturating_add(text)
}

/// `text.rsplit(separator, count)`: pieces from the end, in the text's order.
fn rsplit(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, count): (Option<&str>, Option<i64>) = from_args(args)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let most = match separator {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "an empty separator")),
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    pay(state, list(most.min(count).saturating_add(1), text.len()))?;
    let mut pieces: Vec<&str> = Vec::new();
    let mut rest = Some(text);
    while let Some(left) = rest.take() {
        let cut = match separator {
            _ if pieces.len() >= count => None,
            Some(separator) => left.rsplit_once(separator),
            None => left.trim_end().rsplit_once(char::is_whitespace),
        };
        let piece = match (cut, separator) {
            (Some((before, after)), _) => {
                rest = Some(before);
                after
            }
            (None, Some(_)) => left,
            (None, None) => left.trim(),
        };
        if separator.is_some() || !piece.is_empty() {
            pieces.push(piece);
        }
    }
    pieces.reverse();
    Ok(Value::from(pieces.into_iter().map(Value::from).collect::<Vec<_>>()))
}

/// Bytes of what `text.replace(old, new, count)` makes.
fn replaced(text: &str, args: &[Value]) -> Result<usize, Error> {
    let (old, new, count): (&str, &str, Option<i32>) = from_args(args)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let matches = text.matches(old).take(count).count();
    Ok(matches.saturating_mul(new.len()).saturating_add(text.len()))
}

/// `text.join(values)`, as long as it can be paid for.
fn joined(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (values,): (&Value,) = from_args(args)?;
    let mut out = Bounded { text: String::new(), limit: left(state) };
    for (index, value) in values.try_iter()?.checked().enumerate() {
        let value = value?;
        pay(state, ITEM_BYTES)?;
        let written = match index {
            0 => write!(out, "{value}"),
            _ => write!(out, "{text}{value}"),
        };
        written.map_err(|_| too_much())?;
    }
    pay(state, out.text.len())?;
    Ok(Value::from(out.text))
}

/// Bytes of what `text.format(args)` makes at the most.
fn formatted(text: &str, args: &[Value], limit: usize) -> Result<usize, Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if digits > FORMAT_DIGITS_MAX {
        let problem = format!("a format with a number of {digits} digits; {FORMAT_DIGITS_MAX} are the most");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    let mut longest = 10usize.pow(FORMAT_DIGITS_MAX as u32);
    for value in args {
        let mut out = Counted { bytes: 0, limit };
        write!(out, "{value}").map_err(|_| too_much())?;
        longest = longest.max(out.bytes);
    }
    let fields = text.matches('{').count();
    Ok(fields.saturating_mul(longest).saturating_add(text.len()))
}

fn too_much() -> Error {
    Error::new(ErrorKind::OutOfFuel, "a text longer than the fuel that is left pays for")
}

/// Text up to a limit.
struct Bounded {
    text: String,
    limit: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.len() > self.limit.saturating_sub(self.text.len()) {
            return Err(std::fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// How long a text is, up to a limit.
struct Counted {
    bytes: usize,
    limit: usize,
}

impl std::fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > self.limit { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// Bytes up to a limit.
pub struct Limited {
    pub bytes: Vec<u8>,
    pub limit: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit.saturating_sub(self.bytes.len()) {
            return Err(io::Error::other(format!("it gives more than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON as Python's `json.dumps` writes it: a space after commas and colons, nothing escaped that need not be, unless it is asked for.
pub fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let between = match separators.as_deref() {
        None if indent.is_some() => [",", ": "],
        None => [", ", ": "],
        Some([item, key]) => [item.as_str(), key.as_str()],
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
    };
    let mut out = Limited { bytes: Vec::new(), limit: left(state) };
    let written = Written {
        indent: indent.map(|indent| indent.min(16)),
        depth: 0,
        has_items: false,
        between,
        ascii: ascii.unwrap_or(false),
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, written);
    match sorted {
        // A map of `serde_json` has its keys in order.
        Some(true) => {
            let mut plain = Limited { bytes: Vec::new(), limit: left(state) };
            value.serialize(&mut serde_json::Serializer::new(&mut plain)).map_err(wrong)?;
            // What is read takes many times the bytes of what is written.
            pay(state, plain.bytes.len().saturating_mul(BYTES_PER_FUEL))?;
            let sorted: Sorted = serde_json::from_slice(&plain.bytes).map_err(wrong)?;
            sorted.serialize(&mut serializer).map_err(wrong)?;
        }
        _ => value.serialize(&mut serializer).map_err(wrong)?,
    }
    pay(state, out.bytes.len())?;
    Ok(Value::from(String::from_utf8_lossy(&out.bytes).into_owned()))
}

/// JSON whose objects have their keys in order.
#[derive(serde::Deserialize, Serialize)]
#[serde(untagged)]
enum Sorted {
    List(Vec<Sorted>),
    Object(std::collections::BTreeMap<String, Sorted>),
    Other(serde_json::Value),
}

/// How `json.dumps` writes.
struct Written<'a> {
    indent: Option<usize>,
    depth: usize,
    has_items: bool,
    /// Between items, and between a key and its value.
    between: [&'a str; 2],
    ascii: bool,
}

impl Written<'_> {
    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(&[b' '; 16][..indent]))
    }

    fn item<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.between[0].as_bytes())?;
        }
        self.line(writer)
    }

    fn begin<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth += 1;
        self.has_items = false;
        writer.write_all(&[bracket])
    }

    fn end<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.has_items {
            self.line(writer)?;
        }
        self.has_items = true;
        writer.write_all(&[bracket])
    }
}

impl serde_json::ser::Formatter for Written<'_> {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b'[')
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b']')
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_items = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b'{')
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b'}')
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.between[1].as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_items = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}
