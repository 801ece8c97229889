//! Products and convolutions of bytes, exact in 32 bits.
//!
//! Operands of 8 bits go into groups of four, or of two widened to 16 bits, whichever the instruction set
//! multiplies and adds; the sums of rows and columns then take the zero points off. Invariant: everything
//! wraps in 32 bits, so that neither the instructions nor the order of the terms show in the result.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod block;
pub(crate) mod conv;
mod dispatch;
pub(crate) mod dynamic_quantize;
pub(crate) mod engine;
#[cfg(target_arch = "x86_64")]
mod few;
pub(crate) mod finish;
pub(crate) mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pack;
mod portable;
mod taps;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use dispatch::vectorized;
use repops::dtype::DType;

/// The elements of a u8 or i8 tensor.
fn numbers(operand: &crate::Operand<'_>) -> Vec<i32> {
    match operand.dtype {
        DType::I8 => operand.as_slice::<i8>().iter().map(|&v| i32::from(v)).collect(),
        _ => operand.as_slice::<u8>().iter().map(|&v| i32::from(v)).collect(),
    }
}
