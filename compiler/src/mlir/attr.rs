//! Attributes of operators as MLIR dictionaries, and back, bit for bit.
//!
//! Int is `i64`, Float `f32`, Str a string, Ints `array<i64: ...>`, Floats `array<f32: ...>`, Strs an array of strings.

use melior::ir::Attribute;
use melior::ir::attribute::{ArrayAttribute, DenseI64ArrayAttribute, DictionaryAttribute, FloatAttribute};
use melior::ir::attribute::{IntegerAttribute, StringAttribute};
use melior::ir::r#type::IntegerType;
use melior::ir::{Identifier, Type};
use repops::attrs::{AttrValue, Attrs};

use super::{Context, ffi};

/// The dictionary of `attrs`.
pub fn dictionary<'c>(context: &'c Context, attrs: &Attrs) -> Attribute<'c> {
    let melior = context.melior();
    let entries: Vec<(Identifier<'c>, Attribute<'c>)> =
        attrs.iter().map(|(name, value)| (Identifier::new(melior, name), attribute(melior, value))).collect();
    DictionaryAttribute::new(melior, &entries).into()
}

fn attribute<'c>(context: &'c melior::Context, value: &AttrValue) -> Attribute<'c> {
    match value {
        AttrValue::Int(value) => IntegerAttribute::new(IntegerType::new(context, 64).into(), *value).into(),
        AttrValue::Float(value) => {
            // Through f64, which keeps every f32 but the payload of a NaN; there is one NaN.
            FloatAttribute::new(context, Type::float32(context), f64::from(*value)).into()
        }
        AttrValue::Str(value) => StringAttribute::new(context, value).into(),
        AttrValue::Ints(values) => DenseI64ArrayAttribute::new(context, values).into(),
        AttrValue::Floats(values) => ffi::dense_f32_array(context, values),
        AttrValue::Strs(values) => {
            let values: Vec<Attribute<'c>> =
                values.iter().map(|value| StringAttribute::new(context, value).into()).collect();
            ArrayAttribute::new(context, &values).into()
        }
    }
}

/// The attributes in a dictionary; `None` if an entry is of no kind that operators have.
pub fn attrs(dictionary: DictionaryAttribute<'_>) -> Option<Attrs> {
    let mut attrs = Attrs::new();
    for index in 0..dictionary.len() {
        let (name, value) = dictionary.element(index).ok()?;
        attrs.insert(ffi::identifier_text(name), self::value(value)?);
    }
    Some(attrs)
}

fn value(attribute: Attribute<'_>) -> Option<AttrValue> {
    if let Ok(value) = IntegerAttribute::try_from(attribute) {
        return Some(AttrValue::Int(value.value()));
    }
    if let Ok(value) = FloatAttribute::try_from(attribute) {
        return Some(AttrValue::Float(value.value() as f32));
    }
    if let Some(text) = ffi::string_text(attribute) {
        return Some(AttrValue::Str(text.to_owned()));
    }
    if let Some(values) = i64s(attribute) {
        return Some(AttrValue::Ints(values));
    }
    if let Some(values) = ffi::f32_array(attribute) {
        return Some(AttrValue::Floats(values));
    }
    strings(attribute).map(AttrValue::Strs)
}

/// The integers of an `array<i64: ...>`.
pub fn i64s(attribute: Attribute<'_>) -> Option<Vec<i64>> {
    let array = DenseI64ArrayAttribute::try_from(attribute).ok()?;
    (0..array.len()).map(|index| array.element(index).ok()).collect()
}

/// The strings of an array.
pub fn strings(attribute: Attribute<'_>) -> Option<Vec<String>> {
    let array = ArrayAttribute::try_from(attribute).ok()?;
    (0..array.len()).map(|index| ffi::string_text(array.element(index).ok()?).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_way_there_and_back() {
        let context = Context::new();
        let all = Attrs::new()
            .with_int("int", i64::MIN)
            .with_float("float", -0.0)
            .with_float("third", 1.0 / 3.0)
            .with_float("tiny", f32::from_bits(1))
            .with_float("infinite", f32::NEG_INFINITY)
            .with_float("nan", repops::dtype::NAN_F32)
            .with_str("str", "a \"quoted\"\u{0}\n\u{e4}")
            .with_str("empty", "")
            .with_ints("ints", &[1, -1, i64::MAX])
            .with_ints("no ints", &[])
            .with("floats", AttrValue::Floats(vec![0.1, f32::from_bits(0x7fc0_0001)]))
            .with("no floats", AttrValue::Floats(vec![]))
            .with("strs", AttrValue::Strs(vec![String::new(), "b".into()]))
            .with("no strs", AttrValue::Strs(vec![]));
        let there = dictionary(&context, &all);
        let back = attrs(DictionaryAttribute::try_from(there).unwrap()).unwrap();
        assert_eq!(back, all);
        // And through text.
        let parsed = Attribute::parse(context.melior(), &there.to_string()).unwrap();
        let back = attrs(DictionaryAttribute::try_from(parsed).unwrap()).unwrap();
        assert_eq!(back, all);
    }
}
