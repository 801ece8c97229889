//! Regions: fused element-wise steps.
//!
//! A region computes, for every element of its broadcast index space, a small list of element-wise
//! operators; each operator rounds as it does alone, so fusing changes no bit. All results have the
//! region's full shape.
//!
//! Invariant of a checked [`Region`]: every instruction names an operator of class `Elementwise` with a
//! [`LaneOp`](crate::lane_op::LaneOp), refers to earlier values only, and its values are f32 or bool.

use crate::attrs::Attrs;
use crate::dtype::DType;
use crate::ops::{self, OpClass, OpDef, OpId};

/// The most instructions of one region.
pub const INSTRUCTIONS_MAX: usize = 256;
/// The most inputs of one region.
pub const PARAMS_MAX: usize = 32;

/// One instruction: an operator over earlier values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    pub op: OpId,
    pub version: u16,
    pub attrs: Attrs,
    /// Values: `0 .. params` are the region's inputs, then one for each instruction in order.
    pub args: Vec<u16>,
    /// The type of the result.
    pub dtype: DType,
}

/// The body of a fused step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// The types of the inputs.
    pub params: Vec<DType>,
    pub instructions: Vec<Instruction>,
    /// The values that are the step's outputs.
    pub results: Vec<u16>,
}

/// What is wrong with a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    #[error("a region has {found} {what}; 1 to {max} are allowed")]
    Count { what: &'static str, found: usize, max: usize },
    #[error("instruction {at} refers to value {value}, which is not computed before it")]
    Forward { at: usize, value: u16 },
    #[error("result {index} refers to value {value}, which does not exist")]
    Result { index: usize, value: u16 },
    #[error("instruction {at}: operator {op} version {version} is unknown or cannot be fused")]
    Operator { at: usize, op: OpId, version: u16 },
    #[error("instruction {at} ({name}): {problem}")]
    Instruction { at: usize, name: &'static str, problem: String },
}

impl Region {
    /// Checks the invariant.
    pub fn check(&self) -> Result<(), RegionError> {
        let count = |what, found: usize, max| {
            if found == 0 || found > max { Err(RegionError::Count { what, found, max }) } else { Ok(()) }
        };
        count("inputs", self.params.len(), PARAMS_MAX)?;
        count("instructions", self.instructions.len(), INSTRUCTIONS_MAX)?;
        count("results", self.results.len(), PARAMS_MAX)?;
        let mut types = self.params.clone();
        for (at, instruction) in self.instructions.iter().enumerate() {
            let def = instruction.def(at)?;
            let problem = |problem| RegionError::Instruction { at, name: def.name, problem };
            let OpClass::Elementwise(Some(lane)) = def.class else {
                return Err(RegionError::Operator { at, op: def.id, version: def.version });
            };
            let checked = def.check_attrs(&instruction.attrs).map_err(|e| problem(e.to_string()))?;
            if checked != instruction.attrs {
                return Err(problem("defaults of attributes are not filled in".to_string()));
            }
            let mut args = Vec::new();
            for &value in &instruction.args {
                args.push(*types.get(value as usize).ok_or(RegionError::Forward { at, value })?);
            }
            let expected = lane(&instruction.attrs).signature(&args);
            if expected != Some(instruction.dtype) {
                return Err(problem(format!("does not map {args:?} to {}", instruction.dtype)));
            }
            types.push(instruction.dtype);
        }
        for (index, &value) in self.results.iter().enumerate() {
            if value as usize >= types.len() || (value as usize) < self.params.len() {
                return Err(RegionError::Result { index, value });
            }
        }
        Ok(())
    }

    /// The type of a value of a checked region.
    pub fn value_dtype(&self, value: u16) -> DType {
        match self.params.get(value as usize) {
            Some(dtype) => *dtype,
            None => self.instructions[value as usize - self.params.len()].dtype,
        }
    }
}

impl Instruction {
    fn def(&self, at: usize) -> Result<&'static OpDef, RegionError> {
        ops::by_id(self.op, self.version).ok_or(RegionError::Operator {
            at,
            op: self.op,
            version: self.version,
        })
    }
}

/// One input of a run of elements.
#[derive(Clone, Copy)]
pub enum RegionArg<'a> {
    /// As many elements as the run has.
    Slice(&'a [u8]),
    /// One element for the whole run.
    Splat(&'a [u8]),
}

/// A region made ready to run.
pub trait RegionKernel: Send + Sync {
    /// Evaluates `n` consecutive elements; every argument and output is aligned for its type. NaNs of
    /// the outputs are canonical.
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]);
}

/// Makes regions ready to run; implemented by `kernels` (tile-wise interpretation) and `compiler`
/// (native code), with equal bits.
pub trait RegionBackend: Send + Sync {
    /// `None` when this backend cannot take the region; the caller then uses another.
    fn prepare(&self, region: &Region) -> Option<std::sync::Arc<dyn RegionKernel>>;
    /// What to call it in reports.
    fn name(&self) -> &'static str;
}
