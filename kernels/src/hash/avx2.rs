//! SHA-256 of eight messages at once: each of the 32-bit lanes of a register is one message.

use std::arch::x86_64::*;

use super::Hash;
use super::rounds::{BLOCK, END_BIT, INITIAL, ROUND, message_bits, sixteen_rounds};

const LANES: usize = 8;

type Lanes = __m256i;

#[target_feature(enable = "avx2")]
#[inline]
fn splat(word: u32) -> Lanes {
    _mm256_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: Lanes, y: Lanes) -> Lanes {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(x: Lanes, y: Lanes, z: Lanes) -> Lanes {
    _mm256_xor_si256(_mm256_xor_si256(x, y), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn ch(e: Lanes, f: Lanes, g: Lanes) -> Lanes {
    _mm256_xor_si256(_mm256_and_si256(e, _mm256_xor_si256(f, g)), g)
}

#[target_feature(enable = "avx2")]
#[inline]
fn maj(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(_mm256_or_si256(a, b), c))
}

/// `x` rotated right by `RIGHT`, which with `LEFT` is 32.
#[target_feature(enable = "avx2")]
#[inline]
fn rotated<const RIGHT: i32, const LEFT: i32>(x: Lanes) -> Lanes {
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn sum0(x: Lanes) -> Lanes {
    xor3(rotated::<2, 30>(x), rotated::<13, 19>(x), rotated::<22, 10>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn sum1(x: Lanes) -> Lanes {
    xor3(rotated::<6, 26>(x), rotated::<11, 21>(x), rotated::<25, 7>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn sigma0(x: Lanes) -> Lanes {
    xor3(rotated::<7, 25>(x), rotated::<18, 14>(x), _mm256_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn sigma1(x: Lanes) -> Lanes {
    xor3(rotated::<17, 15>(x), rotated::<19, 13>(x), _mm256_srli_epi32::<10>(x))
}

#[target_feature(enable = "avx2")]
fn compress(state: &mut [Lanes; 8], words: &[Lanes; 16]) {
    let (mut s, mut w) = (*state, *words);
    sixteen_rounds!(s, w, ROUND, false);
    for constants in ROUND[16..].chunks_exact(16) {
        sixteen_rounds!(s, w, constants, true);
    }
    for (sum, s) in state.iter_mut().zip(s) {
        *sum = add(*sum, s);
    }
}

/// Word t of the block at `offset` in every row, at index t, as big-endian numbers.
///
/// # Safety
/// A block can be read at `offset` from each pointer.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn words_of(rows: [*const u8; LANES], offset: usize) -> [Lanes; 16] {
    let swap = _mm256_set_epi64x(
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
    );
    let mut words = [splat(0); 16];
    for half in 0..2 {
        let mut r = [splat(0); 8];
        for (to, row) in r.iter_mut().zip(rows) {
            // SAFETY: the caller's promise.
            *to = unsafe { _mm256_loadu_si256(row.add(offset + 32 * half).cast()) };
        }
        // First 4 x 4 words inside each half of a register, then 2 x 2 halves.
        let mut quads = [splat(0); 8];
        for i in 0..2 {
            let [r0, r1, r2, r3] = [r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]];
            let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
            let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
            quads[4 * i] = _mm256_unpacklo_epi64(low01, low23);
            quads[4 * i + 1] = _mm256_unpackhi_epi64(low01, low23);
            quads[4 * i + 2] = _mm256_unpacklo_epi64(high01, high23);
            quads[4 * i + 3] = _mm256_unpackhi_epi64(high01, high23);
        }
        for i in 0..4 {
            let (q0, q1) = (quads[i], quads[4 + i]);
            let low = _mm256_permute2x128_si256::<0x20>(q0, q1);
            let high = _mm256_permute2x128_si256::<0x31>(q0, q1);
            words[8 * half + i] = _mm256_shuffle_epi8(low, swap);
            words[8 * half + 4 + i] = _mm256_shuffle_epi8(high, swap);
        }
    }
    words
}

/// The words of a block that is `prefix` and the first 63 bytes of those in `words`.
#[target_feature(enable = "avx2")]
#[inline]
fn behind_prefix(prefix: u8, words: &[Lanes; 16]) -> [Lanes; 16] {
    let mut shifted = [splat((prefix as u32) << 24); 16];
    for t in 0..16 {
        let before = if t == 0 { shifted[0] } else { _mm256_slli_epi32::<24>(words[t - 1]) };
        shifted[t] = _mm256_or_si256(before, _mm256_srli_epi32::<8>(words[t]));
    }
    shifted
}

/// The states as bytes.
#[target_feature(enable = "avx2")]
fn hashes_of(state: &[Lanes; 8]) -> [Hash; LANES] {
    let mut lanes = [[0u32; LANES]; 8];
    for (to, word) in lanes.iter_mut().zip(state) {
        // SAFETY: a register's bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), *word) };
    }
    let mut hashes = [[0; 32]; LANES];
    for (lane, hash) in hashes.iter_mut().enumerate() {
        for (bytes, word) in hash.chunks_exact_mut(4).zip(&lanes) {
            bytes.copy_from_slice(&word[lane].to_be_bytes());
        }
    }
    hashes
}

#[target_feature(enable = "avx2")]
#[inline]
fn initial() -> [Lanes; 8] {
    let mut state = [splat(0); 8];
    for (lanes, word) in state.iter_mut().zip(INITIAL) {
        *lanes = splat(word);
    }
    state
}

/// SHA-256 of `PREFIX || message` for each message.
#[target_feature(enable = "avx2")]
pub(super) fn hash<const PREFIX: u8, const BYTES: usize>(messages: [&[u8; BYTES]; LANES]) -> [Hash; LANES] {
    const { assert!(BYTES.is_multiple_of(BLOCK) && BYTES > 0) };
    let rows = messages.map(|message| message.as_ptr());
    let mut state = initial();
    // SAFETY: the messages' first block.
    let first = unsafe { words_of(rows, 0) };
    compress(&mut state, &behind_prefix(PREFIX, &first));
    for block in 1..BYTES / BLOCK {
        // With the prefix, blocks start one byte before multiples of their size.
        // SAFETY: the block ends before the messages do.
        let words = unsafe { words_of(rows, block * BLOCK - 1) };
        compress(&mut state, &words);
    }
    let mut last = [0u32; LANES];
    for (word, message) in last.iter_mut().zip(messages) {
        *word = (message[BYTES - 1] as u32) << 24 | END_BIT;
    }
    let mut words = [splat(0); 16];
    // SAFETY: an array as long as a register.
    words[0] = unsafe { _mm256_loadu_si256(last.as_ptr().cast()) };
    words[15] = splat(const { message_bits(BYTES) });
    compress(&mut state, &words);
    hashes_of(&state)
}
