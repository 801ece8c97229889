//! Polynomials and repairs: the two shapes that every scalar function shares.

use crate::lane::{FloatLane, IntLane, Lane};

/// `c[0] + x (c[1] + x (c[2] + ...))`, one fma per coefficient, innermost first.
#[inline(always)]
pub fn horner<W: FloatLane<Scalar = f64>, const N: usize>(x: W, c: &[f64; N]) -> W {
    let mut sum = W::splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = sum.fma(x, W::splat(c[i]));
    }
    sum
}

/// Replaces `y` where the bits of `x` are one of the listed inputs by the listed result.
///
/// The lists are the inputs that round wrongly after an otherwise sufficient evaluation; they
/// come from `cargo xtask prove`, which evaluates every input.
#[inline(always)]
pub fn repaired<L: Lane, const N: usize>(x: L, mut y: L, cases: &[(u32, u32); N]) -> L {
    for &(input, result) in cases {
        let hit = x.to_bits().equal(L::Bits::splat(input));
        y = L::select(hit, L::from_bits(L::Bits::splat(result)), y);
    }
    y
}
