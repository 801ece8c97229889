//! Which instructions multiply bytes, and in which form they want the operands.
//!
//! Invariant: every engine computes the same sums; which one runs shows in the time alone.

use super::tile::TileFn;
use crate::isa::Isa;

/// The form of operands that an engine multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Groups of four bytes, the left operand as it is, the right one of the other signedness.
    Opposite,
    /// Groups of four bytes, both signed.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    Signed,
    /// Groups of two 16-bit numbers.
    Pairs,
}

impl Form {
    /// Terms of a group.
    pub fn terms(self) -> usize {
        if self == Form::Pairs { 2 } else { 4 }
    }

    /// What is added to operands of such signedness, left and right, to bring them into this form. Bytes
    /// become numbers of the other signedness by flipping their highest bit. `right_stays` where the form lets it.
    pub fn offsets(self, left_signed: bool, right_signed: bool, right_stays: bool) -> (i32, i32) {
        let to_signed = |signed: bool| if signed { 0 } else { -128 };
        match self {
            Form::Pairs => (0, 0),
            Form::Signed => (to_signed(left_signed), to_signed(right_signed)),
            Form::Opposite if left_signed != right_signed => (0, 0),
            Form::Opposite if right_stays => (if left_signed { 128 } else { -128 }, 0),
            Form::Opposite => (0, if right_signed { 128 } else { -128 }),
        }
    }
}

/// For a left operand that is signed or not: what finds the tile of so many rows and panels.
pub(crate) type Pick = fn(signed_left: bool) -> fn(rows: usize, panels: usize) -> Option<TileFn>;

/// The tiles for one way of multiplying.
pub(crate) struct Engine {
    /// For messages.
    pub name: &'static str,
    /// Whether few rows run by [`super::few`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub few_rows: bool,
    pub form: Form,
    /// The most rows of a tile.
    pub rows_max: usize,
    /// The best number of panels for a block of so many rows: a power of two.
    pub panels: fn(rows: usize) -> usize,
    /// For a left operand, in this engine's form, that is signed or not: the tile of so many rows and panels.
    /// `None`: narrower only.
    pub pick: Pick,
    /// The same for groups at offsets of their own, of engines whose form is [`Form::Opposite`], if there are such tiles.
    pub pick_by_offsets: Option<Pick>,
    /// Whether this machine has the instructions.
    pub available: fn() -> bool,
}

impl Engine {
    /// The engines of an instruction set, the fastest first, whether this machine has them or not.
    pub fn all(isa: Isa) -> &'static [&'static Engine] {
        static PORTABLE: [&Engine; 1] = [&super::portable::PAIRS];
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                static AVX512: [&Engine; 2] = [&super::avx512::VNNI, &super::avx512::WORDS];
                &AVX512
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                static AVX2: [&Engine; 2] = [&super::avx2::VNNI, &super::avx2::WORDS];
                &AVX2
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => {
                static NEON: [&Engine; 2] = [&super::neon::DOT, &super::neon::WIDENING];
                &NEON
            }
            _ => &PORTABLE,
        }
    }

    /// The fastest engine of an instruction set on this machine.
    ///
    /// # Panics
    /// If this machine lacks `isa`.
    pub fn best(isa: Isa) -> &'static Engine {
        assert!(isa.is_available(), "this machine lacks {}", isa.name());
        let found = Engine::all(isa).iter().find(|engine| (engine.available)());
        found.copied().unwrap_or(&super::portable::PAIRS)
    }
}
