//! Openings: that a leaf, a step or a part belongs to a tensor, a trace or a program, in a few hashes.
//!
//! The proofs are the inclusion proofs of RFC 9162, section 2.1.3. Invariant: a verifier gets the number of
//! leaves from what the root binds, never from the proof alone, and an opening that is longer or shorter
//! than that number allows is refused.

use repops::digest::{
    LEAF_BYTES, Layout, bind_tensor, leaf_hash, merkle_root, node_hash, sha256, split_point,
};
use repops::program::{Program, stored_byte_len};
use repops::trace::{StepRecord, Trace};
use repops::{DType, Digest};

/// An inclusion proof: which leaf of how many, and the siblings from the leaf to the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inclusion {
    pub index: u64,
    pub count: u64,
    pub siblings: Vec<Digest>,
}

/// Why an opening proves nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpeningError {
    #[error("leaf {index} of {count} leaves does not exist")]
    Index { index: u64, count: u64 },
    #[error("the proof has {found} hashes; leaf {index} of {count} needs {expected}")]
    Length { index: u64, count: u64, expected: usize, found: usize },
    #[error("leaf {index} has {found} bytes; its place demands {expected}")]
    LeafLength { index: u64, expected: usize, found: usize },
    #[error("the proof is about {found} leaves; there are {expected}")]
    Count { expected: u64, found: u64 },
    #[error("a tensor of this type, layout and shape cannot be")]
    Tensor,
    #[error("the opening leads to {found}, not to {expected}")]
    Root { expected: Digest, found: Digest },
}

impl Inclusion {
    /// The proof for `leaves[index]`; `None` when there is no such leaf.
    pub fn prove(leaves: &[Digest], index: usize) -> Option<Inclusion> {
        if index >= leaves.len() {
            return None;
        }
        let mut siblings = Vec::new();
        let (mut rest, mut at) = (leaves, index);
        while rest.len() > 1 {
            let (left, right) = rest.split_at(split_point(rest.len()));
            let sibling;
            (rest, sibling) = if at < left.len() { (left, right) } else { (right, left) };
            if at >= left.len() {
                at -= left.len();
            }
            siblings.push(merkle_root(sibling));
        }
        siblings.reverse();
        Some(Inclusion { index: index as u64, count: leaves.len() as u64, siblings })
    }

    /// The root to which the proof leads from `leaf`.
    pub fn root(&self, leaf: Digest) -> Result<Digest, OpeningError> {
        let Inclusion { index, count, ref siblings } = *self;
        if index >= count {
            return Err(OpeningError::Index { index, count });
        }
        let expected = siblings_needed(index, count);
        if siblings.len() != expected {
            return Err(OpeningError::Length { index, count, expected, found: siblings.len() });
        }
        // RFC 9162, 2.1.3.2: `last` is the tree's last leaf at the same height as `at`.
        let (mut at, mut last) = (index, count - 1);
        let mut hash = leaf;
        for sibling in siblings {
            if at & 1 == 1 || at == last {
                hash = node_hash(sibling, &hash);
                // Levels at which this node is the last, and alone, have no sibling.
                while at & 1 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        Ok(hash)
    }
}

/// The number of siblings between leaf `index` and the root of a tree of `count` leaves.
fn siblings_needed(mut index: u64, mut count: u64) -> usize {
    let mut siblings = 0;
    while count > 1 {
        // The largest power of two below `count`.
        let left = 1u64 << (u64::BITS - 1 - (count - 1).leading_zeros());
        if index < left {
            count = left;
        } else {
            (index, count) = (index - left, count - left);
        }
        siblings += 1;
    }
    siblings
}

fn demand(expected: Digest, found: Digest) -> Result<(), OpeningError> {
    if expected == found { Ok(()) } else { Err(OpeningError::Root { expected, found }) }
}

/// One kilobyte of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorOpening {
    pub dtype: DType,
    pub layout: Layout,
    pub shape: Vec<usize>,
    pub leaf: Vec<u8>,
    pub inclusion: Inclusion,
}

impl TensorOpening {
    /// Opens leaf `index` of a tensor's stored bytes; `None` when there is no such leaf.
    pub fn prove(
        dtype: DType,
        layout: Layout,
        shape: &[usize],
        bytes: &[u8],
        index: usize,
    ) -> Option<TensorOpening> {
        let leaf = bytes.chunks(LEAF_BYTES).nth(index)?.to_vec();
        let leaves: Vec<Digest> = bytes.chunks(LEAF_BYTES).map(leaf_hash).collect();
        let inclusion = Inclusion::prove(&leaves, index)?;
        Some(TensorOpening { dtype, layout, shape: shape.to_vec(), leaf, inclusion })
    }

    /// Checks that the leaf belongs to the tensor with this digest.
    pub fn verify(&self, tensor: Digest) -> Result<(), OpeningError> {
        let total = stored_byte_len(self.dtype, &self.shape, self.layout).ok_or(OpeningError::Tensor)?;
        let (index, count) = (self.inclusion.index, total.div_ceil(LEAF_BYTES) as u64);
        if self.inclusion.count != count {
            return Err(OpeningError::Count { expected: count, found: self.inclusion.count });
        }
        if index >= count {
            return Err(OpeningError::Index { index, count });
        }
        let expected = LEAF_BYTES.min(total - index as usize * LEAF_BYTES);
        if self.leaf.len() != expected {
            return Err(OpeningError::LeafLength { index, expected, found: self.leaf.len() });
        }
        let root = self.inclusion.root(leaf_hash(&self.leaf))?;
        demand(tensor, bind_tensor(self.dtype, self.layout, &self.shape, total as u64, &root))
    }
}

/// One record of a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepOpening {
    pub record: StepRecord,
    pub inclusion: Inclusion,
}

impl StepOpening {
    pub fn prove(trace: &Trace, index: usize) -> Option<StepOpening> {
        let steps: Vec<Digest> = trace.records.iter().map(StepRecord::digest).collect();
        let inclusion = Inclusion::prove(&steps, index)?;
        Some(StepOpening { record: trace.records[index].clone(), inclusion })
    }

    /// Checks that the record belongs to the trace with this root. The root binds the number of records.
    pub fn verify(&self, trace_root: Digest) -> Result<(), OpeningError> {
        let root = self.inclusion.root(self.record.digest())?;
        demand(trace_root, sha256(&[b"repops.trace.0\0\0", &self.inclusion.count.to_le_bytes(), &root.0]))
    }
}

/// One part of a program: a kind byte and the encoded header, constant, block or step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartOpening {
    pub part: Vec<u8>,
    pub inclusion: Inclusion,
}

impl PartOpening {
    /// Opens leaf `index` of [`Program::digest_leaves`].
    pub fn prove(program: &Program, index: usize) -> Option<PartOpening> {
        let mut parts = program.digest_leaves();
        let leaves: Vec<Digest> = parts.iter().map(|part| leaf_hash(part)).collect();
        let inclusion = Inclusion::prove(&leaves, index)?;
        Some(PartOpening { part: parts.swap_remove(index), inclusion })
    }

    /// Checks that the part belongs to the program with this digest, which binds the number of parts.
    pub fn verify(&self, program: Digest) -> Result<(), OpeningError> {
        let root = self.inclusion.root(leaf_hash(&self.part))?;
        demand(program, sha256(&[b"repops.program.0", &self.inclusion.count.to_le_bytes(), &root.0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_every_small_tree_is_proven() {
        for count in 1..=70usize {
            let leaves: Vec<Digest> = (0..count).map(|i| leaf_hash(&[i as u8])).collect();
            let root = merkle_root(&leaves);
            for index in 0..count {
                let proof = Inclusion::prove(&leaves, index).unwrap();
                assert_eq!(proof.root(leaves[index]), Ok(root), "leaf {index} of {count}");
                reject_variants(&proof, &leaves, root);
            }
            assert_eq!(Inclusion::prove(&leaves, count), None);
        }
    }

    fn reject_variants(proof: &Inclusion, leaves: &[Digest], root: Digest) {
        let leaf = leaves[proof.index as usize];
        assert_ne!(proof.root(leaf_hash(b"another")), Ok(root));
        for index in (0..leaves.len() as u64).filter(|&i| i != proof.index) {
            let moved = Inclusion { index, ..proof.clone() };
            assert_ne!(moved.root(leaf), Ok(root), "as leaf {index}: {proof:?}");
        }
        for at in 0..proof.siblings.len() {
            let mut changed = proof.clone();
            changed.siblings[at].0[31] ^= 1;
            assert_ne!(changed.root(leaf), Ok(root));
        }
        let mut longer = proof.clone();
        longer.siblings.push(root);
        assert!(matches!(longer.root(leaf), Err(OpeningError::Length { .. })));
        let mut shorter = proof.clone();
        if shorter.siblings.pop().is_some() {
            assert!(matches!(shorter.root(leaf), Err(OpeningError::Length { .. })));
        }
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let proof = Inclusion { index: u64::MAX - 1, count: u64::MAX, siblings: vec![] };
        assert!(matches!(proof.root(Digest::default()), Err(OpeningError::Length { .. })));
        let proof = Inclusion { index: 0, count: 0, siblings: vec![] };
        assert_eq!(proof.root(Digest::default()), Err(OpeningError::Index { index: 0, count: 0 }));
    }

    #[test]
    fn tensors_are_opened_leaf_by_leaf() {
        for (layout, shape) in [(Layout::RowMajor, vec![3, 341]), (Layout::Panel16, vec![65, 17])] {
            let total = stored_byte_len(DType::F32, &shape, layout).unwrap();
            let bytes: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
            let digest = repops::digest::bytes_digest(DType::F32, layout, &shape, &bytes);
            for index in 0..total.div_ceil(LEAF_BYTES) {
                let opening = TensorOpening::prove(DType::F32, layout, &shape, &bytes, index).unwrap();
                assert_eq!(opening.verify(digest), Ok(()));
                let mut changed = opening.clone();
                changed.leaf[0] ^= 1;
                assert!(matches!(changed.verify(digest), Err(OpeningError::Root { .. })));
                let mut reshaped = opening.clone();
                reshaped.shape.reverse();
                assert!(reshaped.verify(digest).is_err());
                let mut cut = opening;
                cut.leaf.pop();
                assert!(matches!(cut.verify(digest), Err(OpeningError::LeafLength { .. })));
            }
        }
        assert_eq!(TensorOpening::prove(DType::F32, Layout::RowMajor, &[0], &[], 0), None);
    }
}
