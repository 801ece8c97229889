//! The operations of the `repops` dialect: their names, how to build them, how to read them.

use melior::ir::attribute::{ArrayAttribute, DenseI64ArrayAttribute, DictionaryAttribute};
use melior::ir::attribute::{IntegerAttribute, StringAttribute};
use melior::ir::r#type::IntegerType;
use melior::ir::{Attribute, Location, Type};
use repops::attrs::Attrs;
use repops::ops::OpDef;

use super::module::New;
use super::{At, Module, Op, Value, attr, string_text};

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

/// What a `repops.apply`, `repops.if`, `repops.loop` or `repops.scan` applies.
#[derive(Clone, PartialEq, Debug)]
pub struct Applied<'a> {
    pub op: &'a str,
    pub version: u16,
    pub attrs: Attrs,
}

impl Applied<'_> {
    /// The operator's row.
    pub fn def(&self) -> Option<&'static OpDef> {
        let newest = repops::ops::by_name(self.op)?;
        if newest.version == self.version {
            return Some(newest);
        }
        repops::ops::by_id(newest.id, self.version)
    }
}

/// Reads an operation that applies an operator; `None` for any other.
pub fn applied(op: Op<'_>) -> Option<Applied<'_>> {
    let name = applied_name(op)?;
    let version = match op.attribute("version") {
        Some(attribute) => u16::try_from(IntegerAttribute::try_from(attribute).ok()?.value()).ok()?,
        None => 1,
    };
    let attrs = match op.attribute("attrs") {
        Some(attribute) => attr::attrs(DictionaryAttribute::try_from(attribute).ok()?)?,
        None => Attrs::new(),
    };
    Some(Applied { op: name, version, attrs })
}

/// The name of the operator that an operation applies; `None` if it applies none.
pub fn applied_name(op: Op<'_>) -> Option<&str> {
    match op.name() {
        APPLY => string_text(op.attribute("op")?),
        IF => Some("If"),
        LOOP => Some("Loop"),
        SCAN => Some("Scan"),
        _ => None,
    }
}

/// The operation that applies an operator of that name.
pub fn op_name(applied: &str) -> &'static str {
    match applied {
        "If" => IF,
        "Loop" => LOOP,
        "Scan" => SCAN,
        _ => APPLY,
    }
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

    pub fn strings<'a>(&'a self, texts: &[String]) -> Attribute<'a> {
        let texts: Vec<Attribute<'a>> = texts.iter().map(|text| self.string(text)).collect();
        ArrayAttribute::new(self.melior(), &texts).into()
    }

    pub fn ints<'a>(&'a self, values: &[i64]) -> Attribute<'a> {
        DenseI64ArrayAttribute::new(self.melior(), values).into()
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

    /// Applies an operator of the table. Its subgraphs, if it has any, get blocks with arguments of the given types.
    pub fn create_applied<'a>(
        &'a self,
        at: At<'a>,
        location: Location<'a>,
        applied: &Applied<'_>,
        new: New<'a>,
    ) -> Op<'a> {
        let name = op_name(applied.op);
        let mut attributes = vec![("version", self.int(i64::from(applied.version)))];
        if name == APPLY {
            attributes.push(("op", self.string(applied.op)));
        }
        if !applied.attrs.is_empty() {
            attributes.push(("attrs", attr::dictionary(self.context(), &applied.attrs)));
        }
        self.create(at, name, location, &New { attributes, ..new })
    }

    pub fn create_apply<'a>(
        &'a self,
        at: At<'a>,
        location: Location<'a>,
        applied: &Applied<'_>,
        operands: &[Value<'a>],
        results: &[Type<'a>],
    ) -> Op<'a> {
        let new = New { operands: operands.to_vec(), results: results.to_vec(), ..New::default() };
        self.create_applied(at, location, applied, new)
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
