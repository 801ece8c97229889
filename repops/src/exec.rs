//! The interface between a program and whoever executes it.
//!
//! The reference executor here and the runtime's implement the same trait; `provenance::verify` takes
//! any. Invariant: two executors give the same [`Execution`] for the same program and inputs.

use crate::dtype::DType;
use crate::fma::FmaError;
use crate::ops::{Fault, OpError};
use crate::program::{Program, ProgramError, Step};
use crate::tensor::{Tensor, TensorError, TensorView};
use crate::trace::{Frame, StepRecord, Trace};

/// How much of a run is hashed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum HashLevel {
    /// Nothing.
    None,
    /// Inputs and outputs of the program.
    Outputs,
    /// Every step's outputs: the trace.
    #[default]
    Operators,
}

/// What a run gave.
#[derive(Debug)]
pub struct Execution {
    /// The outputs in the program's order, or the fault that data caused.
    pub result: Result<Vec<Tensor>, FaultAt>,
    /// At level `operators`.
    pub trace: Option<Trace>,
}

/// A fault and the step that met it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultAt {
    pub fault: Fault,
    /// The ONNX node, for people.
    pub node: String,
    pub op: String,
}

/// Sees a run as it happens. Every method does nothing by default.
pub trait Observer: Send {
    /// A step has run; `event.outputs` are valid during the call. Called in program order.
    /// Where [`Observer::looks`] is false, outputs may have no bytes.
    fn step(&mut self, event: StepEvent<'_>) {
        let _ = event;
    }
    /// A record is complete (level `operators`). Called in program order, but perhaps some steps later
    /// than [`Observer::step`], because hashing goes on beside computing.
    fn record(&mut self, record: &StepRecord) {
        let _ = record;
    }
    /// Whether [`Observer::step`] reads the bytes of outputs. Whoever computes on a device asks, because those
    /// bytes would have to be fetched.
    fn looks(&self) -> bool {
        true
    }
    /// What the run may use; asked once, before the first step.
    fn limits(&self) -> Limits {
        Limits::default()
    }
    /// Asked between steps; `true` ends the run with [`ExecError::Interrupted`].
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// What a caller lets a run use. Beyond it the run ends with an error that names the node; that is no fault, and no trace
/// holds it: whoever allows more gets further, to the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Iterations of one Loop or Scan.
    pub iterations: u64,
    /// Bytes of the values that a run holds at once, without inputs and constants, and without what an operator takes while it
    /// runs.
    pub bytes: u64,
}

/// No limits but those of the operators.
impl Default for Limits {
    fn default() -> Limits {
        Limits { iterations: u64::MAX, bytes: u64::MAX }
    }
}

/// An observer that looks away.
pub struct Unobserved;
impl Observer for Unobserved {
    fn looks(&self) -> bool {
        false
    }
}

/// By what a step was evaluated. It tells where time goes and never changes a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evaluation {
    /// The reference evaluation of the operator: slow wherever there is much to do.
    Reference,
    /// A kernel for the operator.
    Kernel,
    /// A kernel for a fused region, by the name of the backend that made it.
    Region(&'static str),
    /// The operators of a region one after the other, each by a kernel.
    Unfused,
    /// A kernel for the operator or the region, on a device.
    Device,
    /// No bytes were touched: the output is its input under another shape.
    View,
    /// Blocks, whose steps are shown by themselves.
    Control,
}

impl Evaluation {
    /// What to call it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Evaluation::Reference => "reference",
            Evaluation::Kernel => "kernel",
            Evaluation::Region(backend) => backend,
            Evaluation::Unfused => "unfused",
            Evaluation::Device => "device",
            Evaluation::View => "view",
            Evaluation::Control => "control",
        }
    }
}

/// What an observer is shown of a step.
pub struct StepEvent<'a> {
    pub step: &'a Step,
    /// `None` when the step met a fault.
    pub evaluation: Option<Evaluation>,
    /// Steps run before this one.
    pub index: usize,
    /// From the main block inwards.
    pub path: &'a [Frame],
    pub outputs: &'a [TensorView<'a>],
}

/// Executes programs.
pub trait Executor {
    /// Runs `program` on `inputs`, which are in the program's order.
    fn execute(
        &self,
        program: &Program,
        inputs: &[Tensor],
        level: HashLevel,
        observer: &mut dyn Observer,
    ) -> Result<Execution, ExecError>;
}

/// Why a run could not be carried through. A fault that data cause is not among these.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExecError {
    #[error("the program has {expected} inputs; {found} were given")]
    InputCount { expected: usize, found: usize },
    #[error("input {name} is {found}; the program needs {expected}")]
    InputDType { name: String, expected: DType, found: DType },
    #[error("input {name} has shape {found:?}; the program needs [{expected}]")]
    InputShape { name: String, expected: String, found: Vec<usize> },
    #[error("size {symbol} is {first} in one input, but {second} in input {name}")]
    SymbolConflict { symbol: String, name: String, first: i64, second: i64 },
    #[error("{op} (ONNX node {node}): {error}")]
    Step { op: String, node: String, error: OpError },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Fma(#[from] FmaError),
    /// A device could not do its part: not a fault of the data, and another executor may well succeed.
    #[error("{device}: {problem}")]
    Device { device: String, problem: String },
    #[error("interrupted")]
    Interrupted,
}

impl ExecError {
    /// An operator's error at a step.
    pub fn at(step: &Step, error: OpError) -> ExecError {
        ExecError::Step { op: step.def().name.to_string(), node: node_name(step), error }
    }
}

/// The ONNX nodes of a step, for messages.
pub fn node_name(step: &Step) -> String {
    match step.origins.as_slice() {
        [] => "(none)".to_string(),
        [one] => one.name.clone(),
        [first, .., last] => format!("{} .. {}", first.name, last.name),
    }
}

/// Binds the sizes that the program names to the inputs' shapes, checking dtypes and shapes.
/// Returns the sizes sorted by name.
pub fn bind_sizes(program: &Program, inputs: &[Tensor]) -> Result<Vec<(String, i64)>, ExecError> {
    let names = &program.header().inputs;
    if names.len() != inputs.len() {
        return Err(ExecError::InputCount { expected: names.len(), found: inputs.len() });
    }
    let mut sizes = std::collections::BTreeMap::<String, i64>::new();
    for ((name, ty), input) in names.iter().zip(&program.main().params).zip(inputs) {
        let Some(ty) = ty else { continue };
        if ty.dtype != input.dtype() {
            return Err(ExecError::InputDType {
                name: name.clone(),
                expected: ty.dtype,
                found: input.dtype(),
            });
        }
        let misfit = || ExecError::InputShape {
            name: name.clone(),
            expected: ty.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", "),
            found: input.shape().to_vec(),
        };
        if ty.shape.len() != input.shape().len() {
            return Err(misfit());
        }
        for (dim, &extent) in ty.shape.iter().zip(input.shape()) {
            let extent = extent as i64;
            if dim.as_const().is_some_and(|c| c != extent) {
                return Err(misfit());
            }
            let Some(symbol) = dim.as_symbol() else { continue };
            let first = *sizes.entry(symbol.to_string()).or_insert(extent);
            if first != extent {
                return Err(ExecError::SymbolConflict {
                    symbol: symbol.to_string(),
                    name: name.clone(),
                    first,
                    second: extent,
                });
            }
        }
    }
    // Expressions such as `2*N` in an input's shape are checked once all names are bound.
    let lookup = |symbol: &str| sizes.get(symbol).copied();
    for ((name, ty), input) in names.iter().zip(&program.main().params).zip(inputs) {
        for (dim, &extent) in ty.iter().flat_map(|t| &t.shape).zip(input.shape()) {
            if dim.bind(&lookup).as_const().is_some_and(|c| c != extent as i64) {
                return Err(ExecError::InputShape {
                    name: name.clone(),
                    expected: dim.to_string(),
                    found: input.shape().to_vec(),
                });
            }
        }
    }
    Ok(sizes.into_iter().collect())
}
