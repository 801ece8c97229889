//! Mod of floats: the remainder with the dividend's sign, which is exact.

use half::{bf16, f16};
use repops::dtype::{DType, Element};
use repops::ops::OpError;
use repops::tensor::{TensorView, TensorViewMut};

use super::halves::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use super::loops::two;
use crate::isa::Isa;

/// A remainder takes a division for every few bits of the quotient.
const COST: usize = 128;

pub(super) fn floats(
    inputs: &[Option<TensorView<'_>>],
    y: &mut TensorViewMut<'_>,
) -> Option<Result<(), OpError>> {
    let &[Some(a), Some(b)] = inputs else { return None };
    // No vector instruction divides so; one loop serves all machines.
    let (isa, args) = (Isa::Portable, [a, b]);
    match a.dtype {
        DType::F32 => two(isa, COST, args, y, f!(|a: f32, b: f32| (a % b).canonical())),
        DType::F64 => two(isa, COST, args, y, f!(|a: f64, b: f64| (a % b).canonical())),
        DType::F16 => {
            two(isa, COST, args, y, f!(|a: f16, b: f16| narrow_f16(widen_f16(a) % widen_f16(b))));
        }
        _ => two(isa, COST, args, y, f!(|a: bf16, b: bf16| narrow_bf16(widen_bf16(a) % widen_bf16(b)))),
    }
    Some(Ok(()))
}
