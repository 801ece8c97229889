//! The digest of a tensor, over several leaves at once and several threads.
//!
//! Invariant: equal to `repops::digest::bytes_digest`, with every [`HashIsa`] and any number of threads.

#[cfg(target_arch = "aarch64")]
mod armv8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod many;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use repops::digest::{Digest, LEAF_BYTES, Layout, bind_tensor, leaf_hash, sha256};
use repops::dtype::DType;

pub use isa::HashIsa;
pub use many::{hashes_behind, hashes_behind_by, node_hashes, node_hashes_by};

use crate::parallel::{Shared, parallel};

type Hash = [u8; 32];
/// What stands before a leaf's data.
const LEAF: u8 = 0;
/// What stands before a node's children.
const NODE: u8 = 1;

/// Leaves of one task when there are many of them: a power of two, so that a task's root is a node of the
/// whole tree.
const TASK_LEAVES: usize = 256;
/// Leaves of one task when there are few.
const TASK_LEAVES_FEW: usize = 64;
/// Leaves of a small tensor, whose tree needs little room.
const SMALL_LEAVES: usize = 16;

/// The digest of a tensor whose `bytes` are in `layout`.
pub fn bytes_digest(dtype: DType, layout: Layout, shape: &[usize], bytes: &[u8]) -> Digest {
    bind_tensor(dtype, layout, shape, bytes.len() as u64, &merkle_root(bytes))
}

/// The Merkle root over the leaves of `bytes`.
pub fn merkle_root(bytes: &[u8]) -> Digest {
    merkle_root_by(HashIsa::detect(), bytes)
}

/// The Merkle root over the leaves of `bytes`, by the instructions of `isa`. Panics when this machine lacks them.
pub fn merkle_root_by(isa: HashIsa, bytes: &[u8]) -> Digest {
    assert!(isa.is_available());
    match bytes.len() {
        0 => return sha256(&[]),
        // Nothing gains from a lone message.
        1..LEAF_BYTES => return leaf_hash(bytes),
        _ => {}
    }
    let leaves = bytes.len().div_ceil(LEAF_BYTES);
    if leaves <= SMALL_LEAVES {
        return Digest(subtree::<SMALL_LEAVES>(isa, bytes));
    }
    let threads = rayon::current_num_threads();
    let few = threads > 1 && leaves < 4 * threads * TASK_LEAVES;
    let task_bytes = LEAF_BYTES * if few { TASK_LEAVES_FEW } else { TASK_LEAVES };
    let tasks = bytes.len().div_ceil(task_bytes);
    if tasks == 1 {
        return Digest(subtree::<TASK_LEAVES>(isa, bytes));
    }
    let mut roots = vec![Hash::default(); tasks];
    let shared = Shared::new(&mut roots);
    parallel(tasks, |task| {
        let part = &bytes[task * task_bytes..bytes.len().min((task + 1) * task_bytes)];
        // SAFETY: each task writes its own element.
        let own = unsafe { shared.slice(task..task + 1) };
        own[0] = subtree::<TASK_LEAVES>(isa, part);
    });
    // Every task but the last covers a full subtree, so the tree over their roots is the tree's top.
    let mut above = vec![Hash::default(); tasks.div_ceil(2)];
    Digest(root_over(isa, &mut roots, &mut above))
}

/// The root over at least one and at most `MAX` leaves.
fn subtree<const MAX: usize>(isa: HashIsa, bytes: &[u8]) -> Hash {
    let (mut nodes, mut above) = ([Hash::default(); MAX], [Hash::default(); MAX]);
    let (leaves, rest) = bytes.as_chunks::<LEAF_BYTES>();
    isa.hash::<LEAF, LEAF_BYTES>(leaves, &mut nodes[..leaves.len()]);
    let mut count = leaves.len();
    if !rest.is_empty() {
        nodes[count] = leaf_hash(rest).0;
        count += 1;
    }
    root_over(isa, &mut nodes[..count], &mut above)
}

/// The root over at least one node; `above` has room for half of them and is used besides.
fn root_over<'a>(isa: HashIsa, mut nodes: &'a mut [Hash], mut above: &'a mut [Hash]) -> Hash {
    // Level by level: pairs combine, an odd last node moves up. That is the tree of RFC 9162.
    while nodes.len() > 1 {
        let (pairs, _) = nodes.as_flattened().as_chunks::<64>();
        let (combined, odd) = above.split_at_mut(pairs.len());
        isa.hash::<NODE, 64>(pairs, combined);
        let count = nodes.len().div_ceil(2);
        if count > pairs.len() {
            odd[0] = nodes[nodes.len() - 1];
        }
        (nodes, above) = (&mut above[..count], nodes);
    }
    nodes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_over_few_and_many_tasks() {
        let bytes: Vec<u8> = (0..900_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for threads in [1, 2, 7] {
            let pool = crate::pool(threads).unwrap();
            let lengths = (1..=9).flat_map(|i| {
                [i * TASK_LEAVES * 256 - 1, i * TASK_LEAVES * 256, i * TASK_LEAVES * 256 + 1025]
            });
            for len in lengths.chain([900_001]) {
                let bytes = &bytes[..len];
                let plain = repops::digest::bytes_digest(DType::U8, Layout::RowMajor, &[len], bytes);
                let fast = pool.install(|| bytes_digest(DType::U8, Layout::RowMajor, &[len], bytes));
                assert_eq!(fast, plain, "{len} bytes on {threads} threads");
            }
        }
    }
}
