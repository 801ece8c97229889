//! Hashing beside computing, and the records that wait for it.
//!
//! A value's bytes are hashed once: views share the Merkle root and bind it to their own shape. Records
//! become complete in program order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use repops::digest::bind_tensor;
use repops::exec::Observer;
use repops::ops::{Fault, OpId};
use repops::tensor::{AlignedBytes, byte_len};
use repops::trace::{Frame, StepRecord, Trace};
use repops::{DType, Digest, Layout};

/// The Merkle root over some bytes, once it is there.
pub(crate) type RootCell = Arc<OnceLock<Digest>>;

/// Bytes below which a buffer is hashed at once.
const INLINE_BYTES: usize = 16 << 10;
/// Bytes that may wait to be hashed; beyond, computing waits.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// A digest that is known, or follows from a root; whoever shares it computes it once.
#[derive(Clone)]
pub(crate) enum DigestSource {
    Known(Digest),
    Bound(Arc<Bound>),
}

/// A root, and what the digest of a value binds it to.
pub(crate) struct Bound {
    dtype: DType,
    shape: Vec<usize>,
    bytes: u64,
    root: RootCell,
    digest: OnceLock<Digest>,
}

impl DigestSource {
    /// The digest of a row-major value over whose bytes `root` stands.
    pub fn bind(dtype: DType, shape: &[usize], root: RootCell) -> DigestSource {
        let bytes = byte_len(dtype, shape).expect("checked when the value was made") as u64;
        let digest = OnceLock::new();
        DigestSource::Bound(Arc::new(Bound { dtype, shape: shape.to_vec(), bytes, root, digest }))
    }

    /// The digest of a view of the value that this one stands for; `bytes` are the value's.
    pub fn of_view(&self, dtype: DType, from: &[usize], shape: &[usize], bytes: &[u8]) -> DigestSource {
        match self {
            _ if from == shape => self.clone(),
            // The root of a constant is not declared.
            DigestSource::Known(_) => DigestSource::bind(dtype, shape, Hashing::root_now(bytes)),
            DigestSource::Bound(bound) => DigestSource::bind(dtype, shape, bound.root.clone()),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            DigestSource::Known(_) => true,
            DigestSource::Bound(bound) => bound.root.get().is_some(),
        }
    }

    fn get(&self) -> Option<Digest> {
        match self {
            DigestSource::Known(digest) => Some(*digest),
            DigestSource::Bound(bound) => {
                let root = bound.root.get()?;
                let bind = || bind_tensor(bound.dtype, Layout::RowMajor, &bound.shape, bound.bytes, root);
                Some(*bound.digest.get_or_init(bind))
            }
        }
    }
}

/// A record whose digests may still be on their way.
pub(crate) struct Pending {
    pub path: Vec<Frame>,
    pub op: OpId,
    pub version: u16,
    pub body: Digest,
    pub inputs: Vec<Option<DigestSource>>,
    pub outputs: Vec<DigestSource>,
    pub fault: Option<Fault>,
}

impl Pending {
    fn is_ready(&self) -> bool {
        self.inputs.iter().flatten().chain(&self.outputs).all(DigestSource::is_ready)
    }

    /// The record; `None` before all is ready.
    fn complete(self) -> Option<StepRecord> {
        let input = |source: &Option<DigestSource>| match source {
            None => Some(None),
            Some(source) => source.get().map(Some),
        };
        Some(StepRecord {
            inputs: self.inputs.iter().map(input).collect::<Option<_>>()?,
            outputs: self.outputs.iter().map(DigestSource::get).collect::<Option<_>>()?,
            path: self.path,
            op: self.op,
            version: self.version,
            body: self.body,
            fault: self.fault,
        })
    }
}

/// Hashes what a run computes.
#[derive(Default)]
pub(crate) struct Hashing {
    pending_bytes: Arc<AtomicUsize>,
    records: VecDeque<Pending>,
    trace: Trace,
}

impl Hashing {
    /// The root over bytes that are at hand only now.
    pub fn root_now(bytes: &[u8]) -> RootCell {
        Arc::new(OnceLock::from(repops_kernels::merkle_root(bytes)))
    }

    /// The root over a buffer, computed beside what comes next.
    pub fn root(&self, buffer: &Arc<AlignedBytes>) -> RootCell {
        let len = buffer.as_slice().len();
        let alone = rayon::current_num_threads() == 1;
        if len <= INLINE_BYTES || alone || self.pending_bytes.load(Ordering::Acquire) > PENDING_BYTES_MAX {
            return Hashing::root_now(buffer.as_slice());
        }
        let cell = RootCell::default();
        self.pending_bytes.fetch_add(len, Ordering::AcqRel);
        let (buffer, filled, pending) = (buffer.clone(), cell.clone(), self.pending_bytes.clone());
        repops_kernels::spawn(move || {
            let root = repops_kernels::merkle_root(buffer.as_slice());
            // The buffer is let go before the root is seen, so that whoever waits may write it.
            drop(buffer);
            pending.fetch_sub(len, Ordering::AcqRel);
            filled.set(root).expect("each cell is filled once");
        });
        cell
    }

    /// Adds a record and passes on those that are complete.
    pub fn push(&mut self, record: Pending, observer: &mut dyn Observer) {
        self.records.push_back(record);
        self.pass_on(observer);
    }

    fn pass_on(&mut self, observer: &mut dyn Observer) {
        while self.records.front().is_some_and(Pending::is_ready) {
            let record = self.records.pop_front().and_then(Pending::complete).expect("it is ready");
            observer.record(&record);
            self.trace.records.push(record);
        }
    }

    /// Waits for what is still being hashed; gives the whole trace.
    pub fn finish(mut self, observer: &mut dyn Observer) -> Trace {
        loop {
            self.pass_on(observer);
            if self.records.is_empty() {
                return self.trace;
            }
            repops_kernels::take_up_work();
        }
    }
}
