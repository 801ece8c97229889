//! Which operator has a launch on a device: one row for each operator.

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::{self, OpDef, OpId};

use crate::launch::{self, contract};
use crate::{Device, Error, Operand, View};

/// An operator at work. Inference has succeeded on the same inputs; outputs have the inferred shapes.
pub struct Call<'a, B> {
    pub op: &'static OpDef,
    /// With defaults filled in.
    pub attrs: &'a Attrs,
    pub inputs: &'a [Option<Operand<'a, B>>],
    /// `None` for outputs that nobody wants.
    pub outputs: &'a [Option<View<'a, B>>],
}

impl<'a, B> Call<'a, B> {
    /// An input that inference has found to be there.
    pub fn input(&self, index: usize) -> Result<Operand<'a, B>, Error> {
        self.optional(index).ok_or_else(|| Error::unsupported(format!("a call without input {index}")))
    }

    pub fn optional(&self, index: usize) -> Option<Operand<'a, B>> {
        self.inputs.get(index).copied().flatten()
    }

    pub fn output(&self, index: usize) -> Result<View<'a, B>, Error> {
        let output = self.outputs.get(index).copied().flatten();
        output.ok_or_else(|| Error::unsupported(format!("a call without output {index}")))
    }
}

/// Enqueues an operator's work on the device.
pub type Launch<D> = fn(&D, &Call<'_, <D as Device>::Buffer>) -> Result<(), Error>;

/// The type of an input, as far as a choice of kernels depends on it.
#[derive(Clone, Copy, Debug)]
pub struct InputType<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub layout: Layout,
    /// Whether the call will have the host's bytes of it.
    pub on_host: bool,
}

/// Picks the launch for attributes and types of inputs.
pub type Choose<D> = fn(&Attrs, &[Option<InputType<'_>>]) -> Option<Launch<D>>;

/// The launch of an operator for such attributes and inputs; `None` when there is none.
pub fn lookup<D: Device>(
    op: OpId,
    version: u16,
    attrs: &Attrs,
    inputs: &[Option<InputType<'_>>],
) -> Option<Launch<D>> {
    let def = ops::by_id(op, version)?;
    let choose: Choose<D> = match (def.name, def.version) {
        ("Attention", 2) => contract::onnx_attention::choose,
        ("Conv", 1) => contract::conv::choose,
        ("ConvInteger", 1) => contract::conv_integer::choose,
        ("ConvTranspose", 1) => contract::conv_transpose::choose,
        ("Embedding", 1) => contract::embedding::choose,
        ("Gemm", 1) => contract::gemm::choose,
        ("MatMul", 1) => contract::matmul::choose,
        ("MatMulBlocks", 1) => contract::blocks::choose,
        ("MatMulInteger", 1) => contract::integer::choose,
        ("QLinearConv", 1) => contract::conv_integer::choose_qlinear,
        ("QLinearMatMul", 1) => contract::integer::choose_qlinear,
        ("SequenceAttention", 2) => contract::attention::choose,
        ("SequenceRotary", 1) => contract::attention::choose_rotary,
        _ => return launch::of_family(def, attrs, inputs),
    };
    choose(attrs, inputs)
}
