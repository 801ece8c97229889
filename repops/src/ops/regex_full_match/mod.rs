//! RegexFullMatch: which strings a pattern matches as a whole.

mod machine;
mod pattern;

use super::strings::strings_of;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::AttrKind;
use crate::dtype::DType;
use crate::tensor::Tensor;
use machine::Machine;

pub static DEF: OpDef = OpDef {
    id: 781,
    name: "RegexFullMatch",
    version: 1,
    doc: "Y[i] (bool): whether all of the string X[i] is in the language of `pattern`. The pattern has RE2's syntax over Unicode code \
          points: literals, `.`, classes (also [:name:] and \\d \\s \\w \\D \\S \\W, all of ASCII), `|`, groups of every kind, `* + ? {n} {n,} {n,m}` up \
          to 1000, ^ $ \\A \\z \\b \\B, \\Q..\\E, the flags i, m, s, U. $ is the end of the text (with m also before a line feed); ^ likewise. Which of \
          several matches is preferred does not matter. With i letters of ASCII also match K (212A) and ſ (017F), as RE2 folds; other letters under i, \\p and \\C are \
          refused, as are patterns of more than 20000 states. Source: ONNX RegexFullMatch-20.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("pattern", AttrKind::Str, "What strings must match.")],
    class: OpClass::General,
    infer,
    eval,
};

fn machine(pattern: &str) -> Result<Machine, OpError> {
    Machine::new(pattern).map_err(|problem| OpError::attr("pattern", problem))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::Packed)?;
    machine(ctx.attrs.str("pattern"))?;
    let tensor = ctx.input(0)?.tensor.ok_or(OpError::ValueUnknown { index: 0 })?;
    let ty = SymType::of(DType::Bool, &strings_of(tensor)?.shape);
    Ok(vec![Inferred { ty, sym: None }])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = strings_of(ctx.input(0))?;
    let machine = machine(ctx.attrs.str("pattern"))?;
    let found: Vec<bool> = x.values.iter().map(|text| machine.matches(text)).collect();
    Ok(vec![Tensor::from_bools(&x.shape, &found)])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::packed::Strings;
    use crate::tensor::Tensor;

    #[test]
    fn strings_are_matched() {
        let x = Strings::new(&[2, 2], ["ab", "b", "", "abab"]).into_tensor();
        let y = run("RegexFullMatch", Attrs::new().with_str("pattern", "(ab)*"), &[&x]);
        assert_eq!((y.shape(), y.bytes()), (&[2, 2][..], &[1, 0, 1, 1][..]));
        assert!(try_run("RegexFullMatch", Attrs::new().with_str("pattern", "(ab"), &[&x]).is_err());
        let numbers = Tensor::from_slice(&[1], &[1.0f32]);
        assert!(try_run("RegexFullMatch", Attrs::new().with_str("pattern", "a"), &[&numbers]).is_err());
    }
}
