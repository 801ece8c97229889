//! Element-wise operators as functions of lanes: what a region's instruction computes.
//!
//! One enum for each signature, so that kernels choose a loop once and the lanes run without branches.
//! Invariant: `apply` is the operator's meaning on f32 (f16 and bf16 through f32); the operator's own
//! file documents it.

use crate::dtype::DType;

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
    /// bool, f32, f32 -> f32
    Where,
    /// bool -> f32: 0 or 1
    BoolToF32,
    /// f32, f32, f32 -> f32: the first limited to the second at least, then to the third at most
    Clip,
}

/// One-argument functions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum UnaryOp {
    Abs,
    Neg,
    Relu,
    Sqrt,
    Exp,
}

/// Two-argument functions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
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
            LaneOp::Clip => (&[F32, F32, F32], F32),
        };
        (args == expected).then_some(result)
    }
}
