//! Leaves and nodes of many small trees at once.
//!
//! Invariant: equal to `repops::digest::leaf_hash` and `node_hash`, with every [`HashIsa`] and any number of threads.

use repops::digest::Digest;

use super::{HashIsa, LEAF, NODE};
use crate::parallel::{Shared, parallel_ranges};

/// Messages that are hashed together: what the widest instructions take, several times over.
const BATCH: usize = 64;

/// Of each slice the hash of a leaf. Slices of equal length are hashed together, whatever their order.
pub fn leaf_hashes(slices: &[&[u8]], out: &mut [Digest]) {
    leaf_hashes_by(HashIsa::detect(), slices, out);
}

/// As [`leaf_hashes`], by the instructions of `isa`. Panics when this machine lacks them.
pub fn leaf_hashes_by(isa: HashIsa, slices: &[&[u8]], out: &mut [Digest]) {
    assert!(isa.is_available() && slices.len() == out.len());
    // Batches of equal length, as ranges of what is sorted by length.
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by_key(|&index| slices[index].len());
    let mut batches = Vec::new();
    let mut start = 0;
    for same in order.chunk_by(|&a, &b| slices[a].len() == slices[b].len()) {
        for batch in same.chunks(BATCH) {
            batches.push(start..start + batch.len());
            start += batch.len();
        }
    }
    let bytes: usize = slices.iter().map(|slice| slice.len() + 64).sum();
    // A byte takes about as long to hash as two multiply-adds.
    let cost = 2 * bytes / batches.len().max(1);
    let out = Shared::new(out);
    parallel_ranges(batches.len(), 1, cost, |range| {
        for batch in &batches[range] {
            let order = &order[batch.clone()];
            let (mut messages, mut hashes) = ([&[][..]; BATCH], [[0; 32]; BATCH]);
            let (messages, hashes) = (&mut messages[..order.len()], &mut hashes[..order.len()]);
            for (message, &index) in messages.iter_mut().zip(order) {
                *message = slices[index];
            }
            isa.hash_slices::<LEAF>(messages, hashes);
            for (hash, &index) in hashes.iter().zip(order) {
                // SAFETY: every index is in one batch.
                let out = unsafe { out.slice(index..index + 1) };
                out[0] = Digest(*hash);
            }
        }
    });
}

/// Of each pair the hash of the node above.
pub fn node_hashes(pairs: &[[Digest; 2]], out: &mut [Digest]) {
    node_hashes_by(HashIsa::detect(), pairs, out);
}

/// As [`node_hashes`], by the instructions of `isa`. Panics when this machine lacks them.
pub fn node_hashes_by(isa: HashIsa, pairs: &[[Digest; 2]], out: &mut [Digest]) {
    assert!(isa.is_available() && pairs.len() == out.len());
    let out = Shared::new(out);
    // Two blocks of 64 bytes each.
    parallel_ranges(pairs.len(), BATCH, 2 * 128, |range| {
        // SAFETY: the ranges do not overlap.
        let out = unsafe { out.slice(range.clone()) };
        for (pairs, out) in pairs[range].chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let (mut messages, mut hashes) = ([[0; 64]; BATCH], [[0; 32]; BATCH]);
            let (messages, hashes) = (&mut messages[..pairs.len()], &mut hashes[..pairs.len()]);
            for (message, [left, right]) in messages.iter_mut().zip(pairs) {
                message[..32].copy_from_slice(&left.0);
                message[32..].copy_from_slice(&right.0);
            }
            isa.hash::<NODE, 64>(messages, hashes);
            for (out, hash) in out.iter_mut().zip(hashes) {
                *out = Digest(*hash);
            }
        }
    });
}
