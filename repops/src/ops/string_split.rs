//! StringSplit: strings cut at a delimiter.

use super::strings::{known, packed, strings_of};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::packed::Strings;
use crate::tensor::{RANK_MAX, Tensor, TensorError};

pub static DEF: OpDef = OpDef {
    id: 772,
    name: "StringSplit",
    version: 1,
    doc: "Each string cut at the delimiter, at most maxsplit times from its start. Y has a new last axis, as long as the most \
          pieces, filled up with empty strings; Z, i64, is the number of pieces of each. Without a delimiter, or with \
          an empty one, strings are cut at runs of characters with Unicode's property White_Space, and lose those at \
          their ends, but for the end of a piece that maxsplit leaves whole; an empty string has then no pieces, \
          and otherwise one. Source: ONNX StringSplit-20.",
    inputs: Arity::exactly(1),
    outputs: Arity::between(1, 2),
    attrs: &[
        AttrDef::optional("delimiter", AttrKind::Str, "What separates pieces."),
        AttrDef::optional(
            "maxsplit",
            AttrKind::Int,
            "The most cuts of a string; any number when absent or negative.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::Packed)?;
    let mut out = vec![packed(ctx)];
    if ctx.outputs > 1 {
        out.push(Inferred { ty: SymType::of(DType::I64, &known(ctx, 0)?.strings()?.shape), sym: None });
    }
    Ok(out)
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = strings_of(ctx.input(0))?;
    if x.shape.len() == RANK_MAX {
        return Err(TensorError::Rank { rank: RANK_MAX + 1 }.into());
    }
    let cut: Vec<Vec<&str>> = x.values.iter().map(|text| pieces(text, ctx.attrs)).collect();
    let most = cut.iter().map(Vec::len).max().unwrap_or(0);
    let shape = [x.shape.as_slice(), &[most]].concat();
    Strings::check_shape(&shape)?;
    let padded = |pieces: &Vec<&str>| {
        let mut row: Vec<String> = pieces.iter().map(|piece| piece.to_string()).collect();
        row.resize(most, String::new());
        row
    };
    let counts: Vec<i64> = cut.iter().map(|pieces| pieces.len() as i64).collect();
    let y = Strings::new(&shape, cut.iter().flat_map(padded)).into_tensor();
    Ok(vec![y, Tensor::from_slice(&x.shape, &counts)])
}

fn pieces<'t>(text: &'t str, attrs: &Attrs) -> Vec<&'t str> {
    let most = attrs.opt_int("maxsplit").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    if let Some(AttrValue::Str(delimiter)) = attrs.get("delimiter")
        && !delimiter.is_empty()
    {
        return text.splitn(most.saturating_add(1), delimiter.as_str()).collect();
    }
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).filter(|_| out.len() < most);
        let Some(end) = end else {
            out.push(rest);
            break;
        };
        out.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::run_outputs;

    #[test]
    fn strings_are_cut() {
        let check = |attrs: Attrs, values: &[&str], expected: &[&[&str]]| {
            let x = Strings::new(&[values.len()], values.iter().copied()).into_tensor();
            let found = run_outputs("StringSplit", attrs, &[Some(&x)], 2).unwrap();
            let most = expected.iter().map(|row| row.len()).max().unwrap_or(0);
            let rows =
                expected.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat("")).take(most));
            assert_eq!(found[0], Strings::new(&[values.len(), most], rows).into_tensor());
            let counts: Vec<i64> = expected.iter().map(|row| row.len() as i64).collect();
            assert_eq!(found[1].as_slice::<i64>(), counts);
        };
        let with = |delimiter: &str, most: i64| {
            Attrs::new().with_str("delimiter", delimiter).with_int("maxsplit", most)
        };
        check(Attrs::new(), &["  a b\t c ", "", "é"], &[&["a", "b", "c"], &[], &["é"]]);
        check(with("", 1), &[" a b c ", "a "], &[&["a", "b c "], &["a"]]);
        check(with("--", -1), &["a--b---c", "", "--"], &[&["a", "b", "-c"], &[""], &["", ""]]);
        check(with(",", 1), &["a,b,c"], &[&["a", "b,c"]]);
        check(with(",", 0), &["a,b"], &[&["a,b"]]);
        check(Attrs::new(), &[], &[]);
    }
}
