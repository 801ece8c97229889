//! Region and ProductRegion: fused steps. See [`crate::region`].

use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, OpId};
use crate::tensor::Tensor;

/// The id of fused element-wise steps.
pub const REGION: OpId = 1;
/// The id of fused steps with products.
pub const PRODUCT_REGION: OpId = 5;

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
    infer: infer_nothing,
    eval: eval_nothing,
};

pub static PRODUCT_DEF: OpDef = OpDef {
    id: PRODUCT_REGION,
    name: "ProductRegion",
    version: 1,
    doc: "One to four products of f32 (MatMul, MatMulBlocks, Gemm, Conv, ConvTranspose; each as it is alone), and element-wise \
          operators over them and over the inputs that are left, each rounding as it does alone. The products take the first \
          inputs, one product after the other, and are not stored. All products and every output have the shape that \
          products and other inputs broadcast to. The body is part of the step.",
    inputs: Arity::at_least(2),
    outputs: Arity::at_least(1),
    attrs: &[],
    class: OpClass::General,
    infer: infer_nothing,
    eval: eval_nothing,
};

impl OpDef {
    /// Whether steps of this operator hold a body.
    pub fn has_body(&self) -> bool {
        matches!(self.id, REGION | PRODUCT_REGION)
    }
}

fn infer_nothing(_: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    Err(OpError::Unsupported(BODY.to_string()))
}

fn eval_nothing(_: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    Err(OpError::Unsupported(BODY.to_string()))
}

const BODY: &str = "a region is inferred and evaluated through its body";
