//! The forms in which weights are stored, and how 16 columns at a time become f32.
//!
//! Invariant: a weight has the bits that the operators' descriptions give it, with every instruction set.

use repops::blocks;

use super::super::lane::VectorLane;

/// A form of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q4K,
    Q6K,
}

impl From<blocks::Format> for Format {
    fn from(format: blocks::Format) -> Format {
        match format {
            blocks::Format::Q8_0 => Format::Q8_0,
            blocks::Format::Q4_0 => Format::Q4_0,
            blocks::Format::Q4_1 => Format::Q4_1,
            blocks::Format::Q4K => Format::Q4K,
            blocks::Format::Q6K => Format::Q6K,
        }
    }
}

/// One form: a panel of 16 columns is a sequence of blocks.
pub(crate) trait Stored {
    /// Positions of a block: a divisor of a chunk's.
    const BLOCK: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Positions that share their scales.
    const BAND: usize;
    /// Positions that are read together.
    const STEP: usize;

    /// The scales of a band of a block.
    ///
    /// # Safety
    /// `block` points at a block, `column` and as many columns after it as `V` has lanes are below 16.
    unsafe fn scales<V: VectorLane>(block: *const u8, band: usize, column: usize) -> (V, V);

    /// The weights of `STEP` positions from `at` of a block on, in a band with these scales.
    ///
    /// # Safety
    /// As for `scales`.
    unsafe fn weights<V: VectorLane>(
        scales: (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX];
}

/// The largest `STEP`.
pub(crate) const STEP_MAX: usize = 4;

fn none<V: VectorLane>() -> V {
    V::splat(0.0)
}

macro_rules! dense {
    ($($(#[$doc:meta])* $name:ident: $load:ident of $bytes:literal bytes;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Stored for $name {
            const BLOCK: usize = 1;
            const BYTES: usize = 16 * $bytes;
            const BAND: usize = 1;
            const STEP: usize = 1;

            #[inline(always)]
            unsafe fn scales<V: VectorLane>(_: *const u8, _: usize, _: usize) -> (V, V) {
                (none(), none())
            }

            #[inline(always)]
            unsafe fn weights<V: VectorLane>(
                _: (V, V),
                block: *const u8,
                _: usize,
                column: usize,
            ) -> [V; STEP_MAX] {
                // SAFETY: the caller's promise.
                [unsafe { V::$load(block.add($bytes * column).cast()) }, none(), none(), none()]
            }
        }
    )*};
}
dense! {
    /// f32 in panels.
    F32: load of 4 bytes;
    /// f16 in panels.
    F16: load_f16 of 2 bytes;
    /// bf16 in panels.
    Bf16: load_bf16 of 2 bytes;
}

/// d f16[16]; q i8[32][16]: `d * q`.
pub(crate) struct Q8_0;

impl Stored for Q8_0 {
    const BLOCK: usize = 32;
    const BYTES: usize = 544;
    const BAND: usize = 32;
    const STEP: usize = 1;

    #[inline(always)]
    unsafe fn scales<V: VectorLane>(block: *const u8, _: usize, column: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        (unsafe { V::load_f16(block.add(2 * column)) }, none())
    }

    #[inline(always)]
    unsafe fn weights<V: VectorLane>(
        (d, _): (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX] {
        // SAFETY: the caller's promise.
        let q = unsafe { V::load_i8(block.add(32 + 16 * at + column)) };
        [d.mul(q), none(), none(), none()]
    }
}

/// d f16[16]; nibbles [16][16]: `d * (n - 8)`.
pub(crate) struct Q4_0;

impl Stored for Q4_0 {
    const BLOCK: usize = 32;
    const BYTES: usize = 288;
    const BAND: usize = 32;
    const STEP: usize = 2;

    #[inline(always)]
    unsafe fn scales<V: VectorLane>(block: *const u8, _: usize, column: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        (unsafe { V::load_f16(block.add(2 * column)) }, none())
    }

    #[inline(always)]
    unsafe fn weights<V: VectorLane>(
        (d, _): (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX] {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { V::load_u4::<true>(block.add(32 + 8 * at + column)) };
        [d.mul(low), d.mul(high), none(), none()]
    }
}

/// d f16[16], m f16[16]; nibbles [16][16]: `fma(d, n, m)`.
pub(crate) struct Q4_1;

impl Stored for Q4_1 {
    const BLOCK: usize = 32;
    const BYTES: usize = 320;
    const BAND: usize = 32;
    const STEP: usize = 2;

    #[inline(always)]
    unsafe fn scales<V: VectorLane>(block: *const u8, _: usize, column: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::load_f16(block.add(2 * column)), V::load_f16(block.add(32 + 2 * column))) }
    }

    #[inline(always)]
    unsafe fn weights<V: VectorLane>(
        (d, m): (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX] {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { V::load_u4::<false>(block.add(64 + 8 * at + column)) };
        [d.fma(low, m), d.fma(high, m), none(), none()]
    }
}

/// d f16[16], dmin f16[16]; sc u8[8][16], mn u8[8][16]; nibbles [128][16]: `fma(d * sc, n, -(dmin * mn))`.
pub(crate) struct Q4K;

impl Stored for Q4K {
    const BLOCK: usize = 256;
    const BYTES: usize = 2368;
    const BAND: usize = 32;
    const STEP: usize = 2;

    #[inline(always)]
    unsafe fn scales<V: VectorLane>(block: *const u8, band: usize, column: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = (V::load_f16(block.add(2 * column)), V::load_f16(block.add(32 + 2 * column)));
            let scale = d.mul(V::load_u8(block.add(64 + 16 * band + column)));
            (scale, dmin.mul(V::load_u8(block.add(192 + 16 * band + column))).neg())
        }
    }

    #[inline(always)]
    unsafe fn weights<V: VectorLane>(
        (scale, min): (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX] {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { V::load_u4::<false>(block.add(320 + 8 * at + column)) };
        [scale.fma(low, min), scale.fma(high, min), none(), none()]
    }
}

/// d f16[16]; sc i8[16][16]; low four bits [128][16], high two bits [64][16]: `(d * sc) * (q - 32)`.
pub(crate) struct Q6K;

impl Stored for Q6K {
    const BLOCK: usize = 256;
    const BYTES: usize = 3360;
    const BAND: usize = 16;
    const STEP: usize = 4;

    #[inline(always)]
    unsafe fn scales<V: VectorLane>(block: *const u8, band: usize, column: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        let scale =
            unsafe { V::load_f16(block.add(2 * column)).mul(V::load_i8(block.add(32 + 16 * band + column))) };
        (scale, none())
    }

    #[inline(always)]
    unsafe fn weights<V: VectorLane>(
        (scale, _): (V, V),
        block: *const u8,
        at: usize,
        column: usize,
    ) -> [V; STEP_MAX] {
        // SAFETY: the caller's promise.
        let [a, b, c, d] =
            unsafe { V::load_u6(block.add(288 + 8 * at + column), block.add(2336 + 4 * at + column)) };
        [scale.mul(a), scale.mul(b), scale.mul(c), scale.mul(d)]
    }
}

/// `$body` with `$form` standing for the type of a [`Format`].
macro_rules! with_form {
    ($format:expr, $form:ident => $body:expr) => {{
        use $crate::cpu::weights::stored::{self, Format};
        macro_rules! arm {
            ($type:ident) => {{
                type $form = stored::$type;
                $body
            }};
        }
        match $format {
            Format::F32 => arm!(F32),
            Format::F16 => arm!(F16),
            Format::Bf16 => arm!(Bf16),
            Format::Q8_0 => arm!(Q8_0),
            Format::Q4_0 => arm!(Q4_0),
            Format::Q4_1 => arm!(Q4_1),
            Format::Q4K => arm!(Q4K),
            Format::Q6K => arm!(Q6K),
        }
    }};
}
pub(crate) use with_form;

impl Format {
    /// Positions and bytes of a block of 16 columns.
    pub(crate) fn block(self) -> (usize, usize) {
        with_form!(self, F => (F::BLOCK, F::BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_large_as_specified() {
        for format in blocks::Format::ALL {
            assert_eq!(Format::from(format).block(), (format.positions(), format.bytes()));
        }
    }
}
