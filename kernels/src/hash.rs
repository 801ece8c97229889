//! The digest of a tensor, over several leaves at once and several threads.
//!
//! Invariant: equal to `repops::digest::bytes_digest`.

use repops::digest::{Digest, LEAF_BYTES, Layout, bind_tensor, leaf_hash, merkle_root as root_of, node_hash};
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
    root_of(&roots)
}

/// The root over at most [`TASK_LEAVES`] leaves.
fn subtree(bytes: &[u8]) -> Digest {
    let mut nodes = [Digest::default(); TASK_LEAVES];
    let mut count = 0;
    let mut pairs = bytes.chunks_exact(2 * LEAF_BYTES);
    for pair in &mut pairs {
        let (left, right) = pair.split_at(LEAF_BYTES);
        [nodes[count], nodes[count + 1]] = two_leaves(left, right);
        count += 2;
    }
    for leaf in pairs.remainder().chunks(LEAF_BYTES) {
        nodes[count] = leaf_hash(leaf);
        count += 1;
    }
    // Level by level: pairs combine, an odd last node moves up. That is the tree of RFC 9162.
    while count > 1 {
        let pairs = count / 2;
        for pair in (0..pairs - pairs % 2).step_by(2) {
            let four = [nodes[2 * pair], nodes[2 * pair + 1], nodes[2 * pair + 2], nodes[2 * pair + 3]];
            [nodes[pair], nodes[pair + 1]] = two_nodes(&four);
        }
        if pairs % 2 == 1 {
            nodes[pairs - 1] = node_hash(&nodes[2 * pairs - 2], &nodes[2 * pairs - 1]);
        }
        if count % 2 == 1 {
            nodes[count / 2] = nodes[count - 1];
        }
        count = count.div_ceil(2);
    }
    nodes[0]
}

/// The hashes of two full leaves.
fn two_leaves(left: &[u8], right: &[u8]) -> [Digest; 2] {
    #[cfg(target_arch = "x86_64")]
    if sha_ni::is_available() {
        // SAFETY: the processor has the instructions; the leaves are full.
        return unsafe { sha_ni::two_leaves([left, right]) };
    }
    [leaf_hash(left), leaf_hash(right)]
}

/// The hashes of two inner nodes, of children 0 and 1, and 2 and 3.
fn two_nodes(children: &[Digest; 4]) -> [Digest; 2] {
    #[cfg(target_arch = "x86_64")]
    if sha_ni::is_available() {
        // SAFETY: the processor has the instructions.
        return unsafe { sha_ni::two_nodes(children) };
    }
    [node_hash(&children[0], &children[1]), node_hash(&children[2], &children[3])]
}

/// SHA-256 (FIPS 180-4) of two messages at once, by the SHA extensions: the rounds of one message wait for
/// one another, those of two do not.
#[cfg(target_arch = "x86_64")]
mod sha_ni {
    use std::arch::x86_64::*;

    use repops::digest::{Digest, LEAF_BYTES};

    const BLOCK: usize = 64;
    /// FIPS 180-4, 5.3.3.
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    /// FIPS 180-4, 4.2.2.
    #[rustfmt::skip]
    static ROUND: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
    }

    /// Two states in the order that the instructions want: (a, b, e, f) and (c, d, g, h).
    #[derive(Clone, Copy)]
    struct States {
        abef: [__m128i; 2],
        cdgh: [__m128i; 2],
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn start() -> States {
        let [a, b, c, d, e, f, g, h] = INITIAL.map(u32::cast_signed);
        States { abef: [_mm_set_epi32(a, b, e, f); 2], cdgh: [_mm_set_epi32(c, d, g, h); 2] }
    }

    /// # Safety
    /// Each pointer has a readable block.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    unsafe fn compress(states: &mut States, blocks: [*const u8; 2]) {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let before = *states;
        let States { mut abef, mut cdgh } = before;
        let mut words = [[_mm_setzero_si128(); 4]; 2];
        for quad in 0..16 {
            // SAFETY: sixteen quads of four constants.
            let constants = unsafe { _mm_loadu_si128(ROUND.as_ptr().add(4 * quad).cast()) };
            for lane in 0..2 {
                let w = &mut words[lane];
                if quad < 4 {
                    // SAFETY: the caller's promise.
                    let bytes = unsafe { _mm_loadu_si128(blocks[lane].add(16 * quad).cast()) };
                    w[quad] = _mm_shuffle_epi8(bytes, swap);
                } else {
                    // W[t] = s1(W[t-2]) + W[t-7] + s0(W[t-15]) + W[t-16], four at a time.
                    let (old, next) = (w[quad % 4], w[(quad + 1) % 4]);
                    let (third, last) = (w[(quad + 2) % 4], w[(quad + 3) % 4]);
                    let sum =
                        _mm_add_epi32(_mm_sha256msg1_epu32(old, next), _mm_alignr_epi8::<4>(last, third));
                    w[quad % 4] = _mm_sha256msg2_epu32(sum, last);
                }
                let input = _mm_add_epi32(w[quad % 4], constants);
                cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], input);
                abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32::<0x0e>(input));
            }
        }
        for lane in 0..2 {
            states.abef[lane] = _mm_add_epi32(abef[lane], before.abef[lane]);
            states.cdgh[lane] = _mm_add_epi32(cdgh[lane], before.cdgh[lane]);
        }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn finish(states: &States) -> [Digest; 2] {
        [0, 1].map(|lane| {
            let mut halves = [[0u32; 4]; 2];
            // SAFETY: each half holds a register.
            unsafe {
                _mm_storeu_si128(halves[0].as_mut_ptr().cast(), states.abef[lane]);
                _mm_storeu_si128(halves[1].as_mut_ptr().cast(), states.cdgh[lane]);
            }
            let [[f, e, b, a], [h, g, d, c]] = halves;
            let mut digest = Digest::default();
            for (to, word) in digest.0.chunks_exact_mut(4).zip([a, b, c, d, e, f, g, h]) {
                to.copy_from_slice(&word.to_be_bytes());
            }
            digest
        })
    }

    /// The end of a message: `rest`, a one bit, zeros, the length in bits.
    fn padded(rest: &[u8], message_bytes: usize) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        block[rest.len()] = 0x80;
        block[BLOCK - 8..].copy_from_slice(&(8 * message_bytes as u64).to_be_bytes());
        block
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) unsafe fn two_leaves(leaves: [&[u8]; 2]) -> [Digest; 2] {
        assert!(leaves.iter().all(|leaf| leaf.len() == LEAF_BYTES));
        let mut states = start();
        // The byte 0 comes first, so that blocks lie one byte before multiples of 64.
        let mut first = [[0u8; BLOCK]; 2];
        for (block, leaf) in first.iter_mut().zip(leaves) {
            block[1..].copy_from_slice(&leaf[..BLOCK - 1]);
        }
        // SAFETY: whole blocks of the leaves or of local arrays.
        unsafe {
            compress(&mut states, [first[0].as_ptr(), first[1].as_ptr()]);
            for block in 1..LEAF_BYTES / BLOCK {
                compress(&mut states, leaves.map(|leaf| leaf.as_ptr().add(block * BLOCK - 1)));
            }
            let last = leaves.map(|leaf| padded(&leaf[LEAF_BYTES - 1..], LEAF_BYTES + 1));
            compress(&mut states, [last[0].as_ptr(), last[1].as_ptr()]);
        }
        finish(&states)
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) unsafe fn two_nodes(children: &[Digest; 4]) -> [Digest; 2] {
        let mut states = start();
        let mut first = [[1u8; BLOCK]; 2];
        let mut last = [[0u8; BLOCK]; 2];
        for (lane, pair) in children.chunks_exact(2).enumerate() {
            first[lane][1..33].copy_from_slice(&pair[0].0);
            first[lane][33..].copy_from_slice(&pair[1].0[..31]);
            last[lane] = padded(&pair[1].0[31..], 65);
        }
        // SAFETY: local arrays of a block each.
        unsafe {
            compress(&mut states, [first[0].as_ptr(), first[1].as_ptr()]);
            compress(&mut states, [last[0].as_ptr(), last[1].as_ptr()]);
        }
        finish(&states)
    }
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
