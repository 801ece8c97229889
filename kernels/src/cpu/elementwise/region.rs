//! Regions, interpreted tile by tile: each instruction runs over a tile of elements that stays in the
//! first-level cache.
//!
//! Invariant: each instruction rounds as it does alone, so tiles and fusion change no bit.

use std::sync::Arc;

use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{self, OpClass};
use repops::region::{PARAMS_MAX, Region, RegionArg, RegionBackend, RegionKernel};

use super::gelu::{self, Spelled};
use super::loops;
use crate::float_env::FloatEnv;
use crate::isa::Isa;
use crate::scratch::with_scratch;

/// Elements of a tile.
const TILE: usize = 512;

/// Interprets regions with the loops of an instruction set.
pub struct TileRegions {
    pub isa: Isa,
}

impl RegionBackend for TileRegions {
    fn prepare(&self, region: &Region) -> Option<Arc<dyn RegionKernel>> {
        Some(Arc::new(TileKernel::new(self.isa, region)?))
    }

    fn name(&self) -> &'static str {
        "tiles"
    }
}

/// A value during the run of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// An argument.
    Param(usize),
    /// A tile of scratch memory.
    Slot(usize),
    /// An output of type f32, written in place.
    Output(usize),
}

struct Step {
    op: LaneOp,
    args: Vec<Place>,
    to: Place,
}

/// A region as a list of loops.
pub(crate) struct TileKernel {
    isa: Isa,
    params: Vec<DType>,
    steps: Vec<Step>,
    /// Steps that may be Gelu, and where the value is that it is of.
    gelus: Vec<(Spelled, Place)>,
    /// Where each output's value is, and whether it is bool.
    results: Vec<(Place, DType)>,
    slots: usize,
}

impl TileKernel {
    /// `None` when an operator cannot be fused or this machine lacks the instruction set.
    pub(crate) fn new(isa: Isa, region: &Region) -> Option<TileKernel> {
        let count = region.params.len();
        let mut ops = Vec::new();
        for instruction in &region.instructions {
            let OpClass::Elementwise(Some(lane)) = ops::by_id(instruction.op, instruction.version)?.class
            else {
                return None;
            };
            let types: Vec<DType> = instruction.args.iter().map(|&a| region.value_dtype(a)).collect();
            let op = lane(&instruction.attrs);
            op.signature(&types)?;
            ops.push((op, instruction.args.iter().map(|&a| a as usize).collect(), instruction.dtype));
        }
        let results: Vec<usize> = region.results.iter().map(|&r| r as usize).collect();
        debug_assert!(results.iter().all(|&r| r >= count));
        TileKernel::of_ops(isa, &region.params, &ops, &results)
    }

    /// From operators with the values they read, as in [`Region`].
    pub(crate) fn of_ops(
        isa: Isa,
        params: &[DType],
        ops: &[(LaneOp, Vec<usize>, DType)],
        results: &[usize],
    ) -> Option<TileKernel> {
        if !isa.is_available() {
            return None;
        }
        let count = params.len();
        // The last step that reads each value; results are read at the end.
        let mut last_use = vec![0; count + ops.len()];
        for (at, (_, args, _)) in ops.iter().enumerate() {
            for &arg in args {
                last_use[arg] = at;
            }
        }
        let gelus = Spelled::find(count, ops, results);
        // What such a Gelu is of has to be there until it is done.
        for gelu in &gelus {
            last_use[gelu.x] = last_use[gelu.x].max(gelu.first + gelu::STEPS - 1);
        }
        let mut places: Vec<Place> = (0..count).map(Place::Param).collect();
        let (mut free, mut slots) = (Vec::new(), 0);
        let mut steps = Vec::new();
        for (at, (op, args, dtype)) in ops.iter().enumerate() {
            let value = count + at;
            let output = results.iter().position(|&r| r == value);
            let to = match output {
                Some(index) if *dtype == DType::F32 => Place::Output(index),
                _ => Place::Slot(free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                })),
            };
            let sources: Vec<Place> = args.iter().map(|&a| places[a]).collect();
            for (index, &arg) in args.iter().enumerate() {
                let again = args[..index].contains(&arg);
                if let Place::Slot(slot) = places[arg]
                    && last_use[arg] == at
                    && !again
                    && !results.contains(&arg)
                {
                    free.push(slot);
                }
            }
            steps.push(Step { op: *op, args: sources, to });
            places.push(to);
        }
        let gelus = gelus.into_iter().map(|gelu| (places[gelu.x], gelu)).map(|(x, gelu)| (gelu, x)).collect();
        let dtype_of = |value: usize| ops[value - count].2;
        let results = results.iter().map(|&r| (places[r], dtype_of(r))).collect();
        Some(TileKernel { isa, params: params.to_vec(), steps, gelus, results, slots })
    }
}

impl RegionKernel for TileKernel {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        let _env = FloatEnv::enter();
        let tile = TILE.min(n);
        // Splats and truth values need a tile of their own.
        let mut own = [None; PARAMS_MAX];
        let mut next = self.slots;
        for ((own, arg), &dtype) in own.iter_mut().zip(args).zip(&self.params) {
            if matches!(arg, RegionArg::Splat(_)) || dtype == DType::Bool {
                *own = Some(next);
                next += 1;
            }
        }
        with_scratch(next * TILE, |scratch: &mut [f32]| {
            for ((arg, &dtype), own) in args.iter().zip(&self.params).zip(&own) {
                if let (RegionArg::Splat(bytes), Some(own)) = (arg, own) {
                    let value = match dtype {
                        DType::Bool => bytes[0] as f32,
                        _ => bytemuck::cast_slice::<u8, f32>(bytes)[0],
                    };
                    scratch[own * TILE..][..tile].fill(value);
                }
            }
            // What reads and writes nothing but what is given has nothing to keep near.
            let is_one = match &self.gelus[..] {
                // Its three numbers are all that has tiles.
                [(gelu, _)] if gelu.is_gelu(args) => {
                    self.steps.len() == gelu::STEPS && next == self.slots + 3
                }
                _ => self.steps.len() == 1 && next == 0,
            };
            let tile = if is_one { n } else { TILE };
            let mut start = 0;
            while start < n {
                let len = tile.min(n - start);
                self.tile(start, len, args, &own, scratch, outputs);
                start += len;
            }
        });
    }
}

impl TileKernel {
    fn tile(
        &self,
        start: usize,
        len: usize,
        args: &[RegionArg<'_>],
        own: &[Option<usize>],
        scratch: &mut [f32],
        outputs: &mut [&mut [u8]],
    ) {
        for ((arg, &dtype), own) in args.iter().zip(&self.params).zip(own) {
            if let (RegionArg::Slice(bytes), Some(own), DType::Bool) = (arg, own, dtype) {
                for (to, &from) in scratch[own * TILE..][..len].iter_mut().zip(&bytes[start..start + len]) {
                    *to = from as f32;
                }
            }
        }
        let slots = scratch.as_mut_ptr();
        let mut pointers = [std::ptr::null_mut::<u8>(); PARAMS_MAX];
        for (pointer, output) in pointers.iter_mut().zip(outputs.iter_mut()) {
            *pointer = output.as_mut_ptr();
        }
        let locate = |place: Place| -> *const f32 {
            match place {
                Place::Param(index) => match (own[index], args[index]) {
                    // SAFETY: `own` counts within the scratch memory.
                    (Some(slot), _) => unsafe { slots.add(slot * TILE) },
                    (None, RegionArg::Slice(bytes) | RegionArg::Splat(bytes)) => {
                        bytemuck::cast_slice::<u8, f32>(bytes)[start..start + len].as_ptr()
                    }
                },
                // SAFETY: as above.
                Place::Slot(slot) => unsafe { slots.add(slot * TILE) },
                // SAFETY: an f32 output holds `n` elements; checked below.
                Place::Output(index) => unsafe { pointers[index].cast::<f32>().add(start) },
            }
        };
        for (index, (place, _)) in self.results.iter().enumerate() {
            if let Place::Output(at) = place {
                let bytes = outputs[*at].len();
                assert!(
                    bytes >= (start + len) * 4 && pointers[*at].cast::<f32>().is_aligned(),
                    "output {index}"
                );
            }
        }
        let mut gelus = self.gelus.iter().filter(|(gelu, _)| gelu.is_gelu(args)).peekable();
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            if let Some((gelu, x)) = gelus.next_if(|(gelu, _)| gelu.first == at) {
                at += gelu::STEPS;
                let to = self.steps[at - 1].to;
                debug_assert!(*x != to);
                // SAFETY: as below.
                let x = unsafe { std::slice::from_raw_parts(locate(*x), len) };
                // SAFETY: as below; `of_ops` keeps what the Gelu is of.
                let to = unsafe { std::slice::from_raw_parts_mut(locate(to).cast_mut(), len) };
                loops::gelu(self.isa, gelu.half_last, x, to);
                continue;
            }
            at += 1;
            let mut sources: [&[f32]; 3] = [&[]; 3];
            for (source, &place) in sources.iter_mut().zip(&step.args) {
                // SAFETY: every place holds `len` elements, and a step's target is none of its sources.
                *source = unsafe { std::slice::from_raw_parts(locate(place), len) };
            }
            debug_assert!(!step.args.contains(&step.to));
            // SAFETY: as above.
            let to = unsafe { std::slice::from_raw_parts_mut(locate(step.to).cast_mut(), len) };
            let by_one_number = matches!(step.op, LaneOp::Binary(BinaryOp::Div))
                && matches!(step.args[1], Place::Param(index) if matches!(args[index], RegionArg::Splat(_)));
            if by_one_number {
                loops::divide(self.isa, sources[0], sources[1][0], to);
            } else {
                loops::apply(self.isa, step.op, &sources[..step.args.len()], to);
            }
        }
        for (index, &(place, dtype)) in self.results.iter().enumerate() {
            // SAFETY: as above; the output is another piece of memory than the value.
            let value = unsafe { std::slice::from_raw_parts(locate(place), len) };
            if dtype == DType::Bool {
                for (to, &from) in outputs[index][start..start + len].iter_mut().zip(value) {
                    *to = (from != 0.0) as u8;
                }
            } else if place != Place::Output(index) {
                // The same value twice among the results.
                outputs[index][start * 4..(start + len) * 4].copy_from_slice(bytemuck::cast_slice(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repops::lane_op::UnaryOp;

    /// Each way to spell Gelu out, alone and amid other steps, by the loop and step by step: with other numbers, or ones
    /// that are not single, it is no Gelu.
    #[test]
    fn gelu_spelled_out() {
        let mut x: Vec<f32> = (0..3000).map(|i| (i % 1237) as f32 * 0.01 - 6.0).collect();
        x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, 1e-40, -1e-45, -0.0, 2e-30]);
        let bytes = |values: &[f32]| bytemuck::cast_slice::<f32, u8>(values).to_vec();
        let (div, erf) = (LaneOp::Binary(BinaryOp::Div), LaneOp::Unary(UnaryOp::Erf));
        let (add, mul) = (LaneOp::Binary(BinaryOp::Add), LaneOp::Binary(BinaryOp::Mul));
        // Values 0 to 3 are x, sqrt 2, 1 and 0.5; 4 is what comes before, if anything does.
        for (before, after, order) in (0..18).map(|case: usize| (case % 2 == 1, case / 2 % 3, case / 6)) {
            let mut ops = Vec::new();
            let of = if before { 4 } else { 0 };
            if before {
                ops.push((add, vec![0, 2], DType::F32));
            }
            let first = 4 + ops.len();
            ops.push((div, vec![of, 1], DType::F32));
            ops.push((erf, vec![first], DType::F32));
            ops.push((add, vec![2, first + 1], DType::F32));
            let products = match order {
                0 => [vec![of, first + 2], vec![first + 3, 3]],
                1 => [vec![3, first + 2], vec![first + 3, of]],
                _ => [vec![of, 3], vec![first + 3, first + 2]],
            };
            ops.extend(products.map(|args| (mul, args, DType::F32)));
            let mut results = vec![first + 4];
            if after == 1 {
                ops.push((add, vec![first + 4, of], DType::F32));
                results = vec![first + 5];
            } else if after == 2 {
                // A step's own value is needed elsewhere.
                results.push(first + 2);
            }
            let found = Spelled::find(4, &ops, &results);
            assert_eq!(found.len(), usize::from(after != 2), "{ops:?}");
            assert!(found.iter().all(|gelu| gelu.half_last == (order == 0)));
            for isa in Isa::available() {
                for numbers in [[std::f32::consts::SQRT_2, 1.0, 0.5], [1.5, 1.0, 0.5], [1.5, 1.0, 0.25]] {
                    let kernel = TileKernel::of_ops(isa, &[DType::F32; 4], &ops, &results).unwrap();
                    let alone = TileKernel {
                        gelus: Vec::new(),
                        ..TileKernel::of_ops(isa, &[DType::F32; 4], &ops, &results).unwrap()
                    };
                    let (given, splats) = (bytes(&x), numbers.map(|number| bytes(&[number])));
                    for n in [0, 1, 17, 511, 512, 513, x.len()] {
                        let run = |kernel: &TileKernel, args: &[RegionArg<'_>]| {
                            let mut made = vec![bytes(&vec![-7.0; n]); results.len()];
                            let mut outputs: Vec<&mut [u8]> =
                                made.iter_mut().map(|made| &mut made[..]).collect();
                            kernel.evaluate(n, args, &mut outputs);
                            made
                        };
                        let spread = bytes(&vec![numbers[0]; n]);
                        for is_spread in [false, true] {
                            let args = [
                                RegionArg::Slice(&given[..n * 4]),
                                if is_spread {
                                    RegionArg::Slice(&spread)
                                } else {
                                    RegionArg::Splat(&splats[0])
                                },
                                RegionArg::Splat(&splats[1]),
                                RegionArg::Splat(&splats[2]),
                            ];
                            assert!(
                                run(&kernel, &args) == run(&alone, &args),
                                "{ops:?} of {n} with {}",
                                isa.name()
                            );
                        }
                        // What it is of may be one number.
                        let args = [
                            RegionArg::Splat(&given[40..44]),
                            RegionArg::Splat(&splats[0]),
                            RegionArg::Splat(&splats[1]),
                            RegionArg::Splat(&splats[2]),
                        ];
                        assert!(
                            run(&kernel, &args) == run(&alone, &args),
                            "{ops:?} of {n} equal numbers with {}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}
