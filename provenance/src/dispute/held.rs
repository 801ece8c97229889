//! What a party has at hand: bytes of tensors as they are stored, and hashes of everything that it may have to open.
//!
//! Invariant: constants stay where the program has them; what was hashed once for one dispute need not be for another.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use repops::digest::{LEAF_BYTES, leaf_hash, node_hash, split_point};
use repops::ops::dispute::{Inputs, Stop, WHOLE_BYTES_MAX, bits_at};
use repops::program::{ConstantId, Program};
use repops::trace::{StepRecord, Trace, bind_steps};
use repops::{Digest, Layout, Tensor};

use super::facts::{Gap, TensorHeader, row_major, stored_offset};
use super::partial::{Leaves, Subtrees};

/// Subtrees of `1 << KEPT` leaves and above are kept: a 256th of the bytes, with few leaves to hash again.
const KEPT: u32 = 4;

/// The hashes of the larger complete subtrees over some bytes.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// At `h` those over `1 << (KEPT + h)` leaves each.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    pub fn over(bytes: &[u8]) -> Tree {
        let complete = bytes.chunks_exact(LEAF_BYTES << KEPT);
        let mut levels = vec![complete.map(|bytes| subtree(bytes, 0, 1 << KEPT)).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            let above = last.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Tree { levels }
    }
}

/// The hash over leaves `low..high` of some bytes.
fn subtree(bytes: &[u8], low: usize, high: usize) -> Digest {
    match high - low {
        1 => leaf_hash(&bytes[low * LEAF_BYTES..bytes.len().min(high * LEAF_BYTES)]),
        count => {
            let middle = low + split_point(count);
            node_hash(&subtree(bytes, low, middle), &subtree(bytes, middle, high))
        }
    }
}

/// Bytes with a tree over them.
struct Hashed<'t> {
    bytes: &'t [u8],
    tree: &'t Tree,
}

impl Subtrees for Hashed<'_> {
    fn count(&self) -> u64 {
        self.bytes.len().div_ceil(LEAF_BYTES) as u64
    }

    fn root(&self, low: u64, high: u64) -> Digest {
        let size = high - low;
        let height = size.ilog2();
        if size.is_power_of_two() && low.is_multiple_of(size) && height >= KEPT {
            let level = self.tree.levels.get((height - KEPT) as usize);
            if let Some(hash) = level.and_then(|level| level.get((low >> height) as usize)) {
                return *hash;
            }
        }
        if size < 1 << KEPT {
            return subtree(self.bytes, low as usize, high as usize);
        }
        let middle = low + split_point(size as usize) as u64;
        node_hash(&self.root(low, middle), &self.root(middle, high))
    }
}

/// The parts of a program as its digest has them, and the hashes over its constants.
#[derive(Debug)]
pub(super) struct ProgramHashes {
    pub parts: Vec<Vec<u8>>,
    pub leaves: Leaves,
    constants: Vec<OnceLock<Tree>>,
}

impl ProgramHashes {
    pub fn of(program: &Program) -> ProgramHashes {
        let parts = program.digest_leaves();
        let leaves = Leaves::of(parts.iter().map(|part| leaf_hash(part)).collect());
        let constants = program.constants().iter().map(|_| OnceLock::new()).collect();
        ProgramHashes { parts, leaves, constants }
    }

    /// Hashes all constants, so that no dispute has to.
    pub fn prepare(&self, program: &Program) {
        for index in 0..self.constants.len() {
            self.tree(index, program.constant_bytes(ConstantId(index as u32)));
        }
    }

    fn tree(&self, constant: usize, bytes: &[u8]) -> &Tree {
        self.constants[constant].get_or_init(|| Tree::over(bytes))
    }
}

/// The records of a run, and the tree over their digests.
#[derive(Debug)]
pub struct Records {
    pub records: Vec<StepRecord>,
    pub digests: Leaves,
}

impl Records {
    pub fn of(trace: Trace) -> Records {
        let digests = Leaves::of(trace.records.iter().map(StepRecord::digest).collect());
        Records { records: trace.records, digests }
    }

    /// The trace's.
    pub fn root(&self) -> Digest {
        bind_steps(self.digests.count(), &self.digests.whole())
    }
}

/// Bytes of a tensor, wherever they are.
#[derive(Clone, Debug)]
pub(super) enum Bytes<'a> {
    Program(&'a [u8]),
    Tensor(Arc<Tensor>),
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Program(bytes) => bytes,
            Bytes::Tensor(tensor) => tensor.bytes(),
        }
    }
}

/// A tensor's stored bytes.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    pub header: TensorHeader,
    pub bytes: Bytes<'a>,
    /// Of a constant its number; its tree is the program's.
    constant: Option<usize>,
    tree: OnceCell<Tree>,
}

impl<'a> Stored<'a> {
    /// A constant of the program.
    pub fn constant(program: &'a Program, index: usize) -> Stored<'a> {
        let decl = &program.constants()[index];
        let header = TensorHeader { dtype: decl.dtype, layout: decl.layout, shape: decl.shape.clone() };
        let bytes = Bytes::Program(program.constant_bytes(ConstantId(index as u32)));
        Stored { header, bytes, constant: Some(index), tree: OnceCell::new() }
    }

    /// Any other tensor, row-major.
    pub fn tensor(tensor: Arc<Tensor>) -> Stored<'a> {
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let header = TensorHeader { dtype, layout: Layout::RowMajor, shape };
        Stored { header, bytes: Bytes::Tensor(tensor), constant: None, tree: OnceCell::new() }
    }

    /// The leaves' hashes.
    pub fn hashes<'t>(&'t self, program: &'t ProgramHashes) -> impl Subtrees + 't {
        let tree = match self.constant {
            Some(constant) => program.tree(constant, &self.bytes),
            None => self.tree.get_or_init(|| Tree::over(&self.bytes)),
        };
        Hashed { bytes: &self.bytes, tree }
    }

    pub fn leaf(&self, index: u64) -> Option<&[u8]> {
        self.bytes.chunks(LEAF_BYTES).nth(usize::try_from(index).ok()?)
    }

    /// The bits of the element at a row-major position.
    pub fn element(&self, at: u64) -> Option<u64> {
        let offset = stored_offset(&self.header, at)?;
        bits_at(self.header.dtype, &self.bytes, offset / self.header.dtype.size())
    }

    pub fn to_tensor(&self) -> Result<Tensor, Gap> {
        row_major(&self.header, &self.bytes)
    }
}

/// Tensors by their digests.
pub(super) type Held<'a> = BTreeMap<Digest, Stored<'a>>;

/// The inputs of a step, where they are.
pub(super) struct HeldInputs<'h, 'a> {
    pub held: &'h Held<'a>,
    pub digests: &'h [Option<Digest>],
}

impl<'h, 'a> HeldInputs<'h, 'a> {
    fn stored(&self, input: usize) -> Result<&'h Stored<'a>, Stop> {
        let digest = self.digests.get(input).copied().flatten();
        digest.and_then(|digest| self.held.get(&digest)).ok_or(Stop::Closed { input })
    }
}

impl Inputs for HeldInputs<'_, '_> {
    fn element(&mut self, input: usize, at: u64) -> Result<u64, Stop> {
        self.stored(input)?.element(at).ok_or(Stop::Closed { input })
    }

    fn whole(&mut self, input: usize) -> Result<Tensor, Stop> {
        let stored = self.stored(input)?;
        let tensor = |stored: &Stored<'_>| stored.to_tensor().map_err(|_| Stop::Closed { input });
        match stored.bytes.len() {
            bytes if bytes > WHOLE_BYTES_MAX => Err(Stop::TooLarge { bytes }),
            _ => tensor(stored),
        }
    }
}

/// Shared by all parties of a process.
pub(super) type SharedHashes = Arc<ProgramHashes>;

#[cfg(test)]
mod tests {
    use repops::digest::merkle_root;

    use super::*;
    use crate::dispute::partial::{frontier_hashes, nodes, prove};

    #[test]
    fn trees_give_what_leaves_give() {
        for count in [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 257] {
            for cut in [0, 1, 1023] {
                let bytes: Vec<u8> = (0..count * LEAF_BYTES).map(|i| (i * 31 / 8) as u8).collect();
                let bytes = &bytes[..bytes.len().saturating_sub(cut)];
                let leaves: Vec<Digest> = bytes.chunks(LEAF_BYTES).map(leaf_hash).collect();
                let (tree, count) = (Tree::over(bytes), leaves.len() as u64);
                let hashed = Hashed { bytes, tree: &tree };
                assert_eq!(hashed.count(), count);
                if count > 0 {
                    assert_eq!(hashed.root(0, count), merkle_root(&leaves));
                }
                for wanted in [vec![], vec![0], vec![count / 2], vec![count / 3, count.saturating_sub(1)]] {
                    let wanted: Vec<u64> = wanted.into_iter().filter(|at| *at < count).collect();
                    assert_eq!(prove(&hashed, &wanted), prove(&leaves, &wanted), "{count} {wanted:?}");
                }
                for common in [count / 3, count] {
                    assert_eq!(frontier_hashes(&hashed, common), frontier_hashes(&leaves, common));
                }
                for (first, height, levels) in [(0, 5, 4), (32, 5, 2), (16, 4, 4), (5, 0, 0), (96, 2, 1)] {
                    let own = (first + (1 << height) <= count).then_some(());
                    let expected = nodes(&leaves, first, height, levels);
                    assert_eq!(expected.is_some(), own.is_some());
                    assert_eq!(nodes(&hashed, first, height, levels), expected);
                }
            }
        }
    }
}
