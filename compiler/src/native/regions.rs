//! Regions as native code, for this machine's CPU and as PTX for devices: the backend that runtimes are given where LLVM is at hand.
//!
//! A region is recorded instruction by instruction through the very `LaneOp`s that the interpreter applies; equal
//! regions are compiled once.

use std::sync::{Arc, Mutex, PoisonError};

use repops::dtype::DType;
use repops::lane::{Lane, MaskLane};
use repops::lane_op::{self, LaneOp};
use repops::ops::{self, OpClass};
use repops::region::{Region, RegionBackend, RegionKernel, RegionPtx};

use super::kernel::{Compiler, Function};
use super::sym::{Kind, NodeId, Recording, SymF32, SymMask, record};
use super::{emit, ptx};
use crate::Result;
use crate::mlir::{Context, Module};

/// Larger functions are left to another backend: LLVM takes more than linear time, and programs come from strangers.
const NODES_MAX: usize = 4096;

/// What was compiled so far, with the regions it is of; `None` for regions that cannot be. A model has few different ones.
type Known<T> = Mutex<Vec<(Region, Option<Arc<T>>)>>;

/// Compiles regions for the CPU this runs on.
pub struct NativeRegions {
    compiler: Compiler,
    known: Known<dyn RegionKernel>,
    known_ptx: Known<RegionPtx>,
}

impl NativeRegions {
    pub fn new() -> Result<Self> {
        Ok(Self { compiler: Compiler::new()?, known: Mutex::default(), known_ptx: Mutex::default() })
    }

    /// Compiles a checked region; `Ok(None)` for one that is too large, or not of f32 and bool alone.
    fn compile(&self, region: &Region) -> Result<Option<Arc<dyn RegionKernel>>> {
        let Some(recorded) = recorded(region).filter(Recorded::is_bounded) else { return Ok(None) };
        let kernel = self.compiler.compile(&Function {
            recording: &recorded.recording,
            inputs: &recorded.inputs,
            results: &recorded.results,
        })?;
        Ok(Some(Arc::new(kernel)))
    }
}

/// The PTX of a checked region; `Ok(None)` for one that is too large, or not of f32 and bool alone.
pub fn ptx_of(region: &Region) -> Result<Option<RegionPtx>> {
    let Some(recorded) = recorded(region).filter(Recorded::is_bounded) else { return Ok(None) };
    if recorded.inputs.len() + recorded.results.len() > RegionPtx::VALUES_MAX {
        return Ok(None);
    }
    let (text, lanes) = emit::device_text(&recorded.recording, &recorded.inputs, &recorded.results);
    let context = Context::for_native_code();
    let text = ptx::compile(&mut Module::parse(&context, &text)?)?;
    Ok(Some(RegionPtx { text, lanes: lanes as u32 }))
}

/// What is known of a region, or what `make` says.
fn known<T: ?Sized>(
    known: &Known<T>,
    region: &Region,
    make: impl FnOnce() -> Option<Arc<T>>,
) -> Option<Arc<T>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, made)) = known.iter().find(|(other, _)| other == region) {
        return made.clone();
    }
    let made = make();
    known.push((region.clone(), made.clone()));
    made
}

impl RegionBackend for NativeRegions {
    fn prepare(&self, region: &Region) -> Option<Arc<dyn RegionKernel>> {
        // A region that LLVM cannot take (a CPU without fused multiply-add, say) is another backend's.
        known(&self.known, region, || self.compile(region).ok().flatten())
    }

    fn ptx(&self, region: &Region) -> Option<Arc<RegionPtx>> {
        known(&self.known_ptx, region, || ptx_of(region).ok().flatten().map(Arc::new))
    }

    fn name(&self) -> &'static str {
        "native"
    }
}

/// A region as a recording.
pub(super) struct Recorded {
    pub recording: Recording,
    pub inputs: Vec<Kind>,
    pub results: Vec<NodeId>,
}

impl Recorded {
    fn is_bounded(&self) -> bool {
        self.recording.nodes.len() <= NODES_MAX
    }
}

/// One value of a region.
#[derive(Clone, Copy)]
enum Sym {
    F32(SymF32),
    Bool(SymMask),
}

/// Records a checked region; `None` if a value is neither f32 nor bool.
pub(super) fn recorded(region: &Region) -> Option<Recorded> {
    let inputs: Vec<Kind> = region.params.iter().map(|&dtype| kind(dtype)).collect::<Option<_>>()?;
    let (recording, results) = record(|| evaluate(region));
    Some(Recorded { recording, inputs, results: results? })
}

fn kind(dtype: DType) -> Option<Kind> {
    match dtype {
        DType::F32 => Some(Kind::F32),
        DType::Bool => Some(Kind::Mask),
        _ => None,
    }
}

fn evaluate(region: &Region) -> Option<Vec<NodeId>> {
    let mut values: Vec<Sym> = Vec::new();
    for (index, &dtype) in (0u32..).zip(&region.params) {
        values.push(match kind(dtype)? {
            Kind::Mask => Sym::Bool(SymMask::input(index)),
            _ => Sym::F32(SymF32::input(index)),
        });
    }
    for instruction in &region.instructions {
        let def = ops::by_id(instruction.op, instruction.version)?;
        let OpClass::Elementwise(Some(lane)) = def.class else { return None };
        let args: Vec<Sym> =
            instruction.args.iter().map(|&arg| values.get(arg as usize).copied()).collect::<Option<_>>()?;
        values.push(apply(lane(&instruction.attrs), &args)?);
    }
    let result = |&value: &u16| {
        Some(match values.get(value as usize)? {
            // Stores are where NaNs become canonical.
            Sym::F32(value) => value.canonical_nan().0,
            Sym::Bool(value) => value.0,
        })
    };
    region.results.iter().map(result).collect()
}

fn apply(op: LaneOp, args: &[Sym]) -> Option<Sym> {
    use Sym::{Bool, F32};
    Some(match (op, args) {
        (LaneOp::Unary(op), &[F32(x)]) => F32(op.apply(x)),
        (LaneOp::Binary(op), &[F32(a), F32(b)]) => F32(op.apply(a, b)),
        (LaneOp::Compare(op), &[F32(a), F32(b)]) => Bool(op.apply(a, b)),
        (LaneOp::Classify(op), &[F32(x)]) => Bool(op.apply(x)),
        (LaneOp::Logic(op), &[Bool(a), Bool(b)]) => Bool(op.apply(a, b)),
        (LaneOp::Not, &[Bool(a)]) => Bool(a.not()),
        (LaneOp::Where, &[Bool(mask), F32(a), F32(b)]) => F32(lane_op::where_(mask, a, b)),
        (LaneOp::BoolToF32, &[Bool(mask)]) => F32(lane_op::bool_to_float(mask)),
        (LaneOp::F32ToBool, &[F32(x)]) => Bool(lane_op::float_to_bool(x)),
        (LaneOp::Clip, &[F32(x), F32(low), F32(high)]) => F32(lane_op::clip(x, low, high)),
        _ => return None,
    })
}
