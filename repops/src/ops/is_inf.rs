//! IsInf: whether elements are infinite.

use super::elementwise::{FLOATS, eval_lane, infer_unary};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::lane_op::{ClassifyOp, LaneOp};

pub static DEF: OpDef = OpDef {
    id: 131,
    name: "IsInf",
    version: 1,
    doc: "Y = whether X is an infinity of a sign asked for, as bool. Source: ONNX IsInf-10, -20.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("detect_negative", AttrKind::Int, || AttrValue::Int(1), "0: -inf gives false."),
        AttrDef::default("detect_positive", AttrKind::Int, || AttrValue::Int(1), "0: +inf gives false."),
    ],
    class: OpClass::Elementwise(Some(|attrs| {
        LaneOp::Classify(ClassifyOp::IsInf {
            negative: attrs.int("detect_negative") != 0,
            positive: attrs.int("detect_positive") != 0,
        })
    })),
    infer,
    eval: |ctx: &EvalCtx<'_>| eval_lane(&DEF, ctx),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let mut inferred = infer_unary(ctx, &FLOATS)?;
    inferred[0].ty.dtype = DType::Bool;
    Ok(inferred)
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::run;
    use crate::tensor::Tensor;

    #[test]
    fn signs_asked_for() {
        let x = Tensor::from_slice(&[4], &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX]);
        let asked = |negative, positive| {
            let attrs =
                Attrs::new().with_int("detect_negative", negative).with_int("detect_positive", positive);
            run("IsInf", attrs, &[&x]).bytes().to_vec()
        };
        assert_eq!(asked(1, 1), [1, 1, 0, 0]);
        assert_eq!(asked(0, 1), [1, 0, 0, 0]);
        assert_eq!(asked(1, 0), [0, 1, 0, 0]);
        assert_eq!(asked(0, 0), [0, 0, 0, 0]);
    }
}
