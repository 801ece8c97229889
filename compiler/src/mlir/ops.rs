//! The operations of the `repops` dialect: their names, how to build them, how to read them.

use melior::ir::attribute::{DictionaryAttribute, IntegerAttribute, StringAttribute};
use melior::ir::r#type::IntegerType;
use melior::ir::{Attribute, Identifier, Location, Type};

use super::module::New;
use super::{At, Module, Op, Value};

pub const PROGRAM: &str = "repops.program";
pub const OUTPUT: &str = "repops.output";
pub const YIELD: &str = "repops.yield";
pub const CONSTANT: &str = "repops.constant";
pub const NONE: &str = "repops.none";
pub const APPLY: &str = "repops.apply";
pub const REGION: &str = "repops.region";
pub const IF: &str = "repops.if";
pub const LOOP: &str = "repops.loop";
pub const SCAN: &str = "repops.scan";

/// What a `repops.apply` applies.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    pub op: &'a str,
    pub version: u32,
    /// `None` where the operator has no attributes.
    pub attrs: Option<DictionaryAttribute<'a>>,
}

/// Reads a `repops.apply`; `None` for any other operation.
pub fn applied(op: Op<'_>) -> Option<Applied<'_>> {
    if op.name() != APPLY {
        return None;
    }
    let name = StringAttribute::try_from(op.attribute("op")?).ok()?;
    let version = match op.attribute("version") {
        Some(attribute) => u32::try_from(IntegerAttribute::try_from(attribute).ok()?.value()).ok()?,
        None => 1,
    };
    let attrs = op.attribute("attrs").and_then(|attribute| DictionaryAttribute::try_from(attribute).ok());
    Some(Applied { op: name.value(), version, attrs })
}

/// The index in the constant store that a `repops.constant` names; `None` for any other operation.
pub fn constant_id(op: Op<'_>) -> Option<u32> {
    if op.name() != CONSTANT {
        return None;
    }
    u32::try_from(IntegerAttribute::try_from(op.attribute("id")?).ok()?.value()).ok()
}

/// Building the dialect's operations.
impl Module<'_> {
    pub fn string<'a>(&'a self, text: &str) -> Attribute<'a> {
        StringAttribute::new(self.melior(), text).into()
    }

    pub fn int(&self, value: i64) -> Attribute<'_> {
        IntegerAttribute::new(IntegerType::new(self.melior(), 64).into(), value).into()
    }

    /// A dictionary; the order of `entries` does not matter.
    pub fn dictionary<'a>(&'a self, entries: &[(&str, Attribute<'a>)]) -> Attribute<'a> {
        let entries: Vec<(Identifier<'a>, Attribute<'a>)> =
            entries.iter().map(|(name, value)| (Identifier::new(self.melior(), name), *value)).collect();
        DictionaryAttribute::new(self.melior(), &entries).into()
    }

    pub fn create_constant<'a>(
        &'a self,
        at: At<'a>,
        location: Location<'a>,
        id: u32,
        ty: Type<'a>,
    ) -> Value<'a> {
        let attributes = vec![("id", self.int(i64::from(id)))];
        self.create(at, CONSTANT, location, &New { results: vec![ty], attributes, ..New::default() })
            .result(0)
    }

    pub fn create_none<'a>(&'a self, at: At<'a>, location: Location<'a>) -> Value<'a> {
        let results = vec![Type::none(self.melior())];
        self.create(at, NONE, location, &New { results, ..New::default() }).result(0)
    }

    pub fn create_apply<'a>(
        &'a self,
        at: At<'a>,
        location: Location<'a>,
        applied: Applied<'a>,
        operands: &[Value<'a>],
        results: &[Type<'a>],
    ) -> Op<'a> {
        let mut attributes =
            vec![("op", self.string(applied.op)), ("version", self.int(i64::from(applied.version)))];
        if let Some(attrs) = applied.attrs.filter(|attrs| !attrs.is_empty()) {
            attributes.push(("attrs", attrs.into()));
        }
        let new =
            New { operands: operands.to_vec(), results: results.to_vec(), attributes, ..New::default() };
        self.create(at, APPLY, location, &new)
    }

    /// Ends a body with `name`, one of [`OUTPUT`] and [`YIELD`].
    pub fn create_terminator<'a>(
        &'a self,
        at: At<'a>,
        name: &str,
        location: Location<'a>,
        values: &[Value<'a>],
    ) {
        self.create(at, name, location, &New { operands: values.to_vec(), ..New::default() });
    }
}
