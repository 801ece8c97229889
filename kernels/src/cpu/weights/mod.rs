//! Right operands that are stored in fewer bits than they are multiplied in: 16-bit floats in panels, and blocks of
//! small integers with scales.
//!
//! Few rows are multiplied straight from the stored form (`few.rs`): such a product is as fast as its weights arrive
//! from memory. For many rows the weights are widened, span by span, into panels in the cache, on which the tiles of
//! all contractions run. The order of each sum is that of every contraction.

pub(crate) mod embedding;
mod few;
pub(crate) mod matmul_blocks;
pub(crate) mod stored;

use std::marker::PhantomData;
use std::ops::Range;

use repops::attrs::Attrs;
use repops::blocks;
use repops::dtype::DType;
use repops::lane::Lane;
use repops::ops::OpError;

use super::contract::pack::{Left, Right};
use super::contract::tile::PANEL;
use super::contract::{Size, Target};
use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use crate::Operand;
use crate::isa::Isa;

use stored::{Format, Stored, with_form};

/// The format that the attributes of MatMulBlocks and Embedding name.
fn format(attrs: &Attrs) -> Result<blocks::Format, OpError> {
    let name = attrs.str("format");
    blocks::Format::from_name(name).ok_or_else(|| OpError::attr("format", format!("{name:?} is unknown")))
}

/// A matrix of weights, or several, in panels of 16 columns.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub format: Format,
    /// Of every panel the blocks, in the order of their positions.
    pub bytes: &'a [u8],
    /// Start of each batch's matrix, in elements; none: all start at 0.
    pub offsets: &'a [usize],
    /// Positions: whole blocks.
    pub terms: usize,
}

impl<'a> Weights<'a> {
    /// Bytes of a panel.
    fn panel_bytes(&self) -> usize {
        let (block, bytes) = self.format.block();
        debug_assert!(self.terms.is_multiple_of(block));
        self.terms / block * bytes
    }

    /// The panels of a batch.
    fn batch(&self, batch: usize) -> &'a [u8] {
        let (block, bytes) = self.format.block();
        &self.bytes[self.offsets.get(batch).copied().unwrap_or(0) / (block * PANEL) * bytes..]
    }

    /// A dense operand in panels, if it is of such a type.
    pub(crate) fn panels(operand: &Operand<'a>, offsets: &'a [usize], terms: usize) -> Option<Weights<'a>> {
        let format = match operand.dtype {
            DType::F32 => Format::F32,
            DType::F16 => Format::F16,
            DType::BF16 => Format::Bf16,
            _ => return None,
        };
        Some(Weights { format, bytes: operand.bytes, offsets, terms })
    }

    /// Writes the weights of one column; NaNs become canonical.
    pub(crate) fn column(&self, column: usize, to: &mut [f32]) {
        assert_eq!(to.len(), self.terms);
        let panel = &self.bytes[column / PANEL * self.panel_bytes()..][..self.panel_bytes()];
        with_form!(self.format, F => {
            for (block, to) in panel.chunks_exact(F::BYTES).zip(to.chunks_exact_mut(F::BLOCK)) {
                for (band, to) in to.chunks_exact_mut(F::BAND).enumerate() {
                    // SAFETY: a whole block, and a column of its panel.
                    let scales = unsafe { F::scales::<f32>(block.as_ptr(), band, column % PANEL) };
                    for (step, to) in to.chunks_exact_mut(F::STEP).enumerate() {
                        let at = band * F::BAND + step * F::STEP;
                        // SAFETY: as above.
                        let weights = unsafe { F::weights(scales, block.as_ptr(), at, column % PANEL) };
                        for (to, weight) in to.iter_mut().zip(weights) {
                            *to = weight.canonical_nan();
                        }
                    }
                }
            }
        });
    }
}

impl Right<f32> for Weights<'_> {
    fn in_place(&self, batch: usize) -> Option<&[f32]> {
        (self.format == Format::F32).then(|| bytemuck::cast_slice(self.batch(batch)))
    }

    fn contract(&self, isa: Isa, size: Size, left: &dyn Left<f32>, target: &dyn Target<f32>) -> bool {
        few::few_rows(isa, size, left, self, target)
    }

    fn pack(&self, batch: usize, terms: Range<usize>, panels: Range<usize>, stride: usize, to: &mut [f32]) {
        // Widening is exact or rounds once, whatever instructions do it.
        let isa = Isa::detect();
        with_form!(self.format, F => {
            let (first, count) = (terms.start / F::BLOCK, terms.len() / F::BLOCK);
            debug_assert!(terms.start.is_multiple_of(F::BLOCK) && terms.len().is_multiple_of(F::BLOCK));
            for (panel, to) in panels.zip(to.chunks_mut(stride)) {
                let from = &self.batch(batch)[panel * self.panel_bytes() + first * F::BYTES..][..count * F::BYTES];
                dispatch(isa, Widen::<F> { from, to: &mut to[..terms.len() * PANEL], form: PhantomData });
            }
        });
    }
}

/// Blocks of one panel, which become f32.
struct Widen<'a, F> {
    from: &'a [u8],
    to: &'a mut [f32],
    form: PhantomData<F>,
}

impl<F: Stored> Vectorized for Widen<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        for (block, to) in self.from.chunks_exact(F::BYTES).zip(self.to.chunks_exact_mut(F::BLOCK * PANEL)) {
            for band in 0..F::BLOCK / F::BAND {
                for column in (0..PANEL).step_by(V::LANES) {
                    // SAFETY: a whole block, and columns of its panel.
                    let scales = unsafe { F::scales::<V>(block.as_ptr(), band, column) };
                    for at in (band * F::BAND..(band + 1) * F::BAND).step_by(F::STEP) {
                        // SAFETY: as above.
                        let weights = unsafe { F::weights(scales, block.as_ptr(), at, column) };
                        for (i, weights) in weights.into_iter().enumerate().take(F::STEP) {
                            let to = &mut to[(at + i) * PANEL + column..][..V::LANES];
                            // SAFETY: as many elements as lanes.
                            unsafe { weights.store(to.as_mut_ptr()) };
                        }
                    }
                }
            }
        }
    }
}
