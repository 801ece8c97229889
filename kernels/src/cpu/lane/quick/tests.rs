//! The shorter ways against the definition: lanes together and alone, chosen inputs and all of them.

use repops::lane::FloatLane;
use repops::scalar;

use super::super::dispatch::{Vectorized, dispatch};
use super::super::{VectorLane, avx2, avx512};
use crate::isa::Isa;

#[derive(Clone, Copy)]
enum Function {
    Exp,
    Erf,
}

/// A function of all: by the definition, and by whatever way the lanes have.
struct All<'a> {
    function: Function,
    x: &'a [f32],
    expected: &'a mut [f32],
    found: &'a mut [f32],
}

impl Vectorized for All<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        for at in (0..self.x.len()).step_by(V::LANES) {
            // SAFETY: all are as long, a multiple of the lanes.
            unsafe {
                let x = V::load(self.x.as_ptr().add(at));
                let (expected, found) = match self.function {
                    Function::Exp => (scalar::exp(x), x.rounded_exp()),
                    Function::Erf => (scalar::erf(x), x.rounded_erf()),
                };
                expected.store(self.expected.as_mut_ptr().add(at));
                found.store(self.found.as_mut_ptr().add(at));
            }
        }
    }
}

/// As [`All`], each lane judged alone: in `rounded_exp` a neighbour that is not sure hides a wrong one.
macro_rules! alone {
    ($name:ident, $features:literal, $lane:ty) => {
        #[target_feature(enable = $features)]
        fn $name(all: All<'_>) {
            for at in (0..all.x.len()).step_by(<$lane>::LANES) {
                // SAFETY: all are as long, a multiple of the lanes.
                unsafe {
                    let x = <$lane>::load(all.x.as_ptr().add(at));
                    let (expected, (y, sure)) = match all.function {
                        Function::Exp => (scalar::exp(x), super::exp(x)),
                        Function::Erf => (scalar::erf(x), super::erf(x)),
                    };
                    expected.store(all.expected.as_mut_ptr().add(at));
                    <$lane>::select(sure, y, expected).store(all.found.as_mut_ptr().add(at));
                }
            }
        }
    };
}
alone!(alone_avx512, "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma", avx512::F32x16);
alone!(alone_avx2, "avx2,fma", avx2::F32x8);

fn compare(isa: Isa, alone: bool, x: &[f32]) {
    let (mut found, mut expected) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
    for (function, name) in [(Function::Exp, "exp"), (Function::Erf, "erf")] {
        let all = All { function, x, expected: &mut expected, found: &mut found };
        match isa {
            // SAFETY: the callers ask for what is available.
            Isa::Avx512 if alone => unsafe { alone_avx512(all) },
            // SAFETY: as above.
            Isa::Avx2 if alone => unsafe { alone_avx2(all) },
            isa => dispatch(isa, all),
        }
        for ((x, found), expected) in x.iter().zip(&found).zip(&expected) {
            assert_eq!(found.to_bits(), expected.to_bits(), "{} {name} of {x:e}", isa.name());
        }
    }
}

fn compare_all(x: &[f32]) {
    for isa in Isa::available() {
        compare(isa, false, x);
        compare(isa, true, x);
    }
}

/// Neighbours and strangers in the lanes: one that is not sure must not disturb the others.
#[test]
fn inputs_of_all_sizes() {
    let spread: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
    compare_all(&spread);
    // The ranges, densely, and their ends.
    let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (110.0 / 32768.0)).collect();
    compare_all(&dense);
    let dense: Vec<f32> = (0..1i32 << 16).map(|i| (i - (1 << 15)) as f32 * (4.5 / 32768.0)).collect();
    compare_all(&dense);
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-45,
        -1e-40,
        88.8,
        -60.1,
        -103.9,
        -104.6,
        3.92,
        -3.93,
        1e-31,
        -1e30,
        1.0,
    ];
    compare_all(&special);
    for x in special {
        compare_all(&[x; 16]);
    }
}

/// The proof: 2^32 inputs on every instruction set, a minute each when optimized.
#[test]
#[ignore = "2^32 inputs; `cargo xtask slow` runs it"]
fn all_inputs() {
    // Elsewhere the definition is the only way.
    for isa in Isa::available().filter(|isa| matches!(isa, Isa::Avx512 | Isa::Avx2)) {
        for high in 0..1u32 << 16 {
            let inputs: Vec<f32> = (0..1u32 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
            compare(isa, true, &inputs);
        }
    }
}
