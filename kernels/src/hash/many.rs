//! Leaves and nodes of many small trees at once, and other short messages. On the caller's thread: whoever has more
//! of them than one thread's work divides them.
//!
//! Invariant: equal to `repops::digest::leaf_hash`, `node_hash` and `sha256`, with every [`HashIsa`].

use repops::digest::Digest;

use super::{HashIsa, NODE};

/// Messages that are hashed together: what the widest instructions take, several times over.
const BATCH: usize = 64;

/// H(FIRST || slice) of each slice. Slices of equal length are hashed together, whatever their order.
pub fn hashes_behind<const FIRST: u8>(slices: &[&[u8]], out: &mut [Digest]) {
    hashes_behind_by::<FIRST>(HashIsa::detect(), slices, out);
}

/// As [`hashes_behind`], by the instructions of `isa`. Panics when this machine lacks them.
pub fn hashes_behind_by<const FIRST: u8>(isa: HashIsa, slices: &[&[u8]], out: &mut [Digest]) {
    assert!(isa.is_available() && slices.len() == out.len());
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by_key(|&index| slices[index].len());
    for same in order.chunk_by(|&a, &b| slices[a].len() == slices[b].len()) {
        for batch in same.chunks(BATCH) {
            let (mut messages, mut hashes) = ([&[][..]; BATCH], [[0; 32]; BATCH]);
            let (messages, hashes) = (&mut messages[..batch.len()], &mut hashes[..batch.len()]);
            for (message, &index) in messages.iter_mut().zip(batch) {
                *message = slices[index];
            }
            isa.hash_slices::<FIRST>(messages, hashes);
            batch.iter().zip(hashes).for_each(|(&index, hash)| out[index] = Digest(*hash));
        }
    }
}

/// Of each pair the hash of the node above.
pub fn node_hashes(pairs: &[[Digest; 2]], out: &mut [Digest]) {
    node_hashes_by(HashIsa::detect(), pairs, out);
}

/// As [`node_hashes`], by the instructions of `isa`. Panics when this machine lacks them.
pub fn node_hashes_by(isa: HashIsa, pairs: &[[Digest; 2]], out: &mut [Digest]) {
    assert!(isa.is_available() && pairs.len() == out.len());
    for (pairs, out) in pairs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
        let (mut messages, mut hashes) = ([[0; 64]; BATCH], [[0; 32]; BATCH]);
        let (messages, hashes) = (&mut messages[..pairs.len()], &mut hashes[..pairs.len()]);
        for (message, [left, right]) in messages.iter_mut().zip(pairs) {
            message[..32].copy_from_slice(&left.0);
            message[32..].copy_from_slice(&right.0);
        }
        isa.hash::<NODE, 64>(messages, hashes);
        out.iter_mut().zip(hashes).for_each(|(out, hash)| *out = Digest(*hash));
    }
}
