//! Element-wise operators as functions of lanes: what a region's instruction computes.
//!
//! One enum for each signature, so that kernels choose a loop once and the lanes run without branches.
//! Invariant: `apply` is the operator's meaning on f32 (f16 and bf16 through f32) and on f64; the
//! operator's own file documents it. A NaN result may have any payload: whoever stores it makes it
//! canonical.

pub mod arithmetic;
pub mod compose;
mod math;

pub use math::{Math, Real};

use crate::dtype::DType;
use crate::lane::{FloatLane, MaskLane};

/// An element-wise operator with its attributes resolved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LaneOp {
    /// f32 -> f32
    Unary(UnaryOp),
    /// f32, f32 -> f32
    Binary(BinaryOp),
    /// f32, f32 -> bool
    Compare(CompareOp),
    /// f32 -> bool
    Classify(ClassifyOp),
    /// bool, bool -> bool
    Logic(LogicOp),
    /// bool -> bool
    Not,
    /// bool, f32, f32 -> f32: [`where_`]
    Where,
    /// bool -> f32: [`bool_to_float`]
    BoolToF32,
    /// f32 -> bool: [`float_to_bool`]
    F32ToBool,
    /// f32, f32, f32 -> f32: the first limited to the second at least, then to the third at most
    Clip,
    /// With these attributes the operator joins no region.
    Unfusable,
}

/// One-argument functions. The composite ones are in [`compose`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum UnaryOp {
    Abs,
    Neg,
    Sign,
    Floor,
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    Sqrt,
    Reciprocal,
    Exp,
    Log,
    Erf,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Relu,
    LeakyRelu {
        alpha: f32,
    },
    ThresholdedRelu {
        alpha: f32,
    },
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Shrink {
        lambd: f32,
        bias: f32,
    },
    Softsign,
    Sigmoid,
    /// x * sigmoid(alpha * x)
    Swish {
        alpha: f32,
    },
    Softplus,
    Mish,
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu {
        alpha: f32,
    },
    /// By erf.
    Gelu,
    /// By tanh.
    GeluTanh,
}

/// Two-argument functions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    /// IEEE 754-2019 maximum: NaN if either is, +0 above -0.
    Max,
    /// IEEE 754-2019 minimum.
    Min,
    /// The first to the power of the second.
    Pow,
    /// The first if it is not below 0, else second * first.
    PRelu,
}

/// Comparisons; false when either side is NaN.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CompareOp {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Tests of one number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ClassifyOp {
    IsNaN,
    /// Infinite, of the signs asked for.
    IsInf {
        negative: bool,
        positive: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LogicOp {
    And,
    Or,
    Xor,
}

impl LaneOp {
    /// The result's type for arguments of these types, if the operator takes them.
    pub fn signature(self, args: &[DType]) -> Option<DType> {
        use DType::{Bool, F32};
        let (expected, result): (&[DType], DType) = match self {
            LaneOp::Unary(_) => (&[F32], F32),
            LaneOp::Binary(_) => (&[F32, F32], F32),
            LaneOp::Compare(_) => (&[F32, F32], Bool),
            LaneOp::Classify(_) => (&[F32], Bool),
            LaneOp::Logic(_) => (&[Bool, Bool], Bool),
            LaneOp::Not => (&[Bool], Bool),
            LaneOp::Where => (&[Bool, F32, F32], F32),
            LaneOp::BoolToF32 => (&[Bool], F32),
            LaneOp::F32ToBool => (&[F32], Bool),
            LaneOp::Clip => (&[F32, F32, F32], F32),
            LaneOp::Unfusable => return None,
        };
        (args == expected).then_some(result)
    }
}

impl UnaryOp {
    /// The function on lanes. The match is on the operator alone: with a constant operator nothing of it
    /// remains.
    #[inline(always)]
    pub fn apply<M: Math>(self, x: M) -> M {
        match self {
            UnaryOp::Exp => x.exp(),
            UnaryOp::Log => x.log(),
            UnaryOp::Erf => x.erf(),
            UnaryOp::Sin => x.sin(),
            UnaryOp::Cos => x.cos(),
            UnaryOp::Tan => x.tan(),
            UnaryOp::Asin => x.asin(),
            UnaryOp::Acos => x.acos(),
            UnaryOp::Atan => x.atan(),
            UnaryOp::Sinh => x.sinh(),
            UnaryOp::Cosh => x.cosh(),
            UnaryOp::Tanh => x.tanh(),
            UnaryOp::Sigmoid => compose::sigmoid(x),
            UnaryOp::Swish { alpha } => compose::swish(x, alpha),
            UnaryOp::Softplus => compose::softplus(x),
            UnaryOp::Mish => compose::mish(x),
            UnaryOp::Elu { alpha } => compose::elu(x, alpha),
            UnaryOp::Selu { alpha, gamma } => compose::selu(x, alpha, gamma),
            UnaryOp::Celu { alpha } => compose::celu(x, alpha),
            UnaryOp::Gelu => compose::gelu(x),
            UnaryOp::GeluTanh => compose::gelu_tanh(x),
            exact => exact.arithmetic(x).unwrap_or(x),
        }
    }

    /// The function, when it is made of basic arithmetic alone: kernels make loops of these that the
    /// compiler can vectorize by itself.
    #[inline(always)]
    pub fn arithmetic<R: Real>(self, x: R) -> Option<R> {
        Some(match self {
            UnaryOp::Abs => x.abs(),
            UnaryOp::Neg => x.neg(),
            UnaryOp::Sign => arithmetic::sign(x),
            UnaryOp::Floor => arithmetic::floor(x),
            UnaryOp::Ceil => arithmetic::ceil(x),
            UnaryOp::Round => arithmetic::round(x),
            UnaryOp::Sqrt => x.sqrt(),
            UnaryOp::Reciprocal => R::constant(1.0).div(x),
            UnaryOp::Relu => arithmetic::relu(x),
            UnaryOp::LeakyRelu { alpha } => arithmetic::leaky_relu(x, alpha),
            UnaryOp::ThresholdedRelu { alpha } => arithmetic::thresholded_relu(x, alpha),
            UnaryOp::HardSigmoid { alpha, beta } => {
                arithmetic::hard_sigmoid(x, f64::from(alpha), f64::from(beta))
            }
            UnaryOp::HardSwish => arithmetic::hard_swish(x),
            UnaryOp::Shrink { lambd, bias } => arithmetic::shrink(x, lambd, bias),
            UnaryOp::Softsign => arithmetic::softsign(x),
            _ => return None,
        })
    }
}

impl BinaryOp {
    /// The function on lanes.
    #[inline(always)]
    pub fn apply<M: Math>(self, a: M, b: M) -> M {
        match self {
            BinaryOp::Add => a.add(b),
            BinaryOp::Sub => a.sub(b),
            BinaryOp::Mul => a.mul(b),
            BinaryOp::Div => a.div(b),
            BinaryOp::Max => arithmetic::maximum(a, b),
            BinaryOp::Min => arithmetic::minimum(a, b),
            BinaryOp::Pow => a.pow(b),
            BinaryOp::PRelu => M::select(a.less(M::constant(0.0)), b.mul(a), a),
        }
    }
}

impl CompareOp {
    /// The comparison as a mask.
    #[inline(always)]
    pub fn apply<F: FloatLane>(self, a: F, b: F) -> F::Mask {
        match self {
            CompareOp::Equal => a.equal(b),
            CompareOp::Less => a.less(b),
            CompareOp::LessOrEqual => a.less_equal(b),
            CompareOp::Greater => b.less(a),
            CompareOp::GreaterOrEqual => b.less_equal(a),
        }
    }
}

impl ClassifyOp {
    /// The test as a mask.
    #[inline(always)]
    pub fn apply<R: Real>(self, x: R) -> R::Mask {
        let is_nan = x.equal(x).not();
        match self {
            ClassifyOp::IsNaN => is_nan,
            ClassifyOp::IsInf { negative: true, positive: true } => x.abs().equal(R::constant(f64::INFINITY)),
            ClassifyOp::IsInf { negative: true, positive: false } => x.equal(R::constant(f64::NEG_INFINITY)),
            ClassifyOp::IsInf { negative: false, positive: true } => x.equal(R::constant(f64::INFINITY)),
            ClassifyOp::IsInf { negative: false, positive: false } => is_nan.and(is_nan.not()),
        }
    }
}

impl LogicOp {
    /// The operator on masks.
    #[inline(always)]
    pub fn apply<M: MaskLane>(self, a: M, b: M) -> M {
        match self {
            LogicOp::And => a.and(b),
            LogicOp::Or => a.or(b),
            LogicOp::Xor => a.or(b).and(a.and(b).not()),
        }
    }
}

/// `a` where the mask is set, else `b`.
#[inline(always)]
pub fn where_<F: FloatLane>(mask: F::Mask, a: F, b: F) -> F {
    F::select(mask, a, b)
}

/// 1 where the mask is set, else +0.
#[inline(always)]
pub fn bool_to_float<R: Real>(mask: R::Mask) -> R {
    R::select(mask, R::constant(1.0), R::constant(0.0))
}

/// Whether the number is other than 0: true for NaN.
#[inline(always)]
pub fn float_to_bool<R: Real>(x: R) -> R::Mask {
    x.equal(R::constant(0.0)).not()
}

/// `minimum(maximum(x, low), high)`.
#[inline(always)]
pub fn clip<R: Real>(x: R, low: R, high: R) -> R {
    arithmetic::minimum(arithmetic::maximum(x, low), high)
}
