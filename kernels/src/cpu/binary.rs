//! The two-argument scalar functions over slices.

use repops::lane::Lane;
use repops::scalar;

use super::map::{Map2, map2};
use crate::isa::Isa;

/// A correctly rounded function of two f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryFn {
    Pow,
}

impl BinaryFn {
    /// All of them.
    pub const ALL: &[BinaryFn] = &[BinaryFn::Pow];

    /// The name of the function in `repops::scalar`.
    pub fn name(self) -> &'static str {
        match self {
            BinaryFn::Pow => "pow",
        }
    }

    /// The function of that name.
    pub fn from_name(name: &str) -> Option<BinaryFn> {
        BinaryFn::ALL.iter().copied().find(|f| f.name() == name)
    }
}

struct Pow;

impl Map2 for Pow {
    #[inline(always)]
    fn apply<L: Lane>(&self, x: L, y: L) -> L {
        scalar::pow(x, y)
    }
}

/// `dst[i] = f(left[i], right[i])`, the same bits with every `isa`.
///
/// # Panics
/// If the lengths differ or this machine lacks `isa`.
pub fn binary_f32(isa: Isa, f: BinaryFn, left: &[f32], right: &[f32], dst: &mut [f32]) {
    match f {
        BinaryFn::Pow => map2(isa, &Pow, left, right, dst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of every kind: any bits, ordinary bases and exponents, small integers, edges.
    fn pairs() -> (Vec<f32>, Vec<f32>) {
        const EDGES: [u32; 16] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            0xff80_0001,
            1,
            0x8000_0001,
            0x007f_ffff,
            0x7f7f_ffff,
            0x3f00_0000,
            0x4000_0000,
            0xc040_0000,
            0x4b80_0001,
        ];
        let mut state = 0x1234_5678_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state ^ state >> 15
        };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for x in EDGES {
            for y in EDGES {
                left.push(f32::from_bits(x));
                right.push(f32::from_bits(y));
            }
        }
        for i in 0..20_000 {
            let (x, y) = (next(), next());
            let ordinary = f32::from_bits(0x3e00_0000 + x % 0x0400_0000);
            let (x, y) = match i % 4 {
                0 => (f32::from_bits(x), f32::from_bits(y)),
                1 => (ordinary, (y % 4096) as f32 / 128.0 - 16.0),
                2 => ((x % 8192) as f32 - 4096.0, (y % 17) as f32 - 8.0),
                _ => (ordinary, f32::from_bits(0x3e00_0000 + y % 0x0400_0000)),
            };
            left.push(x);
            right.push(y);
        }
        (left, right)
    }

    fn check(isa: Isa, f: BinaryFn, reference: fn(f32, f32) -> f32, left: &[f32], right: &[f32]) {
        let mut dst = vec![0.0; left.len()];
        binary_f32(isa, f, left, right, &mut dst);
        for ((&x, &y), &z) in left.iter().zip(right).zip(&dst) {
            let want = reference(x, y);
            assert!(
                z.to_bits() == want.to_bits(),
                "{} with {} of {x:e}, {y:e}: {z:e}, expected {want:e}",
                f.name(),
                isa.name()
            );
        }
    }

    #[test]
    fn every_isa_gives_the_bits_of_the_reference() {
        let (left, right) = pairs();
        assert_eq!(scalar::FUNCTIONS_2.len(), BinaryFn::ALL.len());
        for entry in scalar::FUNCTIONS_2 {
            let f = BinaryFn::from_name(entry.name).expect("a kernel for every scalar function");
            for isa in Isa::available() {
                check(isa, f, entry.f32, &left, &right);
                for length in 0..=67 {
                    check(isa, f, entry.f32, &left[1000..1000 + length], &right[1000..1000 + length]);
                }
            }
        }
    }
}
