//! Digests: SHA-256, Merkle trees of RFC 9162's shape, and the digest of a tensor.
//!
//! This is the plain form that an auditor reads; `repops-kernels` has a faster one with the same
//! values. SPEC.md, "Digests".

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::dtype::DType;
use crate::tensor::TensorView;

/// Bytes of a tensor that one leaf of its Merkle tree covers.
pub const LEAF_BYTES: usize = 1024;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Parses 64 lowercase hexadecimal characters; anything else is `None`, since a digest has one spelling.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Digest(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

/// The hash of a leaf: `SHA-256(0x00 || data)`.
pub fn leaf_hash(data: &[u8]) -> Digest {
    sha256(&[&[0], data])
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    sha256(&[&[1], &left.0, &right.0])
}

/// The split of RFC 9162 and of every reduction tree: the largest power of two below `n`, for `n >= 2`.
pub fn split_point(n: usize) -> usize {
    debug_assert!(n >= 2);
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// The root over leaf hashes (RFC 9162, section 2.1.1). No leaves: `SHA-256("")`.
pub fn merkle_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split_point(leaves.len()));
            node_hash(&merkle_root(left), &merkle_root(right))
        }
    }
}

/// How a tensor's elements are ordered in its bytes. The number is part of the digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Layout {
    /// Row-major, as everywhere but in constants.
    #[default]
    RowMajor = 0,
    /// The last two axes `[K, N]` as `[ceil(N / 16)][K][16]`, columns past `N` zero: what a contraction
    /// reads as its right operand. Leading axes stay outermost. `shape` is the logical shape.
    Panel16 = 1,
    /// The first axis of `[O, ..]` in blocks of 16, innermost: `[ceil(O / 16)][the other axes][16]`, past `O` zero: filters as
    /// a convolution reads them that takes its output channels for columns.
    Filters16 = 2,
    /// The last two axes `[K, N]` of bytes as `[ceil(N / 16)][ceil(K / 4)][16][4]`, past `N` and `K` zero: as instructions that
    /// multiply four bytes at a time read the right operand. Leading axes stay outermost.
    Groups4 = 3,
}

impl Layout {
    pub fn from_code(code: u32) -> Option<Layout> {
        match code {
            0 => Some(Layout::RowMajor),
            1 => Some(Layout::Panel16),
            2 => Some(Layout::Filters16),
            3 => Some(Layout::Groups4),
            _ => None,
        }
    }
}

impl Layout {
    /// Where the row-major element `at` of a tensor of this shape is stored, counted in elements. A layout with blocks needs
    /// two axes; without them, and past the end, it is anywhere.
    pub fn place(self, shape: &[usize], at: usize) -> usize {
        match (self, shape) {
            (Layout::Panel16, &[.., k, n]) => {
                let matrix = (k * n).max(1);
                let (batch, row, column) = (at / matrix, at % matrix / n.max(1), at % n.max(1));
                batch * k * n.next_multiple_of(16) + (column / 16 * k + row) * 16 + column % 16
            }
            (Layout::Filters16, [_, rest @ ..]) => {
                let terms = rest.iter().product::<usize>().max(1);
                let (filter, term) = (at / terms, at % terms);
                (filter / 16 * terms + term) * 16 + filter % 16
            }
            (Layout::Groups4, &[.., k, n]) => {
                let matrix = (k * n).max(1);
                let (batch, row, column) = (at / matrix, at % matrix / n.max(1), at % n.max(1));
                let groups = k.div_ceil(4);
                let group = column / 16 * groups + row / 4;
                batch * groups * 4 * n.next_multiple_of(16) + (group * 16 + column % 16) * 4 + row % 4
            }
            _ => at,
        }
    }
}

/// Binds a Merkle root over a tensor's bytes to type, layout and shape: the tensor's digest.
pub fn bind_tensor(dtype: DType, layout: Layout, shape: &[usize], bytes: u64, root: &Digest) -> Digest {
    let mut prefix = Vec::with_capacity(28 + 8 * shape.len());
    bind_prefix(&mut prefix, dtype, layout, shape, bytes);
    sha256(&[&prefix, &root.0])
}

/// Appends what stands before the root in the bytes whose hash is a tensor's digest.
pub fn bind_prefix(to: &mut Vec<u8>, dtype: DType, layout: Layout, shape: &[usize], bytes: u64) {
    to.extend_from_slice(b"repops.tensor.0\0");
    to.extend_from_slice(&[dtype.code(), layout as u8]);
    to.extend_from_slice(&(shape.len() as u16).to_le_bytes());
    shape.iter().for_each(|&dim| to.extend_from_slice(&(dim as u64).to_le_bytes()));
    to.extend_from_slice(&bytes.to_le_bytes());
}

/// The digest of a row-major tensor. SPEC.md, "Tensor digest".
pub fn tensor_digest(tensor: TensorView<'_>) -> Digest {
    bytes_digest(tensor.dtype, Layout::RowMajor, tensor.shape, tensor.bytes)
}

/// The digest of a tensor whose `bytes` are in `layout`.
pub fn bytes_digest(dtype: DType, layout: Layout, shape: &[usize], bytes: &[u8]) -> Digest {
    bind_tensor(dtype, layout, shape, bytes.len() as u64, &root_of_bytes(bytes))
}

/// The Merkle root over the leaves of `bytes`, without a list of them: tensors may be larger than memory.
pub fn root_of_bytes(bytes: &[u8]) -> Digest {
    match bytes.len().div_ceil(LEAF_BYTES) {
        0 => merkle_root(&[]),
        1 => leaf_hash(bytes),
        leaves => {
            let (left, right) = bytes.split_at(split_point(leaves) * LEAF_BYTES);
            node_hash(&root_of_bytes(left), &root_of_bytes(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_points() {
        let found: Vec<usize> = (2..=9).map(split_point).collect();
        assert_eq!(found, [1, 2, 2, 4, 4, 4, 4, 8]);
    }

    #[test]
    fn roots_of_bytes_are_those_of_their_leaves() {
        let bytes: Vec<u8> = (0..9 * LEAF_BYTES).map(|i| ((i * 31) >> 3) as u8).collect();
        for len in (0..bytes.len()).step_by(97).chain((0..=9).map(|leaves| leaves * LEAF_BYTES)) {
            let leaves: Vec<Digest> = bytes[..len].chunks(LEAF_BYTES).map(leaf_hash).collect();
            assert_eq!(root_of_bytes(&bytes[..len]), merkle_root(&leaves), "{len} bytes");
        }
    }

    #[test]
    fn hex_has_one_spelling() {
        let digest = sha256(&[b"abc"]);
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::from_hex(&digest.to_hex().to_uppercase()), None);
    }
}
