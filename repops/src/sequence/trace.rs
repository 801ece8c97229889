//! The trace of a sequence: an append-only log with one entry for each position. SPEC.md, "Sequence programs".
//!
//! Invariant: an entry is a function of the program and the tokens up to its position. Whether it tells of the head's
//! steps depends on where the logits begin to count, so both halves have roots of their own.

use crate::digest::{Digest, Layout, bind_tensor, leaf_hash, merkle_root, root_of_bytes, sha256};
use crate::sequence::Row;

/// What a step gave at a position: the digests of its outputs' rows.
pub fn step_leaf(step: u32, outputs: &[Digest]) -> Digest {
    let mut data = Vec::with_capacity(4 + 32 * outputs.len());
    data.extend_from_slice(&step.to_le_bytes());
    for output in outputs {
        data.extend_from_slice(&output.0);
    }
    leaf_hash(&data)
}

/// The digest of a row: that of a tensor with its shape.
pub fn row_digest(row: &Row, bytes: &[u8]) -> Digest {
    bind_row(row, &root_of_bytes(bytes))
}

/// The digest of a row over whose bytes `root` stands.
pub fn bind_row(row: &Row, root: &Digest) -> Digest {
    bind_tensor(row.dtype, Layout::RowMajor, &row.shape, row.bytes() as u64, root)
}

/// One position of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub token: u32,
    /// Merkle root over the leaves of the carried steps.
    pub carried: Digest,
    /// Over those of the other steps; absent before the first position whose logits count.
    pub head: Option<Digest>,
}

impl Entry {
    /// `H("repops.row.0" || 0 0 0 0 || u64(position) || u64(token) || carried || head, or 32 zero bytes)`.
    pub fn digest(&self, position: u64) -> Digest {
        sha256(&[
            b"repops.row.0\0\0\0\0",
            &position.to_le_bytes(),
            &u64::from(self.token).to_le_bytes(),
            &self.carried.0,
            &self.head.unwrap_or_default().0,
        ])
    }
}

/// The root over the entries of a sequence, the logits of which count from position `first` on.
pub fn sequence_root(entries: &[Digest], first: u64) -> Digest {
    bind_entries(entries.len() as u64, first, &merkle_root(entries))
}

/// The root of a sequence of `count` entries over which `root` stands.
pub fn bind_entries(count: u64, first: u64, root: &Digest) -> Digest {
    sha256(&[b"repops.rows.0\0\0\0", &count.to_le_bytes(), &first.to_le_bytes(), &root.0])
}
