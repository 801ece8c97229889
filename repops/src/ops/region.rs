//! Region: a fused element-wise step. See [`crate::region`].

use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, OpId};
use crate::tensor::Tensor;

/// The id of the operator whose steps hold a body.
pub const REGION: OpId = 1;

pub static DEF: OpDef = OpDef {
    id: REGION,
    name: "Region",
    version: 1,
    doc: "A list of element-wise operators, each rounding as it does alone, over the broadcast of the \
          inputs. Every output has the broadcast shape. The body is part of the step.",
    inputs: Arity::at_least(1),
    outputs: Arity::at_least(1),
    attrs: &[],
    // Executors evaluate regions with the body at hand; nothing fuses a region again.
    class: OpClass::General,
    infer: |_: &InferCtx<'_>| -> Result<Vec<Inferred>, OpError> {
        Err(OpError::Unsupported(BODY.to_string()))
    },
    eval: |_: &EvalCtx<'_>| -> Result<Vec<Tensor>, OpError> { Err(OpError::Unsupported(BODY.to_string())) },
};

const BODY: &str = "a region is inferred and evaluated through its body";
