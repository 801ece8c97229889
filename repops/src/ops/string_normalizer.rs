//! StringNormalizer: strings without stop words, in one case.

use std::collections::BTreeSet;

use super::strings::{packed, strings_of};
use super::{Arity, AttrDef, EvalCtx, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::packed::Strings;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 773,
    name: "StringNormalizer",
    version: 1,
    doc: "The strings of a vector [c] or a row [1, c] that are none of stopwords, in their order, then as \
          case_change_action says; one empty string where none is left. Where is_case_sensitive is 0, words are compared in \
          lower case. Lower and upper case are Unicode 17's default conversions of strings (section 3.13, toLowercase \
          and toUppercase), whatever locale says. Source: ONNX StringNormalizer-10.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "case_change_action",
            AttrKind::Str,
            || AttrValue::Str("NONE".to_string()),
            "LOWER, UPPER or NONE.",
        ),
        AttrDef::default("is_case_sensitive", AttrKind::Int, || AttrValue::Int(0), "Of the comparison."),
        AttrDef::optional("locale", AttrKind::Str, "Not used."),
        AttrDef::optional("stopwords", AttrKind::Strs, "Words that are left out."),
    ],
    class: OpClass::General,
    infer: |ctx| {
        ctx.require_same(0, DType::Packed)?;
        action(ctx.attrs.str("case_change_action"))?;
        Ok(vec![packed(ctx)])
    },
    eval,
};

fn action(name: &str) -> Result<fn(&str) -> String, OpError> {
    match name {
        "LOWER" => Ok(str::to_lowercase),
        "UPPER" => Ok(str::to_uppercase),
        "NONE" => Ok(str::to_string),
        _ => Err(OpError::attr("case_change_action", format!("{name:?} is not known"))),
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = strings_of(ctx.input(0))?;
    if !matches!(x.shape[..], [_] | [1, _]) {
        return Err(OpError::shape(format!("strings {:?} are neither a vector nor a row", x.shape)));
    }
    let fold = action(if ctx.attrs.int("is_case_sensitive") == 0 { "LOWER" } else { "NONE" })?;
    let stopwords: BTreeSet<String> = match ctx.attrs.get("stopwords") {
        Some(AttrValue::Strs(words)) => words.iter().map(|word| fold(word)).collect(),
        _ => BTreeSet::new(),
    };
    let change = action(ctx.attrs.str("case_change_action"))?;
    let kept = x.values.iter().filter(|word| !stopwords.contains(&fold(word)));
    let mut kept: Vec<String> = kept.map(|word| change(word)).collect();
    if kept.is_empty() {
        kept.push(String::new());
    }
    let mut shape = x.shape;
    if let Some(extent) = shape.last_mut() {
        *extent = kept.len();
    }
    Ok(vec![Strings::new(&shape, kept).into_tensor()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};

    fn strings(shape: &[usize], values: &[&str]) -> Tensor {
        Strings::new(shape, values.iter().copied()).into_tensor()
    }

    #[test]
    fn stop_words_are_left_out() {
        let stop = |sensitive: i64, action: &str| {
            let mut attrs =
                Attrs::new().with_int("is_case_sensitive", sensitive).with_str("case_change_action", action);
            attrs.insert("stopwords", AttrValue::Strs(vec!["monday".to_string()]));
            attrs
        };
        let x = strings(&[3], &["Monday", "monday", "straße"]);
        let go = |attrs: Attrs| run("StringNormalizer", attrs, &[&x]);
        assert_eq!(go(stop(1, "NONE")), strings(&[2], &["Monday", "straße"]));
        assert_eq!(go(stop(0, "UPPER")), strings(&[1], &["STRASSE"]));
        assert_eq!(
            go(Attrs::new().with_str("case_change_action", "LOWER")),
            strings(&[3], &["monday", "monday", "straße"])
        );
        let row = strings(&[1, 1], &["MONDAY"]);
        assert_eq!(run("StringNormalizer", stop(0, "NONE"), &[&row]), strings(&[1, 1], &[""]));
        assert!(try_run("StringNormalizer", stop(0, "TITLE"), &[&row]).is_err());
        assert!(try_run("StringNormalizer", stop(0, "NONE"), &[&strings(&[2, 1], &["", ""])]).is_err());
    }

    #[test]
    fn the_tables_are_those_that_the_document_names() {
        assert_eq!(char::UNICODE_VERSION.0, 17);
    }
}
