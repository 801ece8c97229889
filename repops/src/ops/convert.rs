//! Conversions between element types: total functions.
//!
//! Invariant: float to integer truncates and saturates, NaN becomes 0; integer to integer wraps; to a
//! float rounds once to nearest, ties to even; to bool is `x != 0` (NaN is true). Narrow floats that are too
//! large follow [`Rules`].

use half::{bf16, f16};

use super::OpError;
use super::elementwise::{by_int, map1};
use crate::dtype::narrow::{self, Rules};
use crate::dtype::{DType, Element};
use crate::tensor::{Tensor, TensorView};

/// Any element, exactly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Exact {
    Int(i128),
    Float(f64),
}

impl Exact {
    /// The value as f64, an integer rounded to nearest.
    pub fn to_f64(self) -> f64 {
        match self {
            Exact::Int(v) => v as f64,
            Exact::Float(v) => v,
        }
    }
}

/// An element type that any exact value converts to.
pub(super) trait Convert: Element {
    fn exact(self) -> Exact;
    fn of(value: Exact) -> Self;
}

macro_rules! convert_ints {
    ($($t:ty),*) => { $(impl Convert for $t {
        fn exact(self) -> Exact {
            Exact::Int(self as i128)
        }
        fn of(value: Exact) -> $t {
            match value {
                Exact::Int(v) => v as $t,
                // Rust's `as` truncates, saturates and takes NaN to 0.
                Exact::Float(v) => v as $t,
            }
        }
    })* };
}
convert_ints!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Convert for f64 {
    fn exact(self) -> Exact {
        Exact::Float(self)
    }
    fn of(value: Exact) -> f64 {
        match value {
            Exact::Int(v) => v as f64,
            Exact::Float(v) => v,
        }
    }
}

impl Convert for f32 {
    fn exact(self) -> Exact {
        Exact::Float(f64::from(self))
    }
    fn of(value: Exact) -> f32 {
        match value {
            Exact::Int(v) => v as f32,
            Exact::Float(v) => v as f32,
        }
    }
}

impl Convert for f16 {
    fn exact(self) -> Exact {
        Exact::Float(self.to_f64())
    }
    fn of(value: Exact) -> f16 {
        f16::from_f32(odd_f32(value))
    }
}

impl Convert for bf16 {
    fn exact(self) -> Exact {
        Exact::Float(self.to_f64())
    }
    fn of(value: Exact) -> bf16 {
        bf16::from_f32(odd_f32(value))
    }
}

/// The value rounded to f32 "to odd": toward zero, with the last bit set if anything was lost. Rounding
/// that to f16 or bf16, which are at least two bits narrower, is as rounding once (S. Boldo and
/// G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd",
/// IEEE Transactions on Computers 57(4), 2008).
fn odd_f32(value: Exact) -> f32 {
    let (nearest, lost, too_far) = match value {
        Exact::Int(v) => {
            let nearest = v as f32;
            // Integers of at most 64 bits: the f32 converts back exactly.
            let back = nearest as i128;
            (nearest, back != v, back.unsigned_abs() > v.unsigned_abs())
        }
        Exact::Float(v) => {
            let nearest = v as f32;
            let back = f64::from(nearest);
            (nearest, back != v && !v.is_nan(), back.abs() > v.abs())
        }
    };
    if !lost {
        return nearest;
    }
    // One below in magnitude is one less in the bits, also from infinity to the largest number.
    let toward_zero = nearest.to_bits() - u32::from(too_far);
    f32::from_bits(toward_zero | 1)
}

/// The element at `at`, exactly; `None` past the end.
pub(super) fn exact_of(x: TensorView<'_>, at: usize) -> Option<Exact> {
    fn read<T: Convert>(x: TensorView<'_>, at: usize) -> Option<Exact> {
        x.as_slice::<T>().get(at).map(|v| v.exact())
    }
    match x.dtype {
        DType::Bool => x.bytes.get(at).map(|&v| Exact::Int(i128::from(v))),
        DType::F32 => read::<f32>(x, at),
        DType::F64 => read::<f64>(x, at),
        DType::F16 => read::<f16>(x, at),
        DType::BF16 => read::<bf16>(x, at),
        DType::U8 => read::<u8>(x, at),
        DType::I8 => read::<i8>(x, at),
        DType::U16 => read::<u16>(x, at),
        DType::I16 => read::<i16>(x, at),
        DType::U32 => read::<u32>(x, at),
        DType::I32 => read::<i32>(x, at),
        DType::U64 => read::<u64>(x, at),
        DType::I64 => read::<i64>(x, at),
        narrow => x.bytes.get(at).map(|&b| Exact::Float(narrow::value(narrow, b))),
    }
}

/// Every element converted to `to`; narrow floats saturate.
pub(super) fn convert(x: TensorView<'_>, to: DType) -> Result<Tensor, OpError> {
    convert_by(x, to, Rules::default())
}

/// Every element converted to `to`; `rules` concern narrow floats alone.
pub(super) fn convert_by(x: TensorView<'_>, to: DType, rules: Rules) -> Result<Tensor, OpError> {
    if x.dtype == to {
        return Ok(x.to_tensor()?);
    }
    match x.dtype {
        DType::Bool => from::<u8>(TensorView { dtype: DType::U8, ..x }, to, rules),
        DType::F32 => from::<f32>(x, to, rules),
        DType::F64 => from::<f64>(x, to, rules),
        DType::F16 => from::<f16>(x, to, rules),
        DType::BF16 => from::<bf16>(x, to, rules),
        int if int.is_int() => by_int!(int, T => from::<T>(x, to, rules)),
        narrow => {
            let mut wide = Tensor::zeros(DType::F64, x.shape)?;
            for (out, &byte) in wide.as_mut_slice::<f64>().iter_mut().zip(x.bytes) {
                *out = narrow::value(narrow, byte).canonical();
            }
            from::<f64>(wide.view(), to, rules)
        }
    }
}

fn from<S: Convert>(x: TensorView<'_>, to: DType, rules: Rules) -> Result<Tensor, OpError> {
    match to {
        DType::Bool => map1(to, x, |v: S| u8::from(!matches!(v.exact(), Exact::Int(0) | Exact::Float(0.0)))),
        DType::F32 => map1(to, x, |v: S| f32::of(v.exact())),
        DType::F64 => map1(to, x, |v: S| f64::of(v.exact())),
        DType::F16 => map1(to, x, |v: S| f16::of(v.exact())),
        DType::BF16 => map1(to, x, |v: S| bf16::of(v.exact())),
        int if int.is_int() => by_int!(int, T => map1(to, x, |v: S| T::of(v.exact()))),
        narrow => map1(to, x, |v: S| to_narrow(narrow, v.exact(), rules)),
    }
}

/// The element of a narrow type.
fn to_narrow(dtype: DType, value: Exact, rules: Rules) -> u8 {
    match (narrow::integer_range(dtype), value) {
        (None, Exact::Float(v)) => narrow::round_float(dtype, v, rules),
        (None, Exact::Int(v)) => narrow::round_float(dtype, odd_f64(v), rules),
        // Floats by way of i64, of which the low bits remain.
        (Some(_), Exact::Float(v)) => to_narrow(dtype, Exact::Int(i128::from(v as i64)), rules),
        (Some((low, high)), Exact::Int(v)) => {
            let values = i128::from(high) - i128::from(low) + 1;
            ((v - i128::from(low)).rem_euclid(values) + i128::from(low)) as u8
        }
    }
}

/// An integer of at most 64 bits rounded to f64 "to odd", as [`odd_f32`] does.
fn odd_f64(value: i128) -> f64 {
    let nearest = value as f64;
    let back = nearest as i128;
    if back == value {
        return nearest;
    }
    f64::from_bits((nearest.to_bits() - u64::from(back.unsigned_abs() > value.unsigned_abs())) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f16 and bf16 and the midpoints between neighbours, from f64, just off the tie and on it.
    #[test]
    fn halves_round_once_from_f64() {
        for bits in 0..0x7c00u16 {
            let (low, high) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            let tie = if bits == 0x7bff { 65520.0 } else { (low.to_f64() + high.to_f64()) / 2.0 };
            let even = if bits & 1 == 0 { low } else { high };
            for (x, want) in [(tie.next_down(), low), (tie, even), (tie.next_up(), high), (low.to_f64(), low)]
            {
                assert_eq!(f16::of(Exact::Float(x)).to_bits(), want.to_bits(), "{x:e}");
                assert_eq!(f16::of(Exact::Float(-x)).to_bits(), want.to_bits() | 0x8000, "-{x:e}");
            }
        }
        for bits in 0..0x7f80u16 {
            let (low, high) = (bf16::from_bits(bits), bf16::from_bits(bits + 1));
            let above = if bits == 0x7f7f { 2f64.powi_exact(128) } else { high.to_f64() };
            let tie = (low.to_f64() + above) / 2.0;
            let even = if bits & 1 == 0 { low } else { high };
            for (x, want) in [(tie.next_down(), low), (tie, even), (tie.next_up(), high), (low.to_f64(), low)]
            {
                assert_eq!(bf16::of(Exact::Float(x)).to_bits(), want.to_bits(), "{x:e}");
            }
        }
    }

    trait PowiExact {
        fn powi_exact(self, n: u32) -> f64;
    }
    impl PowiExact for f64 {
        fn powi_exact(self, n: u32) -> f64 {
            (0..n).fold(1.0, |p, _| p * self)
        }
    }

    #[test]
    fn wide_integers_round_once() {
        // 2^62 + 2^54 is the tie between two bf16; one more must round up, though f32 cannot hold it.
        let tie = (1i128 << 62) + (1 << 54);
        assert_eq!(bf16::of(Exact::Int(tie)).to_bits(), 0x5e80);
        assert_eq!(bf16::of(Exact::Int(tie + 1)).to_bits(), 0x5e81);
        assert_eq!(bf16::of(Exact::Int(-tie - 1)).to_bits(), 0xde81);
        assert_eq!(f32::of(Exact::Int((1 << 24) + 1)).to_bits(), 0x4b80_0000);
        assert_eq!(f16::of(Exact::Int(65519)).to_bits(), 0x7bff);
        assert_eq!(f16::of(Exact::Int(65520)).to_bits(), 0x7c00);
        assert_eq!(f16::of(Exact::Int(u64::MAX as i128)).to_bits(), 0x7c00);
    }
}
