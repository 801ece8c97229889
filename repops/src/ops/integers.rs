//! The integer side of element-wise rows.
//!
//! Invariant: results wrap modulo 2^width; division by zero is a fault, never a panic.

use super::elementwise::{by_int, map1, try_map2};
use super::{Fault, OpError};
use crate::dtype::Element;
use crate::tensor::{Tensor, TensorView};

/// Functions of one integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IntUnary {
    /// The least signed integer stays itself.
    Abs,
    Neg,
    /// -1, 0 or 1.
    Sign,
    Relu,
    Not,
}

/// Functions of two integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IntBinary {
    Add,
    Sub,
    Mul,
    /// Toward zero.
    Div,
    /// The remainder with the divisor's sign.
    Mod,
    /// The remainder with the dividend's sign.
    Rem,
    Max,
    Min,
    And,
    Or,
    Xor,
    /// Zeros come in, ones from the left of a negative number; counts of the width and above shift all bits out.
    ShiftLeft,
    ShiftRight,
    /// The first if it is not negative, else first * second.
    PRelu,
}

/// The arithmetic of an integer type.
pub(super) trait Int: Element + Ord {
    const ZERO: Self;
    fn unary(op: IntUnary, x: Self) -> Self;
    fn binary(op: IntBinary, a: Self, b: Self) -> Result<Self, Fault>;
}

macro_rules! ints {
    ($($t:ty),*) => { $(impl Int for $t {
        const ZERO: $t = 0;

        fn unary(op: IntUnary, x: $t) -> $t {
            match op {
                IntUnary::Abs if x < Self::ZERO => x.wrapping_neg(),
                IntUnary::Abs => x,
                IntUnary::Neg => x.wrapping_neg(),
                IntUnary::Sign if x < Self::ZERO => (0 as $t).wrapping_sub(1),
                IntUnary::Sign => x.min(1),
                IntUnary::Relu => x.max(0),
                IntUnary::Not => !x,
            }
        }

        fn binary(op: IntBinary, a: $t, b: $t) -> Result<$t, Fault> {
            let divides = matches!(op, IntBinary::Div | IntBinary::Mod | IntBinary::Rem);
            if divides && b == 0 {
                return Err(Fault::DivisionByZero);
            }
            let count = u32::try_from(b).unwrap_or(u32::MAX);
            Ok(match op {
                IntBinary::Add => a.wrapping_add(b),
                IntBinary::Sub => a.wrapping_sub(b),
                IntBinary::Mul => a.wrapping_mul(b),
                IntBinary::Div => a.wrapping_div(b),
                IntBinary::Rem => a.wrapping_rem(b),
                IntBinary::Mod => {
                    let rest = a.wrapping_rem(b);
                    let signs_differ = (rest < Self::ZERO) != (b < Self::ZERO);
                    if rest != 0 && signs_differ { rest.wrapping_add(b) } else { rest }
                }
                IntBinary::Max => a.max(b),
                IntBinary::Min => a.min(b),
                IntBinary::And => a & b,
                IntBinary::Or => a | b,
                IntBinary::Xor => a ^ b,
                IntBinary::ShiftLeft => a.checked_shl(count).unwrap_or(0),
                IntBinary::ShiftRight => a.checked_shr(count).unwrap_or(if a < Self::ZERO { !0 } else { 0 }),
                IntBinary::PRelu => if a < Self::ZERO { a.wrapping_mul(b) } else { a },
            })
        }
    })* };
}
ints!(u8, i8, u16, i16, u32, i32, u64, i64);

impl IntUnary {
    /// The function of every element.
    pub fn eval(self, x: TensorView<'_>) -> Result<Tensor, OpError> {
        by_int!(x.dtype, T => map1(x.dtype, x, |v: T| T::unary(self, v)))
    }
}

impl IntBinary {
    /// The function over the broadcast of both.
    pub fn eval(self, a: TensorView<'_>, b: TensorView<'_>) -> Result<Tensor, OpError> {
        by_int!(a.dtype, T => try_map2(a.dtype, a, b, |a: T, b: T| T::binary(self, a, b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_wrap() {
        assert_eq!(i8::unary(IntUnary::Abs, -128), -128);
        assert_eq!(i64::unary(IntUnary::Neg, i64::MIN), i64::MIN);
        assert_eq!(i32::binary(IntBinary::Div, i32::MIN, -1), Ok(i32::MIN));
        assert_eq!(i32::binary(IntBinary::Rem, i32::MIN, -1), Ok(0));
        assert_eq!(u8::binary(IntBinary::Sub, 3, 5), Ok(254));
    }

    #[test]
    fn remainders() {
        for (a, b, modulo, rem) in
            [(7, 3, 1, 1), (-7, 3, 2, -1), (7, -3, -2, 1), (-7, -3, -1, -1), (6, -3, 0, 0)]
        {
            assert_eq!(i32::binary(IntBinary::Mod, a, b), Ok(modulo));
            assert_eq!(i32::binary(IntBinary::Rem, a, b), Ok(rem));
        }
        assert_eq!(u16::binary(IntBinary::Mod, 7, 0), Err(Fault::DivisionByZero));
    }

    #[test]
    fn shifts_past_the_width_give_zero() {
        assert_eq!(u8::binary(IntBinary::ShiftLeft, 0xff, 7), Ok(0x80));
        assert_eq!(u8::binary(IntBinary::ShiftLeft, 0xff, 8), Ok(0));
        assert_eq!(u64::binary(IntBinary::ShiftRight, u64::MAX, 1 << 40), Ok(0));
    }

    #[test]
    fn signs() {
        assert_eq!([-5i8, 0, 9].map(|v| i8::unary(IntUnary::Sign, v)), [-1, 0, 1]);
        assert_eq!([0u8, 9].map(|v| u8::unary(IntUnary::Sign, v)), [0, 1]);
        assert_eq!(i16::unary(IntUnary::Relu, -3), 0);
    }
}
