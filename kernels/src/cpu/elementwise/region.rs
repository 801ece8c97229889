//! Regions, interpreted tile by tile: each instruction runs over a tile of elements that stays in the
//! first-level cache.
//!
//! Invariant: each instruction rounds as it does alone, so tiles and fusion change no bit.

use std::sync::Arc;

use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{self, OpClass};
use repops::region::{PARAMS_MAX, Region, RegionArg, RegionBackend, RegionKernel};

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
        let dtype_of = |value: usize| ops[value - count].2;
        let results = results.iter().map(|&r| (places[r], dtype_of(r))).collect();
        Some(TileKernel { isa, params: params.to_vec(), steps, results, slots })
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
            // One operator that reads and writes what is given has nothing to keep near.
            let tile = if self.steps.len() == 1 && next == 0 { n } else { TILE };
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
        for step in &self.steps {
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
