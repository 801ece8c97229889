//! Contractions: `C[m, n] = sum over k of A[m, k] * B[k, n]` in the order of `repops::reduce::contract`.
//!
//! The result is divided into blocks, one task each. A block runs through the terms chunk by chunk; the
//! sums of chunks wait on the levels of a binary counter until the tree adds them. Invariant: how the
//! result is divided, packed and threaded changes no order: each element has its own chain.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pack;
mod plan;
mod portable;
pub(crate) mod rows;
pub(crate) mod target;
pub(crate) mod tile;

use repops::dtype::Element;
use repops::reduce::Accumulate;

pub(crate) use block::{Direct, Size, Target, contract};
use pack::Right;
use tile::TileSet;

use super::weights::Weights;
use crate::Operand;
use crate::isa::Isa;

/// An element type that contractions accumulate in.
pub(crate) trait TileElem: Accumulate + Element {
    /// The tiles of an instruction set that is available.
    fn tiles(isa: Isa) -> &'static TileSet<Self>;
    fn mul(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
    /// As the operator of that name has it.
    fn relu(self) -> Self;
    /// A factor given as f32; for integer types it is an integer.
    fn factor(value: f32) -> Self;
    /// The right operand out of `terms` by columns in panels, which start at `offsets`, where there is a way of
    /// its own for it.
    fn panels<'a>(
        operand: &Operand<'a>,
        offsets: &'a [usize],
        terms: usize,
    ) -> Option<Box<dyn Right<Self> + 'a>>;
}

fn stored<'a>(operand: &Operand<'a>, offsets: &'a [usize], terms: usize) -> Option<Box<dyn Right<f32> + 'a>> {
    Some(Box::new(Weights::panels(operand, offsets, terms)?))
}

macro_rules! tile_elements {
    ($($t:ty: $portable:ident, $avx2:ident, $avx512:ident, $neon:ident, $mul:expr, $nan:expr, $factor:expr, $panels:expr;)*) => { $(impl TileElem for $t {
        fn tiles(isa: Isa) -> &'static TileSet<$t> {
            assert!(isa.is_available(), "this machine lacks {}", isa.name());
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::$avx2(),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::$avx512(),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => neon::$neon(),
                _ => portable::$portable(),
            }
        }
        #[inline(always)]
        fn mul(self, other: $t) -> $t {
            ($mul)(self, other)
        }
        #[inline(always)]
        fn is_nan(self) -> bool {
            ($nan)(self)
        }
        #[inline(always)]
        fn relu(self) -> $t {
            if self <= 0 as $t { 0 as $t } else { self }
        }
        fn factor(value: f32) -> $t {
            ($factor)(value)
        }
        fn panels<'a>(
            operand: &Operand<'a>,
            offsets: &'a [usize],
            terms: usize,
        ) -> Option<Box<dyn Right<$t> + 'a>> {
            ($panels)(operand, offsets, terms)
        }
    })* };
}
tile_elements! {
    f32: f32_4x16, f32_6x16, f32_12x32, f32_6x16, |a: f32, b| a * b, |a: f32| a.is_nan(), |v: f32| v, stored;
    f64: f64_4x16, f64_4x16, f64_4x16, f64_4x16, |a: f64, b| a * b, |a: f64| a.is_nan(), |v: f32| f64::from(v), |_, _, _| None;
    i32: i32_4x16, i32_4x16, i32_4x16, i32_4x16, i32::wrapping_mul, |_| false, |v: f32| v as i64 as i32, |_, _, _| None;
    i64: i64_4x16, i64_4x16, i64_4x16, i64_4x16, i64::wrapping_mul, |_| false, |v: f32| v as i64, |_, _, _| None;
    u32: u32_4x16, u32_4x16, u32_4x16, u32_4x16, u32::wrapping_mul, |_| false, |v: f32| v as i64 as u32, |_, _, _| None;
    u64: u64_4x16, u64_4x16, u64_4x16, u64_4x16, u64::wrapping_mul, |_| false, |v: f32| v as i64 as u64, |_, _, _| None;
}
