//! f16 and bf16: exact to f32, rounded once from it.
//!
//! Written without branches, so that the loops are vectorized; no instruction of a machine converts here, so
//! that all machines do the same. Needs subnormals kept, as [`crate::FloatEnv`] has it.

use half::{bf16, f16};
use repops::dtype::DType;
use repops::region::{PARAMS_MAX, RegionArg, RegionKernel};

use super::super::elementwise::region::TileKernel;
use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch};
use crate::isa::Isa;
use crate::scratch::with_scratch;

/// Exact; a NaN keeps its payload.
#[inline(always)]
pub(crate) fn widen_f16(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    // 2^112 takes the exponent's bias from 15 to 127, subnormals included.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let finite = magnitude < 0x7c00 << 13;
    let value = if finite { scaled } else { magnitude | 0x7f80_0000 };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

/// To nearest, ties to even; every NaN becomes the canonical one.
#[inline(always)]
pub(crate) fn narrow_f16(x: f32) -> f16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Rounds at bit 13, then takes the exponent's bias from 127 to 15; a carry into the exponent is right.
    let normal = magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1)).wrapping_sub(112 << 23) >> 13;
    // Adding 1/2 puts multiples of 2^-24, the least f16, into the last bits, rounded by the addition.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    let beyond = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let value = if magnitude < 143 << 23 { finite } else { beyond };
    let sign = if magnitude > 0x7f80_0000 { 0 } else { bits >> 16 & 0x8000 };
    f16::from_bits((value | sign) as u16)
}

/// Exact; a NaN keeps its payload.
#[inline(always)]
pub(crate) fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// To nearest, ties to even; every NaN becomes the canonical one.
#[inline(always)]
pub(crate) fn narrow_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let value = if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded };
    bf16::from_bits(value as u16)
}

/// Widens elements of f16 or bf16, given as bytes.
pub(crate) fn widen(isa: Isa, dtype: DType, from: &[u8], to: &mut [f32]) {
    match dtype {
        DType::F16 => convert(isa, bytemuck::cast_slice(from), to, f!(|x: f16| widen_f16(x))),
        _ => convert(isa, bytemuck::cast_slice(from), to, f!(|x: bf16| widen_bf16(x))),
    }
}

/// Narrows to elements of f16 or bf16, given as bytes.
pub(crate) fn narrow(isa: Isa, dtype: DType, from: &[f32], to: &mut [u8]) {
    match dtype {
        DType::F16 => convert(isa, from, bytemuck::cast_slice_mut(to), f!(|x: f32| narrow_f16(x))),
        _ => convert(isa, from, bytemuck::cast_slice_mut(to), f!(|x: f32| narrow_bf16(x))),
    }
}

fn convert<S: Copy, T>(isa: Isa, from: &[S], to: &mut [T], f: impl Fn(S) -> T) {
    dispatch(isa, Convert { from, to, f });
}

struct Convert<'a, S, T, F> {
    from: &'a [S],
    to: &'a mut [T],
    f: F,
}

impl<S: Copy, T, F: Fn(S) -> T> Vectorized for Convert<'_, S, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        assert_eq!(self.from.len(), self.to.len());
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = (self.f)(from);
        }
    }
}

/// Elements of a block, between widening and narrowing.
const BLOCK: usize = 2048;

/// Loops of f32 between inputs and an output of which some are f16 or bf16.
pub(crate) struct ThroughF32 {
    pub isa: Isa,
    /// Takes f32 where `params` has f16 or bf16.
    pub tiles: TileKernel,
    pub params: Vec<DType>,
    pub output: DType,
}

/// Whether a type is computed with through f32.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

impl RegionKernel for ThroughF32 {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        let block = BLOCK.min(n);
        with_scratch((self.params.len() + 1) * block, |scratch: &mut [f32]| {
            let (wide, result) = scratch.split_at_mut(self.params.len() * block);
            let mut start = 0;
            while start < n {
                let len = block.min(n - start);
                let mut inner = [RegionArg::Splat(&[]); PARAMS_MAX];
                let buffers = wide.chunks_exact_mut(block);
                for (((inner, arg), &dtype), buffer) in
                    inner.iter_mut().zip(args).zip(&self.params).zip(buffers)
                {
                    let size = dtype.size();
                    *inner = match *arg {
                        RegionArg::Slice(bytes) if is_half(dtype) => {
                            widen(self.isa, dtype, &bytes[start * size..][..len * size], &mut buffer[..len]);
                            RegionArg::Slice(bytemuck::cast_slice(&buffer[..len]))
                        }
                        RegionArg::Splat(bytes) if is_half(dtype) => {
                            widen(self.isa, dtype, &bytes[..size], &mut buffer[..1]);
                            RegionArg::Splat(bytemuck::cast_slice(&buffer[..1]))
                        }
                        RegionArg::Slice(bytes) => RegionArg::Slice(&bytes[start * size..][..len * size]),
                        splat => splat,
                    };
                }
                let inner = &inner[..args.len()];
                let size = self.output.size();
                let to = &mut outputs[0][start * size..][..len * size];
                if is_half(self.output) {
                    let result = &mut result[..len];
                    self.tiles.evaluate(len, inner, &mut [bytemuck::cast_slice_mut(result)]);
                    narrow(self.isa, self.output, result, to);
                } else {
                    self.tiles.evaluate(len, inner, &mut [to]);
                }
                start += len;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use repops::dtype::Element;

    use super::*;

    #[test]
    fn widening_is_exact() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits).canonical(), bf16::from_bits(bits).canonical());
            assert_eq!(widen_f16(half).to_bits(), half.to_f32().to_bits(), "{bits:#x}");
            assert_eq!(widen_bf16(brain).to_bits(), brain.to_f32().to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn narrowing_rounds_to_even() {
        let check = |bits: u32| {
            let x = f32::from_bits(bits);
            let (half, brain) = (f16::from_f32(x).canonical(), bf16::from_f32(x).canonical());
            assert_eq!(narrow_f16(x).to_bits(), half.to_bits(), "{bits:#x}");
            assert_eq!(narrow_bf16(x).to_bits(), brain.to_bits(), "{bits:#x}");
        };
        // Every exponent, and all about the ties.
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                check(u32::from(high) << 16 | low);
            }
        }
        for bits in 0..0x7c00u16 {
            let (low, high) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            let tie = if bits == 0x7bff { 65520.0 } else { (low.to_f32() + high.to_f32()) / 2.0 };
            for x in [tie.next_down(), tie, tie.next_up(), low.to_f32()] {
                check(x.to_bits());
                check(x.to_bits() | 0x8000_0000);
            }
        }
    }
}
