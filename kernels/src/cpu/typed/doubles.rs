//! f64: the operators' own formulas, one element after another.
//!
//! What is made of basic arithmetic has a loop in which the operator is a constant, so that compilers
//! vectorize it; the functions run as the reference has them, on several threads.

use repops::dtype::Element;
use repops::lane_op::{self, BinaryOp, CompareOp, LaneOp, UnaryOp};
use repops::region::PARAMS_MAX;
use repops::tensor::{TensorView, TensorViewMut};

use super::loops::{CHEAP, fold, one, three, two};
use crate::isa::Isa;

/// What a function costs, in steps of basic arithmetic.
const FUNCTION: usize = 128;

/// Evaluates the operator; `None` when this has no loop for it.
pub(super) fn evaluate(
    name: &str,
    op: LaneOp,
    isa: Isa,
    inputs: &[Option<TensorView<'_>>],
    y: &mut TensorViewMut<'_>,
) -> Option<()> {
    match (op, inputs) {
        (LaneOp::Unary(op), &[Some(x)]) => unary(isa, op, x, y),
        (LaneOp::Binary(op), _) if matches!(name, "Max" | "Min" | "Sum") => {
            let all: Vec<TensorView<'_>> = inputs.iter().copied().collect::<Option<_>>()?;
            if all.len() > PARAMS_MAX {
                return None;
            }
            match op {
                BinaryOp::Max => fold(isa, CHEAP, &all, y, f!(|a: f64, b: f64| pair(BinaryOp::Max, a, b))),
                BinaryOp::Min => fold(isa, CHEAP, &all, y, f!(|a: f64, b: f64| pair(BinaryOp::Min, a, b))),
                _ => fold(isa, CHEAP, &all, y, f!(|a: f64, b: f64| pair(BinaryOp::Add, a, b))),
            }
        }
        (LaneOp::Binary(op), &[Some(a), Some(b)]) if a.dtype == b.dtype => binary(isa, op, [a, b], y),
        (LaneOp::Compare(op), &[Some(a), Some(b)]) => compare(isa, op, [a, b], y),
        (LaneOp::Classify(op), &[Some(x)]) => {
            one(isa, CHEAP, x, y, f!(move |x: f64| u8::from(op.apply(x))));
        }
        (LaneOp::Clip, &[Some(x)] | &[Some(x), None] | &[Some(x), None, None]) => {
            y.bytes.copy_from_slice(x.bytes);
        }
        (LaneOp::Clip, &[Some(x), Some(low)] | &[Some(x), Some(low), None]) => {
            binary(isa, BinaryOp::Max, [x, low], y);
        }
        (LaneOp::Clip, &[Some(x), None, Some(high)]) => binary(isa, BinaryOp::Min, [x, high], y),
        (LaneOp::Clip, &[Some(x), Some(low), Some(high)]) => {
            let limits = f!(|x: f64, low: f64, high: f64| lane_op::clip(x, low, high).canonical());
            three(isa, CHEAP, [x, low, high], y, limits);
        }
        _ => return None,
    }
    Some(())
}

#[inline(always)]
fn pair(op: BinaryOp, a: f64, b: f64) -> f64 {
    op.apply(a, b).canonical()
}

macro_rules! constant_loops {
    ($($name:ident)*; $($binary:ident)*; $($compare:ident)*) => {
        fn unary(isa: Isa, op: UnaryOp, x: TensorView<'_>, y: &mut TensorViewMut<'_>) {
            match op {
                $(UnaryOp::$name => one(isa, CHEAP, x, y, f!(|x: f64| UnaryOp::$name.apply(x).canonical())),)*
                op => one(Isa::Portable, FUNCTION, x, y, f!(move |x: f64| op.apply(x).canonical())),
            }
        }

        fn binary(isa: Isa, op: BinaryOp, args: [TensorView<'_>; 2], y: &mut TensorViewMut<'_>) {
            match op {
                $(BinaryOp::$binary => {
                    two(isa, CHEAP, args, y, f!(|a: f64, b: f64| pair(BinaryOp::$binary, a, b)))
                })*
                op => two(Isa::Portable, FUNCTION, args, y, f!(move |a: f64, b: f64| pair(op, a, b))),
            }
        }

        fn compare(isa: Isa, op: CompareOp, args: [TensorView<'_>; 2], y: &mut TensorViewMut<'_>) {
            match op {
                $(CompareOp::$compare => {
                    let holds = f!(|a: f64, b: f64| u8::from(CompareOp::$compare.apply(a, b)));
                    two(isa, CHEAP, args, y, holds)
                })*
            }
        }
    };
}
constant_loops! {
    Abs Neg Sign Floor Ceil Round Sqrt Reciprocal Relu;
    Add Sub Mul Div Max Min PRelu;
    Equal Less LessOrEqual Greater GreaterOrEqual
}
