//! Two registers that act as one: the f64 lanes of a register of f32.

use repops::lane::{FloatLane, IntLane, Lane64, MaskLane};

/// The lower and the upper half.
#[derive(Clone, Copy)]
pub(crate) struct Pair<H>(pub H, pub H);

/// Methods that act on both halves alike.
macro_rules! both {
    ($($name:ident($($arg:ident),*) -> $out:ty;)*) => {$(
        #[inline(always)]
        fn $name(self $(, $arg: Self)*) -> $out {
            Pair(self.0.$name($($arg.0),*), self.1.$name($($arg.1),*))
        }
    )*};
}

impl<H: MaskLane> MaskLane for Pair<H> {
    both! {
        and(other) -> Self;
        or(other) -> Self;
        not() -> Self;
    }
}

impl<H: IntLane> IntLane for Pair<H> {
    type Word = H::Word;
    type Mask = Pair<H::Mask>;
    #[inline(always)]
    fn splat(word: H::Word) -> Self {
        Pair(H::splat(word), H::splat(word))
    }
    both! {
        add(other) -> Self;
        sub(other) -> Self;
        and(other) -> Self;
        or(other) -> Self;
        xor(other) -> Self;
        equal(other) -> Pair<H::Mask>;
    }
    #[inline(always)]
    fn shl(self, count: u32) -> Self {
        Pair(self.0.shl(count), self.1.shl(count))
    }
    #[inline(always)]
    fn shr(self, count: u32) -> Self {
        Pair(self.0.shr(count), self.1.shr(count))
    }
    #[inline(always)]
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self {
        Pair(H::select(mask.0, if_true.0, if_false.0), H::select(mask.1, if_true.1, if_false.1))
    }
}

impl<H: FloatLane> FloatLane for Pair<H> {
    type Scalar = H::Scalar;
    type Mask = Pair<H::Mask>;
    type Bits = Pair<H::Bits>;
    #[inline(always)]
    fn splat(scalar: H::Scalar) -> Self {
        Pair(H::splat(scalar), H::splat(scalar))
    }
    both! {
        add(other) -> Self;
        sub(other) -> Self;
        mul(other) -> Self;
        div(other) -> Self;
        fma(factor, addend) -> Self;
        sqrt() -> Self;
        neg() -> Self;
        abs() -> Self;
        copysign(sign) -> Self;
        equal(other) -> Pair<H::Mask>;
        less(other) -> Pair<H::Mask>;
        less_equal(other) -> Pair<H::Mask>;
        to_bits() -> Pair<H::Bits>;
    }
    #[inline(always)]
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self {
        Pair(H::select(mask.0, if_true.0, if_false.0), H::select(mask.1, if_true.1, if_false.1))
    }
    #[inline(always)]
    fn from_bits(bits: Self::Bits) -> Self {
        Pair(H::from_bits(bits.0), H::from_bits(bits.1))
    }
}

impl<H: Lane64> Lane64 for Pair<H> {
    #[inline(always)]
    fn lookup<const N: usize>(table: &'static [f64; N], index: Self::Bits) -> Self {
        Pair(H::lookup(table, index.0), H::lookup(table, index.1))
    }
}
