//! `repops::lane` for vector registers.
//!
//! Invariant: a register type's operations are the very operations of the reference, so a
//! function written over `Lane` gives the same bits in every lane of every type.
//!
//! Pattern of use: a generic `#[inline(always)]` body, called with one of these types from a
//! function that carries the matching `#[target_feature]`. The types stay inside this crate:
//! their methods are sound only where the processor has the feature, which the callers'
//! dispatch by [`crate::isa::Isa`] ensures.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod dispatch;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[allow(dead_code)]
pub(crate) mod pair;

/// A `Lane` that moves to and from memory.
pub(crate) trait VectorLane: repops::lane::Lane {
    /// Lanes per vector.
    const LANES: usize;
    /// Reads `LANES` numbers.
    ///
    /// # Safety
    /// `from` points at `LANES` readable f32.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` numbers.
    ///
    /// # Safety
    /// `to` points at `LANES` writable f32.
    unsafe fn store(self, to: *mut f32);
}

impl VectorLane for f32 {
    const LANES: usize = 1;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to = self }
    }
}

/// Methods that each apply one expression of intrinsics to the registers inside.
#[allow(unused_macros)]
macro_rules! methods {
    ($($name:ident($a:ident $(, $arg:ident)*) -> $out:ident = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self $(, $arg: Self)*) -> $out {
            let $a = self.0;
            $(let $arg = $arg.0;)*
            // SAFETY: registers only, no memory; the module's documentation says who ensures
            // that the processor has the instructions.
            #[allow(unused_unsafe)]
            unsafe { $out($body) }
        }
    )*};
}
#[allow(unused_imports)]
pub(crate) use methods;
