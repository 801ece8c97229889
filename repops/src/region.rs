//! Regions: fused element-wise steps.
//!
//! A region computes, for every element of its broadcast index space, a small list of element-wise
//! operators; each operator rounds as it does alone, so fusing changes no bit. All results have the
//! region's full shape.
//!
//! The first values may be *products*: results of contractions of whole tensors, which a step with this body
//! computes first and does not store.
//!
//! Invariant of a checked [`Region`]: every instruction names an operator of class `Elementwise` with a
//! [`LaneOp`](crate::lane_op::LaneOp), refers to earlier values only, and its values are f32 or bool. A region that
//! backends are given is evaluated from its parameters; where these come from does not concern them.

use std::cell::Cell;
use std::ops::Range;

use crate::attrs::Attrs;
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::ops::infer::broadcast;
use crate::ops::{self, InferCtx, InferInput, Inferred, OpClass, OpDef, OpError, OpId};

/// The most instructions of one region.
pub const INSTRUCTIONS_MAX: usize = 256;
/// The most inputs of one region.
pub const PARAMS_MAX: usize = 32;
/// The most products of one region, and the most inputs of one product.
pub const PRODUCTS_MAX: usize = 4;
pub const PRODUCT_INPUTS_MAX: usize = 8;

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

/// A contraction that a step computes for its region: one f32 for each element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    pub op: OpId,
    pub version: u16,
    pub attrs: Attrs,
    /// How many of the step's inputs it takes; all are there.
    pub inputs: u16,
}

/// The body of a fused step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// What the first parameters are. Each product takes the step's next inputs, in order; the inputs after those of all products
    /// are the other parameters.
    pub products: Vec<Product>,
    /// The types of the parameters.
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
    #[error("product {at} (operator {op} version {version}): {problem}")]
    Product { at: usize, op: OpId, version: u16, problem: String },
}

/// Whether a region may hold the operator as a product: a contraction that cannot meet a fault.
pub fn is_product(def: &OpDef) -> bool {
    matches!(def.name, "MatMul" | "MatMulBlocks" | "Gemm" | "Conv" | "ConvTranspose")
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
        self.check_products()?;
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

    fn check_products(&self) -> Result<(), RegionError> {
        if self.products.len() > PRODUCTS_MAX {
            return Err(RegionError::Count {
                what: "products",
                found: self.products.len(),
                max: PRODUCTS_MAX,
            });
        }
        for (at, product) in self.products.iter().enumerate() {
            let Product { op, version, .. } = *product;
            let problem = |problem: String| RegionError::Product { at, op, version, problem };
            let def = ops::by_id(op, version).filter(|def| is_product(def));
            let def = def.ok_or_else(|| problem("is no contraction that may be fused".to_string()))?;
            let inputs = usize::from(product.inputs);
            if inputs > PRODUCT_INPUTS_MAX {
                return Err(problem(format!(
                    "takes {inputs} inputs; at most {PRODUCT_INPUTS_MAX} are allowed"
                )));
            }
            def.check_arity(&vec![true; inputs], 1).map_err(|e| problem(e.to_string()))?;
            let checked = def.check_attrs(&product.attrs).map_err(|e| problem(e.to_string()))?;
            if checked != product.attrs {
                return Err(problem("defaults of attributes are not filled in".to_string()));
            }
            if self.params.get(at) != Some(&DType::F32) {
                return Err(problem("its parameter is not of f32".to_string()));
            }
        }
        Ok(())
    }

    /// Whether nothing has to be computed before the region is.
    pub fn is_elementwise(&self) -> bool {
        self.products.is_empty()
    }

    /// The products and which of the step's inputs each takes.
    pub fn products(&self) -> impl Iterator<Item = (&Product, Range<usize>)> {
        let mut first = 0;
        self.products.iter().map(move |product| {
            let inputs = first..first + usize::from(product.inputs);
            first = inputs.end;
            (product, inputs)
        })
    }

    /// The number of the step's first input that is a parameter itself.
    pub fn first_elementwise(&self) -> usize {
        self.products.iter().map(|product| usize::from(product.inputs)).sum()
    }

    /// How many inputs a step with this body has.
    pub fn input_count(&self) -> usize {
        self.first_elementwise() + self.params.len().saturating_sub(self.products.len())
    }

    /// The types of the results of a step with this body: the broadcast of the parameters; with products all of them
    /// have this shape.
    pub fn infer(
        &self,
        inputs: &[Option<InferInput<'_>>],
        fresh: &Cell<u32>,
    ) -> Result<Vec<Inferred>, OpError> {
        if inputs.len() != self.input_count() {
            let expected = self.input_count().to_string();
            return Err(OpError::InputCount { expected, found: inputs.len() });
        }
        let mut shapes: Vec<Vec<DimExpr>> = Vec::with_capacity(self.params.len());
        for (product, range) in self.products() {
            let ctx = InferCtx { attrs: &product.attrs, inputs: &inputs[range], outputs: 1, fresh };
            let ty = product.def().infer(&ctx)?.swap_remove(0).ty;
            if ty.dtype != DType::F32 {
                return Err(OpError::Unsupported(format!("a product of {}; f32 is needed", ty.dtype)));
            }
            shapes.push(ty.shape);
        }
        let rest = inputs[self.first_elementwise()..].iter().zip(&self.params[self.products.len()..]);
        for (index, (input, expected)) in rest.enumerate() {
            let index = self.first_elementwise() + index;
            let found = input.ok_or(OpError::MissingInput { index })?.ty;
            if found.dtype != *expected {
                return Err(OpError::DType { index, found: found.dtype, expected: expected.name() });
            }
            shapes.push(found.shape.clone());
        }
        let borrowed: Vec<&[DimExpr]> = shapes.iter().map(Vec::as_slice).collect();
        let full = broadcast(&borrowed)?;
        let is_full = |shape: &Vec<DimExpr>| {
            shape.len() == full.len() && shape.iter().zip(&full).all(|(a, b)| a.provably_equals(b))
        };
        if !shapes[..self.products.len()].iter().all(is_full) {
            return Err(OpError::shape("a product has another shape than the results"));
        }
        Ok(self.results.iter().map(|&r| Inferred::new(self.value_dtype(r), full.clone())).collect())
    }

    /// The type of a value of a checked region.
    pub fn value_dtype(&self, value: u16) -> DType {
        match self.params.get(value as usize) {
            Some(dtype) => *dtype,
            None => self.instructions[value as usize - self.params.len()].dtype,
        }
    }
}

impl Product {
    /// The operator of a product of a checked region.
    pub fn def(&self) -> &'static OpDef {
        ops::by_id(self.op, self.version).expect("a checked region")
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
    /// Code of the region itself, without its products, for devices that run PTX; `None` when this backend makes none.
    fn ptx(&self, _region: &Region) -> Option<std::sync::Arc<RegionPtx>> {
        None
    }

    /// What to call it in reports.
    fn name(&self) -> &'static str;
}

/// A region as a module of PTX with two entries. The threads of blocks along one axis share the elements; any grid does, as threads
/// take more elements when they are done.
///
/// Numbers are of 32 bits, addresses generic, strides counted in elements.
/// [`RegionPtx::DENSE`] takes the count of elements; for each parameter its address and stride; for each result its address.
/// [`RegionPtx::BROADCAST`] takes the count of elements, fewer than 2^31; from the outermost axis to the innermost of six the extent, and `m`
/// and `s` with which `x * m >> s` is `x` divided by the extent; for each parameter its address and a stride for each axis; for each result its address.
#[derive(Debug)]
pub struct RegionPtx {
    pub text: String,
    /// How many elements a thread of `DENSE` takes at a time.
    pub lanes: u32,
}

impl RegionPtx {
    pub const DENSE: &'static str = "region_dense";
    pub const BROADCAST: &'static str = "region_broadcast";
    /// Axes of `BROADCAST`.
    pub const AXES: usize = 6;
    /// Threads that a block may have.
    pub const THREADS_MAX: u32 = 128;
    /// Inputs and outputs, together, whose addresses and strides an entry takes.
    pub const VALUES_MAX: usize = 64;
}
