//! SHA-256 by the SHA-2 instructions of Armv8, several messages at once: the rounds of one message wait for
//! one another, those of two do not.

use std::arch::aarch64::*;

use super::Hash;
use super::rounds::{BLOCK, END_BIT, INITIAL, ROUND, message_bits};

/// The variables of a state.
#[derive(Clone, Copy)]
struct State {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
}

/// The words of a block.
type Words = [uint32x4_t; 4];

/// Four rounds of every message.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn four_rounds<const N: usize>(states: &mut [State; N], words: &[Words; N], quad: usize) {
    let constants = &ROUND[4 * quad..4 * quad + 4];
    // SAFETY: four constants.
    let constants = unsafe { vld1q_u32(constants.as_ptr()) };
    for n in 0..N {
        let State { abcd, efgh } = states[n];
        let input = vaddq_u32(words[n][quad % 4], constants);
        states[n].abcd = vsha256hq_u32(abcd, efgh, input);
        states[n].efgh = vsha256h2q_u32(efgh, abcd, input);
    }
}

/// Four words of every message are replaced by those sixteen rounds later:
/// `W[t] = sigma1(W[t - 2]) + W[t - 7] + sigma0(W[t - 15]) + W[t - 16]`.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn extend<const N: usize>(words: &mut [Words; N], quad: usize) {
    for w in words {
        let (old, next) = (w[quad % 4], w[(quad + 1) % 4]);
        let (third, last) = (w[(quad + 2) % 4], w[(quad + 3) % 4]);
        w[quad % 4] = vsha256su1q_u32(vsha256su0q_u32(old, next), third, last);
    }
}

#[target_feature(enable = "neon,sha2")]
#[inline]
fn compress<const N: usize>(states: &mut [State; N], mut words: [Words; N]) {
    let mut s = *states;
    macro_rules! quads {
        ($($quad:literal)*) => {$(
            if $quad >= 4 {
                extend(&mut words, $quad);
            }
            four_rounds(&mut s, &words, $quad);
        )*};
    }
    quads!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    for n in 0..N {
        states[n].abcd = vaddq_u32(states[n].abcd, s[n].abcd);
        states[n].efgh = vaddq_u32(states[n].efgh, s[n].efgh);
    }
}

/// Each four bytes as a big-endian number.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn swapped(bytes: uint8x16_t) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(bytes))
}

/// The bytes of a block.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn load(block: &[u8; BLOCK]) -> [uint8x16_t; 4] {
    let mut quads = [vdupq_n_u8(0); 4];
    for (quad, bytes) in quads.iter_mut().zip(block.chunks_exact(16)) {
        // SAFETY: sixteen bytes.
        *quad = unsafe { vld1q_u8(bytes.as_ptr()) };
    }
    quads
}

/// SHA-256 of `PREFIX || message` for each message.
#[target_feature(enable = "neon,sha2")]
pub(super) fn hash<const PREFIX: u8, const BYTES: usize, const N: usize>(
    messages: [&[u8; BYTES]; N],
) -> [Hash; N] {
    const { assert!(BYTES.is_multiple_of(BLOCK) && BYTES > 0) };
    let (abcd, efgh) = INITIAL.split_at(4);
    // SAFETY: four words.
    let abcd = unsafe { vld1q_u32(abcd.as_ptr()) };
    // SAFETY: as above.
    let efgh = unsafe { vld1q_u32(efgh.as_ptr()) };
    let mut states = [State { abcd, efgh }; N];
    let zero = vdupq_n_u32(0);
    let mut words = [[zero; 4]; N];
    for (words, message) in words.iter_mut().zip(messages) {
        let [b0, b1, b2, b3] = load(message.first_chunk().expect("a block"));
        *words = [
            swapped(vextq_u8::<15>(vdupq_n_u8(PREFIX), b0)),
            swapped(vextq_u8::<15>(b0, b1)),
            swapped(vextq_u8::<15>(b1, b2)),
            swapped(vextq_u8::<15>(b2, b3)),
        ];
    }
    compress(&mut states, words);
    for block in 1..BYTES / BLOCK {
        // With the prefix, blocks start one byte before multiples of their size.
        let start = block * BLOCK - 1;
        for (words, message) in words.iter_mut().zip(messages) {
            for (words, bytes) in words.iter_mut().zip(load(message[start..].first_chunk().expect("a block")))
            {
                *words = swapped(bytes);
            }
        }
        compress(&mut states, words);
    }
    for (words, message) in words.iter_mut().zip(messages) {
        let last = (message[BYTES - 1] as u32) << 24 | END_BIT;
        let bits = const { message_bits(BYTES) };
        *words = [vsetq_lane_u32::<0>(last, zero), zero, zero, vsetq_lane_u32::<3>(bits, zero)];
    }
    compress(&mut states, words);
    let mut hashes = [[0; 32]; N];
    for (hash, State { abcd, efgh }) in hashes.iter_mut().zip(states) {
        let bytes = |words| vrev32q_u8(vreinterpretq_u8_u32(words));
        let (low, high) = hash.split_at_mut(16);
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(low.as_mut_ptr(), bytes(abcd)) };
        // SAFETY: as above.
        unsafe { vst1q_u8(high.as_mut_ptr(), bytes(efgh)) };
    }
    hashes
}
