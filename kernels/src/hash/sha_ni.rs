//! SHA-256 by the SHA extensions, several messages at once: the rounds of one message wait for one another,
//! those of two do not. Three or four measured no faster than two.

use std::arch::x86_64::*;

use super::Hash;
use super::rounds::{BLOCK, END_BIT, INITIAL, ROUND, last_blocks, message_bits, whole_blocks};

/// A state in the order that the instructions want: variables a, b, e, f and c, d, g, h, the first on top.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// The words of a block, the first at the bottom.
type Words = [__m128i; 4];

/// Four rounds of every message.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn four_rounds<const N: usize>(states: &mut [State; N], words: &[Words; N], quad: usize) {
    let constants = &ROUND[4 * quad..4 * quad + 4];
    // SAFETY: four constants.
    let constants = unsafe { _mm_loadu_si128(constants.as_ptr().cast()) };
    for n in 0..N {
        let State { abef, cdgh } = &mut states[n];
        let input = _mm_add_epi32(words[n][quad % 4], constants);
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, input);
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(input));
    }
}

/// Four words of every message are replaced by those sixteen rounds later:
/// `W[t] = sigma1(W[t - 2]) + W[t - 7] + sigma0(W[t - 15]) + W[t - 16]`.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn extend<const N: usize>(words: &mut [Words; N], quad: usize) {
    for w in words {
        let (old, next) = (w[quad % 4], w[(quad + 1) % 4]);
        let (third, last) = (w[(quad + 2) % 4], w[(quad + 3) % 4]);
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(old, next), _mm_alignr_epi8::<4>(last, third));
        w[quad % 4] = _mm_sha256msg2_epu32(sum, last);
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
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
        states[n].abef = _mm_add_epi32(states[n].abef, s[n].abef);
        states[n].cdgh = _mm_add_epi32(states[n].cdgh, s[n].cdgh);
    }
}

/// Each four bytes as a big-endian number.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn swapped(bytes: __m128i) -> __m128i {
    _mm_shuffle_epi8(bytes, _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
}

/// The bytes of a block.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn load(block: &[u8; BLOCK]) -> Words {
    let mut quads = [_mm_setzero_si128(); 4];
    for (quad, bytes) in quads.iter_mut().zip(block.chunks_exact(16)) {
        // SAFETY: sixteen bytes.
        *quad = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    }
    quads
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn initial<const N: usize>() -> [State; N] {
    let [a, b, c, d, e, f, g, h] = INITIAL.map(u32::cast_signed);
    [State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }; N]
}

/// SHA-256 of `PREFIX || message` for each message.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn hash<const PREFIX: u8, const BYTES: usize, const N: usize>(
    messages: [&[u8; BYTES]; N],
) -> [Hash; N] {
    const { assert!(BYTES.is_multiple_of(BLOCK) && BYTES > 0) };
    let mut states = initial::<N>();
    let zero = _mm_setzero_si128();
    let mut words = [[zero; 4]; N];
    for (words, message) in words.iter_mut().zip(messages) {
        let [b0, b1, b2, b3] = load(message.first_chunk().expect("a block"));
        let prefix = _mm_set_epi32((PREFIX as i32) << 24, 0, 0, 0);
        *words = [
            swapped(_mm_alignr_epi8::<15>(b0, prefix)),
            swapped(_mm_alignr_epi8::<15>(b1, b0)),
            swapped(_mm_alignr_epi8::<15>(b2, b1)),
            swapped(_mm_alignr_epi8::<15>(b3, b2)),
        ];
    }
    compress(&mut states, words);
    for block in 1..BYTES / BLOCK {
        // With the prefix, blocks start one byte before multiples of their size.
        let start = block * BLOCK - 1;
        for (words, message) in words.iter_mut().zip(messages) {
            *words = load(message[start..].first_chunk().expect("a block"));
            for quad in words {
                *quad = swapped(*quad);
            }
        }
        compress(&mut states, words);
    }
    for (words, message) in words.iter_mut().zip(messages) {
        let last = (message[BYTES - 1] as u32) << 24 | END_BIT;
        let bits = const { message_bits(BYTES) };
        *words =
            [_mm_cvtsi32_si128(last.cast_signed()), zero, zero, _mm_set_epi32(bits.cast_signed(), 0, 0, 0)];
    }
    compress(&mut states, words);
    hashes_of(states)
}

/// The states as bytes.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn hashes_of<const N: usize>(states: [State; N]) -> [Hash; N] {
    let mut hashes = [[0; 32]; N];
    for (hash, State { abef, cdgh }) in hashes.iter_mut().zip(states) {
        // Turned round, the first variables lie at the bottom.
        let (abef, cdgh) = (_mm_shuffle_epi32::<0x1b>(abef), _mm_shuffle_epi32::<0x1b>(cdgh));
        let (abcd, efgh) = (_mm_unpacklo_epi64(abef, cdgh), _mm_unpackhi_epi64(abef, cdgh));
        let (low, high) = hash.split_at_mut(16);
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(low.as_mut_ptr().cast(), swapped(abcd)) };
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(high.as_mut_ptr().cast(), swapped(efgh)) };
    }
    hashes
}

/// SHA-256 of `PREFIX || message` for each message; all are equally long.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn hash_slices<const PREFIX: u8, const N: usize>(messages: [&[u8]; N]) -> [Hash; N] {
    let len = messages[0].len();
    assert!(messages.iter().all(|message| message.len() == len));
    let mut states = initial::<N>();
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for block in 0..whole_blocks(len) {
        for (words, message) in words.iter_mut().zip(messages) {
            *words = if block == 0 {
                let mut first = [PREFIX; BLOCK];
                first[1..].copy_from_slice(&message[..BLOCK - 1]);
                load(&first)
            } else {
                load(message[block * BLOCK - 1..].first_chunk().expect("a block"))
            };
            for quad in words {
                *quad = swapped(*quad);
            }
        }
        compress(&mut states, words);
    }
    let ends = messages.map(|message| last_blocks(PREFIX, message));
    for block in 0..ends[0].1 {
        for (words, (end, _)) in words.iter_mut().zip(&ends) {
            *words = load(end[block * BLOCK..].first_chunk().expect("a block"));
            for quad in words {
                *quad = swapped(*quad);
            }
        }
        compress(&mut states, words);
    }
    hashes_of(states)
}
