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
pub(crate) mod divisor;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[allow(dead_code)]
pub(crate) mod pair;
#[cfg(target_arch = "x86_64")]
pub(crate) mod quick;

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
    /// Writes the first `count` numbers, of at most `LANES`.
    ///
    /// # Safety
    /// `to` points at `count` writable f32.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0f32; 16];
        const { assert!(Self::LANES <= 16) };
        // SAFETY: the array holds the lanes; the caller's promise.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count.min(Self::LANES));
        }
    }
    /// `self` where it is greater, else `other`.
    #[inline(always)]
    fn if_greater(self, other: Self) -> Self {
        Self::select(other.less(self), self, other)
    }
    /// Whether the mask holds in every lane.
    fn all(mask: Self::Mask) -> bool;
    /// Reads `LANES` f16 and widens them.
    ///
    /// # Safety
    /// `from` points at `2 * LANES` readable bytes.
    unsafe fn load_f16(from: *const u8) -> Self;
    /// Reads `LANES` bf16 and widens them.
    ///
    /// # Safety
    /// As for `load_f16`.
    unsafe fn load_bf16(from: *const u8) -> Self;
    /// Reads `LANES` signed bytes as numbers.
    ///
    /// # Safety
    /// `from` points at `LANES` readable bytes.
    unsafe fn load_i8(from: *const u8) -> Self;
    /// Reads `LANES` unsigned bytes as numbers.
    ///
    /// # Safety
    /// As for `load_i8`.
    unsafe fn load_u8(from: *const u8) -> Self;
    /// Reads `LANES` bytes: of each the low and the high four bits, less 8 if `CENTRED`.
    ///
    /// # Safety
    /// As for `load_i8`.
    unsafe fn load_u4<const CENTRED: bool>(from: *const u8) -> [Self; 2];
    /// Numbers of six bits less 32. Lane `c` of the results `2 i` and `2 i + 1` has its low four bits in the low and
    /// the high half of byte `16 i + c` at `low`; lane `c` of result `i` has its high two bits in bits `2 i` and
    /// `2 i + 1` of byte `c` at `high`.
    ///
    /// # Safety
    /// `LANES` bytes are readable at `low`, at `low + 16` and at `high`.
    unsafe fn load_u6(low: *const u8, high: *const u8) -> [Self; 4];
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
    #[inline(always)]
    fn all(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        half::f16::from_bits(u16::from_le_bytes(unsafe { *from.cast() })).to_f32()
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        half::bf16::from_bits(u16::from_le_bytes(unsafe { *from.cast() })).to_f32()
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { *from }.cast_signed())
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { *from })
    }
    #[inline(always)]
    unsafe fn load_u4<const CENTRED: bool>(from: *const u8) -> [f32; 2] {
        // SAFETY: the caller's promise.
        let byte = unsafe { *from };
        [byte & 15, byte >> 4].map(|n| f32::from(n) - if CENTRED { 8.0 } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load_u6(low: *const u8, high: *const u8) -> [f32; 4] {
        // SAFETY: the caller's promise.
        let (first, second, high) = unsafe { (*low, *low.add(16), *high) };
        let q = |low: u8, shift: u8| f32::from(low & 15 | (high >> shift & 3) << 4) - 32.0;
        [q(first, 0), q(first >> 4, 2), q(second, 4), q(second >> 4, 6)]
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
