//! The operator table: the only list of operators.
//!
//! One file per operator holds its row ([`OpDef`]): meaning, attributes, inference, reference
//! evaluation. Names, encodings, the documentation table and the conformance suites derive from it.
//! Invariant: ids are append-only and an operator's meaning never changes under the same id and
//! version, because traces and receipts contain both.

mod abs;
mod acos;
mod add;
mod affine_grid;
mod and;
mod arg_max;
mod asin;
mod atan;
mod attention;
mod batch_normalization;
mod bit_cast;
mod bit_shift;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod cast;
mod cast_like;
mod cast_string;
mod ceil;
mod celu;
mod center_crop_pad;
#[cfg(test)]
mod check;
mod clip;
mod col2im;
mod compress;
mod concat;
mod constant_of_shape;
mod control;
mod conv;
mod conv_integer;
pub mod conv_transpose;
mod convert;
mod cos;
mod cosh;
mod cum_sum;
mod deform_conv;
mod depth_to_space;
mod dequantize_linear;
mod det;
pub mod dispute;
mod div;
mod dynamic_quantize_linear;
mod einsum;
mod elementwise;
mod elu;
mod equal;
mod erf;
mod exp;
mod expand;
mod eye_like;
mod flatten;
mod float;
mod floor;
mod fourier;
mod gather;
mod gather_elements;
mod gather_nd;
mod gelu;
mod gemm;
mod global_pool;
mod greater;
mod greater_or_equal;
mod grid_sample;
mod hard_sigmoid;
mod hard_swish;
mod identity;
mod image_decoder;
pub mod infer;
mod instance_normalization;
mod integers;
mod inverse_hyperbolic;
mod is_inf;
mod is_nan;
mod label_encoder;
mod layer_normalization;
mod leaky_relu;
mod less;
mod less_or_equal;
mod linear_attention;
mod log;
mod lp_normalization;
mod lrn;
mod matmul;
mod matmul_blocks;
mod matmul_integer;
mod max;
mod max_unpool;
mod mean;
mod min;
mod mish;
mod modulo;
mod mul;
mod neg;
mod negative_log_likelihood_loss;
mod non_max_suppression;
mod non_zero;
mod not;
mod one_hot;
mod optional;
mod or;
mod pad;
mod pool;
mod pow;
mod prelu;
mod quantize;
mod quantize_linear;
mod random;
mod range;
mod reciprocal;
mod recurrent;
mod reduce_max;
mod reduce_sum;
mod regex_full_match;
mod region;
mod relu;
mod reshape;
pub mod resize;
mod reverse_sequence;
mod roi;
mod rotary_embedding;
mod round;
mod rows;
mod scatter;
mod scatter_elements;
mod scatter_nd;
mod selu;
mod sequence;
mod sequences;
mod shape;
mod shrink;
mod sigmoid;
mod sign;
mod signal_window;
mod sin;
mod sinh;
mod size;
mod slice;
pub(crate) mod softmax;
mod softplus;
mod softsign;
mod space_to_depth;
mod split;
mod sqrt;
mod squeeze;
mod string_concat;
mod string_normalizer;
mod string_split;
pub(crate) mod strings;
mod sub;
mod sum;
mod swish;
mod symbolic;
mod table;
mod tan;
mod tanh;
mod tensor_scatter;
#[cfg(test)]
pub(crate) mod testing;
mod tf_idf_vectorizer;
mod thresholded_relu;
mod tile;
mod top_k;
mod transpose;
mod tree_ensemble;
mod trilu;
mod unique;
mod unsqueeze;
mod walk;
mod where_;
pub mod window;
mod xor;

pub use control::{IF, LOOP, SCAN};
pub use infer::{InferCtx, InferInput, Inferred, SymTensor, SymType};
pub use region::{PRODUCT_REGION, REGION};
pub use table::{all, by_id, by_name};

use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dtype::DType;
use crate::lane_op::LaneOp;
use crate::tensor::{Tensor, TensorError, TensorView};

/// The number of an operator, as traces and programs hold it.
pub type OpId = u16;

/// One row of the operator table.
pub struct OpDef {
    pub id: OpId,
    /// ONNX's name where the meaning is ONNX's.
    pub name: &'static str,
    pub version: u16,
    /// What it computes, in which order, with shapes, dtypes and source.
    pub doc: &'static str,
    /// How many inputs it takes; those past `min` may be absent.
    pub inputs: Arity,
    pub outputs: Arity,
    pub attrs: &'static [AttrDef],
    pub class: OpClass,
    /// Types, and where they are cheap integer values, of the outputs; checks everything that can be
    /// checked from types, so that `eval` and kernels need not.
    pub infer: fn(&InferCtx<'_>) -> Result<Vec<Inferred>, OpError>,
    /// The reference evaluation. Called after `infer` succeeded on the same inputs.
    pub eval: fn(&EvalCtx<'_>) -> Result<Vec<Tensor>, OpError>,
}

/// The least and most inputs or outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arity {
    pub min: usize,
    pub max: usize,
}

impl Arity {
    pub const fn exactly(n: usize) -> Arity {
        Arity { min: n, max: n }
    }

    pub const fn between(min: usize, max: usize) -> Arity {
        Arity { min, max }
    }

    /// `min` or more.
    pub const fn at_least(min: usize) -> Arity {
        Arity { min, max: VARIADIC_MAX }
    }
}

/// The most inputs or outputs of a variadic operator.
pub const VARIADIC_MAX: usize = 4096;

/// What compilers and runtimes may know of an operator without knowing which it is.
#[derive(Clone, Copy)]
pub enum OpClass {
    /// Element by element with ONNX (numpy) broadcasting. With a [`LaneOp`] it may join a region.
    Elementwise(Option<fn(&Attrs) -> LaneOp>),
    /// Output 0 has the bytes of input 0, under another shape.
    View,
    /// Elements are moved, none is computed.
    Movement,
    Contraction,
    Reduction,
    /// Anything else that computes: sorting, windows, recurrences ...
    General,
    /// Holds blocks; the executor runs it, `eval` is never called.
    Control,
}

/// A declared attribute.
pub struct AttrDef {
    pub name: &'static str,
    pub kind: AttrKind,
    pub presence: Presence,
    pub doc: &'static str,
}

/// Whether an attribute must be there.
pub enum Presence {
    Required,
    /// May be absent, which means something of its own.
    Optional,
    /// Filled in when absent, so that programs always hold it.
    Default(fn() -> AttrValue),
}

impl AttrDef {
    pub const fn required(name: &'static str, kind: AttrKind, doc: &'static str) -> AttrDef {
        AttrDef { name, kind, presence: Presence::Required, doc }
    }

    pub const fn optional(name: &'static str, kind: AttrKind, doc: &'static str) -> AttrDef {
        AttrDef { name, kind, presence: Presence::Optional, doc }
    }

    pub const fn default(
        name: &'static str,
        kind: AttrKind,
        value: fn() -> AttrValue,
        doc: &'static str,
    ) -> AttrDef {
        AttrDef { name, kind, presence: Presence::Default(value), doc }
    }
}

/// What the reference evaluation sees.
pub struct EvalCtx<'a> {
    pub attrs: &'a Attrs,
    pub inputs: &'a [Option<TensorView<'a>>],
    /// The number of outputs that the step declares.
    pub outputs: usize,
}

impl<'a> EvalCtx<'a> {
    /// A required input; `infer` has checked that it is there.
    pub fn input(&self, index: usize) -> TensorView<'a> {
        self.inputs[index].expect("inference demanded this input")
    }

    pub fn optional(&self, index: usize) -> Option<TensorView<'a>> {
        self.inputs.get(index).copied().flatten()
    }
}

/// Why an operator cannot be inferred or evaluated. Callers add the node's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    #[error("takes {expected} inputs, found {found}")]
    InputCount { expected: String, found: usize },
    #[error("has {expected} outputs, found {found}")]
    OutputCount { expected: String, found: usize },
    #[error("input {index} is missing")]
    MissingInput { index: usize },
    #[error("input {index} is {found}; {expected} is needed")]
    DType { index: usize, found: DType, expected: &'static str },
    #[error("shapes do not fit: {0}")]
    Shape(String),
    #[error("attribute {name}: {problem}")]
    Attr { name: String, problem: String },
    /// The value of this input must be known before shapes can be: constant, or computed from shapes.
    /// At run time it is, so there this never ends a run.
    #[error("the value of input {index} is not known yet")]
    ValueUnknown { index: usize },
    #[error("{0}")]
    Unsupported(String),
    /// More than the caller allows, who may allow more.
    #[error("needs more than the {limit} {what} that are allowed")]
    Limit { what: &'static str, limit: u64 },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Packed(#[from] crate::packed::PackedError),
    /// A fault that depends on data; it is recorded in the trace.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl OpError {
    /// Shapes that do not fit, with what was found.
    pub fn shape(problem: impl Into<String>) -> OpError {
        OpError::Shape(problem.into())
    }

    pub fn attr(name: &str, problem: impl Into<String>) -> OpError {
        OpError::Attr { name: name.to_string(), problem: problem.into() }
    }
}

/// A fault that data cause. The number is part of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
pub enum Fault {
    #[error("integer division by zero")]
    DivisionByZero = 1,
    #[error("an index is out of range")]
    IndexOutOfRange = 2,
    #[error("a size computed from data is negative or too large")]
    BadSize = 3,
    #[error("a shape computed from data does not fit")]
    BadShape = 4,
    #[error("a loop or output grew past its limit")]
    LimitExceeded = 5,
}

impl Fault {
    pub const ALL: [Fault; 5] = [
        Fault::DivisionByZero,
        Fault::IndexOutOfRange,
        Fault::BadSize,
        Fault::BadShape,
        Fault::LimitExceeded,
    ];

    /// The fault with this number.
    pub fn from_code(code: u32) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| *fault as u32 == code)
    }
}

impl OpDef {
    /// Checks attributes against the row and fills in defaults.
    pub fn check_attrs(&self, attrs: &Attrs) -> Result<Attrs, OpError> {
        let mut out = attrs.clone();
        for (name, value) in attrs.iter() {
            let def = self.attrs.iter().find(|def| def.name == name);
            let def =
                def.ok_or_else(|| OpError::attr(name, format!("{} has no such attribute", self.name)))?;
            if def.kind != value.kind() {
                return Err(OpError::attr(name, format!("is {:?}; {:?} is needed", value.kind(), def.kind)));
            }
        }
        for def in self.attrs {
            match (&def.presence, attrs.get(def.name)) {
                (Presence::Required, None) => return Err(OpError::attr(def.name, "is missing")),
                (Presence::Default(value), None) => out.insert(def.name, value()),
                _ => {}
            }
        }
        Ok(out)
    }

    /// Checks the number of inputs and outputs and which inputs are absent.
    pub fn check_arity(&self, present: &[bool], outputs: usize) -> Result<(), OpError> {
        let Arity { min, max } = self.inputs;
        let expected = || if min == max { min.to_string() } else { format!("{min} to {max}") };
        if present.len() < min || present.len() > max {
            return Err(OpError::InputCount { expected: expected(), found: present.len() });
        }
        if let Some(index) = present.iter().take(min).position(|p| !p) {
            return Err(OpError::MissingInput { index });
        }
        let Arity { min, max } = self.outputs;
        if outputs < min || outputs > max {
            return Err(OpError::OutputCount { expected: format!("{min} to {max}"), found: outputs });
        }
        Ok(())
    }

    /// Arity check and inference in one: what everyone calls.
    pub fn infer(&self, ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
        let present: Vec<bool> = ctx.inputs.iter().map(Option::is_some).collect();
        self.check_arity(&present, ctx.outputs)?;
        let takes_packed = ctx.inputs.iter().flatten().any(|input| input.ty.dtype == DType::Packed);
        let inferred = if takes_packed { strings::infer(self, ctx)? } else { (self.infer)(ctx)? };
        debug_assert!(inferred.len() >= ctx.outputs, "{} infers every declared output", self.name);
        Ok(inferred.into_iter().take(ctx.outputs).collect())
    }

    /// The reference evaluation, also on strings. Called after [`OpDef::infer`] succeeded on the same inputs.
    pub fn evaluate(&self, ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
        let takes_packed = ctx.inputs.iter().flatten().any(|input| input.dtype == DType::Packed);
        if takes_packed { strings::evaluate(self, ctx) } else { (self.eval)(ctx) }
    }
}

/// The reference evaluation of an operator of class `View`: input 0 under the shape that inference
/// finds with all inputs known.
pub(crate) fn eval_view(def: &OpDef, ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let inferred = infer_known(def, ctx.attrs, ctx.inputs, 1)?;
    let shape = inferred[0].ty.extents().ok_or(OpError::Fault(Fault::BadShape))?;
    Ok(vec![ctx.input(0).to_tensor()?.reshaped(&shape)])
}

/// Inference with every input's value at hand.
pub fn infer_known(
    def: &OpDef,
    attrs: &Attrs,
    inputs: &[Option<TensorView<'_>>],
    outputs: usize,
) -> Result<Vec<Inferred>, OpError> {
    let types: Vec<Option<SymType>> =
        inputs.iter().map(|t| t.map(|t| SymType::of(t.dtype, t.shape))).collect();
    let known: Vec<Option<InferInput<'_>>> = inputs
        .iter()
        .zip(&types)
        .map(|(tensor, ty)| ty.as_ref().map(|ty| InferInput { ty, tensor: *tensor, sym: None }))
        .collect();
    def.infer(&InferCtx { attrs, inputs: &known, outputs, fresh: &std::cell::Cell::new(0) })
}
