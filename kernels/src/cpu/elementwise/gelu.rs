//! Gelu as models spell it out: five steps of a region, `x / sqrt 2`, erf, `1 +` and two products, which are one loop.
//!
//! Invariant: the loop rounds where the steps do. Where the half meets `1 + erf` nothing is rounded there, for the sum is a
//! multiple of 2^-24 that is at most 2: then, as where it meets `x`, the steps are those of the operator Gelu, all the more
//! as of an `x` so small that its half is rounded the sum is 1. (`all_inputs_of_gelu` compares every input.)

use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp, UnaryOp};
use repops::region::RegionArg;

/// Five steps that are Gelu if three parameters are the numbers that they are meant to be.
#[derive(Debug, PartialEq)]
pub(super) struct Spelled {
    /// The first of the steps.
    pub first: usize,
    /// The value that it is of.
    pub x: usize,
    /// The parameters that should be the square root of 2, 1 and 0.5.
    numbers: [usize; 3],
    /// Whether the half is multiplied last.
    pub half_last: bool,
}

/// Steps of a [`Spelled`].
pub(super) const STEPS: usize = 5;

impl Spelled {
    /// What may be Gelu among the steps of a region of `count` parameters: operators with the values that they read.
    pub fn find(count: usize, ops: &[(LaneOp, Vec<usize>, DType)], results: &[usize]) -> Vec<Spelled> {
        (0..ops.len()).filter_map(|first| Spelled::at(first, count, ops, results)).collect()
    }

    fn at(
        first: usize,
        count: usize,
        ops: &[(LaneOp, Vec<usize>, DType)],
        results: &[usize],
    ) -> Option<Spelled> {
        let steps = ops.get(first..first + STEPS)?;
        let value = |step: usize| count + first + step;
        // What a step reads beside a value.
        let other = |step: usize, op: BinaryOp, value: usize| match (steps[step].0, &steps[step].1[..]) {
            (LaneOp::Binary(own), &[a, b]) if own == op && a == value => Some(b),
            (LaneOp::Binary(own), &[a, b]) if own == op && b == value => Some(a),
            _ => None,
        };
        let (LaneOp::Binary(BinaryOp::Div), &[x, divisor]) = (steps[0].0, &steps[0].1[..]) else {
            return None;
        };
        let is_erf = matches!(steps[1].0, LaneOp::Unary(UnaryOp::Erf)) && steps[1].1 == [value(0)];
        let one = other(2, BinaryOp::Add, value(1)).filter(|_| is_erf)?;
        let (half, half_last) = if other(3, BinaryOp::Mul, value(2)) == Some(x) {
            (other(4, BinaryOp::Mul, value(3))?, true)
        } else if other(4, BinaryOp::Mul, value(3)) == Some(x) {
            (other(3, BinaryOp::Mul, value(2))?, false)
        } else {
            let half = other(3, BinaryOp::Mul, x)?;
            other(4, BinaryOp::Mul, value(2)).filter(|&product| product == value(3))?;
            (half, false)
        };
        let numbers = [divisor, one, half];
        // Nothing else may need what is not stored.
        let inner = value(0)..value(STEPS - 1);
        let is_inner = |at: &usize| inner.contains(at);
        let mut outside = ops[..first].iter().chain(&ops[first + STEPS..]).flat_map(|(_, args, _)| args);
        let is_own = !outside.any(is_inner) && !results.iter().any(is_inner);
        let are_numbers = numbers.iter().all(|&number| number < count && number != x);
        (is_own && are_numbers).then_some(Spelled { first, x, numbers, half_last })
    }

    /// Whether it is Gelu with these arguments.
    pub fn is_gelu(&self, args: &[RegionArg<'_>]) -> bool {
        let is = |number: usize, expected: f32| matches!(args[number], RegionArg::Splat(bytes) if bytes == expected.to_le_bytes());
        let [divisor, one, half] = self.numbers;
        is(divisor, std::f32::consts::SQRT_2) && is(one, 1.0) && is(half, 0.5)
    }
}
