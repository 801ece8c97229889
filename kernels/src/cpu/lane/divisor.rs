//! Many divisions by one number.
//!
//! Invariant: the quotients are those of division, bit for bit. A quotient that is off by less than one unit in the
//! last place, corrected once by its exact remainder times the correctly rounded reciprocal, is the correctly rounded
//! one, as long as nothing underflows (P. W. Markstein, "Computation of elementary functions on the IBM RISC
//! System/6000 processor", IBM J. Res. Dev. 34(1), 1990). Registers with a number that is small or large enough for
//! that to happen are divided.

use super::VectorLane;
use repops::lane::MaskLane;

/// Magnitudes between which nothing underflows: of the divisor, and of what is divided.
const DIVISORS: (f32, f32) = (1.0 / (1u64 << 40) as f32, (1u64 << 40) as f32);
const DIVIDENDS: (f32, f32) = (1e-20, 1e20);

/// A number to divide by.
#[derive(Clone, Copy)]
pub(crate) struct Divisor<V> {
    divisor: V,
    /// The divisor's reciprocal, correctly rounded, and what it lacks. `None`: always divide.
    reciprocal: Option<(V, V)>,
}

impl<V: VectorLane> Divisor<V> {
    #[inline(always)]
    pub(crate) fn new(divisor: f32) -> Divisor<V> {
        let size = divisor.abs();
        // A machine's own division of several numbers at once is what this is to be faster than.
        let worthwhile = V::LANES > 1 && size >= DIVISORS.0 && size <= DIVISORS.1;
        let reciprocal = worthwhile.then(|| {
            let high = 1.0 / divisor;
            // 1 - high * divisor is exact.
            let low = (-high).mul_add(divisor, 1.0) / divisor;
            (V::splat(high), V::splat(low))
        });
        Divisor { divisor: V::splat(divisor), reciprocal }
    }

    /// `x / divisor` in every lane.
    #[inline(always)]
    pub(crate) fn divide(&self, x: V) -> V {
        let Some((high, low)) = self.reciprocal else { return x.div(self.divisor) };
        let size = x.abs();
        let in_range = V::splat(DIVIDENDS.0).less(size).and(size.less(V::splat(DIVIDENDS.1)));
        if !V::all(in_range) {
            return x.div(self.divisor);
        }
        // Off by little more than half a unit.
        let quotient = x.fma(high, x.mul(low));
        let remainder = quotient.neg().fma(self.divisor, x);
        remainder.fma(high, quotient)
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::{Vectorized, dispatch};
    use super::*;
    use crate::isa::Isa;

    struct Divide<'a>(&'a [f32], f32, &'a mut [f32]);

    impl Vectorized for Divide<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            let divisor = Divisor::<V>::new(self.1);
            for at in (0..self.0.len()).step_by(V::LANES) {
                // SAFETY: both are as long, a multiple of the lanes.
                unsafe {
                    divisor.divide(V::load(self.0.as_ptr().add(at))).store(self.2.as_mut_ptr().add(at))
                };
            }
        }
    }

    #[test]
    fn quotients_are_those_of_division() {
        let mut state = 7u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.rotate_left(11).wrapping_mul(0x9e37_79b1)
        };
        let mut divisors: Vec<f32> = (0..400).map(|_| f32::from_bits(draw())).collect();
        // Mantissas of the ends: the hardest.
        divisors.extend((0..200).map(|i| f32::from_bits(0x3f80_0000 + i)));
        divisors.extend((0..200).map(|i| f32::from_bits(0x3fff_ffff - i)));
        divisors.extend([std::f32::consts::SQRT_2, 3.0, -6.0, 0.0, -0.0, f32::INFINITY, f32::NAN, 1e-45]);
        for divisor in divisors {
            // Numbers of all sizes, of moderate ones, and next to multiples of the divisor.
            let mut x: Vec<f32> = (0..512).map(|_| f32::from_bits(draw())).collect();
            x.extend((0..1024).map(|_| f32::from_bits(draw() % 0x1000_0000 + 0x3800_0000)));
            x.extend((0..512).map(|_| divisor * (draw() >> 8) as f32));
            let mut y = vec![0.0; x.len()];
            for isa in Isa::available() {
                dispatch(isa, Divide(&x, divisor, &mut y));
                for (&x, &y) in x.iter().zip(&y) {
                    let expected = x / divisor;
                    let same = y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan();
                    assert!(same, "{}: {x:e} / {divisor:e} is {expected:e}, not {y:e}", isa.name());
                }
            }
        }
    }
}
