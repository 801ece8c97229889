//! Verification: a receipt's claim against what the program really does.
//!
//! Invariant: a [`Verdict`] is about the claim alone. What keeps the verifier from finding out (inputs
//! that cannot be run, an interruption) is an error and refutes nobody.

use std::collections::BTreeMap;

use repops::digest::{Layout, bytes_digest};
use repops::exec::{ExecError, Execution, Executor, HashLevel, Limits, Observer, StepEvent};
use repops::program::{Program, ProgramError};
use repops::trace::{StepRecord, bind_steps};
use repops::{DType, Digest, Tensor, TensorView};

use crate::dispute::partial::{Leaves, Subtrees};
use crate::keys::PublicKey;
use crate::receipt::{Claim, FaultClaim, Receipt, ReceiptError, TraceClaim, was_changed};

/// A hash of a tensor's stored bytes that equals [`repops::digest::bytes_digest`].
pub type BytesDigest = fn(DType, Layout, &[usize], &[u8]) -> Digest;

/// How to verify.
#[derive(Clone, Copy)]
pub struct VerifyOptions {
    /// Whose signature it must be; `None`: anybody's.
    pub signer: Option<PublicKey>,
    /// The plain hash by default; that of `kernels` is faster.
    pub hash: BytesDigest,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions { signer: None, hash: bytes_digest }
    }
}

/// What came out.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    Verified,
    /// The first thing that differs, in the order of [`Difference`]'s variants.
    Refuted(Difference),
}

/// What differs between a claim and the truth.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Difference {
    /// The form is none that was signed, or the signature is not the signer's.
    #[error("{0}")]
    Receipt(ReceiptError),
    #[error("signer: the receipt is signed by {found}, not by {expected}")]
    Signer { expected: PublicKey, found: PublicKey },
    #[error("program: the receipt claims {claimed}, the program given is {found}")]
    Program { claimed: Digest, found: Digest },
    #[error("program: {0}")]
    Constant(ProgramError),
    #[error("inputs: the receipt claims {name:?}, which the program does not have")]
    InputUnknown { name: String },
    #[error("inputs: the receipt claims nothing of {name:?}, which the program needs")]
    InputMissing { name: String },
    #[error("inputs.{name}: the receipt claims {claimed}, the input given has {found}")]
    Input { name: String, claimed: Digest, found: Digest },
    #[error("fault: the receipt claims {}, the program gives {}", fault(claimed), fault(found))]
    Fault { claimed: Option<FaultClaim>, found: Option<FaultClaim> },
    #[error("outputs: the receipt claims {name:?}, which the program does not have")]
    OutputUnknown { name: String },
    #[error("outputs: the receipt claims nothing of {name:?}, which the program gives")]
    OutputMissing { name: String },
    #[error("outputs.{name}: the receipt claims {claimed}, the program gives {found}")]
    Output { name: String, claimed: Digest, found: Digest },
    #[error("steps: the receipt claims {claimed}, the program takes {found}")]
    Steps { claimed: u64, found: u64 },
    #[error("trace_root: the receipt claims {claimed}, the program gives {found}")]
    TraceRoot { claimed: Digest, found: Digest },
}

fn fault(claim: &Option<FaultClaim>) -> String {
    match claim {
        None => "none".to_string(),
        Some(FaultClaim { fault, step }) => format!("{:?} ({fault}) at step {step}", *fault as u32),
    }
}

/// Why it could not be found out.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Unverifiable {
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error("the executor gave no trace")]
    NoTrace,
}

/// Reads a receipt and checks its form and signature. A receipt that was changed is refuted, whatever
/// the change made of its form; a text that is no receipt, or one of an unknown kind, is an error.
pub fn open(text: &[u8]) -> Result<Result<Receipt, Difference>, Unverifiable> {
    match Receipt::parse(text) {
        Ok(receipt) => match receipt.validate() {
            Ok(()) => Ok(Ok(receipt)),
            Err(error) => Ok(Err(Difference::Receipt(error))),
        },
        Err(error) if was_changed(text) => Ok(Err(Difference::Receipt(error))),
        Err(error) => Err(error.into()),
    }
}

/// Executes the program and compares everything that the receipt claims. `inputs` are in the program's
/// order; `observer` sees the run.
pub fn verify(
    receipt: &Receipt,
    program: &Program,
    inputs: &[Tensor],
    executor: &dyn Executor,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<Verdict, Unverifiable> {
    if let Err(difference) = check_before_running(receipt, program, inputs, options) {
        return Ok(Verdict::Refuted(difference));
    }
    let claim = &receipt.claim;
    let found = run(program, inputs, claim.level(), executor, options.hash, observer)?.claim;
    Ok(compare(claim, &found).map_or(Verdict::Verified, Verdict::Refuted))
}

/// What a run gave, and what can be claimed of it.
pub struct Run {
    pub execution: Execution,
    pub claim: Claim,
    /// The tree over the steps' digests, at level `operators`.
    pub steps: Option<Leaves>,
}

/// Runs a program and makes the claim that a receipt signs; at level `none` it is made as at `outputs`.
/// The caller sets the nonce.
pub fn run(
    program: &Program,
    inputs: &[Tensor],
    level: HashLevel,
    executor: &dyn Executor,
    hash: BytesDigest,
    observer: &mut dyn Observer,
) -> Result<Run, Unverifiable> {
    let mut watch = Watch { inner: observer, steps: 0 };
    let execution = executor.execute(program, inputs, level, &mut watch)?;
    let steps_done = watch.steps;
    let steps = match (&execution.trace, level) {
        (Some(trace), HashLevel::Operators) => {
            Some(Leaves::of(trace.records.iter().map(StepRecord::digest).collect()))
        }
        (None, HashLevel::Operators) => return Err(Unverifiable::NoTrace),
        _ => None,
    };
    let trace = steps
        .as_ref()
        .map(|steps| TraceClaim { root: bind_steps(steps.count(), &steps.whole()), steps: steps.count() });
    let (outputs, fault) = match &execution.result {
        Ok(tensors) => (digests(&program.header().outputs, tensors, hash), None),
        Err(at) => (BTreeMap::new(), Some(FaultClaim { fault: at.fault, step: steps_done })),
    };
    let inputs = digests(&program.header().inputs, inputs, hash);
    let claim = Claim { program: program.digest(), inputs, outputs, fault, trace, nonce: 0 };
    Ok(Run { execution, claim, steps })
}

/// Counts the steps that were carried through. A step that meets a fault has no outputs, and whether the
/// executor shows it at all does not matter.
struct Watch<'a> {
    inner: &'a mut dyn Observer,
    steps: u64,
}

impl Observer for Watch<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        self.steps += !event.outputs.is_empty() as u64;
        self.inner.step(event);
    }

    fn looks(&self) -> bool {
        self.inner.looks()
    }

    fn record(&mut self, record: &StepRecord) {
        self.inner.record(record);
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn interrupted(&mut self) -> bool {
        self.inner.interrupted()
    }
}

fn digests(names: &[String], tensors: &[Tensor], hash: BytesDigest) -> BTreeMap<String, Digest> {
    names.iter().zip(tensors).map(|(name, tensor)| (name.clone(), canonical_digest(tensor, hash))).collect()
}

/// The digest of a tensor as a run sees it: NaNs are made canonical where it enters.
fn canonical_digest(tensor: &Tensor, hash: BytesDigest) -> Digest {
    let of = |view: TensorView<'_>| hash(view.dtype, Layout::RowMajor, view.shape, view.bytes);
    if !tensor.dtype().is_float() {
        return of(tensor.view());
    }
    let mut canonical = tensor.clone();
    canonical.canonicalize();
    of(canonical.view())
}

fn check_before_running(
    receipt: &Receipt,
    program: &Program,
    inputs: &[Tensor],
    options: &VerifyOptions,
) -> Result<(), Difference> {
    receipt.validate().map_err(Difference::Receipt)?;
    if let Some(expected) = options.signer
        && expected != receipt.signer
    {
        return Err(Difference::Signer { expected, found: receipt.signer });
    }
    let claim = &receipt.claim;
    if claim.program != program.digest() {
        return Err(Difference::Program { claimed: claim.program, found: program.digest() });
    }
    program.check_constants(options.hash).map_err(Difference::Constant)?;
    let names = &program.header().inputs;
    // Too few inputs are the verifier's own mistake: running will say so.
    if inputs.len() != names.len() {
        return Ok(());
    }
    let found = digests(names, inputs, options.hash);
    first_difference(&claim.inputs, &found).map_or(Ok(()), |difference| {
        Err(match difference {
            MapDifference::Unknown(name) => Difference::InputUnknown { name },
            MapDifference::Missing(name) => Difference::InputMissing { name },
            MapDifference::Value { name, claimed, found } => Difference::Input { name, claimed, found },
        })
    })
}

/// The first thing in which two claims about the same program and inputs differ.
fn compare(claimed: &Claim, found: &Claim) -> Option<Difference> {
    if claimed.fault != found.fault {
        return Some(Difference::Fault { claimed: claimed.fault, found: found.fault });
    }
    if let Some(difference) = first_difference(&claimed.outputs, &found.outputs) {
        return Some(match difference {
            MapDifference::Unknown(name) => Difference::OutputUnknown { name },
            MapDifference::Missing(name) => Difference::OutputMissing { name },
            MapDifference::Value { name, claimed, found } => Difference::Output { name, claimed, found },
        });
    }
    // Both are at the claim's level.
    let (claimed, found) = (claimed.trace?, found.trace?);
    if claimed.steps != found.steps {
        return Some(Difference::Steps { claimed: claimed.steps, found: found.steps });
    }
    (claimed.root != found.root).then_some(Difference::TraceRoot { claimed: claimed.root, found: found.root })
}

enum MapDifference {
    /// Claimed, but not there.
    Unknown(String),
    /// There, but not claimed.
    Missing(String),
    Value {
        name: String,
        claimed: Digest,
        found: Digest,
    },
}

fn first_difference(
    claimed: &BTreeMap<String, Digest>,
    found: &BTreeMap<String, Digest>,
) -> Option<MapDifference> {
    if let Some(name) = claimed.keys().find(|name| !found.contains_key(*name)) {
        return Some(MapDifference::Unknown(name.clone()));
    }
    found.iter().find_map(|(name, &found)| match claimed.get(name) {
        None => Some(MapDifference::Missing(name.clone())),
        Some(&claimed) if claimed != found => {
            Some(MapDifference::Value { name: name.clone(), claimed, found })
        }
        Some(_) => None,
    })
}
