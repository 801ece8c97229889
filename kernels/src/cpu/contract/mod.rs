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
mod portable;
pub(crate) mod target;
pub(crate) mod tile;

use repops::dtype::Element;
use repops::reduce::Accumulate;

pub(crate) use block::{Size, contract};
use tile::TileSet;

use crate::isa::Isa;

/// An element type that contractions accumulate in.
pub(crate) trait TileElem: Accumulate + Element {
    /// The tiles of an instruction set that is available.
    fn tiles(isa: Isa) -> &'static TileSet<Self>;
}

macro_rules! tile_elements {
    ($($t:ty: $portable:ident, $avx2:ident, $avx512:ident, $neon:ident;)*) => { $(impl TileElem for $t {
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
    })* };
}
tile_elements! {
    f32: f32_4x16, f32_6x16, f32_12x32, f32_6x16;
    f64: f64_4x16, f64_4x16, f64_4x16, f64_4x16;
    i32: i32_4x16, i32_4x16, i32_4x16, i32_4x16;
    i64: i64_4x16, i64_4x16, i64_4x16, i64_4x16;
    u32: u32_4x16, u32_4x16, u32_4x16, u32_4x16;
    u64: u64_4x16, u64_4x16, u64_4x16, u64_4x16;
}
