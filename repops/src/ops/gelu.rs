//! Gelu: the Gaussian error linear unit.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::lane_op::{LaneOp, UnaryOp};

pub static DEF: OpDef = OpDef {
    id: 126,
    name: "Gelu",
    version: 1,
    doc: "none: Y = (0.5 * X) * (1 + erf(X / sqrt 2)). tanh: Y = (0.5 * X) * (1 + tanh(c * (X + 0.044715 * \
          ((X * X) * X)))) with c = sqrt(2 / pi). Constants rounded to the type, each step rounded; NaN for \
          -inf. f16 and bf16 through f32. Source: ONNX Gelu-20.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "approximate",
        AttrKind::Str,
        || AttrValue::Str("none".to_string()),
        "none or tanh",
    )],
    class: OpClass::Elementwise(Some(lane)),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

fn lane(attrs: &Attrs) -> LaneOp {
    LaneOp::Unary(if attrs.str("approximate") == "tanh" { UnaryOp::GeluTanh } else { UnaryOp::Gelu })
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    match ctx.attrs.str("approximate") {
        "none" | "tanh" => infer_unary(ctx, &FLOATS),
        other => Err(OpError::attr("approximate", format!("is {other:?}; none or tanh is needed"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::check_unary;

    #[test]
    fn edges() {
        check_unary(
            "Gelu",
            &Attrs::new(),
            &[
                (0x0000_0000, 0x0000_0000),
                (0x8000_0000, 0x8000_0000),
                (0x7f80_0000, 0x7f80_0000),
                (0xff80_0000, 0x7fc0_0000),
                (0x7fc0_0000, 0x7fc0_0000),
            ],
        );
    }

    #[test]
    fn both_forms_at_one() {
        check_unary("Gelu", &Attrs::new(), &[(0x3f80_0000, 0x3f57_625e)]);
        check_unary("Gelu", &Attrs::new().with_str("approximate", "tanh"), &[(0x3f80_0000, 0x3f57_585c)]);
    }
}
