//! The digest of a tensor, over several leaves at once and several threads.
//!
//! Invariant: equal to `repops::digest::bytes_digest`.

use repops::digest::{Digest, LEAF_BYTES, Layout, bind_tensor, leaf_hash, node_hash};
use repops::dtype::DType;

use crate::parallel::{Shared, parallel};

/// Leaves of one task: a power of two, so that a task's root is a node of the whole tree.
const TASK_LEAVES: usize = 256;

/// The digest of a tensor whose `bytes` are in `layout`.
pub fn bytes_digest(dtype: DType, layout: Layout, shape: &[usize], bytes: &[u8]) -> Digest {
    bind_tensor(dtype, layout, shape, bytes.len() as u64, &merkle_root(bytes))
}

/// The Merkle root over the leaves of `bytes`.
pub fn merkle_root(bytes: &[u8]) -> Digest {
    let task_bytes = TASK_LEAVES * LEAF_BYTES;
    let mut roots = vec![Digest::default(); bytes.len().div_ceil(task_bytes)];
    let shared = Shared::new(&mut roots);
    parallel(bytes.len().div_ceil(task_bytes), |task| {
        let part = &bytes[task * task_bytes..bytes.len().min((task + 1) * task_bytes)];
        // SAFETY: each task writes its own element.
        let own = unsafe { shared.slice(task..task + 1) };
        own[0] = subtree(part);
    });
    // Every task but the last covers a full subtree, so the tree over their roots is the tree's top.
    repops::digest::merkle_root(&roots)
}

/// The root over at most [`TASK_LEAVES`] leaves.
fn subtree(bytes: &[u8]) -> Digest {
    let mut nodes = [Digest::default(); TASK_LEAVES];
    let mut count = 0;
    for leaf in bytes.chunks(LEAF_BYTES) {
        nodes[count] = leaf_hash(leaf);
        count += 1;
    }
    // Level by level: pairs combine, an odd last node moves up. That is the tree of RFC 9162.
    while count > 1 {
        for pair in 0..count / 2 {
            nodes[pair] = node_hash(&nodes[2 * pair], &nodes[2 * pair + 1]);
        }
        if count % 2 == 1 {
            nodes[count / 2] = nodes[count - 1];
        }
        count = count.div_ceil(2);
    }
    nodes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_plain_digest() {
        let bytes: Vec<u8> = (0..900_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let lengths = (0..40).map(|i| i * 331).chain((1..=9).flat_map(|i| {
                [i * TASK_LEAVES * 256 - 1, i * TASK_LEAVES * 256, i * TASK_LEAVES * 256 + 1025]
            }));
            for len in lengths.chain([900_001]) {
                let bytes = &bytes[..len];
                let plain = repops::digest::bytes_digest(DType::U8, Layout::RowMajor, &[len], bytes);
                let fast = pool.install(|| bytes_digest(DType::U8, Layout::RowMajor, &[len], bytes));
                assert_eq!(fast, plain, "{len} bytes on {threads} threads");
            }
        }
    }
}
