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

/// JSON as Python's `json.dumps` writes it: a space after commas and colons, nothing escaped that need not be.
pub fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut out = Limited { bytes: Vec::new(), limit: left(state) };
    match indent {
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut serializer).map_err(wrong)?;
        }
        Some(indent) => {
            let indent = vec![b' '; indent.min(16)];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&indent);
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            value.serialize(&mut serializer).map_err(wrong)?;
        }
    }
    pay(state, out.bytes.len())?;
    Ok(Value::from(String::from_utf8_lossy(&out.bytes).into_owned()))
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
