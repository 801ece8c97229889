//! If, Loop, Scan: steps that hold blocks. Their execution is [`crate::control`].

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, OpId};
use crate::attrs::AttrKind;
use crate::tensor::Tensor;

pub const IF: OpId = 2;
pub const LOOP: OpId = 3;
pub const SCAN: OpId = 4;

const fn row(
    id: OpId,
    name: &'static str,
    doc: &'static str,
    inputs: Arity,
    attrs: &'static [AttrDef],
) -> OpDef {
    OpDef {
        id,
        name,
        version: 1,
        doc,
        inputs,
        outputs: Arity::at_least(1),
        attrs,
        class: OpClass::Control,
        infer,
        eval,
    }
}

pub static IF_DEF: OpDef = row(
    IF,
    "If",
    "Runs the first block when the one bool of input 0 is true, else the second; the outputs are that \
     block's results. Blocks have no parameters and see the values defined before the step. Source: ONNX If-1 \
     and later.",
    Arity::exactly(1),
    &[],
);

pub static LOOP_DEF: OpDef = row(
    LOOP,
    "Loop",
    "Runs its block while the condition holds and fewer than M iterations have run (either may be absent). \
     Inputs: M, condition, initial carried values. Parameters of the block: iteration number (i64 scalar), \
     condition, carried values; results: condition, carried values, scan slices. Outputs: the last carried \
     values, then each scan output's slices stacked along a new axis 0. M and the condition have one \
     element; a negative M is 0. The body's iteration and condition are scalars without axes; its condition \
     parameter is always true. Slices of one output must have one type and shape (fault 4). Without iterations \
     a scan output has its declared type, unknown extents 0, and extent 0 along the new axis. At most 2^24 \
     iterations; then fault 5. Source: ONNX Loop-1 and later.",
    Arity::at_least(0),
    &[],
);

pub static SCAN_DEF: OpDef = row(
    SCAN,
    "Scan",
    "Runs its block once for each slice of the last `num_scan_inputs` inputs along their scan axes. The other \
     inputs are initial states. Parameters of the block: states, slices; results: states, output slices. \
     Outputs: last states, then the output slices stacked along their axes. A direction of 1 is backwards. \
     Slices of one output must have one type and shape (fault 4). Without iterations a scan output has its \
     declared type, unknown extents 0, and extent 0 along the new axis. More than 2^24 slices are fault 5. \
     Source: ONNX Scan-9 and later.",
    Arity::at_least(1),
    &[
        AttrDef::required("num_scan_inputs", AttrKind::Int, "How many of the inputs are scanned."),
        AttrDef::optional("scan_input_axes", AttrKind::Ints, "Axis of each scanned input; absent: 0."),
        AttrDef::optional("scan_input_directions", AttrKind::Ints, "1: from the last slice to the first."),
        AttrDef::optional("scan_output_axes", AttrKind::Ints, "Axis of each scan output; absent: 0."),
        AttrDef::optional("scan_output_directions", AttrKind::Ints, "1: slices are put in front."),
    ],
);

/// The types follow from the blocks, which only the compiler and executors see.
fn infer(_: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    Err(OpError::Unsupported("control flow is inferred through its blocks".to_string()))
}

fn eval(_: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    Err(OpError::Unsupported("control flow is run by an executor".to_string()))
}
