//! Leaves and nodes of many small trees at once, and other short messages. On the caller's thread: whoever has more
//! of them than one thread's work divides them.
//!
//! Invariant: equal to `repops::digest::leaf_hash`, `node_hash` and `sha256`, with every [`HashIsa`].

use repops::digest::Digest;

use super::{HashIsa, NODE};

/// Messages that are hashed together: what the widest instructions take, many times over, so that nearly always the next
/// ones are known and can be asked for.
const BATCH: usize = 256;
/// Lengths beyond which messages are put in order by sorting.
const LENGTHS_MAX: usize = 32;

/// H(FIRST || slice) of each slice. Slices of equal length are hashed together, whatever their order.
pub fn hashes_behind<const FIRST: u8>(slices: &[&[u8]], out: &mut [Digest]) {
    hashes_behind_by::<FIRST>(HashIsa::detect(), slices, out);
}

/// As [`hashes_behind`], by the instructions of `isa`. Panics when this machine lacks them.
pub fn hashes_behind_by<const FIRST: u8>(isa: HashIsa, slices: &[&[u8]], out: &mut [Digest]) {
    assert!(isa.is_available() && slices.len() == out.len());
    let order = by_length(slices);
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

/// The indices of the slices, those of equal length together.
fn by_length(slices: &[&[u8]]) -> Vec<usize> {
    // Few lengths occur, and a row's leaves have the same ones as those of the row before.
    let mut lengths: Vec<(usize, usize)> = Vec::new();
    let mut groups = Vec::with_capacity(slices.len());
    for slice in slices {
        let known = lengths.iter().position(|&(length, _)| length == slice.len());
        let group = known.unwrap_or_else(|| {
            lengths.push((slice.len(), 0));
            lengths.len() - 1
        });
        if group == LENGTHS_MAX {
            let mut order: Vec<usize> = (0..slices.len()).collect();
            order.sort_by_key(|&index| slices[index].len());
            return order;
        }
        lengths[group].1 += 1;
        groups.push(group);
    }
    let mut next = 0;
    for (_, count) in &mut lengths {
        next += std::mem::replace(count, next);
    }
    let mut order = vec![0; slices.len()];
    for (index, group) in groups.into_iter().enumerate() {
        order[lengths[group].1] = index;
        lengths[group].1 += 1;
    }
    order
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
