//! Step records, their digests, and the trace root. SPEC.md, "Step digest" and "Trace root".
//!
//! Invariant: a trace is a function of program and inputs alone; nothing of the machine, the time, or
//! the way it was executed is in it.

use crate::digest::{Digest, merkle_root, sha256};
use crate::ops::{Fault, OpId};

/// One level of where a step runs: which step of which block, in which iteration of the block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame {
    pub block: u32,
    pub step: u32,
    /// 0 outside of loops.
    pub iteration: u64,
}

/// What one executed step did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepRecord {
    /// From the main block inwards; the last frame is the step itself.
    pub path: Vec<Frame>,
    pub op: OpId,
    pub version: u16,
    /// [`Step::body_digest`](crate::program::Step::body_digest).
    pub body: Digest,
    /// Absent optional inputs are `None`.
    pub inputs: Vec<Option<Digest>>,
    pub outputs: Vec<Digest>,
    /// Set in the last record of a run that data made fail; then there are no outputs.
    pub fault: Option<Fault>,
}

impl StepRecord {
    /// The bytes that the digest covers. All integers little-endian; an absent input is 32 zero bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 32 * (self.inputs.len() + self.outputs.len()));
        out.extend_from_slice(b"repops.step.0\0\0\0");
        out.extend_from_slice(&(self.path.len() as u32).to_le_bytes());
        for frame in &self.path {
            out.extend_from_slice(&frame.block.to_le_bytes());
            out.extend_from_slice(&frame.step.to_le_bytes());
            out.extend_from_slice(&frame.iteration.to_le_bytes());
        }
        out.extend_from_slice(&self.op.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.body.0);
        out.extend_from_slice(&(self.inputs.len() as u32).to_le_bytes());
        for input in &self.inputs {
            out.extend_from_slice(&input.unwrap_or_default().0);
        }
        out.extend_from_slice(&(self.outputs.len() as u32).to_le_bytes());
        for output in &self.outputs {
            out.extend_from_slice(&output.0);
        }
        out.extend_from_slice(&self.fault.map_or(0, |f| f as u32).to_le_bytes());
        out
    }

    pub fn digest(&self) -> Digest {
        sha256(&[&self.encode()])
    }
}

/// The records of a run, in program order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    pub records: Vec<StepRecord>,
}

impl Trace {
    /// `SHA-256("repops.trace.0\0\0" || count as u64 || Merkle root over the step digests)`.
    pub fn root(&self) -> Digest {
        let steps: Vec<Digest> = self.records.iter().map(StepRecord::digest).collect();
        trace_root(&steps)
    }
}

/// The root over step digests.
pub fn trace_root(steps: &[Digest]) -> Digest {
    bind_steps(steps.len() as u64, &merkle_root(steps))
}

/// The root of a trace whose step digests have this Merkle root.
pub fn bind_steps(count: u64, tree: &Digest) -> Digest {
    sha256(&[b"repops.trace.0\0\0", &count.to_le_bytes(), &tree.0])
}
